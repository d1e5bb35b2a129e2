"""The engine: every order is processed, or waits for its retry, or is dead-lettered, and none is lost.

In reading order:

- loop: the step in which everything comes together: poll, call, settle
- intake, admission: what is polled and not called yet; which records are new
- first_calls, due_calls, careful, probing, calls: the ways in which an order is called, and the call
- outcomes: what becomes of a call
- retry, brakes: call again, or give the order up
- partition, ledger: what is finished and what waits, one book for each partition
- settling, dispatch, patience, outbox: what was done becomes certain, all of it or none
- pace, slices: how much is called before it is settled
- caution: after a death, who may be to blame
- assignment, restoring, reading_back, earlier_work: what is restored when a partition comes
- session, source, transaction, settlement: one member of the group: what it reads, commits and sends
- handler, workers, forked, results, streams: what a handler is given, where it runs, what it may return
- engine, world: how the parts are put together
- service, kafka_watch, membership, client_config, client_errors: a run from its start to its end
- watchdog, failing, drain, events, metrics: what looks on
"""
