"""The verbs of dlq_handler.py: a file for one or two of them.

Each puts together what lies below it: a topic to read, a selection, an output, and for some a replay. What
only looks: tail, list_and_show, groups_and_stats, waiting. What changes something: replay, discard,
export_and_import. What was done: jobs.
"""
