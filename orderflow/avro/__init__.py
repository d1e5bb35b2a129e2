"""Bytes to orders and back, safe against hostile bytes.

To read: codec (the whole of it in one place), framing (the first bytes), schema (what is safe to decode
with), strict_reader (the fast way through a record), first_fault (where bytes first go wrong),
decode_reasons (what an operator is told). From one schema to another: evolution, projection. Where schemas
come from: schema_store, registry, registry_client, references. The other way: encoder.
"""
