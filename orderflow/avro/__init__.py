"""Bytes to orders and back, safe against hostile bytes.

Reading order: codec (everything in one place), framing (the first bytes), schema (what is safe to decode
with), strict_reader (the fast path through a record), first_fault (where bytes first go wrong),
decode_reasons (what the operator sees). From one schema to another: evolution, projection, resolution,
told_branches, meaning. Where schemas come from: schema_store, registry, registry_client, registry_files,
references. The other direction: encoder, written_branches. Orders as people and files spell them:
order_fields, logical_fields, json_value.
"""
