"""The producer: orders from a file or made up, encoded, sent, and accounted for.

Reading order: publication (one run, from the source to the final account), record_source (what is sent),
order_file (orders in files; below it file_lines), made_up and fake_orders (made-up orders), spoiler (broken
ones), record_key, publisher (sending, with every record accounted for), batches (how many at a time),
undelivered (what could not be sent), tracing (spans of what is sent, for whoever uses OpenTelemetry).
"""
