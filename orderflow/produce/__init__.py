"""The producer: orders from a file or made up, encoded, sent, and accounted for.

Reading order: publication (one run, from the source to the final account), record_source (what is sent),
order_file and order_fields (orders as files spell them; below them logical_fields and file_lines),
fake_orders (made-up orders), publisher (sending, with every record accounted for), undelivered (what could
not be sent).
"""
