"""An order pipeline on Kafka that neither loses nor doubles an order.

Handlers and rules import what they raise and return from here; everything else is in the modules.
"""

from typing import TYPE_CHECKING, Any

from orderflow.errors import InvalidOrder, RejectOrder, RetryLater
from orderflow.publish import Publish

if TYPE_CHECKING:
    from orderflow.consume.handler import Delivery

__all__ = ["Delivery", "InvalidOrder", "Publish", "RejectOrder", "RetryLater"]


def __getattr__(name: str) -> Any:
    """`Delivery`, only if asked for: handlers name it in annotations, which need not be evaluated."""
    if name != "Delivery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orderflow.consume.handler import Delivery

    return Delivery
