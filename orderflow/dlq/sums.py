"""Sums over orders, as `price * quantity`, and who they belong to. Money is added in decimal, exactly."""

from decimal import Decimal
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Hashable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from orderflow.dlq.letter import Letter
from orderflow.dlq.masking import NOTHING_HIDDEN, Mask
from orderflow.dlq.selection import SelectionError, names_in
from orderflow.dlq.where import conditions
from orderflow.dlq.where.calculating import EXACT
from orderflow.dlq.where.comparing import kind_of
from orderflow.dlq.where.terms import Lookup, WhereError

MOST_OWNERS = 50_000
"""Customers, or whatever is asked for, that are told apart; the smaller half is then counted together."""
ZERO = Decimal(0)
T = TypeVar("T")


class Amount(NamedTuple):
    """What one order adds, or why it adds nothing."""

    value: Optional[Decimal]
    decoded: bool = True


class Sum:
    """Orders counted and added up, with those that could not be added."""

    __slots__ = ("count", "no_number", "total", "undecodable")

    def __init__(self) -> None:
        self.count = 0
        """All of them, added or not."""
        self.total = ZERO
        self.undecodable = 0
        self.no_number = 0

    def add(self, amount: Amount) -> None:
        """Count one order."""
        self.count += 1
        if amount.value is not None:
            self.total = EXACT.add(self.total, amount.value)
        elif amount.decoded:
            self.no_number += 1
        else:
            self.undecodable += 1

    def take(self, other: "Sum") -> None:
        """Count all of another one as part of this one."""
        self.count += other.count
        self.total = EXACT.add(self.total, other.total)
        self.undecodable += other.undecodable
        self.no_number += other.no_number

    @property
    def left_out(self) -> int:
        """Orders that are counted, but not in the total."""
        return self.undecodable + self.no_number


class Wanted(NamedTuple):
    """What to add up and whom by, as it was typed."""

    sum: Optional[str] = None
    by: Optional[str] = None


class Owners(NamedTuple):
    """Whose orders they are: the largest, and all others together."""

    first: List[Tuple[Any, Sum]]
    others: Optional[Sum]
    number_of_others: int
    is_complete: bool
    """Whether all were told apart; otherwise early ones of the small may be missing in what they are."""


class Sums:
    """Adds up what was asked for, over all dead letters that it is given."""

    def __init__(self, wanted: Wanted, order_fields: Sequence[str], mask: Mask = NOTHING_HIDDEN) -> None:
        """`mask`: of messages and headers by which orders are told apart, hidden values are left out."""
        names, lookup_in = names_in(order_fields)
        self.wanted = wanted
        self._names = names
        self._mask = mask
        self.all = Sum()
        self._owners: Dict[Any, Tuple[Any, Sum]] = {}
        """By what tells them apart: the owner as he is shown, and his orders."""
        self._folded: Optional[Sum] = None
        self._folded_number = 0
        self._amount = _read("--sum", wanted.sum, names, conditions.expression)
        self._by = _read("--by", wanted.by, names, conditions.name)
        used = frozenset().union(*(self.names_in(text) for text in wanted))
        self._lookup_in = _in_the_order if used <= frozenset(order_fields) else lookup_in

    @property
    def asked(self) -> bool:
        """Whether anything is to be added up at all."""
        return self.wanted != Wanted()

    def names_in(self, text: Optional[str]) -> FrozenSet[str]:
        """The names that are used in one of the expressions."""
        return frozenset() if text is None else conditions.names_used(text, self._names)

    def add(self, letter: Letter) -> Amount:
        """Count one, and what it adds."""
        letter = self._mask.letter(letter)
        lookup = self._lookup_in(letter)
        amount = self._amount_of(letter, lookup)
        self.all.add(amount)
        if self._by is not None:
            self._of_owner(self._by(lookup)).add(amount)
        return amount

    def add_all(self, letters: Sequence[Letter]) -> None:
        """Count all of these, if anything is to be added up."""
        if self.asked:
            for letter in letters:
                self.add(letter)

    def owners(self, most: int) -> Owners:
        """The largest by sum where there is one, else by count."""
        ranked = self._ranked()
        others = [one for _, one in ranked[most:]] + ([self._folded] if self._folded else [])
        rest = Sum()
        for one in others:
            rest.take(one)
        number = max(0, len(ranked) - most) + self._folded_number
        return Owners(ranked[:most], rest if number else None, number, self._folded is None)

    def _amount_of(self, letter: Letter, lookup: Lookup) -> Amount:
        if self._amount is None:
            return NOTHING
        value = self._amount(lookup)
        if value is None:
            return UNDECODABLE if letter.order is None else NOT_A_NUMBER
        return Amount(value)

    def _of_owner(self, owner: Any) -> Sum:
        identity = _identity(owner)
        if identity not in self._owners:
            if len(self._owners) >= MOST_OWNERS:
                self._fold()
            self._owners[identity] = owner, Sum()
        return self._owners[identity][1]

    def _ranked(self) -> List[Tuple[Any, Sum]]:
        return sorted(self._owners.values(), key=_rank)

    def _fold(self) -> None:
        ranked = self._ranked()
        kept = len(ranked) // 2
        self._folded = self._folded or Sum()
        for _, one in ranked[kept:]:
            self._folded.take(one)
        self._folded_number += len(ranked) - kept
        self._owners = {_identity(owner): (owner, one) for owner, one in ranked[:kept]}


def _in_the_order(letter: Letter) -> Lookup:
    """The short way, where nothing but fields of the order is asked for."""
    order = letter.order
    return _nothing if order is None else order.get


def _nothing(name: str) -> None:
    return None


NOTHING, NOT_A_NUMBER, UNDECODABLE = Amount(ZERO), Amount(None), Amount(None, decoded=False)


def _rank(owner: Tuple[Any, Sum]) -> Tuple[Decimal, int, str]:
    return owner[1].total.copy_negate(), -owner[1].count, str(owner[0])


def _identity(value: Any) -> Tuple[str, Any]:
    """What tells a value apart from others, as in `--where`: to Python, true is 1, and no NaN is another."""
    is_itself = isinstance(value, Hashable) and value == value
    return kind_of(value), value if is_itself else str(value)


def _read(
    flag: str, text: Optional[str], names: Sequence[str], read: Callable[[str, Sequence[str]], T]
) -> Optional[T]:
    if text is None:
        return None
    try:
        return read(text, names)
    except WhereError as error:
        raise SelectionError(f"{flag} {text!r}: {error}") from None
