"""The engine: every order is processed, waits for a retry, or is dead-lettered, and none is lost.

In reading order:

- loop: the step that ties everything together: poll, call, settle
- intake, admission: records polled but not called yet; which records are new
- first_calls, due_calls, careful, probing, calls: the different ways to call an order, and the call itself
- key_runs, orphans: calls that wait for a settlement, and calls whose partition was given up
- outcomes, last_failures: what follows from a call; what each waiting order failed of
- commands, inbox, told_reasons: what operators ask of waiting orders, and are told of them
- retry, key_brake, outage_brake, successes: whether to call again or give up
- partition, ledger, head: what is finished and what waits, one ledger per partition
- statement, listing, pages, waiting_bytes: how a ledger is written down, and how much memory it takes
- settling, dispatch, patience, outbox: results and offsets are committed, all or nothing
- pace, slices, due_share: how much to call between settlements
- caution: which orders may have killed the process
- assignment, restoring, put_off, seeking, other_topic, coming: restoring a partition when it is assigned
- paged_commits, reading_back, earlier_work, ledger_topic: what that takes from Kafka
- session, source, transaction, producers, settlement: one group member: what it reads, commits and sends
- left_open: the transaction of a dead owner, which hides what is committed
- handler, own_modules, life_cycle: what a handler is given, what it imports, how it is opened and closed
- workers, forked, streams, tracebacks: where a handler runs, what it may print, how its errors show
- event_loop, loop_calls, loop_workers, loop_first_calls, loop_watch: the same for an async handler
- results, publications, result_topics: what a handler may return, and the records that are made of it
- misplaced, addresses: what would be lost in it: a Publish that is not sent, a text that is an address
- own_rules: rules that the user names
- engine, world: how the parts are put together
- assembly, run_settings, written_topics: a consumer, from its settings to the service that runs it
- readiness, service, kafka_watch, ledger_watch, membership, missing_topic: a run from start to end
- client_config, client_errors: what is asked of the Kafka client, and what it says
- watchdog, failing, drain: observers
- events, event_log, masked_events, run_log, retry_lines: what is logged
- tracing: spans of calls and settlements, for whoever uses OpenTelemetry
- figures, readings, durations, event_counts, arrivals, intake_states: the figures, and where they come from
- monitor, liveness, process_figures, health: who puts them together, beside the loop
- status_text, catalogue, progress, metrics: how they are shown
- processes: several consumers as one command
"""
