"""consumer.py as people and schedulers meet it: settings, handlers, output, signals, exit codes."""

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, List, Tuple

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.engine_tools import encode
from tests.support.pipeline import HANDLERS, ROOT, Pipeline, eventually, reason

NewPipeline = Callable[..., Pipeline]
NewName = Callable[..., str]
FEW = [(f"A{number:03}", f"C{number % 7}") for number in range(100)]


# --- before the first order


def test_help_shows_commands_and_the_environment_variable_of_each_flag(nowhere: Pipeline) -> None:
    shown = nowhere.succeed("consumer.py", "--help").out

    commands = [line for line in shown.splitlines() if line.strip().startswith("python consumer.py")]
    assert 5 <= len(commands) <= 8
    for flag, variable in (("--handler", "HANDLER"), ("--guarantee", "GUARANTEE"), ("--workers", "WORKERS")):
        assert flag in shown and f"[env: {variable}" in shown


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        ("no_colon", "module:function"),
        ("no_such_module_anywhere:process", "no_such_module_anywhere"),
        ("/nowhere/at/all.py:process", "/nowhere/at/all.py"),
        (f"{HANDLERS}:no_such_function", "no_such_function"),
        (f"{HANDLERS}:not_a_function", "not_a_function"),
        (f"{ROOT}/examples/http_api.py:reserve", "STOCK_URL"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_named_with_its_reason(
    nowhere: Pipeline, handler: str, why: str
) -> None:
    finished = nowhere.run("consumer.py", "--handler", handler)

    assert finished.code == 2
    assert handler in finished.err and why in finished.err
    assert ("Traceback" in finished.err) == ("http_api" in handler), "only where code of the handler's ran"


def test_a_thread_that_a_handler_starts_before_it_fails_to_load_does_not_keep_the_consumer(
    nowhere: Pipeline,
) -> None:
    """It ends with the exit code of the error."""
    starts = "import threading, time\nthreading.Thread(target=time.sleep, args=(100_000,)).start()\n1 / 0\n"
    file = nowhere.folder / "starts.py"
    file.write_text(starts, encoding="utf-8")

    finished = nowhere.run("consumer.py", "--handler", f"{file}:charge", SHUTDOWN_TIMEOUT="3", timeout_s=40)

    assert 2 == finished.code, finished.err
    assert "ZeroDivisionError" in finished.err
    assert "ending without waiting any longer for thread Thread-1" in finished.err


def test_a_handler_written_into_the_script_is_looked_at_too(nowhere: Pipeline) -> None:
    """The obvious place for business logic takes no generator either."""
    script = (
        (ROOT / "consumer.py").read_text("utf-8").replace('    return {"order_id"', '    yield {"order_id"')
    )
    (nowhere.folder / "consumer.py").write_text(script, encoding="utf-8")
    finished = nowhere.run(str(nowhere.folder / "consumer.py"), PYTHONPATH=str(ROOT))

    assert finished.code == 2
    assert "process of consumer.py" in finished.err and "generator" in finished.err


def test_every_wrong_setting_is_told_at_once(nowhere: Pipeline) -> None:
    finished = nowhere.run("consumer.py", "--workers", "none", MAX_RETRIES="-1", GUARANTEE="exactly_once")

    assert finished.code == 2
    for part in ("--workers", "MAX_RETRIES", "GUARANTEE", "exactly-once"):
        assert part in finished.err
    assert "Traceback" not in finished.err


def test_a_misspelt_setting_in_the_env_file_names_the_nearest(nowhere: Pipeline) -> None:
    (nowhere.folder / ".env").write_text("MAX_RETRYS=5\n", encoding="utf-8")
    finished = nowhere.run("consumer.py")

    assert finished.code == 2
    assert "MAX_RETRYS" in finished.err and "MAX_RETRIES" in finished.err


# --- draining


@pytest.mark.broker
def test_missing_topics_are_created_and_an_empty_topic_is_drained(pipeline: NewPipeline) -> None:
    """Orders get three partitions, dead letters one; with nothing to do the exit code is 0."""
    shop = pipeline()
    finished = shop.drain("works")

    topics = AdminClient(shop.client).list_topics(timeout=10).topics
    assert finished.code == 0
    assert len(topics[shop.orders_topic].partitions) == 3
    assert len(topics[shop.dlq_topic].partitions) == 1


@pytest.mark.broker
@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_each_order_is_processed_once(pipeline: NewPipeline, guarantee: str) -> None:
    """With nothing going wrong, each order is called once and has one result, in both guarantees."""
    shop = pipeline(GUARANTEE=guarantee)
    shop.publish(FEW)
    shop.drain("works")

    assert shop.assert_account_closes().processed == len(FEW)
    assert len(shop.calls()) == len(FEW)


@pytest.mark.broker
def test_bad_records_are_dead_lettered_and_nothing_else(pipeline: NewPipeline) -> None:
    """Garbage, nothing, a tombstone, a cut order, a foreign framing, an unknown schema: all `decode.…`."""
    shop = pipeline()
    shop.publish(FEW)
    good = next(line.value for line in shop.orders() if line.value)
    bad = [b"not avro", b"", None, good[:-3], b'{"order_id": "json"}', b"\xc3\x01" + bytes(8) + good[10:]]
    shop.publish_bytes([*bad[:3], good, *bad[3:]])
    shop.drain("works")

    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (len(FEW) + 1, len(bad))
    assert all((reason(letter) or "").startswith("decode.") for letter in shop.dead_letters())


@pytest.mark.broker
@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_topic_of_nothing_but_poison_drains(pipeline: NewPipeline, guarantee: str) -> None:
    """Bytes that are no orders, keyed and not, all go to the dead letters, and the consumer ends with 0."""
    shop = pipeline(GUARANTEE=guarantee)
    shop.succeed("producer.py", "--count", "1")
    shop.publish_bytes([b"poison"] * 300)
    shop.publish_bytes([b"poison"] * 300, key=b"one key")
    shop.drain("works")

    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (1, 600)


@pytest.mark.broker
def test_a_handler_may_reject_and_may_ask_to_wait(pipeline: NewPipeline) -> None:
    """RejectOrder is dead-lettered at the first call; RetryLater comes back after the time it asked for."""
    rejecting, waiting = pipeline(), pipeline()
    for shop in (rejecting, waiting):
        shop.publish([*FEW[:5], ("POISON-1", "C1")])
    rejecting.drain("poison_is_rejected")
    waiting.drain("poison_asks_to_wait")

    assert [reason(letter) for letter in rejecting.dead_letters()] == ["process.rejected"]
    assert Counter(call.outcome for call in rejecting.calls()) == {"called": 5, "failed": 1}
    assert waiting.assert_account_closes().processed == 6
    first, second = [call for call in waiting.calls() if call.key == "POISON-1"]
    assert 1 <= second.at_s - first.at_s < 3


@pytest.mark.broker
def test_an_order_that_always_fails_is_dead_lettered_after_its_budget(pipeline: NewPipeline) -> None:
    """MAX_RETRIES=2: three calls, two lines with the next try, one dead letter that explains itself."""
    shop = pipeline(MAX_RETRIES="2")
    shop.publish([*FEW[:5], ("POISON-1", "C1")])
    finished = shop.drain("poison_fails")

    (letter,) = shop.dead_letters()
    assert [call.attempt for call in shop.calls() if call.key == "POISON-1"] == [1, 2, 3]
    assert reason(letter) == "process.retries_exhausted"
    assert letter.header("__dlq.errors.delivery.count") == "3"
    assert "poison POISON-1" in (letter.header("__dlq.errors.message") or "")
    told = re.findall(r"^\S+Z (?:retry|dead) .*$", finished.err, re.MULTILINE)
    assert len(told) == 3
    assert all("POISON-1" in line and "handlers.py:" in line for line in told)
    assert finished.err.count("Traceback") == 1
    assert (letter.header("orders.dlq.frame") or "").endswith("in poison_fails")
    shop.assert_account_closes()


# --- what is published of a result


@pytest.mark.broker
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("plain", []),
        ("as_text", ["bought: CD €".encode()]),
        ("as_bytes", [b"\x00\xffA1"]),
        ("as_list", [b'["A1",{"quantity":1}]']),
    ],
)
def test_a_result_is_published_under_the_key_of_its_order(
    pipeline: NewPipeline, handler: str, expected: List[bytes]
) -> None:
    """None: nothing. bytes as they are, str as UTF-8, anything else as JSON."""
    shop = pipeline()
    shop.publish([("A1", "C1")])
    shop.drain(handler)

    results = shop.results()
    assert [line.value for line in results] == expected
    assert [line.key for line in results] == [b"A1"] * len(expected)


