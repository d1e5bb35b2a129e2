"""The errors that a handler raises, and what is kept of any error, however badly it behaves."""

import enum
from typing import Any, Callable, Type

import pytest

import orderflow
from orderflow.consume.retry import Policy, Retry, decide
from orderflow.errors import (
    LONGEST_WAIT_S,
    Failure,
    InvalidOrder,
    OrderError,
    RejectOrder,
    RetryLater,
    RulesFailed,
    Undecodable,
    UnknownSchema,
    describe,
    is_permanent,
)


class NoStock(Exception):
    """Somebody's own error."""


def test_any_error_of_a_handler_may_pass_on_another_try() -> None:
    """Its class is named as an operator searches for it: builtins bare, others with their module."""
    assert Failure("process.failed", "process", "ValueError", "no", True) == describe(ValueError("no"))
    assert f"{__name__}.NoStock" == describe(NoStock()).error_class


@pytest.mark.parametrize(
    ("error", "reason", "stage", "retryable"),
    [
        (RejectOrder(), "process.rejected", "process", False),
        (RejectOrder("sold out", reason="process.no_stock"), "process.no_stock", "process", False),
        (RetryLater(), "process.retry_later", "process", True),
        (InvalidOrder("quantity", "is 0"), "validate.quantity", "validate", False),
        (RulesFailed("shop:rules: KeyError: 'x'"), "validate.failed", "validate", True),
        (Undecodable("short", "decode.truncated"), "decode.truncated", "decode", False),
        (UnknownSchema("id 7"), "decode.unknown_schema", "decode", True),
    ],
)
def test_each_error_of_the_family_has_reason_stage_and_remedy(
    error: OrderError, reason: str, stage: str, retryable: bool
) -> None:
    """Nobody has to match its text."""
    failure = describe(error)

    assert (reason, stage, str(error), retryable) == (
        failure.reason,
        failure.stage,
        failure.message,
        failure.retryable,
    )


def test_the_stack_is_kept_when_asked_for() -> None:
    """It ends with the error; without being asked for, none is built."""
    try:
        raise NoStock("item 7")
    except NoStock as error:
        kept, left = describe(error, with_stack=True), describe(error)

    assert kept.stack is not None
    assert kept.stack.rstrip().endswith("NoStock: item 7")
    assert left.stack is None


class Mute(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize("with_stack", [True, False])
def test_an_error_without_a_text_is_still_described(with_stack: bool) -> None:
    """A faulty error class is the handler's fault, and must not end the engine."""
    failure = describe(Mute(), with_stack)

    assert f"{__name__}.Mute" == failure.error_class
    assert "(its text cannot be shown: RuntimeError)" == failure.message


class Rejected(RejectOrder):
    """A constructor of its own, and no call of ours."""

    def __init__(self, item: int) -> None:
        self.item = item


class Later(RetryLater):
    """The same, with nothing to keep."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [(Rejected(7), "process.rejected", False), (Later(), "process.retry_later", True)],
)
def test_a_subclass_that_forgets_its_base_is_still_one(
    error: OrderError, reason: str, retryable: bool
) -> None:
    """A constructor that does not call ours leaves the class's own reason."""
    failure = describe(error)

    assert (reason, retryable, None) == (failure.reason, failure.retryable, failure.after_s)


def test_a_reason_is_text_whatever_was_given() -> None:
    """It becomes a header; a number or an enum of the handler's must not make that fail."""
    assert "404" == describe(RejectOrder("gone", reason=404)).reason  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [RejectOrder, RetryLater])
def test_what_handlers_raise_is_in_the_package_itself(kind: Type[OrderError]) -> None:
    """`from orderflow import RejectOrder, RetryLater` is all that a handler needs to know."""
    assert kind is getattr(orderflow, kind.__name__)


class Speechless(Exception):
    """An error whose text ends everything."""

    def __str__(self) -> str:
        """End everything."""
        raise KeyboardInterrupt


def test_an_error_whose_text_raises_anything_is_described() -> None:
    """Its text is the handler's code, and so is the text of what caused it."""
    try:
        raise Speechless from Speechless()
    except Speechless as error:
        failure = describe(error, with_stack=True)

    assert "KeyboardInterrupt" in failure.message
    assert failure.stack is not None


def test_an_error_that_is_none_of_the_usual_is_a_failure_that_may_pass() -> None:
    """A task that was cancelled may be done next time."""
    failure = describe(KeyboardInterrupt())

    assert Failure("process.failed", "process", "KeyboardInterrupt", "", True) == failure


class Reason(str, enum.Enum):
    """Reason codes as an application lists them."""

    STOLEN = "process.stolen"


class Stolen(RejectOrder):
    """A reason that is set rather than handed to our constructor."""

    def __init__(self, reason: Any) -> None:
        self.reason = reason


class Busy(RetryLater):
    """A delay that is set."""

    def __init__(self, after_s: Any) -> None:
        self.after_s = after_s


class Unanswering(RejectOrder):
    """Whatever it is asked, it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt(name)


class NamelessKind(type):
    """Classes that will not say what they are called."""

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise ValueError


class Nameless(Exception, metaclass=NamelessKind):
    """One of them."""


class Staged(RejectOrder):
    """A stage of its own."""

    stage = None  # type: ignore[assignment]


class Torn(RejectOrder):
    """Nobody can tell whether it may be retried."""

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Raises."""
        raise ValueError


class Claiming(ValueError):
    """Says that it is what it is not."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return RejectOrder


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stolen(None),
        lambda: Stolen(404),
        lambda: Stolen(Reason.STOLEN),
        lambda: Busy("soon"),
        lambda: Busy(float("nan")),
        lambda: Busy(float("inf")),
        lambda: Unanswering(),
        lambda: Nameless(),
        lambda: Staged(),
        lambda: Torn(),
        lambda: Claiming(),
    ],
    ids=[
        "Stolen(None)",
        "Stolen(404)",
        "Stolen(Reason.STOLEN)",
        "Busy('soon')",
        "Busy(float('nan'))",
        "Busy(float('inf'))",
        "Unanswering()",
        "Nameless()",
        "Staged()",
        "Torn()",
        "Claiming()",
    ],
)
def test_a_failure_is_of_the_types_that_it_names_whatever_the_error_holds(
    make: Callable[[], BaseException],
) -> None:
    """Of it come headers, a date and a decision, long after the handler has returned."""
    error = make()
    failure = describe(error, with_stack=True)

    assert {str} == {type(text) for text in (failure[:4])}
    assert failure.stage in ("process", "decode", "validate", "publish")
    assert type(failure.retryable) is bool and failure.retryable is not is_permanent(error)
    decision = decide(failure, 1, Policy(), 0.5)
    assert not isinstance(decision, Retry) or 0 <= decision.delay_s <= LONGEST_WAIT_S


def test_a_reason_from_an_enum_of_texts_is_its_text() -> None:
    """Whether it is handed over or set: in either Python, `str()` of a member may be its name."""
    assert "process.stolen" == describe(RejectOrder("gone", reason=Reason.STOLEN)).reason
    assert "process.stolen" == describe(Stolen(Reason.STOLEN)).reason


def test_an_order_may_be_put_off_for_ever() -> None:
    """That is ten years, a date that can be written into the list of waiting orders."""
    assert LONGEST_WAIT_S == describe(RetryLater("parked", after=float("inf"))).after_s
