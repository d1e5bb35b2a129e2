"""An order pipeline on Kafka that neither loses nor doubles an order.

Handlers import what they raise from here; everything else is in the modules.
"""

from orderflow.errors import RejectOrder, RetryLater

__all__ = ["RejectOrder", "RetryLater"]
