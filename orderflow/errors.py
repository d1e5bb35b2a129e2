"""The errors an order can fail with, and the summary that is kept of each failure."""

import traceback
from typing import Any, NamedTuple, Optional, Tuple, Type

from orderflow.frames import frame_of, roots_of

MOST_OF_A_CAUSE = 1000
"""Characters kept of the message of a cause."""
LONGEST_WAIT_S = 10 * 365 * 86_400.0
"""Ten years: as good as for ever, and a date that every clock and calendar can still tell."""
STAGES = frozenset(("decode", "validate", "process", "publish"))


class OrderError(Exception):
    """A fault of one order, with a stable reason code, so that nobody has to parse the message."""

    stage = "process"
    retryable = False
    reason = "process.failed"
    """The class's reason applies if a handler's subclass does not call this constructor."""
    after_s: Optional[float] = None
    """Seconds until the next call; None leaves it to the usual back-off."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = as_text(reason)


class Undecodable(OrderError):
    """The bytes are not an order. Reasons start with `decode.`."""

    stage = "decode"
    position: Optional[int] = None
    """Offset of the first faulty byte within the value, if known."""


class UnknownSchema(Undecodable):
    """The writer schema is not known (yet). It may still be added, so the order is retried first."""

    retryable = True

    def __init__(
        self, message: str, reason: str = "decode.unknown_schema", after_s: Optional[float] = None
    ) -> None:
        super().__init__(message, reason)
        self.after_s = after_s


class InvalidOrder(OrderError):
    """Raised by rules: a field of the order breaks one. Reasons are `validate.` and the field's name."""

    stage = "validate"
    reason = "validate.order"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}", f"validate.{field}")


class RulesFailed(OrderError):
    """The rules themselves failed: they raised something else, or did not return None.

    That says nothing about the order. It is retried first: the next deployment may have corrected the rules.
    """

    stage = "validate"
    retryable = True

    def __init__(self, message: str) -> None:
        super().__init__(message, "validate.failed")


class RejectOrder(OrderError):
    """Raised by a handler: this order can never be processed; dead-letter it now."""

    reason = "process.rejected"

    def __init__(self, message: str = "rejected by the handler", reason: str = "process.rejected") -> None:
        super().__init__(message, reason)


class RetryLater(OrderError):
    """Raised by a handler: call again after `after` seconds or, if not given, after the usual back-off."""

    retryable = True
    reason = "process.retry_later"

    def __init__(self, message: str = "retry later", after: Optional[float] = None) -> None:
        super().__init__(message, "process.retry_later")
        self.after_s = None if after is None else float(after)


class NothingRan(OrderError):
    """The handler returned a promise of work (a coroutine, say) instead of doing it. Retrying cannot help."""

    reason = "process.not_run"

    def __init__(self, message: str) -> None:
        super().__init__(message, "process.not_run")


class UnusableResult(OrderError):
    """The handler's result can never be published."""

    stage = "publish"

    def __init__(self, message: str, reason: str = "publish.unencodable") -> None:
        super().__init__(message, reason)


class ResultTooLarge(UnusableResult):
    """The handler's result is too large for its topic."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "publish.too_large")


class TopicUnusable(OrderError):
    """A topic that the handler chose cannot take the result now. Somebody may create or change it."""

    stage = "publish"
    retryable = True

    def __init__(self, message: str, reason: str = "publish.unknown_topic") -> None:
        super().__init__(message, reason)


class RegistryUnavailable(Exception):
    """The schema registry does not answer properly: an outage on our side, never a fault of the order."""


class Cause(NamedTuple):
    """An error that another one began with."""

    error_class: str
    message: str


class Failure(NamedTuple):
    """What is kept of one failure: enough to decide on it, explain it and group by it."""

    reason: str
    stage: str
    error_class: str
    message: str
    retryable: bool
    after_s: Optional[float] = None
    stack: Optional[str] = None
    asked_for: bool = False
    """The handler asked to be called again later; nothing has failed."""
    frame: Optional[str] = None
    """Where it began: the innermost frame of the handler's own code, as `shop/prices.py:21 in total`."""
    causes: Tuple[Cause, ...] = ()
    """The innermost cause of `raise … from …`, or those of a group's members."""

    @property
    def cause(self) -> Optional[str]:
        """The causes as one text."""
        if not self.causes:
            return None
        return "; ".join(f"{kind}: {text}" if text else kind for kind, text in self.causes)


