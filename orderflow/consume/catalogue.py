"""The catalogue of the consumer's metrics: name, kind and meaning of each, and where it comes from.

The table in the documentation is generated from it. Labels are bounded: `partition`, `reason`, `stage` and
`outcome`, of which handlers can only choose some reasons, and not many of those are told apart.
"""

from typing import Callable, Iterable, List, Mapping, Sequence

from orderflow.consume.figures import Figures, PartitionFigures, Reasons
from orderflow.model.metric import COUNTER, GAUGE, HISTOGRAM, Histogram, Metric, Sample

STAGES = ("decode", "validate", "process", "publish")


def _plain(read: Callable[[Figures], float]) -> Callable[[Figures], Iterable[Sample]]:
    return lambda figures: [((), read(figures))]


def _each(read: Callable[[PartitionFigures], float]) -> Callable[[Figures], Iterable[Sample]]:
    return lambda figures: [((str(number),), read(each)) for number, each in figures.partitions.items()]


def _reasons(read: Callable[[Figures], Reasons]) -> Callable[[Figures], Iterable[Sample]]:
    return lambda figures: [
        ((stage_of(reason), reason), count) for reason, count in sorted(read(figures).items())
    ]


def stage_of(reason: str) -> str:
    """The stage at which orders fail for this reason. A handler's own reasons need not start with one."""
    stage = reason.partition(".")[0]
    return stage if stage in STAGES else "process"


def _outcomes(read: Callable[[Figures], Mapping[str, Histogram]]) -> Callable[[Figures], Iterable[Sample]]:
    return lambda figures: [((outcome,), each) for outcome, each in sorted(read(figures).items())]


def _unseen(figures: Figures) -> List[Sample]:
    known = figures.partitions.items()
    return [((str(number),), each.unseen) for number, each in known if each.unseen is not None]


def _stops(figures: Figures) -> List[Sample]:
    return [((str(number), stop.reason), stop.for_s) for number, stop in figures.stops.items()]


_BY_PARTITION, _BY_REASON, _BY_OUTCOME = ("partition",), ("stage", "reason"), ("outcome",)

