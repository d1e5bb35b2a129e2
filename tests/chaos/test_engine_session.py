"""Every accident that can befall a call of a transaction: all or nothing, and the next one works."""

from typing import Iterator

import pytest

from orderflow.consume.settlement import Outcome
from tests.broker.test_engine_session import (
    EVERY_ACCIDENT,
    NewBench,
    accident_id,
    assert_all_or_nothing,
    assert_survives,
    bench,
    proxy,
)
from tests.support import fault_proxy as wire
from tests.support.fault_proxy import FaultProxy

__all__ = ["bench", "proxy"]
pytestmark = [pytest.mark.chaos, pytest.mark.broker]


@pytest.mark.parametrize(("api", "what"), EVERY_ACCIDENT, ids=accident_id)
def test_no_accident_splits_a_transaction(
    new_bench: NewBench, wires: FaultProxy, api: int, what: object
) -> None:
    """A call that is cut off before or behind the broker, or refused: all or nothing, and the next works."""
    assert_survives(new_bench(), wires, api, what)


@pytest.mark.parametrize("api", [wire.END_TXN, wire.TXN_OFFSET_COMMIT, wire.ADD_OFFSETS, wire.PRODUCE])
def test_what_became_of_it_is_found_out_where_an_answer_never_comes(
    new_bench: NewBench, wires: FaultProxy, api: int
) -> None:
    """The call times out with an unknown result; Kafka is asked, and the commit that it has done counts."""
    tested = new_bench()
    assert tested.settle() is Outcome.SETTLED
    wires.break_next(api, wire.HELD_ANSWER, times=1000)
    expected = Outcome.SETTLED if api == wire.END_TXN else Outcome.NOT_COMMITTED
    assert tested.settle() is expected, tested.told
    wires.heal()
    settled = {1, 2} if expected is Outcome.SETTLED else {1}
    assert_all_or_nothing(tested, settled)
    assert tested.settle() is Outcome.SETTLED
    assert_all_or_nothing(tested, settled | {3})


@pytest.fixture
def new_bench(bench: NewBench) -> NewBench:
    """The bench of the short form."""
    return bench


@pytest.fixture
def wires(proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The wire of the short form, healed afterwards."""
    yield proxy
    proxy.heal()
