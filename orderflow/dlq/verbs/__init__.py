"""The verbs of dlq_handler.py, a file each: `add_flags` has its flags, `run` does it.

A verb puts together what lies below it: a topic to read, a selection, an output, and for some a replay. What
only looks: tail, list, show, groups, stats, serve, waiting, export. What changes something: replay, discard,
import_file. What was done: jobs. Its file is imported when it runs, so that `--help` does not wait for
Kafka's client.
"""
