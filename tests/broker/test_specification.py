"""The scenes of the specification once more, by the real scripts on a real Kafka."""

from collections import Counter
from typing import Callable

import pytest

from tests.support.engine_tools import Shop
from tests.support.pipeline import reason
from tests.support.scenes import MAX_RETRIES, SCENES

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(("guarantee", "workers"), [("exactly-once", "1"), ("at-least-once", "4")])
def test_each_scene_ends_as_it_does_in_memory(
    shop: Callable[..., Shop], guarantee: str, workers: str
) -> None:
    """The number of calls, one fate, and the reason code."""
    stage = shop(
        MAX_RETRIES=str(MAX_RETRIES),
        RETRY_BACKOFF="0.1",
        OUTAGE_WINDOW="1",
        GUARANTEE=guarantee,
        WORKERS=workers,
    ).create()
    stage.put((name, "C") for name in SCENES)
    stage.until_drained("tells_its_scene")

    calls = Counter(call.key for call in stage.calls())
    reasons = {(letter.key or b"").decode(): reason(letter) for letter in stage.dead_letters()}
    assert {name: scene.expected for name, scene in SCENES.items()} == {
        name: (calls[name], reasons.get(name)) for name in SCENES
    }
