"""How dead letters look, for people and for machines. No stream, no terminal: the width is given.

To read: envelope (JSON), listing and narrow (a line each), group_table, sum_lines, waiting_lines and
health_lines (many at once), portrait (one of them in full), page and report (HTML), erasure (what is held of
a key), files (export and import), times, printer (a stream of them).
"""