# --- while it runs


@pytest.mark.broker
def test_nothing_but_data_on_stdout_and_one_line_an_order_when_verbose(pipeline: NewPipeline) -> None:
    shop = pipeline()
    shop.publish(FEW[:10])
    finished = shop.drain("works", "-v")

    assert finished.out == ""
    for order, _ in FEW[:10]:
        assert sum(order in line for line in finished.err.splitlines()) == 1


PRINTING = """
import io, os, sys
if os.environ.get("REPLACED"):
    sys.stderr = io.StringIO()

def process(order, delivery):
    print("order", order["order_id"], "\\u20ac" * 300)
    print("to stderr", file=sys.stderr)
    return {"order_id": order["order_id"], "delivery": delivery.id}
"""


@pytest.mark.broker
def test_what_a_handler_prints_is_no_failure_of_its_order(pipeline: NewPipeline, tmp_path: Path) -> None:
    """A reader that leaves ends the consumer with 0; a full disk or closed streams do not end it."""
    handler = tmp_path / "printing.py"
    handler.write_text(PRINTING, encoding="utf-8")
    shop = pipeline(WORKERS="2")
    shop.succeed("producer.py", "--count", "1")

    def consume(shell: str, *flags: str, **environ: str) -> Tuple[int, str]:
        """The exit code, and what is on stderr."""
        code, err = tmp_path / "code", tmp_path / "err"
        script = f'{{ "$@" {shell.format(err=err)}; echo $? > {code}; }} | head -1'
        consumer = [sys.executable, str(ROOT / "consumer.py"), *flags]
        command = [*consumer, "--handler", f"{handler}:process"]
        subprocess.run(
            ["sh", "-c", script, "sh", *command],
            env={**shop.environ, **environ},
            cwd=tmp_path,
            timeout=60,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return int(code.read_text("ascii")), err.read_text("utf-8") if err.exists() else ""

    drained = "--until-drained"
    for shell, flags, environ, said in (
        ("2> {err}", (), {}, "processed"),  # nothing but `head` ends it
        ("> /dev/full 2> {err}", (drained,), {"PYTHONIOENCODING": "ascii"}, "No space left on device"),
        ("> /dev/null 2> {err}", (drained,), {"REPLACED": "1"}, "processed"),
        ("<&- >&- 2>&-", (drained,), {}, ""),
    ):
        shop.publish_bytes([encode(order) for order, _ in FEW])
        code, err = consume(shell, *flags, **environ)
        assert code == 0
        assert said in err and "Traceback" not in err
    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (4 * len(FEW) + 1, 0)


@pytest.mark.broker
def test_text_from_an_order_cannot_reach_the_terminal_raw(pipeline: NewPipeline) -> None:
    """A key or an error message with escape sequences or line breaks is shown escaped."""
    shop = pipeline(MAX_RETRIES="0")
    shop.publish([("POISON\x1b[31m\u202eevil", "C1")])
    finished = shop.drain("poison_fails")

    assert "\x1b" not in finished.err and "\u202e" not in finished.err
    assert "\\u001b" in finished.err


@pytest.mark.broker
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_it_cleanly_and_nothing_is_repeated(
    pipeline: NewPipeline, number: int, code: int
) -> None:
    """Stopped amid its work, it says so and finishes the order in hand; a restart goes on there."""
    shop = pipeline(CALL_S="0.01")
    shop.publish([(f"A{number:04}", "C") for number in range(600)])
    running = shop.consume("works")
    eventually(lambda: len(shop.calls()) > 50, why=running.describe)
    stopped = running.stop(number)
    before = len(shop.calls())
    shop.drain("works", CALL_S="0")

    assert stopped.code == code
    assert stopped.err.count("stopping") == 1
    assert before < 600
    assert len(shop.calls()) == 600
    assert shop.assert_account_closes().processed == 600


@pytest.mark.broker
def test_the_second_signal_stops_it_at_once(pipeline: NewPipeline) -> None:
    """A handler that will not return does not keep it alive against two Ctrl-C."""
    shop = pipeline()
    shop.publish([("POISON-1", "C")])
    running = shop.consume("poison_hangs")
    eventually(shop.calls, why=running.describe)
    running.send(signal.SIGINT)
    eventually(lambda: "stopping" in running.err)
    running.send(signal.SIGINT)

    assert running.wait(30).code == 130


@pytest.mark.broker
def test_progress_off_a_terminal_is_plain_lines(pipeline: NewPipeline) -> None:
    """No carriage return, no escape sequence: a log collector gets whole lines."""
    shop = pipeline()
    shop.publish(FEW)
    finished = shop.drain("works", NO_COLOR="1")

    assert "\r" not in finished.err and "\x1b" not in finished.err
    assert all(line.strip() for line in finished.err.splitlines())


@pytest.mark.broker
def test_a_compacted_dead_letter_topic_is_reported_at_the_start(
    pipeline: NewPipeline, topic: NewName
) -> None:
    """It would lose all dead letters of a key but the newest, long after they were counted as kept."""
    shop, compacted = pipeline(), topic("dlq")
    admin = AdminClient(shop.client)  # while it lives, the answer arrives
    asked = NewTopic(compacted, 1, 1, config={"cleanup.policy": "compact,delete"})
    admin.create_topics([asked])[compacted].result()

    told = shop.drain("works", DLQ_TOPIC=compacted).err

    assert f"ERROR {compacted} has cleanup.policy=" in told
    assert "ERROR" not in shop.drain("works").err


@pytest.mark.broker
def test_the_default_handler_processes_made_up_orders(pipeline: NewPipeline) -> None:
    """Without --handler, the one in consumer.py is called: the first minutes of a new user."""
    shop = pipeline()
    shop.succeed("producer.py", "--count", "50", "--seed", "1")
    shop.succeed("consumer.py", "--until-drained")

    assert shop.dead_letters() == []
