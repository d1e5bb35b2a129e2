"""The scripted Kafka refuses what the real one refuses."""

import pytest

from orderflow.consume.settlement import SETTLED, Outcome
from orderflow.model.records import Outgoing
from tests.support.scripted_session import RESULTS, Answer, ScriptedSession, Topic


@pytest.mark.parametrize("exactly_once", [True, False])
def test_what_a_dead_process_had_in_flight_never_lands_in_the_life_after_it(exactly_once: bool) -> None:
    """Its sending thread may outlive it by a moment, as a test drops a life amid a settlement."""
    topic = Topic()
    dead = ScriptedSession(topic, exactly_once)
    ScriptedSession(topic, exactly_once)

    sent = dead.send([Outgoing(RESULTS, None, b"late", [])], {0: (1, "")}, "member")

    assert sent.outcome is Outcome.EXPELLED
    assert not topic.sent and not topic.committed


def test_that_holds_for_scripted_answers_too() -> None:
    """Whatever the script says."""
    topic = Topic()
    dead = ScriptedSession(topic)
    dead.answers.append(Answer(SETTLED, took_effect=True))
    ScriptedSession(topic)

    assert dead.commit({0: (1, "")}).outcome is Outcome.EXPELLED
    assert not topic.committed
