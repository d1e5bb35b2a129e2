"""The engine: every order is processed, or waits for its retry, or is dead-lettered, and none is lost.

In reading order:

- loop: the step in which everything comes together: poll, take in, call, settle
- intake: which records are new
- ledger: what is finished and what waits, one book a partition
- calls: one order and its handler, and what comes of it
- handler, workers, forked, results, streams: what a handler is given, where it runs, what it may return
- retry, brakes: call again, or give the order up
- caution: after a death, who may be to blame
- outbox: what a settlement will send
- settling, settlement, failing: what was done becomes certain, all of it or none
- session, source, transaction: one member of the group: what it reads, commits and sends
- membership, client_config, client_errors: whether it is in its group, its clients and their errors
- assignment, reading_back, earlier_work: what is restored when a partition comes
- watchdog, drain, events, metrics: what looks on
"""