METRICS: Sequence[Metric] = (
    # What has become of orders
    Metric(
        "orders_processed_total",
        COUNTER,
        "orders processed since the start, counted when they are settled",
        _plain(lambda figures: figures.processed),
    ),
    Metric(
        "orders_dead_lettered_total",
        COUNTER,
        "orders forwarded to the dead letter topic since the start, counted when they are settled",
        _reasons(lambda figures: figures.dead_lettered),
        _BY_REASON,
    ),
    Metric(
        "orders_retries_total",
        COUNTER,
        "calls since the start that failed, or asked for a later one, and will be made again",
        _reasons(lambda figures: figures.retries),
        _BY_REASON,
    ),
    Metric(
        "orders_handler_seconds",
        HISTOGRAM,
        "how long each call took, decoding and validation included: `succeeded`, `failed` (to be retried or "
        "given up), `rejected` (no retry can help) or `postponed` (by the handler)",
        _outcomes(lambda figures: figures.calls),
        _BY_OUTCOME,
    ),
    Metric(
        "orders_longest_call_seconds",
        GAUGE,
        "how long the longest handler call that runs now has been running; 0 below a second if WORKERS is 1",
        _plain(lambda figures: figures.longest_call_s),
    ),
    # Orders in hand
    Metric(
        "orders_waiting",
        GAUGE,
        "orders that wait for a retry",
        _each(lambda each: each.waiting),
        _BY_PARTITION,
    ),
    Metric(
        "orders_waiting_limit",
        GAUGE,
        "how many orders may wait for a retry, or be in flight, before the partition takes in no more",
        _each(lambda each: each.waiting_limit),
        _BY_PARTITION,
    ),
    Metric(
        "orders_in_flight",
        GAUGE,
        "orders that worker threads were given, or calls of an async handler that wait for something",
        _each(lambda each: each.in_flight),
        _BY_PARTITION,
    ),
    Metric(
        "orders_queued",
        GAUGE,
        "orders that queue behind one with their key that waits or is in flight",
        _each(lambda each: each.queued),
        _BY_PARTITION,
    ),
    Metric(
        "orders_queued_limit",
        GAUGE,
        "how many orders may queue before the partition takes in no more (MAX_QUEUED)",
        _each(lambda each: each.queued_limit),
        _BY_PARTITION,
    ),
    Metric(
        "orders_waiting_bytes",
        GAUGE,
        "memory that waiting orders take, and those behind them",
        _each(lambda each: each.waiting_bytes),
        _BY_PARTITION,
    ),
    Metric(
        "orders_waiting_bytes_limit",
        GAUGE,
        "how much memory waiting orders of a consumer may take in all (MAX_WAITING_BYTES)",
        _each(lambda each: each.waiting_bytes_limit),
        _BY_PARTITION,
    ),
    # Orders to come
    Metric(
        "orders_unseen",
        GAUGE,
        "offsets between what has been taken in and the end of the log, whether or not anything is taken in; "
        "scale by this",
        _unseen,
        _BY_PARTITION,
    ),
    Metric(
        "orders_oldest_unseen_age_seconds",
        GAUGE,
        "how long the oldest unseen order has been in the log; 0 if there is none",
        _each(lambda each: each.oldest_unseen_s),
        _BY_PARTITION,
    ),
    Metric(
        "orders_intake_stopped",
        GAUGE,
        "1 while the partition takes in nothing",
        _each(lambda each: each.stop is not None),
        _BY_PARTITION,
    ),
    Metric(
        "orders_intake_stopped_seconds",
        GAUGE,
        "how long it has taken in nothing, and why; absent while it takes in orders",
        _stops,
        ("partition", "reason"),
    ),
    # Settlements
    Metric(
        "orders_settlement_seconds",
        HISTOGRAM,
        "how long Kafka took for each settlement: `succeeded`, or `failed` and kept for another try",
        _outcomes(lambda figures: figures.settlements),
        _BY_OUTCOME,
    ),
    Metric(
        "orders_unsettled_seconds",
        GAUGE,
        "seconds since the last settlement; 0 while there is nothing to do",
        _plain(lambda figures: figures.unsettled_s),
    ),
    # Trouble
    Metric(
        "orders_outage_brake",
        GAUGE,
        "1 while nearly every order of the partition fails, and the outage brake holds it",
        _each(lambda each: each.is_braked),
        _BY_PARTITION,
    ),
    Metric(
        "orders_keys_braked",
        GAUGE,
        "keys whose orders get a single call, because the last few used up their retries",
        _plain(lambda figures: figures.keys_braked),
    ),
    Metric(
        "orders_careful",
        GAUGE,
        "orders still to be called with care, because a process died that may have been ended by one of them",
        _each(lambda each: each.careful),
        _BY_PARTITION,
    ),
    Metric(
        "orders_kafka_lost",
        GAUGE,
        "1 while no broker is reached",
        _plain(lambda figures: figures.is_kafka_lost),
    ),
    Metric(
        "orders_restarts_total",
        COUNTER,
        "how often finished work could no longer be committed, and all was restored from what was",
        _plain(lambda figures: figures.restarts),
    ),
    # The consumer
    Metric(
        "orders_partitions",
        GAUGE,
        "partitions that this consumer owns now",
        _plain(lambda figures: len(figures.partitions)),
    ),
    Metric(
        "orders_rebalances_total",
        COUNTER,
        "how often the group has given or taken partitions",
        _plain(lambda figures: figures.rebalances),
    ),
    Metric(
        "orders_consumers",
        GAUGE,
        "consumers that these figures are of: those of --processes are added up",
        _plain(lambda figures: figures.consumers),
    ),
    Metric(
        "orders_process_restarts_total",
        COUNTER,
        "how often a process of --processes has died and was started again",
        _plain(lambda figures: figures.process_restarts),
    ),
    Metric(
        "process_cpu_seconds_total",
        COUNTER,
        "CPU time used",
        _plain(lambda figures: figures.process.cpu_s),
    ),
    Metric(
        "process_resident_memory_bytes",
        GAUGE,
        "memory in use",
        _plain(lambda figures: figures.process.resident_bytes),
    ),
    Metric(
        "process_open_fds",
        GAUGE,
        "open files and connections",
        _plain(lambda figures: figures.process.open_files),
    ),
    Metric(
        "process_threads",
        GAUGE,
        "threads, those of the Kafka client included",
        _plain(lambda figures: figures.process.threads),
    ),
    Metric(
        "process_start_time_seconds",
        GAUGE,
        "when the process started (epoch)",
        _plain(lambda figures: figures.process.started_at_s),
    ),
)
