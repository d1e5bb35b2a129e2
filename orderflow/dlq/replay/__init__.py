"""A replay, from the request to the last transaction.

To read: request (all that was asked for), flags (how it is typed), judge (whether a dead letter may go
back, and as what: origin), outlook (what a replay would do: source_topics, staleness), other_readers (who
else gets it), plan_file (the same, reviewed first), confirmed (what follows a yes), sending (the
transactions: rate, refused), canary and returned (the first few, and why they came back), resuming (a job
that stopped), fate and fates (what became of what was sent), text (how it is told), masked (without what is
hidden).
"""
