"""The producer: orders from a file or made up, encoded, sent, and accounted for.

To read: publication (one run, from the source to the account at the end), record_source (what is sent),
order_file and order_fields (orders as files spell them; below them logical_fields and file_lines),
fake_orders (orders that nobody placed), publisher (sending, none forgotten), undelivered (what could not be
sent).
"""
