"""What a handler returned becomes records: where they go, with what, and what is wrong with them."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import types
import uuid
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import pytest

from orderflow import Publish
from orderflow.consume.publications import LONGEST_PASSED_ON, MOST_RECORDS, Targets
from orderflow.consume.result_topics import ASK_AGAIN_S, ASK_RIGHT_AGAIN_S, ResultTopics
from orderflow.consume.results import encode_result
from orderflow.errors import NothingRan, OrderError, ResultTooLarge, TopicUnusable, UnusableResult
from orderflow.exits import CommandError
from orderflow.model.records import Headers, Outgoing
from tests.support.scripted_session import Clock, Stored

TARGETS = Targets("done", 100_000, lambda topic: 1_000)
HEADERS: Headers = [("traceparent", b"00-a"), ("tracestate", b"x=1"), ("baggage", b"b=2"), ("other", b"o")]
TRACE = HEADERS[:3]


def order(headers: Optional[Headers] = None) -> Stored:
    """An order of partition 2, with the key `ann`."""
    return Stored(2, 41, b"ann", b"order", headers)


def records(result: Any, headers: Optional[Headers] = None, targets: Targets = TARGETS) -> List[Outgoing]:
    """What is sent for a result."""
    return list(targets.records_of(order(headers), result))


# --- where they go


def test_a_plain_result_goes_to_the_topic_for_results_under_the_orders_key() -> None:
    """As before there was Publish."""
    assert [Outgoing("done", b"ann", b'{"id":1}', [], source=2)] == records({"id": 1})


def test_nothing_is_nothing() -> None:
    assert [] == records(None)


def test_a_plain_result_is_dropped_where_no_topic_is_set() -> None:
    """But it must have run."""
    targets = TARGETS._replace(processed_topic=None)

    assert [] == records({"id": 1}, targets=targets)
    with pytest.raises(NothingRan):
        records([lambda: 1], targets=targets)


def test_what_a_publish_leaves_out_is_as_for_a_plain_result() -> None:
    assert records({"id": 1}, HEADERS) == records(Publish({"id": 1}), HEADERS)


def test_a_publish_may_choose_topic_key_and_headers() -> None:
    """Text becomes UTF-8."""
    publish = Publish("größe", topic="mail", key="böb", headers={"kind": "x", "raw": b"\xff", "none": None})
    headers = [("kind", b"x"), ("raw", b"\xff"), ("none", None)]

    assert [Outgoing("mail", "böb".encode(), "größe".encode(), headers, source=2)] == records(publish)


def test_a_publish_without_a_value_is_a_tombstone() -> None:
    """A compacted topic then forgets the key."""
    assert [Outgoing("done", b"ann", None, [], source=2)] == records(Publish(None))


def values_of(publications: List[Publish]) -> Any:
    """The values of a dict of them."""
    return dict(enumerate(publications)).values()


@pytest.mark.parametrize("kind", [list, tuple, collections.deque, values_of])
def test_several_results_go_in_their_order(kind: Callable[..., Any]) -> None:
    """To one topic or to several; all are in the order's transaction."""
    sent = records(kind([Publish(b"1"), Publish(b"2", topic="mail"), Publish(b"3")]))

    assert [("done", b"1"), ("mail", b"2"), ("done", b"3")] == [(one.topic, one.value) for one in sent]


@pytest.mark.parametrize("kind", [set, frozenset])
@pytest.mark.parametrize("processed_topic", ["done", None])
def test_a_set_of_results_goes_out_whole(kind: Callable[..., Any], processed_topic: Optional[str]) -> None:
    """In any order: it has none."""
    targets = TARGETS._replace(processed_topic=processed_topic)
    sent = records(kind([Publish(b"1", topic="mail"), Publish(b"2", topic="mail")]), targets=targets)

    assert [("mail", b"1"), ("mail", b"2")] == sorted((one.topic, one.value) for one in sent)


def test_a_list_without_a_publish_is_json() -> None:
    """An empty one too."""
    assert [b"[]", b"[1]"] == [records(result)[0].value for result in ([], [1])]


# --- the trace goes on


def test_the_headers_of_a_trace_travel_on() -> None:
    """And no others: they are the order's."""
    assert TRACE == records({"id": 1}, HEADERS)[0].headers


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ([("traceparent", "00-b")], [("traceparent", b"00-b"), HEADERS[2]]),
        ([("tracestate", "y=2")], [("tracestate", b"y=2"), HEADERS[2]]),
        ([("baggage", "")], [("baggage", b""), *HEADERS[:2]]),
        ([("else", "1")], [("else", b"1"), *TRACE]),
    ],
)
def test_a_publish_may_set_them_itself(given: Any, sent: Headers) -> None:
    """The parent and the state of a trace belong together: half of one and half of another is none."""
    assert sent == records(Publish(b"", headers=given), HEADERS)[0].headers


