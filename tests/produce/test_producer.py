"""producer.py as people and schedulers meet it: what it publishes, what it says, how it ends."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

import config
import producer
from orderflow.avro.codec import OrderDecoder, Schema, SchemaRef, load_schema
from orderflow.cli.run import run
from orderflow.errors import OrderError, UnknownSchema
from orderflow.model.orders import validate
from orderflow.produce.spoiler import defects_for
from tests.conftest import Kafka, NewShop, start_kafka
from tests.support.account import Line
from tests.support.acls import allow_writing, deny, deny_writing
from tests.support.engine_tools import STRICT
from tests.support.fault_proxy import LOST_ANSWER, PRODUCE, FaultProxy
from tests.support.pipeline import COLUMNS, ROOT, SAMPLE, Finished, Pipeline, eventually
from tests.support.small_disk import small_disk

NewPipeline = Callable[..., Pipeline]
SCHEMA = load_schema(config.ORDER_SCHEMA.read_text(encoding="utf-8"))
GOOD = "O-1,C-1,CD,1,9.5,852076800000"
ORDER = {
    "order_id": "O-1",
    "customer_id": "C-1",
    "product_id": "CD",
    "quantity": 1,
    "price": 9.5,
    "timestamp": 852076800000,
}


@pytest.fixture
def shop(pipeline: NewPipeline) -> Pipeline:
    return pipeline()


def produce(shop: Pipeline, *arguments: str, code: int = 0) -> Finished:
    finished = shop.run("producer.py", *arguments)
    assert finished.code == code, f"exit {finished.code}\n{finished.err}"
    assert finished.out == ""
    return finished


def write(shop: Pipeline, name: str, *lines: str) -> str:
    (shop.folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return name


def find_writer(ref: SchemaRef) -> Schema:
    if ref.fingerprint != SCHEMA.fingerprint:
        raise UnknownSchema(f"{ref} is not known")
    return SCHEMA


DECODER = OrderDecoder(SCHEMA, find_writer, 1_000_000)


def order_of(line: Line) -> Dict[str, Any]:
    """The order of a record; raises what a consumer would dead-letter it for."""
    order = DECODER.decode(line.value)
    validate(order)
    return order


def ids(lines: List[Line]) -> List[str]:
    return sorted(order_of(line)["order_id"] for line in lines)


def last_line(finished: Finished) -> str:
    return finished.err.splitlines()[-1]


# --- before the first order


def test_help_shows_commands_and_the_environment_variable_of_each_setting(nowhere: Pipeline) -> None:
    shown = nowhere.succeed("producer.py", "-h").out

    commands = [line for line in shown.splitlines() if re.match("  .*python producer.py", line)]
    assert 5 <= len(commands) <= 8
    for flag, variable in (("--orders-topic", "ORDERS_TOPIC"), ("--order-key", "ORDER_KEY")):
        assert flag in shown
        assert f"[env: {variable}" in shown


FOREIGN = '{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]}'


@pytest.mark.parametrize(
    ("script", "schema", "why"),
    [
        ("producer.py", FOREIGN, "ORDER_KEY order_id is no field of A; name the one"),
        ("producer.py", '"string"', "order.avsc: the schema is not a record"),
        ("consumer.py", None, "order.avsc: no such file"),
    ],
)
def test_a_schema_that_cannot_be_used_is_named_at_once(
    nowhere: Pipeline, script: str, schema: Optional[str], why: str
) -> None:
    """Before Kafka is needed, with exit code 2."""
    path = nowhere.folder / "order.avsc"
    if schema is not None:
        path.write_text(schema, encoding="utf-8")
    finished = nowhere.run(script, "--order-schema", str(path))

    assert (finished.code, finished.out) == (2, "")
    assert why in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--rate", "fast"], "--rate: 'fast' must be a rate above 0 such as 10/s"),
        (["--rate", "0"], "--rate: '0' must be a rate above 0"),
        (["--invalid", "5"], "--invalid: '5' must be a share from 0% to 100%"),
        (["--count", "-1"], "--count"),
        (["--inptu", "x"], "unrecognized arguments"),
        (["--input", "/nowhere/orders.csv"], "/nowhere/orders.csv: no such file"),
        (["--input", "/"], "/: is a folder"),
        (["--order-key", "colour"], "ORDER_KEY colour is no field of com.orders.Order"),
        (["--orders-topic", ""], "--orders-topic: is empty"),
        (["-X", "acks=1"], "-X acks: acks cannot be set"),
        (["-X", "sasl.mechanism=PLAIN", "-X", "security.protocol=SASL_SSL"], "cannot work with its settings"),
    ],
)
def test_wrong_usage_is_reported_without_kafka(
    arguments: List[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    assert run(producer.main, arguments) == 2
    assert why in capsys.readouterr().err


def test_wrong_usage_of_the_script_is_one_line(nowhere: Pipeline) -> None:
    finished = produce(nowhere, "--input", "/nowhere/orders.csv", code=2)

    assert finished.err == "producer.py: /nowhere/orders.csv: no such file\n"


@pytest.mark.broker
def test_a_registry_that_does_not_answer_stops_it_before_anything_is_sent(pipeline: NewPipeline) -> None:
    shop = pipeline(SCHEMA_REGISTRY_URL="http://127.0.0.1:1")
    finished = produce(shop, "--count", "1", code=1)

    assert "nothing was sent: schema registry http://127.0.0.1:1" in finished.err
    assert shop.orders() == []


# --- made-up orders


@pytest.mark.broker
def test_as_many_orders_as_asked_for_are_published_under_their_keys(shop: Pipeline) -> None:
    finished = produce(shop, "--count", "500")

    orders = [order_of(line) for line in shop.orders()]
    assert len({order["order_id"] for order in orders}) == 500
    assert [line.key for line in shop.orders()] == [order["order_id"].encode() for order in orders]
    assert re.fullmatch(r"published 500, failed 0, [\d,.]+/s", last_line(finished))


@pytest.mark.broker
def test_none_is_a_number_of_orders_too(shop: Pipeline) -> None:
    assert last_line(produce(shop, "--count", "0")).startswith("published 0, failed 0")


@pytest.mark.broker
def test_a_seed_makes_every_byte_the_same(pipeline: NewPipeline) -> None:
    topics = []
    for _ in range(2):
        shop = pipeline()
        produce(shop, "--count", "200", "--seed", "7", "--invalid", "10%")
        topics.append(sorted((line.key, line.value) for line in shop.orders()))

    assert topics[0] == topics[1]


@pytest.mark.broker
def test_orders_of_a_key_share_the_partition_that_java_would_choose(shop: Pipeline) -> None:
    """Another service that writes the same key must not tear its orders apart."""
    produce(shop, "--count", "200", "--order-key", "customer_id")
    ours = {line.key: line.position.partition for line in shop.orders()}
    elsewhere = Producer({**shop.client, "partitioner": "murmur2"})
    for key in ours:
        elsewhere.produce(shop.orders_topic, b"", key)
    elsewhere.flush(20)

    assert {line.key: line.position.partition for line in shop.orders() if not line.value} == ours
    assert len(set(ours.values())) == 3


@pytest.mark.broker
def test_every_kind_of_bad_order_is_mixed_in(shop: Pipeline) -> None:
    finished = produce(shop, "--count", "300", "--invalid", "30%", "--seed", "1")

    fates: Counter[str] = Counter()
    for line in shop.orders():
        try:
            order_of(line)
            fates["good"] += 1
        except OrderError as error:
            fates[error.reason] += 1
    assert set(fates) == {"good", *(defect.reason for defect in defects_for(SCHEMA, own_rules=False))}
    assert f", {300 - fates['good']} broken on purpose" in last_line(finished)
    assert 60 < 300 - fates["good"] < 120


@pytest.mark.broker
def test_a_rate_is_kept(shop: Pipeline) -> None:
    finished = produce(shop, "--count", "40", "--rate", "20/s")

    assert finished.took_s > 39 / 20 - 0.01
    assert len(shop.orders()) == 40


@pytest.mark.broker
def test_a_queue_much_smaller_than_the_work_holds_it_up_and_loses_nothing(shop: Pipeline) -> None:
    produce(shop, "--count", "3000", "-X", "queue.buffering.max.messages=20")

    assert len(shop.orders()) == 3000


# --- files


@pytest.mark.broker
def test_a_file_of_real_orders_is_published_whole(shop: Pipeline) -> None:
    finished = produce(shop, "--input", str(SAMPLE))

    rows = SAMPLE.read_text("utf-8").splitlines()[1:]
    published = {}
    for line in shop.orders():
        order = order_of(line)
        published[order["order_id"]] = [order[name] for name in COLUMNS.split(",")[1:]]
    assert len(published) == len(rows) == 6919
    for row in rows:
        order_id, customer, product, quantity, price, timestamp = row.split(",")
        assert published[order_id] == [customer, product, int(quantity), float(price), int(timestamp)]
    assert last_line(finished).startswith("published 6,919, failed 0, ")


@pytest.mark.broker
def test_bad_lines_are_reported_and_the_rest_is_published(shop: Pipeline) -> None:
    name = write(shop, "orders.csv", COLUMNS, GOOD, "O-2,C-1,CD,one,9.5,1", "O-3", GOOD.replace("O-1", "O-4"))
    finished = produce(shop, "--input", name, code=3)

    assert finished.err.splitlines()[:2] == [
        "orders.csv:3: quantity: 'one' is not a whole number",
        "orders.csv:4: has 1 column, not 6",
    ]
    assert re.fullmatch(r"published 2, failed 0, [\d,.]+/s, 2 bad lines skipped", last_line(finished))
    assert ids(shop.orders()) == ["O-1", "O-4"]


@pytest.mark.broker
def test_strict_stops_at_the_first_bad_line(shop: Pipeline) -> None:
    name = write(shop, "orders.csv", COLUMNS, GOOD, "broken", GOOD.replace("O-1", "O-3"))
    finished = produce(shop, "--input", name, "--strict", code=1)

    assert "orders.csv:3: has 1 column, not 6" in finished.err
    assert "--strict" in finished.err
    assert ids(shop.orders()) == ["O-1"]


@pytest.mark.broker
def test_a_file_that_is_no_file_of_orders_is_refused(shop: Pipeline) -> None:
    finished = produce(shop, "--input", write(shop, "x.json", "[", "{}", "]"), code=2)

    assert "x.json:1: is a JSON array" in finished.err
    assert shop.orders() == []


@pytest.mark.broker
def test_broken_orders_can_be_mixed_into_a_file(shop: Pipeline) -> None:
    rows = [GOOD.replace("O-1", f"O-{number}") for number in range(200)]
    name = write(shop, "orders.csv", COLUMNS, *rows)
    finished = produce(shop, "--input", name, "--invalid", "20%", "--seed", "1")

    keys = [line.key for line in shop.orders()]
    assert {f"O-{number}".encode() for number in range(200)} <= set(keys)
    assert f"published {len(keys)}, failed 0" in last_line(finished)
    assert len(keys) > 220


def from_stdin(shop: Pipeline, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    """The producer reading a pipe that the test writes."""
    command = [sys.executable, str(ROOT / "producer.py"), "--input", "-", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=shop.folder, env=shop.environ, stdin=pipe, stdout=pipe, stderr=pipe, **options
    )


@pytest.mark.broker
def test_orders_from_a_pipe_are_published_as_they_come(shop: Pipeline) -> None:
    """`tail -f orders.csv | producer.py --input -`."""
    process = from_stdin(shop)
    assert process.stdin is not None
    process.stdin.write(f"{COLUMNS}\n{GOOD}\n".encode())
    process.stdin.flush()
    eventually(lambda: published(shop) == 1)
    _, err = process.communicate(b"nonsense\n", timeout=30)

    assert process.returncode == 3
    assert b"stdin:3: has 1 column, not 6" in err


@pytest.mark.broker
def test_a_silent_pipe_does_not_hold_up_the_end(shop: Pipeline) -> None:
    process = from_stdin(shop)
    assert process.stdin is not None
    process.stdin.write(f"{COLUMNS}\n{GOOD}\n".encode())
    process.stdin.flush()
    eventually(lambda: published(shop) == 1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 143
    assert b"stopped before stdin:3" in err


def published(shop: Pipeline) -> int:
    """How many orders stand in the topic; 0 while it does not exist."""
    try:
        return len(shop.orders())
    except Exception:  # noqa: BLE001 - the topic is being created
        return 0


# --- stopping


@pytest.mark.broker
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_and_its_count_is_true(shop: Pipeline, number: int, code: int) -> None:
    running = shop.start("producer.py", "--rate", "500/s")
    eventually(lambda: published(shop) > 100, why=running.describe)
    finished = running.stop(number)

    assert finished.code == code
    assert f"stopping ({signal.Signals(number).name}); again to stop at once" in finished.err
    assert f"published {len(shop.orders()):,}, failed 0, " in last_line(finished)


@pytest.mark.broker
def test_a_stop_in_a_file_names_the_line_to_go_on_from(shop: Pipeline) -> None:
    rows = [GOOD.replace("O-1", f"O-{number}") for number in range(5000)]
    name = write(shop, "orders.csv", COLUMNS, *rows)
    running = shop.start("producer.py", "--input", name, "--rate", "200/s")
    eventually(lambda: published(shop) > 20, why=running.describe)
    finished = running.stop(signal.SIGINT)

    stopped = re.search(r"stopped before orders\.csv:(\d+)", finished.err)
    assert stopped
    assert ids(shop.orders()) == sorted(f"O-{number}" for number in range(int(stopped[1]) - 2))


@pytest.mark.broker
def test_when_its_messages_lose_their_reader_it_ends_quietly_and_loses_no_order(shop: Pipeline) -> None:
    """`producer.py --input orders.csv 2>&1 | head -1`."""
    rows = ["bad", *(GOOD.replace("O-1", f"O-{number}") for number in range(300)), "bad", GOOD]
    name = write(shop, "orders.csv", COLUMNS, *rows)
    command = f'"{sys.executable}" "{ROOT / "producer.py"}" --input {name} --rate 1000/s 2>&1; echo $? >code'
    subprocess.run(
        ["sh", "-c", f"({command}) | head -1"], cwd=shop.folder, env=shop.environ, timeout=30, check=True
    )

    assert (shop.folder / "code").read_text() == "0\n"
    assert ids(shop.orders()) == sorted(f"O-{number}" for number in range(300))


@pytest.mark.broker
def test_a_closed_stdin_is_reported(shop: Pipeline) -> None:
    command = ["sh", "-c", '"$@" <&-', "sh", sys.executable, str(ROOT / "producer.py"), "--input", "-"]
    finished = subprocess.run(
        command, cwd=shop.folder, env=shop.environ, timeout=30, capture_output=True, text=True
    )

    assert (finished.returncode, finished.stderr) == (2, "producer.py: cannot read stdin: it is closed\n")


# --- failed deliveries


@pytest.mark.broker
def test_an_order_that_kafka_does_not_take_is_kept_and_can_be_sent_again(shop: Pipeline) -> None:
    large = {**ORDER, "order_id": "L" * 3000, "product_id": "ü\u202e"}
    raw = {"key_b64": "aw==", "payload_b64": "/" * 4000}
    name = write(shop, "orders.jsonl", *map(json.dumps, (ORDER, large, raw)))
    finished = produce(shop, "--input", name, "-X", "message.max.bytes=1500", code=1)

    assert "2 orders were not published (too large: raise max.message.bytes of topic " in finished.err
    assert "next: python producer.py --input undelivered.jsonl -X message.max.bytes=1500" in finished.err
    assert last_line(finished).startswith("published 1, failed 2, ")
    kept = [json.loads(line) for line in (shop.folder / "undelivered.jsonl").read_text("ascii").splitlines()]
    assert kept == [large, raw]
    assert (shop.folder / "undelivered.jsonl").stat().st_mode & 0o077 == 0

    produce(shop, "--input", "undelivered.jsonl")
    assert sorted(line.key or b"" for line in shop.orders()) == sorted([b"O-1", b"L" * 3000, b"k"])


def accept_at_most(shop: Pipeline, batch_bytes: int) -> None:
    """Lower the `max.message.bytes` of the orders topic."""
    topic = ConfigResource(ConfigResource.Type.TOPIC, shop.orders_topic)
    value = ConfigEntry("max.message.bytes", str(batch_bytes), incremental_operation=AlterConfigOpType.SET)
    topic.add_incremental_config(value)
    admin = AdminClient(shop.client)
    admin.incremental_alter_configs([topic])[topic].result(20)


@pytest.mark.broker
def test_small_orders_go_through_a_topic_that_accepts_small_batches_only(shop: Pipeline) -> None:
    produce(shop, "--count", "0")
    accept_at_most(shop, 10_000)
    finished = produce(shop, "--count", "3000")

    assert last_line(finished).startswith("published 3,000, failed 0, ")
    assert len(shop.orders()) == 3000


@pytest.mark.broker
def test_a_batch_that_is_refused_for_its_size_is_sent_again_in_smaller_ones(shop: Pipeline) -> None:
    """The topic was made to accept less while orders were being published."""
    produce(shop, "--count", "1")
    running = shop.start("producer.py", "--rate", "5000/s", "-X", "linger.ms=200")
    eventually(lambda: len(shop.orders()) > 1, why=running.describe)
    accept_at_most(shop, 2000)
    before = len(shop.orders())
    eventually(lambda: len(shop.orders()) > before + 5000, why=running.describe)
    finished = running.stop(signal.SIGINT)

    assert ", failed 0, " in last_line(finished)
    published = int(last_line(finished).split()[1].replace(",", ""))
    assert len(set(ids(shop.orders()))) == len(shop.orders()) == 1 + published


@pytest.mark.broker
def test_the_orders_of_a_key_stay_in_their_order_where_batches_are_refused(strict_shop: NewShop) -> None:
    """The topic's limit may not be read here; the batch behind a refused one may be small enough."""
    shop = strict_shop().create()
    deny(shop.client, shop.orders_topic, AclOperation.DESCRIBE_CONFIGS)
    accept_at_most(shop, 2000)
    # One key, and a last batch of each burst that is small: it must wait for those before it.
    orders = [
        {**ORDER, "order_id": "K", "quantity": number, "customer_id": "C" * 300} for number in range(1, 3001)
    ]
    name = write(shop, "orders.jsonl", *map(json.dumps, orders))
    produce(shop, "--input", name, "-X", "batch.num.messages=7", "-X", "compression.type=none")

    arrived = [order_of(line)["quantity"] for line in shop.orders()]
    assert arrived == list(range(1, 3001))


