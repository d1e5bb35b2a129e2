"""The records to publish: orders from a file or made up, encoded, with broken ones mixed in."""

import random
from typing import Any, Dict, Iterable, Iterator, Optional, Tuple, Union

from orderflow.avro.codec import OrderDecoder, OrderEncoder, Unencodable
from orderflow.exits import CommandError
from orderflow.produce.fake_orders import now_ms, steady_clock_ms
from orderflow.produce.made_up import made_up_orders
from orderflow.produce.order_file import BadLine, Item, OrderFile
from orderflow.produce.record_key import KeyOf
from orderflow.produce.spoiler import Spoiler, defects_for

Order = Dict[str, Any]
KeyAndValue = Tuple[Optional[bytes], Optional[bytes]]
"""A record's key and value, as they are sent."""


class Wire:
    """How orders become records and back: their bytes and their key."""

    def __init__(
        self, encoder: OrderEncoder, decoder: OrderDecoder, key_of: KeyOf, own_rules: bool = False
    ) -> None:
        self.schema = encoder.schema
        self.encode = encoder.encode
        self.decode = decoder.decode
        self.key_of = key_of
        self.defects = defects_for(encoder.schema, own_rules)
        """The ways in which an order can be broken. With rules of one's own, only its bytes can be."""


class RecordSource:
    """The records to publish. Iterate once.

    Yields key and value; a BadLine for input that is not an order; None if nothing arrived for a moment.
    `invalid` is the share, 0 to 1, of records broken on purpose; `seed` makes everything random reproducible.
    """

    def __init__(self, wire: Wire, file: Optional[OrderFile], invalid: float, seed: Optional[int]) -> None:
        self.file = file
        """The input file; None if orders are made up."""
        self._wire = wire
        self._inserted = False
        self._share = invalid
        self._random = random.Random(seed)
        self._spoiler = Spoiler(wire.encode, self._random, wire.schema, wire.defects)
        self._orders: Iterable[Item] = self._made_up(seed is not None) if file is None else file

    @property
    def fraction(self) -> Optional[float]:
        """How much of the input has been read, 0 to 1; None if not known."""
        return None if self.file is None else self.file.fraction

    @property
    def line(self) -> int:
        """The first line of the record yielded last; 0 if there is no file."""
        return 0 if self.file is None else self.file.line

    def resume_from(self, handed_over: bool, first_lost: Optional[int] = None) -> Optional[str]:
        """`file:line` of the first order not sent yet, or lost; None if there is no file."""
        if self.file is None:
            return None
        if first_lost is not None:
            return f"{self.file.name}:{first_lost}"
        done = handed_over and not self._inserted
        return self.file.next_position if done else self.file.position

    @property
    def spoiled(self) -> int:
        """Records broken on purpose so far."""
        return self._spoiler.made

    def __iter__(self) -> Iterator[Union[KeyAndValue, BadLine, None]]:
        encode, key_of = self._wire.encode, self._wire.key_of
        for item in self._orders:
            if not isinstance(item, dict):
                yield item
                continue
            if self._share:
                yield from self._broken(item)
            try:
                value = encode(item)
            except Unencodable as error:
                yield self._misfit(error)
                continue
            yield key_of(item), value

    def _broken(self, order: Order) -> Iterator[KeyAndValue]:
        """The broken records to send before this order, so that their share is met."""
        self._inserted = True
        while self._random.random() < self._share:
            meant, value = self._spoiler.spoil(order)
            yield self._wire.key_of(meant), value
        self._inserted = False

    def _misfit(self, error: Unencodable) -> BadLine:
        if self.file is None:
            raise CommandError(f"made-up orders do not fit the order schema: {error}; use --input")
        return BadLine(self.file.position, str(error))

    def _made_up(self, reproducible: bool) -> Iterable[Order]:
        clock_ms = steady_clock_ms() if reproducible else now_ms
        return made_up_orders(self._wire.schema, self._random, clock_ms)
