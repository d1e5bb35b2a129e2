"""Checks whether a consumer without partitions was simply assigned none, or is out of its group."""

from typing import Any, Callable

from orderflow.consume.settlement import SessionLost
from orderflow.kafka.standing import Standing

FIRST_ASK_S = 5.0
"""By then a group has usually assigned its partitions, and a consumer to spare can say that it is one."""
ASK_EVERY_S = 30.0
"""By then a group has long assigned its partitions."""
OUT_S = 45.0
"""Two checks without a change: the client will not notice by itself."""


class Membership:
    """Checks on a member without partitions."""

    def __init__(
        self, clock: Callable[[], float], ask: Callable[[], Standing], report: Callable[..., Any]
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._report = report
        self._since_s = clock()
        self._ask_at_s = self._since_s + FIRST_ASK_S
        self._told = ""
        """Why it has no partitions, as reported last."""

    def look(self, is_at_work: bool, last_word: str) -> None:
        """`is_at_work`: it has partitions, or Kafka or the topic is lost, which is handled elsewhere.

        Raises SessionLost if the group is stable without us and our client does not notice.
        """
        if is_at_work:
            self._told = ""
            return self._begin(FIRST_ASK_S)
        if self._clock() < self._ask_at_s:
            return None
        standing = self._ask()
        if standing.is_idle:
            self._tell(standing.detail)
            return self._begin(ASK_EVERY_S)
        is_first = self._clock() < self._since_s + ASK_EVERY_S
        self._ask_at_s = (self._since_s if is_first else self._clock()) + ASK_EVERY_S
        return None if is_first else self._is_out(standing, last_word)

    def _begin(self, ask_in_s: float) -> None:
        self._since_s = self._clock()
        self._ask_at_s = self._since_s + ask_in_s

    def _tell(self, detail: str) -> None:
        """Once, and again when the numbers change."""
        if detail != self._told:
            self._told = detail
            self._report("stands_by", detail=detail)

    def _is_out(self, standing: Standing, last_word: str) -> None:
        for_s = self._clock() - self._since_s
        detail = standing.detail + (f"; the client's last word: {last_word}" if last_word else "")
        self._report("out_of_group", for_s=for_s, detail=detail)
        if standing.is_settled and for_s > OUT_S:
            raise SessionLost(
                f"the group has not admitted this consumer for {for_s:.0f} s: {detail}. Nothing is lost: "
                "restart the consumer"
            )