@pytest.mark.broker
def test_a_file_of_undelivered_orders_is_never_touched_again(shop: Pipeline) -> None:
    """Also when it is the input itself: it would never end."""
    name = write(shop, "undelivered.jsonl", json.dumps({**ORDER, "order_id": "L" * 3000}))
    before = (shop.folder / name).read_bytes()
    finished = produce(shop, "--input", name, "-X", "message.max.bytes=1500", code=1)

    assert "next: python producer.py --input undelivered-2.jsonl" in finished.err
    assert (shop.folder / name).read_bytes() == before
    assert (shop.folder / "undelivered-2.jsonl").read_bytes() == before


@pytest.mark.broker
def test_the_first_order_that_could_not_be_kept_is_where_to_go_on(shop: Pipeline) -> None:
    """Two of five fit on the disk; who sends the file of those, and the rest from that line on, has all."""
    large = [{**ORDER, "order_id": f"{number}" + "L" * 3000} for number in range(1, 6)]
    name = write(shop, "big.jsonl", *map(json.dumps, large))
    shop.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # or half a module would be left to the next process
    with small_disk(8_000):
        finished = produce(shop, "--input", name, "-X", "message.max.bytes=1000", code=1)

    assert "1 of them could not be kept: undelivered.jsonl: File too large" in finished.err
    assert "stopped before big.jsonl:3;" in finished.err
    kept = (shop.folder / "undelivered.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line) for line in kept] == large[:2]


def twenty_rows() -> List[str]:
    return [GOOD.replace("O-1", f"O-{number}") for number in range(20)]


@pytest.mark.broker
def test_without_the_right_to_write_each_order_is_kept_and_the_right_named(strict_shop: NewShop) -> None:
    """One line that the cluster's administrator can act on, and nothing of the file is lost."""
    shop = strict_shop().create()
    deny_writing(shop.client, shop.orders_topic)
    name = write(shop, "orders.csv", COLUMNS, *twenty_rows())
    finished = produce(shop, "--input", name, code=1)

    assert f"any more: the right WRITE on topic {shop.orders_topic} is missing\n" in finished.err
    assert last_line(finished).startswith("published 0, failed 20, ")
    kept = (shop.folder / "undelivered.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line)["order_id"] for line in kept] == [f"O-{number}" for number in range(20)]

    allow_writing(shop.client, shop.orders_topic)
    eventually(lambda: shop.run("producer.py", "--input", "undelivered.jsonl").code == 0)


@pytest.mark.broker
@pytest.mark.chaos
def test_without_a_right_to_write_anywhere_each_order_is_kept_too(
    topic: Callable[..., str], tmp_path: Path
) -> None:
    """Then Kafka gives no producer id, which ends the client by a fatal error before anything is sent."""
    with start_kafka(settings=STRICT) as broker:
        shop = Pipeline(broker.bootstrap_servers, topic, tmp_path)
        produce(shop, "--count", "0")
        deny_writing(shop.client, "*", everywhere=True)
        name = write(shop, "orders.csv", COLUMNS, *twenty_rows())
        finished = produce(shop, "--input", name, code=1)

    assert len(finished.err.splitlines()) == 4, finished.err
    assert f"the right WRITE on topic {shop.orders_topic} is missing, or" in finished.err
    assert "stopped before" not in finished.err
    assert last_line(finished).startswith("published 0, failed 20, ")
    assert len((shop.folder / "undelivered.jsonl").read_text("ascii").splitlines()) == 20


@pytest.mark.broker
def test_a_topic_that_is_deleted_under_it_ends_an_endless_run(shop: Pipeline) -> None:
    """Nothing that could be published any more: going on would only fill the disk."""
    running = shop.start(
        "producer.py",
        "--rate",
        "50/s",
        "-X",
        "topic.metadata.refresh.interval.ms=500",
        "-X",
        "topic.metadata.propagation.max.ms=500",
    )
    eventually(lambda: published(shop) > 5, why=running.describe)
    admin = AdminClient(shop.client)
    admin.delete_topics([shop.orders_topic])[shop.orders_topic].result()
    finished = running.wait(60)

    assert finished.code == 1
    assert "no order can be published any more: Unknown" in finished.err
    assert (shop.folder / "undelivered.jsonl").exists()


# --- terminals


@pytest.mark.broker
def test_a_terminal_shows_progress_and_keeps_only_the_last_line(shop: Pipeline) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, str(ROOT / "producer.py"), "--count", "90", "--rate", "30/s"]
    process = subprocess.Popen(
        command, cwd=shop.folder, env={**shop.environ, "TERM": "xterm", "COLUMNS": "100"}, stderr=follower
    )
    os.close(follower)
    shown = b"".join(iter(lambda: read_terminal(leader) or b"", b"")).decode()
    os.close(leader)

    assert process.wait(30) == 0
    assert re.search(r"\r\x1b\[Kpublished \d+, failed 0, [\d.]+/s, \d\.\ds left", shown)
    assert re.search(r"\r\x1b\[Kpublished 90, failed 0, [\d.]+/s\r\n$", shown)


def read_terminal(leader: int) -> Optional[bytes]:
    """What was written; None once the other side is closed."""
    try:
        return os.read(leader, 10_000)
    except OSError:
        return None


@pytest.mark.broker
def test_off_a_terminal_nothing_is_rewritten(shop: Pipeline) -> None:
    assert "\r" not in produce(shop, "--count", "30", "--rate", "30/s").err


# --- losing Kafka


@pytest.fixture
def wire(kafka: Kafka) -> Iterator[FaultProxy]:
    """The broker at an address that can go away."""
    with FaultProxy(kafka.bootstrap_servers) as between:
        yield between


@pytest.mark.broker
def test_an_outage_is_waited_out_or_leaves_what_was_not_published_in_a_file(
    wire: FaultProxy, topic: Callable[..., str], tmp_path: Path
) -> None:
    """One producer goes on when Kafka is back, another is stopped: no order of either is lost."""
    patient, hurried = (shop_in(wire, topic, tmp_path / name) for name in ("patient", "hurried"))
    waiting = patient.start("producer.py", "--rate", "500/s", "--count", "3000", "--seed", "1")
    stopped = hurried.start("producer.py", "--rate", "500/s", "--seed", "2", "--shutdown-timeout", "1")
    eventually(lambda: published(patient) > 100 and published(hurried) > 100, why=waiting.describe)
    wire.cut()
    eventually(lambda: "is lost (" in waiting.err and "is lost (" in stopped.err, why=waiting.describe)
    given_up = stopped.stop(signal.SIGINT)
    wire.restore()

    assert given_up.code == 1
    assert re.search("(order was|orders were) not published", given_up.err)
    produce(hurried, "--input", "undelivered.jsonl")
    assert consecutive(hurried)

    went_on = waiting.wait(60)
    assert went_on.code == 0
    assert went_on.err.count("is lost (") == went_on.err.count("is back after") == 1
    assert last_line(went_on).startswith("published 3,000, failed 0, ")
    assert len(ids(patient.orders())) == 3000
    assert consecutive(patient)


@pytest.mark.broker
def test_orders_that_were_sent_before_kafka_was_lost_may_have_arrived(
    wire: FaultProxy, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Those that are kept after a request to stop were not refused, nor are all of them still to be sent."""
    shop = shop_in(wire, topic, tmp_path / "shop")
    running = shop.start("producer.py", "--rate", "500/s", "--shutdown-timeout", "1")
    eventually(lambda: published(shop) > 100, why=running.describe)
    wire.break_next(PRODUCE, LOST_ANSWER)
    eventually(lambda: bool(wire.happened), why=running.describe)
    wire.cut()
    eventually(lambda: "is lost (" in running.err, why=running.describe)
    stopped = running.stop(signal.SIGINT)
    wire.restore()

    assert "some may have arrived after all" in stopped.err
    assert "refused" not in stopped.err


@pytest.mark.broker
def test_once_an_order_has_timed_out_no_other_is_sent(
    wire: FaultProxy, topic: Callable[..., str], tmp_path: Path
) -> None:
    """The client could write what was in flight twice, and nobody would tell: all is kept instead."""
    shop = shop_in(wire, topic, tmp_path / "shop")
    running = shop.start("producer.py", "--rate", "500/s", "--count", "6000", "-X", "message.timeout.ms=4000")
    eventually(lambda: published(shop) > 100, why=running.describe)
    wire.cut()
    ended = running.wait(60)
    wire.restore()

    assert ended.code == 1
    assert "no order can be published any more: an order has waited for Kafka" in ended.err
    arrived = ids(shop.orders())
    assert len(arrived) == len(set(arrived))
    produce(shop, "--input", "undelivered.jsonl")
    assert consecutive(shop)


def shop_in(kafka: FaultProxy, topic: Callable[..., str], folder: Path) -> Pipeline:
    folder.mkdir()
    return Pipeline(kafka.bootstrap_servers, topic, folder)


def consecutive(shop: Pipeline) -> bool:
    """Whether the made-up orders in the topic are numbered without a gap; one may be there twice."""
    numbers = {int(each.rsplit("-", 1)[1]) for each in ids(shop.orders())}
    return numbers == set(range(1, len(numbers) + 1))
