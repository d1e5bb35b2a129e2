"""The errors an order can fail with, and the summary that is kept of each failure."""

import traceback
from typing import Any, NamedTuple, Optional, Tuple, Type

from orderflow.frames import frame_of, roots_of

MOST_OF_A_CAUSE = 1000
"""Characters kept of the message of a cause."""


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
        self.reason = str(reason)


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
    """Summarise what the codec, the rules or the handler raised. Any other class is a retryable failure."""
    stack = _stack(error) if with_stack else None
    name, message = class_name(error), _text(error)
    if not isinstance(error, OrderError):
        frame, causes = _origin(error)
        return Failure("process.failed", "process", name, message, True, None, stack, False, frame, causes)
    asked_for, after_s = isinstance(error, RetryLater), error.after_s
    failure = Failure(error.reason, error.stage, name, message, error.retryable, after_s, stack, asked_for)
    if failure.stage != "process":
        return failure
    frame, causes = _origin(error)
    return failure._replace(frame=frame, causes=causes)


def _origin(error: BaseException) -> Tuple[Optional[str], Tuple[Cause, ...]]:
    """The frame and the causes of an error."""
    roots = roots_of(error)
    frame = frame_of(error, roots)
    if roots[0] is error:
        return frame, ()
    return frame, tuple(Cause(class_name(root), _text(root)[:MOST_OF_A_CAUSE]) for root in roots)


def is_permanent(error: BaseException) -> bool:
    """Whether retrying cannot help: true only of an `OrderError` that says so."""
    return isinstance(error, OrderError) and not error.retryable


def text_of(error: BaseException) -> str:
    """An error's class and text in one line."""
    return f"{class_name(error)}: {_text(error)}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 - __str__ is the handler's code too
        return f"(its text cannot be shown: {class_name(second)})"


def _stack(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as second:  # noqa: BLE001 - a stack contains text and names from the handler
        return f"(its stack cannot be shown: {class_name(second)})"


def class_name(error: BaseException) -> str:
    """The class name an operator would search for: builtins bare, others with their module."""
    return class_name_of(type(error))


def class_name_of(kind: Type[Any]) -> str:
    """The same for a class."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
