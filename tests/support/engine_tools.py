"""What the engine's black-box tests share: a broker with short time-outs, publishing, restart loops."""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewTopic
from confluent_kafka.admin import AlterConfigOpType as Alter

from orderflow.avro.codec import OrderEncoder, load_schema, single_object_prefix
from orderflow.model.commit_metadata import Commit, read_metadata
from tests.support import engine_handlers
from tests.support.pipeline import ROOT, Finished, Pipeline, Running, eventually

STRICT = {
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.consumer.heartbeat.interval.ms": "300",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "300",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
"""A broker that believes in a death after a second, and that can deny things."""
MORTAL = (
    "-X",
    "session.timeout.ms=2000",
    "-X",
    "heartbeat.interval.ms=300",
    "-X",
    "transaction.timeout.ms=2000",
)
"""Client properties under which a killed consumer's partitions are free again after two seconds."""
MOVING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""What a broker says while a coordinator is moving."""
INSTANCE = ("-X", "group.instance.id=phoenix")
"""A static member: who starts again under the same name gets its partitions back without waiting."""

_schema = load_schema((ROOT / "order_schema.avsc").read_text(encoding="utf-8"))
_encoder = OrderEncoder(_schema, single_object_prefix(_schema))


class Told(NamedTuple):
    """What a group has committed for one partition."""

    offset: int
    text: str
    commit: Optional[Commit]


def path_of(handler: str) -> str:
    """`path:function` of a handler in one of the two modules."""
    module = "engine_handlers" if hasattr(engine_handlers, handler) else "handlers"
    return f"{ROOT}/tests/support/{module}.py:{handler}"


def encode(order_id: str, customer_id: str = "C") -> bytes:
    """A good order as the topic holds it."""
    return _encoder.encode(
        {
            "order_id": order_id,
            "customer_id": customer_id,
            "product_id": "CD",
            "quantity": 1,
            "price": 9.99,
            "timestamp": 852076800000,
        }
    )


def rows(count: int, prefix: str = "A", customers: int = 7) -> List[Tuple[str, str]]:
    """So many (order id, customer id)."""
    return [(f"{prefix}{number:06}", f"C{number % customers}") for number in range(count)]


class Shop(Pipeline):
    """One set of topics and one consumer group, filled and watched from here."""

    # --- what goes in

    def create(self, partitions: int = 1, **dlq: str) -> "Shop":
        """Make the three topics; `dlq` are properties of the dead letter topic (with _ for the dots)."""
        config = {name.replace("_", "."): value for name, value in dlq.items()}
        topics = [
            NewTopic(self.orders_topic, partitions, -1),
            NewTopic(self.processed_topic, partitions, -1),
            NewTopic(self.dlq_topic, 1, -1, config=config),
        ]
        admin = AdminClient(self.client)
        for made in admin.create_topics(topics).values():
            made.result(20)
        return self

    def put(
        self, orders: Iterable[Tuple[str, str]], key: Optional[str] = "order_id", partition: int = -1
    ) -> None:
        """Publish orders, in this sequence, keyed by `order_id`, by `customer_id` or not at all.

        Raises KafkaException if one was not taken, as of a partition that the broker does not know yet.
        """
        refused: List[KafkaError] = []

        def delivered(error: Optional[KafkaError], record: Any) -> None:
            refused.extend([] if error is None else [error])

        own = {"linger.ms": 5, "queue.buffering.max.messages": 1_000_000, "on_delivery": delivered}
        producer = Producer({**self.client, **own})
        for order_id, customer_id in orders:
            keys = {"order_id": order_id, "customer_id": customer_id}
            named = None if key is None else keys[key].encode()
            producer.produce(self.orders_topic, encode(order_id, customer_id), named, partition)
            producer.poll(0)
        assert producer.flush(30) == 0
        if refused:
            raise KafkaException(refused[0])

    # --- running

    def consume(self, handler: str, *arguments: str, **settings: str) -> Running:
        """Start a consumer with a handler of handlers.py or engine_handlers.py."""
        return self.start("consumer.py", "--handler", path_of(handler), *arguments, **settings)

    def until_drained(
        self, handler: str, *arguments: str, lives: int = 20, timeout_s: float = 60, **settings: str
    ) -> List[Finished]:
        """A plain restart loop, as supervisors run it: every life, the last of which drained the topic."""
        lived: List[Finished] = []
        while not lived or lived[-1].code != 0:
            assert len(lived) < lives, lived[-1].err[-3000:]
            running = self.consume(handler, "--until-drained", *arguments, **settings)
            lived.append(running.wait(timeout_s))
        return lived

    def die_at(self, gap: str, number: int, handler: str, *arguments: str, **settings: str) -> Running:
        """Start a consumer that dies as by kill -9 when it passes the gap for the `number`-th time."""
        return self.start(
            "tests/support/dying_consumer.py",
            gap,
            str(number),
            "--",
            "--handler",
            path_of(handler),
            *arguments,
            **settings,
        )

    # --- what Kafka says

    def set_dlq(self, name: str, value: str) -> None:
        """Change a property of the dead letter topic."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.dlq_topic)
        resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=Alter.SET))
        admin = AdminClient(self.client)
        admin.incremental_alter_configs([resource])[resource].result(20)

    def told(self) -> Dict[int, Told]:
        """What the group has committed, by partition."""
        consumer = Consumer({**self.client, "group.id": self.group, "enable.auto.commit": False})
        try:
            described = consumer.list_topics(self.orders_topic, timeout=10).topics[self.orders_topic]
            asked = [TopicPartition(self.orders_topic, partition) for partition in described.partitions]
            # Not told while a transaction that was refused is open: until the next try, or its time-out.
            found = eventually(lambda: _committed(consumer, asked), 60)
        finally:
            consumer.close()
        return {place.partition: _told(place) for place in found if place.offset >= 0}

    def rewind(self, offsets: Mapping[int, int], metadata: str = "") -> None:
        """Commit other offsets for the group, which must be empty, as the operator's tool does."""
        consumer = Consumer({**self.client, "group.id": self.group, "enable.auto.commit": False})
        places = [
            TopicPartition(self.orders_topic, partition, offset, metadata=metadata)
            for partition, offset in offsets.items()
        ]
        try:
            committed: Any = consumer.commit(offsets=places, asynchronous=False)
            assert all(place.error is None for place in committed)
        finally:
            consumer.close()

    def lag(self) -> int:
        """Records between what the group has committed and the ends of the log."""
        told = self.told()
        reader = Consumer({**self.client, "group.id": f"{self.group}-lag"})
        try:
            places = {partition: TopicPartition(self.orders_topic, partition) for partition in told}
            ends = {number: reader.get_watermark_offsets(place, 10)[1] for number, place in places.items()}
        finally:
            reader.close()
        return sum(ends[partition] - told[partition].offset for partition in told)


def _committed(consumer: Consumer, asked: List[TopicPartition]) -> Optional[List[TopicPartition]]:
    """What is committed; None while the group's coordinator moves, as after its topic was created."""
    try:
        return consumer.committed(asked, timeout=60)
    except KafkaException as error:
        if error.args[0].code() not in MOVING:
            raise
        return None


def _told(place: Any) -> Told:
    return Told(place.offset, place.metadata or "", read_metadata(place.metadata or "", place.offset))


def attempts(shop: Shop) -> Dict[str, List[int]]:
    """The attempt numbers that the handler was told, by delivery."""
    told: Dict[str, List[int]] = {}
    for call in shop.calls():
        told.setdefault(call.delivery, []).append(call.attempt)
    return told


def first_errors(lived: Sequence[Finished]) -> str:
    """For a failed test: how each life ended."""
    return "\n".join(f"exit {life.code}: {life.err[-400:]}" for life in lived)
