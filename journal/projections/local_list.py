"""The Local Authorization List: idTokens that the CSMS has sent in advance. D01, D02.

Only SendLocalList changes it (D01.FR.09): a person who is erased stays in it until the CSMS removes
the idToken (N10.FR.02, N10.FR.03), and the value in the side table stays as long.

A list of 100,000 idTokens arrives in parts, and each part is one decision, so that after a power
cut the list is as before a part or as after it. The entries are kept as lines of text in 4096
chunks, chosen by the end of the reference: a change copies the chunks it touches, some 2 KiB each,
and a snapshot encodes 4096 texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from journal.events import Decision, Entry, IdToken
from journal.immutable import ImmutableMap
from journal.projections.base import Projection

_CHUNK_DIGITS: Final = 3  # hex digits at the end of a reference that choose the chunk
_NONE: Final = "-"


class ListedIdToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One idToken of the list: the parts of AuthorizationData that are used."""

    id_token: IdToken
    status: str  # AuthorizationStatusEnumType
    group_id_token: IdToken | None = None
    expires_at: str | None = None  # UTC; cacheExpiryDateTime. None: the entry does not expire
    allowed_evse_ids: tuple[int, ...] = ()  # empty: any EVSE

    def is_outdated(self, now: datetime) -> bool:
        """Whether its cacheExpiryDateTime has passed."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= now


class LocalListReplaced(Decision, frozen=True, kw_only=True):
    """A Full update replaced the list. D01.FR.04, D01.FR.15."""

    version_number: int  # of the list from now on
    id_tokens: tuple[ListedIdToken, ...] = ()


class LocalListChanged(Decision, frozen=True, kw_only=True):
    """A Differential update changed the list. D01.FR.05, D01.FR.16, D01.FR.17."""

    version_number: int  # of the list from now on
    updated: tuple[ListedIdToken, ...] = ()  # added, or replacing the entry of the same idToken
    removed_refs: tuple[str, ...] = ()  # references of idTokens without an entry from now on


class LocalList(Projection, frozen=True):
    HANDLES = (LocalListReplaced, LocalListChanged)

    version_number: int = 0  # 0: the CSMS has sent none. D02.FR.02
    count: int = 0  # idTokens
    # end of the reference -> lines of the entries with it, each as `_to_line` writes it, sorted
    chunks: ImmutableMap[str, str] = ImmutableMap()

    def apply(self, entry: Entry) -> LocalList:
        match entry.event:
            case LocalListReplaced(version_number=version, id_tokens=id_tokens):
                return LocalList(version)._with_changes(version, id_tokens, ())
            case LocalListChanged(version_number=version, updated=updated, removed_refs=removed):
                return self._with_changes(version, updated, removed)
            case _:
                return self

    def find(self, id_token: IdToken) -> ListedIdToken | None:
        """The entry of an idToken, outdated or not."""
        line = _find_line(self.chunks.get(_chunk_of(id_token.ref), ""), id_token.ref)
        entry = _from_line(line) if line else None
        return entry if entry and entry.id_token == id_token else None

    def has_reference(self, ref: str) -> bool:
        """Whether the idToken with this reference has an entry."""
        return bool(_find_line(self.chunks.get(_chunk_of(ref), ""), ref))

    def _with_changes(
        self, version: int, updated: Iterable[ListedIdToken], removed: Iterable[str]
    ) -> LocalList:
        lines_by_ref = dict.fromkeys(removed, "")
        lines_by_ref |= {each.id_token.ref: _to_line(each) for each in updated}
        count = self.count
        touched: dict[str, dict[str, str]] = {}  # chunk -> its lines by reference
        for ref, line in lines_by_ref.items():
            chunk = _chunk_of(ref)
            lines = touched.get(chunk)
            if lines is None:
                lines = touched[chunk] = _split_chunk(self.chunks.get(chunk, ""))
            count -= lines.pop(ref, None) is not None
            if line:
                lines[ref] = line
                count += 1
        chunks = self.chunks
        for chunk, lines in touched.items():
            text = "\n".join(lines[ref] for ref in sorted(lines))
            chunks = chunks.with_item(chunk, text) if text else chunks.without_key(chunk)
        return LocalList(version, count, chunks)


def _chunk_of(ref: str) -> str:
    return ref[-_CHUNK_DIGITS:]


def _split_chunk(text: str) -> dict[str, str]:
    """Lines by reference."""
    return {line[: line.index(" ")]: line for line in text.split("\n")} if text else {}


def _find_line(text: str, ref: str) -> str:
    """The line of a reference; empty: it has none."""
    start = f"\n{text}".find(f"\n{ref} ")
    return "" if start < 0 else text[start:].partition("\n")[0]


def _to_line(listed: ListedIdToken) -> str:
    """Reference, type, status, expiry, group's reference and type, EVSE ids; `-` for none."""
    group = listed.group_id_token
    evse_ids = ",".join(map(str, listed.allowed_evse_ids))
    return " ".join(
        (
            listed.id_token.ref,
            listed.id_token.type,
            listed.status,
            listed.expires_at or _NONE,
            group.ref if group else _NONE,
            group.type if group else _NONE,
            evse_ids or _NONE,
        )
    )


def _from_line(line: str) -> ListedIdToken:
    ref, type, status, expires_at, group_ref, group_type, evse_ids = line.split(" ")
    return ListedIdToken(
        id_token=IdToken(ref, type),
        status=status,
        expires_at=None if expires_at == _NONE else expires_at,
        group_id_token=None if group_ref == _NONE else IdToken(group_ref, group_type),
        allowed_evse_ids=() if evse_ids == _NONE else tuple(map(int, evse_ids.split(","))),
    )
