"""A replay, from the request to the last transaction.

To read: request (all that was asked for), flags (how it is typed), judge (whether a dead letter may go
back, and as what: origin), outlook (what a replay would do: source_topics, staleness), plan_file (the same,
reviewed first), confirmed (what follows a yes), sending (the transactions: rate, refused), canary (the first
few), resuming (a job that stopped), text (how it is told).
"""
