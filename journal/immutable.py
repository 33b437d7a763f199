"""Collections for frozen states, which can grow without being copied at each change.

`ImmutableMap` is a mapping, `EntryQueue` a queue of entry numbers, `Backlog` an ordered set of
entry numbers with an owner each. All share structure between versions; each has one canonical plain
form (a dict, a list, a dict of lists), so that equal states encode to equal bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, overload

import msgspec
from rpds import HashTrieMap

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

CHUNK_NUMBERS = 128  # one append copies at most this many references
BLOCK_NUMBERS: Final = 1024  # entry numbers in a block: a change copies at most 10 KiB, usually 2
_EntryNumber = Annotated[int, msgspec.Meta(ge=0)]
_RECORD: Final = Struct("<HQ")  # a number's place in its block, and the first number of its owner


class ImmutableMap(Mapping[K, V]):
    """A persistent mapping; each change returns a new map in O(log n)."""

    __slots__ = ("_map",)

    def __init__(self, items: Any = None) -> None:
        self._map = items if isinstance(items, HashTrieMap) else HashTrieMap(items or {})

    def with_item(self, key: K, value: V) -> ImmutableMap[K, V]:
        return ImmutableMap(self._map.insert(key, value))

    def without_key(self, key: K) -> ImmutableMap[K, V]:
        """The map without `key`; unchanged if it does not contain it."""
        return ImmutableMap(self._map.remove(key)) if key in self._map else self

    def __getitem__(self, key: K) -> V:
        value: V = self._map[key]
        return value

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        """As `Mapping.get`, without raising and catching KeyError."""
        return self._map.get(key, default)

    def __iter__(self) -> Iterator[K]:
        return iter(self._map)

    def __contains__(self, key: object) -> bool:
        return key in self._map

    def __len__(self) -> int:
        return len(self._map)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImmutableMap) and self._map == other._map

    def __hash__(self) -> int:
        return hash(self._map)

    def __repr__(self) -> str:
        return f"ImmutableMap({dict(self)!r})"


class EntryQueue:
    """A persistent queue of entry numbers: in at the end, out anywhere, usually at the front.

    Kept in chunks, so that with a month of waiting calls a change copies a few references and not
    the whole queue.
    """

    __slots__ = ("_chunks", "_length")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        queue = tuple(numbers)
        self._chunks = tuple(
            queue[at : at + CHUNK_NUMBERS] for at in range(0, len(queue), CHUNK_NUMBERS)
        )
        self._length = len(queue)

    @classmethod
    def _from_chunks(cls, chunks: tuple[tuple[int, ...], ...], length: int) -> EntryQueue:
        queue = cls.__new__(cls)
        queue._chunks, queue._length = chunks, length
        return queue

    def with_number(self, number: int) -> EntryQueue:
        chunks = self._chunks
        if chunks and len(chunks[-1]) < CHUNK_NUMBERS:
            grown = (*chunks[:-1], (*chunks[-1], number))
        else:
            grown = (*chunks, (number,))
        return EntryQueue._from_chunks(grown, self._length + 1)

    def without_number(self, number: int) -> EntryQueue:
        """The queue without `number`; unchanged if it does not contain it."""
        for place, chunk in enumerate(self._chunks):
            if number in chunk:
                rest = tuple(other for other in chunk if other != number)
                kept = (rest,) if rest else ()
                chunks = (*self._chunks[:place], *kept, *self._chunks[place + 1 :])
                return EntryQueue._from_chunks(chunks, self._length - 1)
        return self

    @property
    def head(self) -> int | None:
        return self._chunks[0][0] if self._chunks else None

    def __iter__(self) -> Iterator[int]:
        for chunk in self._chunks:
            yield from chunk

    def __contains__(self, number: object) -> bool:
        return any(number in chunk for chunk in self._chunks)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntryQueue) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"EntryQueue({list(self)!r})"


class Backlog:
    """A persistent set of entry numbers, ascending, each with the name of its owner.

    Ten bytes a number, because a month of them must fit: blocks of `BLOCK_NUMBERS` numbers hold the
    place and, instead of the name, the first number of its owner. A change costs O(log n).

    Attributes:
        head: the lowest number; None if there is none.
    """

    __slots__ = ("_blocks", "_length", "_names", "_owners", "head")

    def __init__(self, numbers: Mapping[str, Iterable[int]] | None = None) -> None:
        """Take numbers by the names of their owners, those of each owner ascending."""
        blocks: dict[int, bytearray] = {}
        owners: dict[str, tuple[int, int]] = {}
        for owner, owned in (numbers or {}).items():
            first, count = 0, 0
            for number in owned:
                first, count = first or number, count + 1
                block, place = divmod(number, BLOCK_NUMBERS)
                blocks.setdefault(block, bytearray()).extend(_RECORD.pack(place, first))
            owners[owner] = first, count
        self._blocks: HashTrieMap[int, bytes] = HashTrieMap(
            {block: _sort_records(records) for block, records in blocks.items()}
        )
        self._owners: HashTrieMap[str, tuple[int, int]] = HashTrieMap(owners)  # first number, count
        self._names = HashTrieMap({first: owner for owner, (first, _) in owners.items()})
        self._length = sum(count for _, count in owners.values())
        self.head: int | None = _lowest_number(self._blocks, 0)

    def with_number(self, number: int, owner: str) -> Backlog:
        """The backlog with one more number; unchanged if it contains it."""
        block, place = divmod(number, BLOCK_NUMBERS)
        records = self._blocks.get(block, b"")
        at = _find_position(records, place)
        if _has_place_at(records, at, place):
            return self
        first, count = self._owners.get(owner, (number, 0))
        records = records[:at] + _RECORD.pack(place, first) + records[at:]
        return Backlog._from_parts(
            self._blocks.insert(block, records),
            self._owners.insert(owner, (first, count + 1)),
            self._names if count else self._names.insert(first, owner),
            self._length + 1,
            number if self.head is None else min(number, self.head),
        )

    def without_number(self, number: int) -> Backlog:
        """The backlog without the number; unchanged if it does not contain it."""
        block, place = divmod(number, BLOCK_NUMBERS)
        records = self._blocks.get(block, b"")
        at = _find_position(records, place)
        if not _has_place_at(records, at, place):
            return self
        if self._length == 1:
            return _EMPTY_BACKLOG
        _, first = _RECORD.unpack_from(records, at)
        rest = records[:at] + records[at + _RECORD.size :]
        blocks = self._blocks.insert(block, rest) if rest else self._blocks.remove(block)
        owner = self._names[first]
        _, count = self._owners[owner]
        last = count == 1
        return Backlog._from_parts(
            blocks,
            self._owners.remove(owner) if last else self._owners.insert(owner, (first, count - 1)),
            self._names.remove(first) if last else self._names,
            self._length - 1,
            _lowest_number(blocks, block) if number == self.head else self.head,
        )

    @classmethod
    def _from_parts(
        cls,
        blocks: HashTrieMap[int, bytes],
        owners: HashTrieMap[str, tuple[int, int]],
        names: HashTrieMap[int, str],
        length: int,
        head: int | None,
    ) -> Backlog:
        backlog = cls.__new__(cls)
        backlog._blocks, backlog._owners, backlog._names = blocks, owners, names
        backlog._length, backlog.head = length, head
        return backlog

    def owner_of(self, number: int) -> str | None:
        """The owner of a number; None if the backlog does not contain it."""
        block, place = divmod(number, BLOCK_NUMBERS)
        records = self._blocks.get(block, b"")
        at = _find_position(records, place)
        if not _has_place_at(records, at, place):
            return None
        name: str = self._names[_RECORD.unpack_from(records, at)[1]]
        return name

    def has_owner(self, owner: str) -> bool:
        """Whether any number belongs to `owner`."""
        return owner in self._owners

    def numbers_by_owner(self) -> dict[str, array[int]]:
        """All numbers by their owners, those of each owner ascending."""
        by_first: dict[int, array[int]] = {first: array("Q") for first in self._names}
        for block in sorted(self._blocks):
            for place, first in _RECORD.iter_unpack(self._blocks[block]):
                by_first[first].append(block * BLOCK_NUMBERS + place)
        return {self._names[first]: numbers for first, numbers in by_first.items()}

    def __iter__(self) -> Iterator[int]:
        for block in sorted(self._blocks):
            for place, _ in _RECORD.iter_unpack(self._blocks[block]):
                yield block * BLOCK_NUMBERS + place

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        block, place = divmod(number, BLOCK_NUMBERS)
        records = self._blocks.get(block, b"")
        return _has_place_at(records, _find_position(records, place), place)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backlog) and self.numbers_by_owner() == other.numbers_by_owner()

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        numbers = {owner: list(owned) for owner, owned in self.numbers_by_owner().items()}
        return f"Backlog({numbers!r})"


def _find_position(records: bytes, place: int) -> int:
    """Offset of the record of a place, or of its insertion: usually the end or the beginning."""
    size = len(records)
    if not size or _RECORD.unpack_from(records, size - _RECORD.size)[0] < place:
        return size
    if _RECORD.unpack_from(records)[0] >= place:
        return 0
    return _RECORD.size * bisect_left(
        range(size // _RECORD.size),
        place,
        key=lambda index: _RECORD.unpack_from(records, index * _RECORD.size)[0],
    )


def _has_place_at(records: bytes, at: int, place: int) -> bool:
    return at < len(records) and bool(_RECORD.unpack_from(records, at)[0] == place)


def _lowest_number(blocks: HashTrieMap[int, bytes], block: int) -> int | None:
    """The lowest number of a backlog without numbers before `block`."""
    records = blocks.get(block)
    if records is None:
        if not blocks:
            return None
        near = range(block + 1, block + 1 + len(blocks))  # usually the next one
        next_block = next((number for number in near if number in blocks), None)
        block = min(blocks) if next_block is None else next_block
        records = blocks[block]
    return block * BLOCK_NUMBERS + int(_RECORD.unpack_from(records)[0])


def _sort_records(records: bytes | bytearray) -> bytes:
    return b"".join(_RECORD.pack(*record) for record in sorted(_RECORD.iter_unpack(records)))


_EMPTY_BACKLOG: Final = Backlog()  # shared: a station that is online returns to it after each call


def encode_collection(value: Any) -> Any:
    """The plain form of a collection, for msgspec's enc_hook."""
    if isinstance(value, ImmutableMap):
        return {str(key): item for key, item in value.items()}  # JSON has no other keys
    if isinstance(value, EntryQueue):
        return list(value)
    if isinstance(value, Backlog):
        return value.numbers_by_owner()
    if isinstance(value, array):  # of a backlog: one owner at a time becomes a list
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no plain form")


def decode_collection(target_type: Any, value: Any) -> Any:
    """The collection from its plain form, for msgspec's dec_hook.

    Raises:
        msgspec.ValidationError: it is no plain form of this collection.
    """
    if target_type is EntryQueue:
        return EntryQueue(msgspec.convert(value, list[_EntryNumber]))
    if target_type is Backlog:
        return Backlog(msgspec.convert(value, dict[str, list[_EntryNumber]]))
    if get_origin(target_type) is ImmutableMap:
        key_type, value_type = get_args(target_type)
        convert = msgspec.convert
        return ImmutableMap(
            {
                convert(key, key_type, strict=False): convert(
                    item, value_type, dec_hook=decode_collection
                )
                for key, item in convert(value, dict[str, Any]).items()
            }
        )
    raise TypeError(f"{target_type} cannot be decoded")
