"""The test kit: runs orders through the real engine without Kafka, and says what became of each.

`(fate,) = deliver(charge, [order])`, then `assert fate.dead_lettered == "process.rejected"`. Here are
deliveries (what a test calls) and memory (the topic and the session that it runs on).
"""

from orderflow.testing.deliveries import DeadLetter, Fate, Result, deliver

__all__ = ["DeadLetter", "Fate", "Result", "deliver"]
