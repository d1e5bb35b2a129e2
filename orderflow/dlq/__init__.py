"""Dead letters after the engine: read, explained, shown, replayed, resolved.

To read: dialects and explain (what a dead letter of any system tells), letter (one of them as the verbs see
it), audit and audit_topic (what became of each), selection, selection_flags and where (which of them), desk
and topic (what every verb works with), confirmation (asked before anything is sent), tally and stock
(counts); then output/ (how they look), replay/ (how they are sent again), verbs/ (what an operator types).
"""
