"""Which collections may grow in a frozen state without being copied at each change?

`Table` maps, `Line` queues. Both share structure between versions; both have one canonical plain
form (a dict, a list), so that equal states encode to equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from rpds import HashTrieMap

K = TypeVar("K")
V = TypeVar("V")

CHUNK = 128  # one append copies at most this many references


class Table(Mapping[K, V]):
    """A persistent mapping; each change gives a new table in O(log n)."""

    __slots__ = ("_map",)

    def __init__(self, items: Any = None) -> None:
        self._map = items if isinstance(items, HashTrieMap) else HashTrieMap(items or {})

    def having(self, key: K, value: V) -> Table[K, V]:
        return Table(self._map.insert(key, value))

    def without(self, key: K) -> Table[K, V]:
        return Table(self._map.discard(key))

    def __getitem__(self, key: K) -> V:
        found: V = self._map[key]
        return found

    def __iter__(self) -> Iterator[K]:
        return iter(self._map)

    def __contains__(self, key: object) -> bool:
        return key in self._map

    def __len__(self) -> int:
        return len(self._map)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._map == other._map

    def __hash__(self) -> int:
        return hash(self._map)

    def __repr__(self) -> str:
        return f"Table({dict(self)!r})"


class Line:
    """A persistent queue of entry numbers: in at the end, out anywhere, mostly at the front.

    Kept in chunks, so that a month of waiting calls costs a copy of a few references per change
    and not of the whole line.
    """

    __slots__ = ("_chunks", "_length")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        line = tuple(numbers)
        self._chunks = tuple(line[at : at + CHUNK] for at in range(0, len(line), CHUNK))
        self._length = len(line)

    @classmethod
    def _of(cls, chunks: tuple[tuple[int, ...], ...], length: int) -> Line:
        line = cls.__new__(cls)
        line._chunks, line._length = chunks, length
        return line

    def then(self, number: int) -> Line:
        chunks = self._chunks
        if chunks and len(chunks[-1]) < CHUNK:
            grown = (*chunks[:-1], (*chunks[-1], number))
        else:
            grown = (*chunks, (number,))
        return Line._of(grown, self._length + 1)

    def without(self, number: int) -> Line:
        """The line without `number`; unchanged when it does not stand in it."""
        for place, chunk in enumerate(self._chunks):
            if number in chunk:
                rest = tuple(one for one in chunk if one != number)
                kept = (rest,) if rest else ()
                chunks = (*self._chunks[:place], *kept, *self._chunks[place + 1 :])
                return Line._of(chunks, self._length - 1)
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
        return isinstance(other, Line) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Line({list(self)!r})"


def plain(value: Any) -> Any:
    """What msgspec may write in place of a collection of ours (its enc_hook)."""
    if isinstance(value, Table):
        return {str(key): one for key, one in value.items()}  # JSON has no other keys
    if isinstance(value, Line):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no plain form")


def collected(wanted: Any, value: Any) -> Any:
    """The collection of ours that `plain` wrote (msgspec's dec_hook)."""
    if wanted is Line:
        return Line(value)
    if get_origin(wanted) is Table:
        key_type, value_type = get_args(wanted)
        convert = msgspec.convert
        return Table(
            {
                convert(key, key_type, strict=False): convert(one, value_type, dec_hook=collected)
                for key, one in value.items()
            }
        )
    raise TypeError(f"{wanted} cannot be read back")