def describe(error: BaseException, with_stack: bool = False) -> Failure:
    """Summarise what the codec, the rules or the handler raised. Any other class is a retryable failure.

    Whatever is asked of the error may be the handler's own code, or a value of any type: it is checked here,
    so that a `Failure` is what it says.
    """
    stack = _stack(error) if with_stack else None
    name, message = class_name(error), as_text(error)
    if not is_a(error, OrderError):
        frame, causes = _origin(error)
        return Failure("process.failed", "process", name, message, True, None, stack, False, frame, causes)
    asked_for, stage, retryable = is_a(error, RetryLater), _stage(error), not is_permanent(error)
    failure = Failure(_reason(error), stage, name, message, retryable, _after_s(error), stack, asked_for)
    if failure.stage != "process":
        return failure
    frame, causes = _origin(error)
    return failure._replace(frame=frame, causes=causes)


def is_a(error: BaseException, kind: Type[BaseException]) -> bool:
    """What `isinstance` says, without asking the error itself: its `__class__` may raise, or lie."""
    return issubclass(type(error), kind)


def _told(error: BaseException, name: str) -> Any:
    """An attribute of the error; None where there is none, or where asking for it raises."""
    try:
        return getattr(error, name)
    except BaseException:  # noqa: BLE001 - a property is the handler's code
        return None


def _reason(error: BaseException) -> str:
    given = _told(error, "reason")
    return OrderError.reason if given is None else as_text(given)


def _stage(error: BaseException) -> str:
    given = _told(error, "stage")
    return given if type(given) is str and given in STAGES else OrderError.stage


def _after_s(error: BaseException) -> Optional[float]:
    """None where it names no number of seconds: then the usual back-off applies."""
    given = _told(error, "after_s")
    try:
        return None if given is None else min(max(0.0, float(given)), LONGEST_WAIT_S)
    except BaseException:  # noqa: BLE001 - `__float__` is the handler's code
        return None


def _origin(error: BaseException) -> Tuple[Optional[str], Tuple[Cause, ...]]:
    """The frame and the causes of an error."""
    roots = roots_of(error)
    frame = frame_of(error, roots)
    if roots[0] is error:
        return frame, ()
    return frame, tuple(Cause(class_name(root), as_text(root)[:MOST_OF_A_CAUSE]) for root in roots)


def is_permanent(error: BaseException) -> bool:
    """Whether retrying cannot help: true only of an `OrderError` that says so."""
    return is_a(error, OrderError) and _is_false(_told(error, "retryable"))


def _is_false(given: object) -> bool:
    try:
        return given is not None and not given
    except BaseException:  # noqa: BLE001 - `__bool__` is the handler's code
        return False


def text_of(error: BaseException) -> str:
    """An error's class and text in one line."""
    return f"{class_name(error)}: {as_text(error)}"


def as_text(given: object) -> str:
    """The text of something that a handler made: plain text, whatever its class makes of `str`."""
    try:
        return str.__str__(given if isinstance(given, str) else str(given))
    except BaseException as second:  # noqa: BLE001 - __str__ is the handler's code
        return f"(its text cannot be shown: {class_name(second)})"


def _stack(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException as second:  # noqa: BLE001 - a stack contains text and names from the handler
        return f"(its stack cannot be shown: {class_name(second)})"


def class_name(error: BaseException) -> str:
    """The class name an operator would search for: builtins bare, others with their module."""
    return class_name_of(type(error))


def class_name_of(kind: Type[Any]) -> str:
    """The same for a class."""
    try:
        module, name = kind.__module__, kind.__qualname__
        return f"{name}" if module == "builtins" else f"{module}.{name}"
    except BaseException:  # noqa: BLE001 - a metaclass is the handler's code
        return "(a class whose name cannot be told)"
