"""Dead letters after the engine: read, explained, shown, replayed, resolved.

To read: dialects, frames and explain (what a dead letter of any system tells), letter (one of them as the
verbs see it), pointer (whether a record is the one that it came from), audit, job_marks and audit_topic
(what became of each), selection, selection_flags and where (which of them), choice (which are acted on),
desk and topic (what every verb works with), confirmation (asked before anything is sent), writer (the one
who marks them), masking and unmasking (what is hidden), tally, stock, timeline and grouping (counts), sums
and sum_flags (how much, and whose), health (one verdict), retention (how long they are kept) and dating
(which time an import gives them), acting, held, taken_up and waiting_reasons (what is asked and told of
orders that wait); then output/ (how they look), replay/ (how they are sent again), watch/ (the live
screen), verbs/ (what an operator types).
"""
