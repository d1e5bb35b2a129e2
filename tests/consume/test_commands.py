"""What operators ask of waiting orders is done once, for those that still wait as they did, or not at all."""

import random
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from orderflow.consume.commands import GIVEN_UP
from orderflow.consume.due_calls import DueCalls
from orderflow.consume.retry import Policy
from orderflow.consume.settlement import Outcome, Settlement
from orderflow.model.command import GIVE_UP, RETRY_NOW, VALID_S, Command, command_key, write_command
from orderflow.model.commit_metadata import read_metadata
from orderflow.model.dead_letter import CLASS, MESSAGE, REASON
from orderflow.model.records import Outgoing
from tests.support.scripted_session import DEAD_LETTERS, LEDGER, Answer, Life, Topic

Order = Dict[str, Any]
SLOW = Policy(max_retries=3, backoff_s=600.0, backoff_max_s=3_600.0)
AT_MS = 1_764_000_000_000


class Shop:
    """A handler that fails while it is closed, and records its calls."""

    def __init__(self) -> None:
        self.is_open = False
        self.calls: List[bytes] = []

    def __call__(self, order: Order) -> None:
        """Process one order, unless it is a bad one and the shop is closed."""
        self.calls.append(order["value"])
        if not self.is_open and order["value"].startswith(b"bad"):
            raise ConnectionError("the bank is away")


def say(
    topic: Topic,
    do: str,
    orders: Sequence[Tuple[int, int]],
    partition: int = 0,
    number: int = 0,
    value: Optional[bytes] = None,
    ago_s: Optional[float] = None,
    group: str = "group",
) -> None:
    """Write a command to the ledger topic."""
    command = Command(partition, do, tuple(orders), "ada@desk7", AT_MS, "the bank is back")
    key = command_key(group, "orders", partition, number)
    at_ms = None if ago_s is None else int((topic.clock.time_of_day() - ago_s) * 1000)
    told = write_command(command) if value is None else value
    topic.sent.append(Outgoing(LEDGER, key, told, [], 0, at_ms))


def letters(topic: Topic) -> List[Dict[str, str]]:
    """The headers of the dead letters."""
    return [{name: (value or b"").decode() for name, value in one.headers} for one in topic.of(DEAD_LETTERS)]


def waits(topic: Topic, shop: Shop, **options: Any) -> Life:
    """A process in which the orders 1 and 3 of five wait for ten minutes."""
    for place in range(5):
        name = b"bad-%d" % place if place in (1, 3) else b"good-%d" % place
        topic.put(0, b"key-%d" % place, name)
    life = Life(topic, shop, **{"policy": SLOW, **options})
    life.until(lambda: len(life.engine.assignment.ready) == 1 and life.engine.waiting == 2)
    life.step(5)
    return life


FORMS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"exactly_once": False},
        {"pages": True},
        {"pages": True, "exactly_once": False},
        {"workers": 4},
    ],
    ids=["metadata", "at least once", "page", "page, at least once", "workers"],
)


def at_once(life: Life, limit_s: float = 5.0) -> None:
    """Let the engine finish everything, within seconds of its clock."""
    began_s = life.clock()
    life.drain()
    assert life.clock() - began_s < limit_s


@FORMS
def test_orders_are_tried_at_once(options: Dict[str, Any]) -> None:
    """Which would have waited for ten minutes, each once, and others are not touched."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop, **options)
    shop.is_open = True

    say(topic, RETRY_NOW, [(1, 1), (3, 1)])
    at_once(life)

    assert sorted(shop.calls) == [b"bad-1", b"bad-1", b"bad-3", b"bad-3", b"good-0", b"good-2", b"good-4"]
    assert topic.of(DEAD_LETTERS) == []
    told = [fields for name, fields in life.events if name == "command"]
    assert told == [{"partition": 0, "do": RETRY_NOW, "orders": 2, "asked": 2, "by": "ada@desk7"}]


@FORMS
def test_orders_are_given_up_at_once(options: Dict[str, Any]) -> None:
    """Their dead letters say who gave them up, when and why, and what they had failed of."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop, **options)

    say(topic, GIVE_UP, [(1, 1), (3, 1)])
    at_once(life)

    assert [letter.value for letter in topic.of(DEAD_LETTERS)] == [b"bad-1", b"bad-3"]
    assert {letter[REASON] for letter in letters(topic)} == {GIVEN_UP}
    assert {letter[CLASS] for letter in letters(topic)} == {"ConnectionError"}
    assert letters(topic)[0][MESSAGE] == (
        "the bank is away (given up by ada@desk7 at 2025-11-24T16:00:00Z: the bank is back)"
    )
    assert shop.calls.count(b"bad-1") == 1


