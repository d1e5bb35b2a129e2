"""An outage of Kafka as the consumer tells it: an event when it begins, and one when it ends."""

from typing import Callable

from orderflow.cli.outage import Outage
from orderflow.consume.world import Report


def reported_outage(brokers: str, clock: Callable[[], float], report: Report) -> Outage:
    """An outage of the Kafka at these addresses that is told by events."""
    return Outage(
        lambda why: report("kafka_lost", brokers=brokers, detail=why),
        lambda gone_s: report("kafka_back", brokers=brokers, for_s=gone_s),
        clock,
    )
