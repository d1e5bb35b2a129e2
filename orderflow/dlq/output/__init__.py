"""How dead letters look, for people and for machines. No stream, no terminal: width and colour are given.

To read: envelope (JSON), listing (a line each, groups, totals), portrait (one of them in full), files
(export and import), times, printer (a stream of them).
"""