def test_an_order_given_up_after_a_restart_says_what_is_known() -> None:
    """What it failed of is kept in memory alone."""
    topic, shop = Topic(), Shop()
    waits(topic, shop).stop()

    life = Life(topic, shop, policy=SLOW)
    say(topic, GIVE_UP, [(1, 1), (3, 1)])
    at_once(life)

    assert {letter[CLASS] for letter in letters(topic)} == {"GivenUp"}


@FORMS
def test_what_queues_behind_an_order_goes_on(options: Dict[str, Any]) -> None:
    """In the order of their key, once the first was given up, and with a budget of their own."""
    topic, shop = Topic(), Shop()
    for name in (b"bad-0", b"good-1", b"good-2"):
        topic.put(0, b"key", name)
    life = Life(topic, shop, policy=SLOW, **options)
    life.until(lambda: life.engine.waiting == 3)
    life.step(5)

    say(topic, GIVE_UP, [(0, 1)])
    at_once(life)

    assert shop.calls == [b"bad-0", b"good-1", b"good-2"]


DOES = pytest.mark.parametrize("do", [RETRY_NOW, GIVE_UP])


def nothing_happens(life: Life, topic: Topic, shop: Shop) -> None:
    """The two orders go on waiting."""
    life.until(lambda: life.clock() > 30.0)
    assert life.engine.waiting == 2
    assert shop.calls.count(b"bad-1") == shop.calls.count(b"bad-3") == 1
    assert topic.of(DEAD_LETTERS) == []


@DOES
def test_orders_that_were_called_meanwhile_are_left_alone(do: str) -> None:
    """The command was about another number of attempts; neither finished nor unknown ones are touched."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)

    say(topic, do, [(0, 1), (1, 2), (2, 0), (3, 0), (99, 1)])

    nothing_happens(life, topic, shop)
    assert [fields["orders"] for name, fields in life.events if name == "command"] == [0]


@DOES
def test_an_order_that_is_being_called_is_left_alone(do: str) -> None:
    """It cannot be taken from its handler, and what comes of the call counts."""
    topic, begun, may_end = Topic(), threading.Event(), threading.Event()

    def handler(order: Order) -> None:
        begun.set()
        assert may_end.wait(20)

    topic.put(0, b"key", b"long")
    life = Life(topic, handler, workers=2)
    life.until(begun.is_set)
    say(topic, do, [(0, 0)])
    life.clock.pass_by(1.0)  # it stands still while a worker is busy
    life.until(lambda: "command" in life.names())
    may_end.set()

    life.drain()

    assert [fields["orders"] for name, fields in life.events if name == "command"] == [0]
    assert topic.of(DEAD_LETTERS) == []


def test_that_orders_are_tried_now_is_committed_at_once() -> None:
    """Also where it takes long until it is their turn: whoever asked looks for it there."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DueCalls, "call", lambda self, has_fresh: None)  # it is not their turn yet
        say(topic, RETRY_NOW, [(1, 1)])
        life.until(lambda: "command" in life.names())
        life.step(5)

    offset, text = topic.committed[0]
    commit = read_metadata(text, offset)
    assert commit is not None
    delays_s = {entry.offset: entry.delay_s for entry in commit.entries}
    assert delays_s[1] == 0 and delays_s[3] > 300


