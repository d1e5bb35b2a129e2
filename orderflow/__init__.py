"""An order pipeline on Kafka that neither loses nor doubles an order.

Handlers import what they raise and return from here; everything else is in the modules.
"""

from orderflow.errors import RejectOrder, RetryLater
from orderflow.publish import Publish

__all__ = ["Publish", "RejectOrder", "RetryLater"]