def test_repeated_baggage_stays_repeated_and_what_is_too_long_stays_behind() -> None:
    """A header that grows at each hop must not fill the results."""
    headers: Headers = [("baggage", b"1"), ("baggage", b"2"), ("tracestate", b"x" * (LONGEST_PASSED_ON + 1))]

    assert headers[:2] == records(b"", headers)[0].headers


# --- what is wrong with them


class Thing:
    """Whose text is an address."""


WRONG = {
    "empty topic": (Publish(1, topic=""), "topic=''"),
    "topic with a blank": (Publish(1, topic="a b"), "not the name of a topic"),
    "topic with a line break": (Publish(1, topic="a\n"), "not the name of a topic"),
    "topic of dots": (Publish(1, topic=".."), "not the name of a topic"),
    "long topic": (Publish(1, topic="a" * 250), "not the name of a topic"),
    "topic of a type": (Publish(1, topic=7), r"topic=<int>"),  # type: ignore[arg-type]
    "key of a type": (Publish(1, key=7), "the key is of type int"),  # type: ignore[arg-type]
    "broken key": (Publish(1, key="\ud800"), "the key holds half a surrogate pair"),
    "headers of a type": (Publish(1, headers=7), "give a dict or a list"),  # type: ignore[arg-type]
    "headers that are text": (Publish(1, headers="ab"), "give a dict or a list"),  # type: ignore[arg-type]
    "header of three": (Publish(1, headers=[("a", b"", 1)]), "give a dict or a list"),  # type: ignore[list-item]
    "name of a type": (Publish(1, headers={7: b""}), "the name <int> is not text"),  # type: ignore[arg-type]
    "empty name": (Publish(1, headers={"": b""}), "'' cannot be a header's name"),
    "name with a zero": (Publish(1, headers={"a\0b": b""}), "cannot be a header's name"),
    "broken name": (Publish(1, headers={"\ud800": b""}), "cannot be a header's name"),
    "value of a type": (Publish(1, headers={"a": 7}), "header 'a' is of type int"),  # type: ignore[arg-type]
    "broken value": (Publish(1, headers={"a": "\ud800"}), "header 'a' holds half a surrogate pair"),
    "one among others": ([Publish(1), {"id": 1}], r"the result\[1\] is a dict"),
    "one in a set with others": ({Publish(1), 7}, "a set with a Publish in it holds nothing else"),
    "not a number": (Publish({"x": float("nan")}), "nan is not a JSON number"),
    "no text": (Publish(Thing()), "no text of its own"),
    "too many": ([Publish(1)] * (MOST_RECORDS + 1), f"at most {MOST_RECORDS}"),
}


