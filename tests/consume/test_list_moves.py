"""When the list of waiting orders moves between the commit metadata and a page."""

from typing import List

from orderflow.consume.ledger import Ledger
from orderflow.consume.pages import LedgerTopic, Pages
from orderflow.consume.partition import Partition
from orderflow.consume.statement import Statement
from orderflow.consume.world import World
from tests.support.memory import Stored

STEP = 50
MOST = 1_300
"""More heads than metadata has room for, and fewer than it is certain of without writing them out."""


def _partition(has_pages: bool = True, max_page_bytes: int = 1_000_000) -> Partition:
    topic = LedgerTopic("ledger", 1, max_page_bytes, "group")
    pages = Pages(topic, "orders", 0) if has_pages else None
    return Partition(0, Ledger(0, most_paged=topic.most_heads if has_pages else 0), end=0, pages=pages)


def _stated(partition: Partition) -> Statement:
    world = World(lambda: 50.0, lambda: 1_764_000_000.0, lambda: 0.5, lambda *_, **__: None)
    return partition.commit(world, clean=True, braked=False, reach=100)


def _is_on_page(partition: Partition) -> bool:
    return _stated(partition).page is not None


def _grow(partition: Partition, apart: int = 100) -> None:
    for offset in range(partition.ledger.next, partition.ledger.next + apart * STEP, apart):
        partition.ledger.wait(partition.ledger.admit(Stored(offset, b"ann"), offset, None, 1), 55.0)
        partition.ledger.advance_to(offset + apart)


def _shrink(partition: Partition, by: int = STEP) -> None:
    for offset in sorted(partition.ledger.heads)[:by]:
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


def test_more_orders_than_a_page_has_room_for_are_never_put_on_one() -> None:
    """Kafka would refuse the page for as long as they wait, and with it all that is settled.

    The metadata has room for more where they are close together; that fewer were too many says nothing then.
    """
    partition = _partition(max_page_bytes=20_000)
    while not _is_on_page(partition):
        _grow(partition, apart=20_000)
    _shrink(partition, by=len(partition.ledger.heads))
    while len(partition.ledger.heads) <= partition.ledger.most_paged:
        _grow(partition, apart=1)

    stated = _stated(partition)

    assert stated.page is None and stated.metadata
