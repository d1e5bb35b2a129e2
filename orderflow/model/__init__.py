"""The values that travel: records, orders, dead letters and commit metadata.

Pure: no clock, no randomness, no I/O, no client. Every other folder builds on this one, which imports
`orderflow/errors.py` alone.

Reading order: records (read from a topic, and to be sent), orders (the value and its rules), delivery_id
(what an order is called from its first call on), dead_letter (the record the engine sends when an order
cannot be processed), fingerprint (what kind of failure it died of), commit_metadata (what still waits,
committed with an offset), ledger_page (the same where the metadata has no room), command (what an operator
asks of those that wait), reasons (why they do), ledger_record (what these three share), log_entry (what is
logged), hidden (what nobody is to see of an order), open_transactions (what those hide that were left open),
metric, text, cells (how wide one is on a screen), json_text, topic_name, moments (times in ISO 8601),
time_spans.
"""
