"""Why an order could not be processed: one family of errors, and the facts kept of each.

Owns: the exceptions that stand for a fault of an order, and `Failure`, their summary.
Does not know: what is done about a failure (retry.py) or how it is written (dead_letter.py).
Used by: codec, orders, schemas, retry, dead_letters, processor, and every handler.
"""

import traceback
from typing import Any, NamedTuple, Optional, Type


class OrderError(Exception):
    """A fault of one order, with a stable reason code that nobody has to guess from text."""

    stage = "process"
    retryable = False
    reason = "process.failed"
    """Where a handler's own subclass does not call this constructor, its class decides."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = str(reason)


class Undecodable(OrderError):
    """The bytes are not an order. Reasons start with `decode.`."""

    stage = "decode"
    position: Optional[int] = None
    """Offset of the first faulty byte within the value, where it is known."""


class UnknownSchema(Undecodable):
    """The writer schema is not known (yet): a registry may learn it, so it is retried first."""

    retryable = True

    def __init__(self, message: str, reason: str = "decode.unknown_schema") -> None:
        super().__init__(message, reason)


class InvalidOrder(OrderError):
    """The order breaks a rule. Reasons start with `validate.`, then the field's name."""

    stage = "validate"


class RejectOrder(OrderError):
    """Raised by a handler: this order can never be processed, so dead-letter it now."""

    reason = "process.rejected"

    def __init__(self, message: str = "rejected by the handler", reason: str = "process.rejected") -> None:
        super().__init__(message, reason)


class RetryLater(OrderError):
    """Raised by a handler: call again, after `after` seconds if given, else by the back-off."""

    retryable = True
    reason = "process.retry_later"
    after_s: Optional[float] = None

    def __init__(self, message: str = "retry later", after: Optional[float] = None) -> None:
        super().__init__(message, "process.retry_later")
        self.after_s = None if after is None else float(after)


class NothingRan(OrderError):
    """The handler handed back a promise of work, not work that is done. It does so at every call."""

    reason = "process.not_run"

    def __init__(self, message: str) -> None:
        super().__init__(message, "process.not_run")


class UnusableResult(OrderError):
    """What the handler returned cannot be published, now or ever."""

    stage = "publish"

    def __init__(self, message: str, reason: str = "publish.unencodable") -> None:
        super().__init__(message, reason)


class ResultTooLarge(UnusableResult):
    """What the handler returned does not fit into its topic."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "publish.too_large")


class RegistryUnavailable(Exception):
    """The schema registry does not answer properly. An outage of ours, never a fault of the order."""


class Failure(NamedTuple):
    """What is kept of one failure: enough to decide, to explain and to group by."""

    reason: str
    stage: str
    error_class: str
    message: str
    retryable: bool
    after_s: Optional[float] = None
    stack: Optional[str] = None
    asked_for: bool = False
    """The handler asked to be called later; nothing has failed."""


def describe(error: BaseException, with_stack: bool = False) -> Failure:
    """Summarise what codec, rules or handler raised. An unknown class is a retryable handler failure."""
    stack = _stack(error) if with_stack else None
    name, message = class_name(error), _text(error)
    if not isinstance(error, OrderError):
        return Failure("process.failed", "process", name, message, True, None, stack)
    if isinstance(error, RetryLater):
        return Failure(error.reason, error.stage, name, message, error.retryable, error.after_s, stack, True)
    return Failure(error.reason, error.stage, name, message, error.retryable, None, stack)


def is_permanent(error: BaseException) -> bool:
    """Whether calling again cannot help: true only of an `OrderError` that says so."""
    return isinstance(error, OrderError) and not error.retryable


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 - the text is the handler's code too
        return f"(its text cannot be shown: {class_name(second)})"


def _stack(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as second:  # noqa: BLE001 - it is made of texts and names of the handler's
        return f"(its stack cannot be shown: {class_name(second)})"


def class_name(error: BaseException) -> str:
    """The class as an operator searches for it: builtins bare, others with their module."""
    return class_name_of(type(error))


def class_name_of(kind: Type[Any]) -> str:
    """Any class in the same form."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
