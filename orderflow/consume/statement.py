"""What is committed for a partition: an offset, its metadata, and perhaps a page with the heads."""

from typing import NamedTuple, Optional, Tuple

from orderflow.consume.ledger import Ledger
from orderflow.consume.listing import as_text
from orderflow.model import commit_metadata
from orderflow.model.commit_metadata import Stand
from orderflow.model.records import Outgoing

SHORTEST_ENTRY = 3
"""Characters of the shortest metadata entry."""


class Statement(NamedTuple):
    """What to commit for a partition."""

    offset: int
    metadata: str
    page: Optional[Outgoing] = None
    """The page that the metadata names, to be sent with it; None if it names none, or one already there."""

    @property
    def place(self) -> Tuple[int, str]:
        """Offset and metadata."""
        return self.offset, self.metadata


class Form(NamedTuple):
    """The metadata in its first form."""

    text: str
    fits: bool
    """Whether the metadata has room for all heads, and can say everything about them, or all that counts
    where a page has no room for them."""
    is_too_long: bool = False
    """Whether it has no room for that many."""


def first_form(ledger: Ledger, stand: Stand, now_s: float) -> Form:
    """The metadata that lists all heads. `now_s`: the time that it tells, on the clock of the due times."""
    if ledger.most_paged and ledger.heads and len(ledger.heads) * SHORTEST_ENTRY > ledger.metadata_limit:
        return Form("", fits=False, is_too_long=True)
    if not ledger.most_paged and ledger.lists_too_much:
        # The broker takes less than we thought, and what was restored fitted without these.
        stand = stand._replace(braked=False, alone=None, reach=None, topic_id=None, owner=None)
    listed = as_text(ledger.heads, stand.base, now_s, stand.written_at_s)
    text = commit_metadata.first_form(stand, listed.text)
    says_all = listed.counts_all and (listed.is_enough or len(ledger.heads) > ledger.most_paged)
    is_too_long = len(text) > ledger.metadata_limit
    return Form(text, says_all and not is_too_long, is_too_long)
