"""The engine: every order is processed, waits for a retry, or is dead-lettered, and none is lost.

In reading order:

- loop: the step that ties everything together: poll, call, settle
- intake, admission: records polled but not called yet; which records are new
- first_calls, due_calls, careful, probing, calls: the different ways to call an order, and the call itself
- outcomes: what follows from a call
- retry, brakes: whether to call again or give up
- partition, ledger: what is finished and what waits, one ledger per partition
- settling, dispatch, patience, outbox: results and offsets are committed, all or nothing
- pace, slices: how much to call between settlements
- caution: which orders may have killed the process
- assignment, restoring, reading_back, earlier_work: restoring a partition when it is assigned
- session, source, transaction, settlement: one group member: what it reads, commits and sends
- handler, workers, forked, results, streams: what a handler is given, where it runs, what it may return
- engine, world: how the parts are put together
- service, kafka_watch, kafka_outage, membership, client_config, client_errors: a run from start to end
- watchdog, failing, drain: observers
- events, event_log, run_log: what is logged
- figures, readings, durations, event_counts, arrivals, intake_states: the figures, and where they come from
- monitor, liveness, process_figures, health: who puts them together, beside the loop
- status_text, catalogue, progress, metrics: how they are shown
- processes: several consumers as one command
"""
