"""Encoding of events as JSON text, and decoding of bodies of every version.

Numbers that matter are Decimal and keep their zeros: 2935.600 is written and read as that,
also inside untyped payloads. The same event gives the same bytes on every Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock

import msgspec

from journal.events import Event
from journal.upcasters import STEPS, Steps, upcast

# msgspec 0.22 crashes (segmentation fault) if two threads make decoders that share a class. Log
# uploads, customer data and pages read the journal in threads.
_decoder_lock = Lock()

_encoder = msgspec.json.Encoder(decimal_format="number")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class CodecError(ValueError):
    """A body that this release cannot read, or an event it cannot write."""


class UnknownKind(CodecError):
    """Written by a newer release, or never registered."""


class UnreadableBody(CodecError):
    """The text does not have the shape of its kind and version."""


BodyDecoder = Callable[[str], Event]

# What a reader, and `parse_time`, raise on a text that was tampered with or damaged.
DECODE_ERRORS = (
    msgspec.MsgspecError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)


def describe_decode_error(kind: object, version: object, error: Exception) -> str:
    """The reason a body cannot be read, in one line."""
    if isinstance(error, CodecError):
        return str(error)
    return f"{kind} version {version} does not decode: {type(error).__name__} {error}"


def format_time(at: datetime) -> str:
    """Write a UTC time of whole milliseconds: 2026-11-22T17:25:08.123Z.

    Raises:
        ValueError: not UTC, or finer than a millisecond (it would come back different).
    """
    if at.tzinfo is not UTC or at.microsecond % 1000:
        raise ValueError(f"an entry's time is UTC and whole milliseconds, not {at.isoformat()}")
    return at.isoformat(timespec="milliseconds")[:23] + "Z"


parse_time: Callable[[str], datetime] = datetime.fromisoformat  # the inverse of `format_time`


class _BodyDecoders(dict[tuple[str, int], BodyDecoder]):
    """Decoders by (kind, version), each made on first use: a cold start needs few."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    def __missing__(self, key: tuple[str, int]) -> BodyDecoder:
        decoder = self[key] = self._registry.make_decoder(*key)
        return decoder


class Registry:
    """The kinds of event a journal may hold: class name, newest version, steps from older ones."""

    def __init__(self, kinds: Iterable[type[Event]], steps: Steps = STEPS) -> None:
        """Register `kinds`.

        Raises:
            ValueError: two classes share a name, or a step from an older version is missing.
        """
        self.kinds: dict[str, type[Event]] = {}
        self._steps = steps
        for kind in kinds:
            if self.kinds.setdefault(kind.__name__, kind) is not kind:
                raise ValueError(f"two kinds of event have the name {kind.__name__}")
            for version in range(1, kind.VERSION):
                if (kind.__name__, version) not in steps:
                    raise ValueError(f"{kind.__name__}: no upcaster from version {version}")
        self._kind_versions = {kind: (name, kind.VERSION) for name, kind in self.kinds.items()}
        self.decoders: Mapping[tuple[str, int], BodyDecoder] = _BodyDecoders(self)

    def encode(self, event: Event) -> tuple[str, int, str]:
        """Kind, version and body of `event`.

        Raises:
            UnknownKind: its class is not registered.
        """
        name = self._kind_versions.get(type(event))
        if name is None:
            raise UnknownKind(f"{type(event).__name__} is not registered as a kind of event")
        return (*name, _encoder.encode(event).decode())

    def decode(self, kind: str, version: int, body: str) -> Event:
        """Read a body of any version up to the newest.

        Raises:
            UnknownKind: kind or version of a newer release.
            UnreadableBody: the text does not fit its kind and version.
        """
        try:
            return self.decoders[kind, version](body)
        except UnknownKind:
            raise
        except DECODE_ERRORS as error:
            raise UnreadableBody(describe_decode_error(kind, version, error)) from error

    def make_decoder(self, kind: str, version: int) -> BodyDecoder:
        """The function that decodes bodies of one kind and version; see `decoders`.

        Raises:
            UnknownKind: kind or version of a newer release.
        """
        cls = self.kinds.get(kind)
        if cls is None:
            raise UnknownKind(f"this release has no kind of event {kind}")
        newest = cls.VERSION
        if not 1 <= version <= newest:
            raise UnknownKind(f"{kind} version {version}: this release has versions 1 to {newest}")
        with _decoder_lock:
            decode = msgspec.json.Decoder(cls, float_hook=Decimal).decode
        if version == newest:
            return decode

        def decode_older(body: str) -> Event:
            newer = upcast(self._steps, kind, version, newest, _fields.decode(body))
            return decode(_encoder.encode(newer))

        return decode_older


def build_registry(*bases: type[Event], steps: Steps = STEPS) -> Registry:
    """Register every subclass of `bases` that has been imported."""
    return Registry(dict.fromkeys(kind for base in bases for kind in _iter_subclasses(base)), steps)


def _iter_subclasses(base: type[Event]) -> Iterator[type[Event]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _iter_subclasses(kind)
