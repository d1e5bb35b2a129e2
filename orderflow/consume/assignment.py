"""The assigned partitions that are ready, and why some of them are paused."""

from typing import Dict, Optional, Set, Tuple

from confluent_kafka import KafkaException

from orderflow.consume.admission import Admission
from orderflow.consume.outage_brake import OutageBrake
from orderflow.consume.pace import Pace
from orderflow.consume.partition import Partition
from orderflow.consume.restoring import BOUNDS_TIMEOUT_S, Restoration
from orderflow.consume.session import Session
from orderflow.consume.statement import Statement
from orderflow.consume.world import World


class Assignment:
    """Follows the group's assignment."""

    def __init__(
        self, session: Session, restoration: Restoration, brake: OutageBrake, pace: Pace, world: World
    ) -> None:
        self.ready: Dict[int, Partition] = {}
        self.admission = Admission()
        """How far each ready partition has been delivered."""
        self.busy = restoration.busy
        self._session = session
        self._restoration = restoration
        self._brake = brake
        self._pace = pace
        self._world = world

    @property
    def is_settled(self) -> bool:
        """True when every assigned partition is ready."""
        return len(self.ready) == len(self._session.assigned)

    @property
    def reads_back(self) -> bool:
        """True while waiting orders are being read back; polling need not wait meanwhile."""
        return self._restoration.reads_back

    def coming(self) -> Dict[int, Optional[int]]:
        """The assigned partitions that are not ready yet, and the offset to continue at if it is known."""
        known = self._restoration.coming()
        return {number: known.get(number) for number in self._session.assigned - set(self.ready)}

    # --- coming and going ------------------------------------------------------------------------

    def refresh(self, not_yet: Set[int]) -> None:
        """Advance the restoring of new partitions. Those in `not_yet` still have earlier calls running."""
        if self.is_settled:
            return
        missing = self._session.assigned - set(self.ready) - not_yet
        for partition in self._restoration.advance(missing):
            self.ready[partition.number] = partition
            self.admission.begin(partition.number, partition.ledger.next)

    def drop(self, numbers: Set[int]) -> None:
        """Forget these partitions' state. Those still assigned are restored from their committed offsets."""
        self._restoration.cancel(numbers)
        for number in numbers:
            self.admission.forget(number)
            partition = self.ready.pop(number, None)
            if partition is not None:
                partition.ledger.release()

    def commit_of(self, partition: Partition) -> Statement:
        """What to commit for a partition whose ledger has changed."""
        braked = self._brake.holds(partition.number)
        return partition.commit(self._world, False, braked, self._pace.reach)

    def commit_again_of(self, partition: Partition, clean: bool) -> Statement:
        """What to commit for a partition whose ledger is settled, with another mark."""
        braked = self._brake.holds(partition.number)
        return partition.commit_again(self._world, clean, braked, self._pace.reach)

    def list_anew(self, partitions: int) -> None:
        """The ledger topic was created anew, with so many partitions: write again what waits."""
        self._restoration.list_anew(partitions)
        for partition in self.ready.values():
            partition.list_anew(partitions)

    def bounds(self, number: int) -> Optional[Tuple[int, int]]:
        """The log's current start and end offsets, or None if Kafka does not answer."""
        try:
            return self._session.bounds(number, BOUNDS_TIMEOUT_S)
        except KafkaException:
            return None

    def lower_metadata_limit(self) -> bool:
        """The broker accepts less than assumed: use a quarter less. False if not even a page's name fits."""
        return self._restoration.lower_metadata_limit(self.ready)

    # --- holding ---------------------------------------------------------------------------------

    def hold(self, partition: Partition, why: str, until_s: Optional[float] = None) -> None:
        """Pause this partition until `until_s`, or until it is released."""
        if not partition.holds:
            self._session.pause([partition.number])
        partition.holds[why] = until_s

    def hold_all(self, why: str) -> None:
        """Pause every partition for this reason."""
        for partition in self.ready.values():
            self.hold(partition, why)

    def release(self, partition: Partition, why: str) -> None:
        """Drop one reason to pause. After the last one, resume at an explicit offset.

        The client's own position can be stale after a pause, and it then repeats records (seen).
        """
        if why not in partition.holds:
            return
        if len(partition.holds) == 1 and not self._go_on(partition.number):
            partition.holds[why] = self._world.clock()
            return
        del partition.holds[why]

    def release_all(self, why: str) -> None:
        """Drop this reason for every partition."""
        for partition in self.ready.values():
            self.release(partition, why)

    def _go_on(self, number: int) -> bool:
        offset = self.admission.expected(number)
        try:
            self._session.resume_at(number, offset)
        except KafkaException:  # the assignment is still changing: try again next time
            self._session.pause([number])
            return False
        self.admission.go_back(number, offset)
        return True

    def hold_if(self, partition: Partition, why: str, wanted: bool) -> None:
        """Hold or release the partition for this reason, as wanted."""
        if wanted and why not in partition.holds:
            self.hold(partition, why)
        elif not wanted:
            self.release(partition, why)

    def release_expired(self) -> None:
        """Release holds whose time is up."""
        now_s = self._world.clock()
        for partition in self.ready.values():
            for why, until_s in list(partition.holds.items()):
                if until_s is not None and until_s <= now_s:
                    self.release(partition, why)