@DOES
def test_commands_for_others_are_none_of_ours(do: str) -> None:
    """For another partition, another group."""
    topic, shop = Topic(partitions=2), Shop()
    life = waits(topic, shop, partitions=[0])

    say(topic, do, [(1, 1)], partition=1)
    say(topic, do, [(1, 1)], group="group2")

    nothing_happens(life, topic, shop)


@DOES
def test_a_command_that_is_too_old_is_not_carried_out(do: str) -> None:
    """A consumer that starts hears what was said in the last minute, and nothing before."""
    topic, shop = Topic(), Shop()
    waits(topic, shop).stop()
    say(topic, do, [(1, 1)], ago_s=VALID_S + 1)

    nothing_happens(Life(topic, shop, policy=SLOW), topic, shop)


@DOES
def test_a_command_from_before_the_start_is_carried_out(do: str) -> None:
    """If it still counts."""
    topic, shop = Topic(), Shop()
    waits(topic, shop).stop()
    shop.is_open = True
    say(topic, do, [(1, 1), (3, 1)], ago_s=VALID_S - 10)

    at_once(Life(topic, shop, policy=SLOW))


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"give up everything", b"\xff", b"[" * 10_000, b'{"do": "give-up", "orders": "*"}']
)
def test_a_forged_command_is_told_and_ignored(value: bytes) -> None:
    """However many there are: one line a minute."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)

    for number in range(9):
        say(topic, GIVE_UP, (), number=number, value=value)

    nothing_happens(life, topic, shop)
    assert life.names().count("command_foreign") == 1


@DOES
def test_a_command_that_is_read_again_does_nothing_twice(do: str) -> None:
    """Each order is called once more, or dead-lettered once."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)

    for _ in range(3):
        say(topic, do, [(1, 1), (3, 1)])
    life.until(lambda: life.clock() > 30.0)

    assert shop.calls.count(b"bad-1") == (2 if do == RETRY_NOW else 1)
    assert len(topic.of(DEAD_LETTERS)) == (0 if do == RETRY_NOW else 2)


@DOES
@pytest.mark.parametrize("exactly_once", [True, False])
def test_a_death_before_the_settlement_loses_nothing_and_doubles_nothing(do: str, exactly_once: bool) -> None:
    """The next owner hears the command again, and it still fits."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop, exactly_once=exactly_once)
    shop.is_open = True
    refused = Settlement(Outcome.NOT_COMMITTED, "away")
    life.session.answers.extend([Answer(refused)] * 50)
    say(topic, do, [(1, 1), (3, 1)], ago_s=0.0)
    life.until(lambda: "command" in life.names())
    life.step(3)
    assert life.engine.waiting == 0 or do == RETRY_NOW

    at_once(Life(topic, shop, policy=SLOW, exactly_once=exactly_once))

    assert len(topic.of(DEAD_LETTERS)) == (2 if do == GIVE_UP else 0)
    if do == GIVE_UP:
        assert shop.calls.count(b"bad-1") == 1


def test_a_command_whose_work_was_dropped_is_carried_out_again() -> None:
    """The group has dropped this member: what it did is gone, and restored from what is committed."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)
    life.session.answers.append(Answer(Settlement(Outcome.EXPELLED, "unknown member")))

    say(topic, GIVE_UP, [(1, 1), (3, 1)])
    at_once(life)

    assert "start_again" in life.names()
    assert life.names().count("command") == 2
    assert [letter.value for letter in topic.of(DEAD_LETTERS)] == [b"bad-1", b"bad-3"]


