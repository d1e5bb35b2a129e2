"""An orders topic that does not exist any more: told in time, again and again, and taken back."""

from typing import Any, List

from orderflow.consume.missing_topic import MissingTopic


class Script:
    """Lets time pass, a second a look, while the topic is missing."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: List[str] = []
        self.missing = MissingTopic(lambda: self.now_s, self.report)

    def report(self, name: str, **fields: Any) -> None:
        """Keep an event."""
        self.told.append(name)

    def pass_by(self, seconds: int) -> None:
        """The topic is missing for so long."""
        for missing_s in range(seconds):
            self.missing.look("orders", float(missing_s))
            self.now_s += 1.0


def test_a_topic_that_a_broker_does_not_know_for_a_moment_is_no_news() -> None:
    script = Script()
    script.pass_by(9)
    script.missing.look("orders", None)

    assert (script.told, script.missing.is_told) == ([], False)


def test_a_topic_that_is_gone_is_told_once_a_minute() -> None:
    script = Script()
    script.pass_by(180)

    assert script.told == ["topic_missing"] * 3
    assert script.missing.is_told


def test_a_topic_that_is_there_again_is_told_once() -> None:
    script = Script()
    script.pass_by(20)
    script.missing.look("orders", None)
    script.missing.look("orders", None)

    assert script.told == ["topic_missing", "topic_back"]
    assert not script.missing.is_told
