"""What travels: records, orders, dead letters, and what a committed offset says.

Pure: no clock, no chance, no I/O, no client. Everything above leans on this folder, and it leans on
`orderflow/errors.py` alone.

To read: records (of a topic, and to be sent), orders (the value and its rules), delivery_id (what an order
is called from its first call on), dead_letter (the record that the engine sends when an order cannot be
processed), commit_metadata (what waits, told beside an offset), text.

Beside them: time_spans.
"""