@pytest.mark.parametrize(("result", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_publish_is_its_orders_failure(result: Any, says: str) -> None:
    """At once, with a reason: the same call would return the same."""
    with pytest.raises(UnusableResult, match=says) as caught:
        records(result)

    assert ("publish", False) == (caught.value.stage, caught.value.retryable)
    assert caught.value.reason in ("publish.invalid", "publish.unencodable")


@dataclasses.dataclass
class Parcel:
    """A dataclass is published as an object."""

    mail: Any


class Mails(enum.Enum):
    """A member is published as its value."""

    WELCOME = Publish(1, topic="mail")


MISPLACED = {
    "dict": {"mail": Publish(1, topic="mail")},
    "key of a dict": {Publish(1, topic="mail"): 1},
    "list in a list": [[Publish(1, topic="mail")]],
    "set in a list": [{Publish(1, topic="mail")}],
    "set in a dict": {"mail": {Publish(1, topic="mail")}},
    "dict in a set's tuple": {("mail", Publish(1, topic="mail"))},
    "items of a dict": {"mail": Publish(1, topic="mail")}.items(),
    "dataclass": Parcel(Publish(1, topic="mail")),
    "list in a dataclass": Parcel([Publish(1, topic="mail")]),
    "deque in a dataclass": Parcel(collections.deque([Publish(1, topic="mail")])),
    "enum": Mails.WELCOME,
    "UserDict": collections.UserDict(mail=Publish(1, topic="mail")),
    "SimpleNamespace": types.SimpleNamespace(mail=Publish(1, topic="mail")),
    "another": Publish(Publish(1, topic="mail"), topic="mail"),
    "list in another": Publish([Publish(1, topic="mail")], topic="mail"),
    "dict among those of a list": [{"id": 1}, {"id": 2, "mail": Publish(1, topic="mail")}],
}


@pytest.mark.parametrize("result", MISPLACED.values(), ids=MISPLACED.keys())
@pytest.mark.parametrize("processed_topic", ["done", None])
def test_a_publish_inside_anything_else_is_its_orders_failure(
    result: Any, processed_topic: Optional[str]
) -> None:
    """It was meant to be sent: neither dropped, nor published as a text."""
    with pytest.raises(UnusableResult, match="by itself or in a list") as caught:
        records(result, targets=TARGETS._replace(processed_topic=processed_topic))

    assert "publish.invalid" == caught.value.reason


def test_a_dropped_result_that_contains_itself_is_searched_once() -> None:
    """Wherever it turns back to itself."""
    ring: Dict[str, Any] = {"lines": [1]}
    ring["lines"].append(ring)

    assert [] == records(ring, targets=TARGETS._replace(processed_topic=None))


def test_a_publish_without_a_topic_needs_one_that_is_set() -> None:
    """A plain result may be of no interest; this one was meant to be published."""
    with pytest.raises(UnusableResult, match="PROCESSED_TOPIC is not set"):
        records(Publish(1), targets=TARGETS._replace(processed_topic=None))


def test_a_value_that_has_not_run_is_none() -> None:
    with pytest.raises(NothingRan):
        records(Publish(lambda: 1))


@pytest.mark.parametrize("publish", [Publish(b"x" * 950, topic="m"), Publish(b"", "m", b"k" * 999)])
def test_a_record_must_fit_whole(publish: Publish) -> None:
    """Key and headers count: Kafka's limit is one for the record with its frame."""
    with pytest.raises(ResultTooLarge, match="topic m accepts at most 1000"):
        records(publish)


def test_headers_of_the_order_count_too() -> None:
    headers: Headers = [("baggage", b"x" * 990)]

    with pytest.raises(ResultTooLarge):
        records(Publish(b"", topic="m"), headers)


# --- values that JSON lacks


class Colour(enum.Enum):
    """A member is published as its value."""

    RED = "red"


class Pair(NamedTuple):
    """A tuple is a list in JSON."""

    a: int


@dataclasses.dataclass
class Line:
    """A dataclass is an object in JSON."""

    item: str
    price: decimal.Decimal
    at: Optional[datetime.datetime] = None
    inner: Any = None


def test_values_have_their_usual_forms() -> None:
    """ISO 8601 for times, digits for decimals, fields of dataclasses by name, at any depth."""
    at = datetime.datetime(2026, 11, 29, 1, 2, 3, 4000, tzinfo=datetime.timezone.utc)
    result = {
        "line": Line("CD", decimal.Decimal("9.90"), at, Line("x", decimal.Decimal(1))),
        "day": at.date(),
        "time": datetime.time(1, 2),
        "id": uuid.UUID(int=7),
        "colour": Colour.RED,
        "pair": Pair(1),
    }

    assert {
        "line": {
            "item": "CD",
            "price": "9.90",
            "at": "2026-11-29T01:02:03.004000+00:00",
            "inner": {"item": "x", "price": "1", "at": None, "inner": None},
        },
        "day": "2026-11-29",
        "time": "01:02:00",
        "id": "00000000-0000-0000-0000-000000000007",
        "colour": "red",
        "pair": [1],
    } == json.loads(encode_result(result))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (decimal.Decimal("NaN"), "NaN is not a number"),
        ([decimal.Decimal("-Infinity")], r"the result\[0\] .*-Infinity"),
        (Line("x", decimal.Decimal("sNaN")), r"the result\['price'\] .*sNaN"),
        (Line("x", decimal.Decimal(1), inner=[float("inf")]), r"the result\['inner'\]\[0\] .*inf"),
    ],
)
def test_what_is_no_number_is_refused_in_every_form(result: Any, says: str) -> None:
    with pytest.raises(UnusableResult, match=says):
        encode_result(result)


def test_a_dataclass_that_contains_itself_is_refused() -> None:
    """However it is wound."""
    line = Line("x", decimal.Decimal(1))
    line.inner = [line]

    with pytest.raises(UnusableResult, match="cannot be published"):
        encode_result(line)


# --- topics that handlers choose


class Cluster:
    """Topics and what they accept; counts the questions."""

    def __init__(self, **topics: Optional[int]) -> None:
        self.topics = topics
        self.asked: List[str] = []
        self.is_away = False
        self.policies: Dict[str, str] = {}
        self.policies_asked = 0
        self.clock = Clock()
        self.chosen = ResultTopics(
            self.exists, lambda topic: self.topics[topic], self.policy, [900_000, 2_000_000], self.clock
        )

    def exists(self, topic: str) -> bool:
        """Whether there is such a topic."""
        self.asked.append(topic)
        if self.is_away:
            raise CommandError("no answer")
        return topic in self.topics

    def policy(self, topic: str) -> Optional[str]:
        """What becomes of the topic's old records; None where we may not ask."""
        self.policies_asked += 1
        return self.policies.get(topic)


