"""When the list of waiting orders moves between the commit metadata and a page."""

from typing import List

from orderflow.consume.ledger import Ledger
from orderflow.consume.pages import LedgerTopic, Pages
from orderflow.consume.partition import Partition
from orderflow.consume.world import World
from tests.support.memory import Stored

STEP = 50
MOST = 1_300
"""More heads than metadata has room for, and fewer than it is certain of without writing them out."""


def _partition(has_pages: bool = True) -> Partition:
    topic = LedgerTopic("ledger", 1, 1_000_000, "group")
    pages = Pages(topic, "orders", 0) if has_pages else None
    return Partition(0, Ledger(0, most_paged=topic.most_heads if has_pages else 0), end=0, pages=pages)


def _is_on_page(partition: Partition) -> bool:
    world = World(lambda: 50.0, lambda: 1_764_000_000.0, lambda: 0.5, lambda *_, **__: None)
    return partition.commit(world, clean=True, braked=False, reach=100).page is not None


def _grow(partition: Partition) -> None:
    for offset in range(partition.ledger.next, partition.ledger.next + 100 * STEP, 100):
        partition.ledger.wait(partition.ledger.admit(Stored(offset, b"ann"), offset, None, 1), 55.0)
        partition.ledger.advance_to(offset + 100)


def _shrink(partition: Partition) -> None:
    for offset in sorted(partition.ledger.heads)[:STEP]:
        partition.ledger.finish(partition.ledger.heads[offset])


def test_a_list_is_on_a_page_only_while_the_metadata_has_no_room_for_it() -> None:
    """Also after it was too long once: then longer ones are not even tried, and shorter ones fit again."""
    partition = _partition()
    grows: List[bool] = []
    for _ in range(MOST // STEP):
        _grow(partition)
        grows.append(_is_on_page(partition))
    shrinks: List[bool] = [_is_on_page(partition)]
    while len(partition.ledger.heads) > STEP:
        _shrink(partition)
        shrinks.append(_is_on_page(partition))

    assert grows == sorted(grows)
    assert 640 <= grows.index(True) * STEP, "what docs/architecture.md promises to fit"
    assert shrinks == grows[::-1]


def test_without_pages_the_metadata_lists_what_it_can() -> None:
    """However long that is: whoever writes it has seen to it that no more wait than have room."""
    partition = _partition(has_pages=False)
    _grow(partition)

    assert not _is_on_page(partition)
