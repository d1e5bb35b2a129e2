"""A consumer without partitions: assigned none, waiting for the group, or out of it."""

import os
from typing import Any, Callable, Dict, List, Tuple

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.consume.membership import Membership
from orderflow.consume.settlement import SessionLost
from orderflow.kafka.standing import Standing, standing
from tests.conftest import Kafka
from tests.support.pipeline import eventually
from tests.support.shared_kafka import KAFKA_VERSION

NONE_GIVEN = Standing(True, True, "4 consumers, 3 partitions")
REBALANCING = Standing(False, False, "the group is preparing rebalancing, and this consumer a member of it")
OUT = Standing(False, True, "the group is stable, with 1 member, and this consumer is none of them")
NO_COORDINATOR = Standing(False, False, "no answer from the group's coordinator: Local: Timed out")

NEW_PROTOCOL = pytest.param(
    {"group.protocol": "consumer"},
    id="consumer",
    marks=pytest.mark.skipif(os.environ.get(KAFKA_VERSION, "4") < "4", reason="Kafka 4 brought it"),
)


class Script:
    """Lets time pass, half a second a look."""

    def __init__(self, answer: Standing) -> None:
        self.now_s, self.answer = 0.0, answer
        self.asked = 0
        self.told: List[Tuple[str, Dict[str, Any]]] = []
        self.membership = Membership(lambda: self.now_s, self.ask, self.report)

    def ask(self) -> Standing:
        """What the group says."""
        self.asked += 1
        return self.answer

    def report(self, name: str, **fields: Any) -> None:
        """Keep an event."""
        self.told.append((name, fields))

    def pass_by(self, seconds: float, is_at_work: bool = False) -> None:
        """Look twice a second for so long."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.5
            self.membership.look(is_at_work, "Broker: odd")


def test_a_member_that_was_given_none_says_so_once() -> None:
    """More members than partitions: one line with both numbers, and asked twice a minute from then on."""
    script = Script(NONE_GIVEN)
    script.pass_by(3600.0)
    assert script.told == [("stands_by", {"detail": "4 consumers, 3 partitions"})]
    assert script.asked == 120


def test_it_says_so_again_when_the_numbers_change_or_it_had_work_meanwhile() -> None:
    """What was said is true until something else is."""
    script = Script(NONE_GIVEN)
    script.pass_by(60.0)
    script.answer = NONE_GIVEN._replace(detail="5 consumers, 3 partitions")
    script.pass_by(60.0)
    script.pass_by(10.0, is_at_work=True)
    script.pass_by(60.0)
    assert [fields["detail"][0] for _, fields in script.told] == ["4", "5", "5"]


def test_a_group_that_is_still_assigning_its_partitions_is_no_news() -> None:
    """The first question comes early; only after half a minute is an answer like this worth a line."""
    script = Script(REBALANCING)
    script.pass_by(29.0)
    assert (script.asked, script.told) == (1, [])
    script.pass_by(2.0)
    assert (script.asked, [name for name, _ in script.told]) == (2, ["out_of_group"])


def test_who_is_out_of_the_group_says_so_after_half_a_minute_and_then_ends() -> None:
    """With what the group says and the client's last word."""
    script = Script(OUT)
    script.pass_by(29.0)
    assert not script.told
    with pytest.raises(SessionLost, match=r"Broker: odd.*restart the consumer"):
        script.pass_by(60.0)
    assert script.now_s == 60.0
    assert [name for name, _ in script.told] == ["out_of_group"] * 2


def test_a_group_without_a_coordinator_is_waited_for_loudly() -> None:
    """A restart would not help: it is reported twice a minute until somebody has fixed it."""
    script = Script(NO_COORDINATOR)
    script.pass_by(300.0)
    assert len(script.told) == 10
    script.pass_by(300.0, is_at_work=True)
    assert len(script.told) == 10


@pytest.mark.broker
@pytest.mark.parametrize("protocol", [pytest.param({}, id="classic"), NEW_PROTOCOL])
def test_the_group_tells_who_was_given_none(
    kafka: Kafka, topic: Callable[..., str], protocol: Dict[str, str]
) -> None:
    """One partition, two members: one is idle, one at work, and a stranger is neither."""
    conf: Dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
    name, group = topic(), topic("group")
    admin = AdminClient(conf)
    for made in admin.create_topics([NewTopic(name, 1, 1)]).values():
        made.result(20)
    members = [Consumer({**conf, **protocol, "group.id": group}) for _ in range(2)]
    try:
        for member in members:
            member.subscribe([name])

        def standings() -> List[Standing]:
            for member in members:
                member.poll(0.05)
            return [standing(conf, group, member.memberid()) for member in members]

        eventually(lambda: sorted(told.is_idle for told in standings()) == [False, True])
        assert all(told.is_settled for told in standings())
        assert [told.detail for told in standings() if told.is_idle] == ["2 consumers, 1 partition"]
        stranger = standing(conf, group, "stranger")
        assert (stranger.is_idle, stranger.is_settled) == (False, True)
        assert "with 2 members, and this consumer is none of them" in stranger.detail
    finally:
        for member in members:
            member.close()