def test_a_compacted_topic_takes_no_result_without_a_key() -> None:
    """Kafka would refuse the whole settlement, for ever: it is the failure of that order."""
    targets = Targets("done", 100_000, lambda topic: 1_000, lambda topic: topic in ("done", "state"))
    unkeyed, keyed = Stored(2, 41, None, b"order", None), order()

    for result in ({"a": 1}, Publish(1), Publish(1, topic="state"), Publish(None, topic="state")):
        with pytest.raises(TopicUnusable, match="is compacted") as caught:
            targets.records_of(unkeyed, result)
        assert (True, "publish.no_key") == (caught.value.retryable, caught.value.reason)
        assert 1 == len(targets.records_of(keyed, result))
    assert 1 == len(targets.records_of(unkeyed, Publish(1, topic="state", key="C-7")))
    assert 1 == len(targets.records_of(unkeyed, Publish(1, topic="mail")))


def test_whether_a_topic_is_compacted_is_asked_once() -> None:
    """Where its settings may not be read it counts as not compacted, and is asked for again later."""
    cluster = Cluster()
    cluster.policies.update(state="compact,delete", mail="delete")

    asked = [cluster.chosen.needs_key(topic) for topic in ("state", "mail", "secret") * 3]
    assert [True, False, False] * 3 == asked
    assert 3 == cluster.policies_asked
    cluster.clock.pass_by(ASK_RIGHT_AGAIN_S)
    assert not cluster.chosen.needs_key("secret")
    assert 4 == cluster.policies_asked


def test_a_topic_that_is_compacted_no_longer_takes_results_without_a_key() -> None:
    """Orders that it refused are retried, since somebody may change it: that is seen without a restart."""
    cluster = Cluster()
    cluster.policies["state"] = "compact"
    assert cluster.chosen.needs_key("state")

    cluster.policies["state"] = "delete"
    cluster.clock.pass_by(ASK_AGAIN_S)

    assert not cluster.chosen.needs_key("state")


@pytest.mark.parametrize("topic", ["__consumer_offsets", "__transaction_state"])
def test_kafkas_own_topics_are_no_place_for_a_result(topic: str) -> None:
    """It refuses them, and everything that is settled with them."""
    with pytest.raises(UnusableResult, match="of Kafka's own") as caught:
        records(Publish(1, topic=topic))

    assert "publish.invalid" == caught.value.reason


def test_a_topic_is_looked_at_once() -> None:
    """Before the first result that goes there; each accepts what it accepts, within what the client sends."""
    cluster = Cluster(a=950_000, b=5_000_000, c=None)
    limits = [cluster.chosen.limit_of(topic) for topic in "abcabc"]

    assert [950_000, 2_000_000, 900_000] * 2 == limits
    assert ["a", "b", "c"] == cluster.asked


def test_a_topic_that_is_missing_is_the_orders_failure_until_it_is_there() -> None:
    """It may still be created, so the order is retried; the cluster is not asked for every order."""
    cluster = Cluster()
    for _ in range(5):
        with pytest.raises(TopicUnusable, match=r"topic mail, .* does not exist") as caught:
            cluster.chosen.limit_of("mail")
    cluster.topics["mail"] = 1_000_000
    cluster.clock.pass_by(ASK_AGAIN_S)

    assert (True, "publish.unknown_topic") == (caught.value.retryable, caught.value.reason)
    assert 1_000_000 == cluster.chosen.limit_of("mail")
    assert 2 == len(cluster.asked)


def test_a_topic_that_takes_less_than_a_batch_is_refused() -> None:
    """The client fills batches up to one size for all topics: Kafka would refuse them for ever."""
    with pytest.raises(
        TopicUnusable, match=r"at most 500000 .* 900000: raise its max\.message\.bytes"
    ) as caught:
        Cluster(small=500_000).chosen.limit_of("small")

    assert "publish.small_topic" == caught.value.reason


def test_a_cluster_that_does_not_answer_is_asked_again_later() -> None:
    """Sending will tell: an outage is no fault of the order."""
    cluster = Cluster(a=None)
    cluster.is_away = True

    assert [900_000] * 2 == [cluster.chosen.limit_of("a") for _ in range(2)]
    cluster.clock.pass_by(ASK_AGAIN_S)
    cluster.is_away = False
    assert 900_000 == cluster.chosen.limit_of("a")
    assert 2 == len(cluster.asked)


def test_no_number_of_topics_fills_the_memory() -> None:
    """A handler may choose a topic for each order."""
    cluster = Cluster(**{f"t{number}": None for number in range(3_000)})
    for topic in cluster.topics:
        cluster.chosen.limit_of(topic)

    assert len(cluster.chosen._known) <= 1_000


def test_every_error_here_is_an_order_error() -> None:
    """None of them ends the consumer."""
    assert all(issubclass(kind, OrderError) for kind in (UnusableResult, ResultTooLarge, TopicUnusable))