def test_a_partition_that_is_restored_does_not_tell_of_what_was_done_before() -> None:
    """Another line would look as if somebody had asked again."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)
    say(topic, GIVE_UP, [(1, 1)])
    life.until(lambda: len(topic.of(DEAD_LETTERS)) == 1)

    life.session.revoke(0)
    life.until(lambda: not life.engine.assignment.ready)
    life.session.assign(0)
    life.until(lambda: 0 in life.engine.assignment.ready)
    life.until(lambda: life.clock() > 10.0)

    assert life.names().count("command") == 1
    assert life.engine.waiting == 1


@DOES
def test_a_partition_that_comes_later_hears_what_was_said(do: str) -> None:
    """It was another member's, or is still being restored."""
    topic, shop = Topic(partitions=2), Shop()
    topic.put(1, b"other", b"bad-other")
    life = waits(topic, shop, partitions=[0])
    last = Life(topic, shop, policy=SLOW, partitions=[1])
    last.until(lambda: last.engine.waiting == 1)
    last.stop()
    life = Life(topic, shop, policy=SLOW, partitions=[0])
    life.until(lambda: life.engine.waiting == 2)

    life.session.assign(1)
    life.until(lambda: 1 in life.engine.assignment.ready)
    shop.is_open = True
    say(topic, do, [(0, 1)], partition=1)
    life.until(lambda: life.engine.waiting == 2)
    life.step(5)

    assert len(topic.of(DEAD_LETTERS)) == (do == GIVE_UP)


def test_the_brakes_of_an_outage_do_not_hold_a_command_up() -> None:
    """Orders that are tried now count as probes: when they succeed, the partition is released."""
    topic, shop = Topic(), Shop()
    for place in range(200):
        topic.put(0, b"key-%d" % place, b"bad-%d" % place)
    life = Life(topic, shop, policy=SLOW)
    life.until(lambda: life.brake.is_on)
    life.step(5)
    waiting = [offset for offset, head in life.engine.assignment.ready[0].ledger.heads.items()]
    shop.is_open = True

    say(topic, RETRY_NOW, [(offset, 1) for offset in sorted(waiting)])
    life.until(lambda: not life.brake.is_on)

    at_once(life)


def test_nothing_is_listened_to_while_nothing_waits() -> None:
    """And only to where something does."""
    topic, shop = Topic(partitions=3), Shop()
    topic.put(1, b"key", b"good")
    life = Life(topic, shop, policy=SLOW)
    life.until(life.is_drained)
    life.until(lambda: life.clock() > 3.0)
    assert life.inbox.listens == frozenset()

    topic.put(2, b"key", b"bad")
    life.until(lambda: life.inbox.listens == {2})


def test_a_missing_right_is_told() -> None:
    """And all else goes on."""
    topic, shop = Topic(), Shop()
    life = waits(topic, shop)
    life.inbox.problem = "denied; the right READ on topic orders-waiting is missing"
    life.until(lambda: "commands_unheard" in life.names())
    shop.is_open = True

    life.drain()

    assert life.names().count("commands_unheard") == 1


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_asked_whenever_every_order_has_one_fate(seed: int) -> None:
    """Random orders, failures, commands, deaths and guarantees."""
    chance = random.Random(seed)
    topic, called = Topic(partitions=2), []

    def handler(order: Order) -> None:
        called.append(order["value"])
        if chance.random() < 0.4:
            raise ConnectionError("not now")

    for partition in range(2):
        topic.fill(60, partition, keys=25)
    options: Dict[str, Any] = {
        "exactly_once": chance.random() < 0.5,
        "pages": chance.random() < 0.5,
        "workers": chance.choice((1, 4)),
        "policy": Policy(3, 30.0, 60.0),
    }
    life = Life(topic, handler, **options)
    for _ in range(300):
        life.step()
        ready = life.engine.assignment.ready
        if ready and chance.random() < 0.2:
            number = chance.choice(sorted(ready))
            heads = ready[number].ledger.heads
            named = [(offset, chance.choice((heads[offset].attempts, 1))) for offset in sorted(heads)]
            some = [each for each in named if chance.random() < 0.5]
            say(topic, chance.choice((RETRY_NOW, GIVE_UP)), some, number, ago_s=0.0)
        if chance.random() < 0.02:
            life = Life(topic, handler, **options)
    life.drain(20_000)

    dead = [letter.value for letter in topic.of(DEAD_LETTERS)]
    everything = {record.value() for log in topic.records.values() for record in log.values()}
    assert everything == set(called) | set(dead)
    assert len(dead) == len(set(dead)) or not options["exactly_once"]
