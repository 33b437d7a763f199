"""The Local Authorization List: replace, change, report its version, look up. Block D.

A product has it if it has LocalAuthListCtrlr, that is, if it answers LA-1. `_refuse_update` has the
order of the checks. A message that passes them becomes one decision in the commit of its frame, so
a list arrives whole or not at all (D01.FR.02); a list that is longer than a message arrives in
several, of `ItemsPerMessage` and `BytesPerMessage` at most (D01.FR.11), so that no message holds
the loop for long.

What the list means for an idToken is decided in `c_local_authorization`. Of idTokenInfo the list
keeps what decides: status, group, allowed EVSEs and cacheExpiryDateTime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, IdToken
from journal.projections.local_list import ListedIdToken, LocalListChanged, LocalListReplaced
from station.core.blocks.transfer_fields import to_utc_text
from station.core.context import (
    Call,
    CallHandler,
    Context,
    call_result,
    id_token_from_message,
    status_info,
)
from station.core.reasons import AnswerReasons, Reason, Reasons, Refusals
from station.ocpp.messages.d_local_list import (
    AuthorizationData,
    GetLocalListVersionRequest,
    GetLocalListVersionResponse,
    SendLocalListRequest,
    SendLocalListResponse,
)
from station.ocpp.messages.datatypes import IdTokenInfoType

ENABLED: Final = "LocalAuthListCtrlr.Enabled"
ENTRIES: Final = "LocalAuthListCtrlr.Entries"
ITEMS_PER_MESSAGE: Final = "LocalAuthListCtrlr.ItemsPerMessage"
BYTES_PER_MESSAGE: Final = "LocalAuthListCtrlr.BytesPerMessage"
REFERENCE_CHARACTERS: Final = 17  # "#" and 16 digits, in place of an idToken of any length


def is_enabled(ctx: Context) -> bool:
    """Whether the product has the list, and the CSMS has not disabled it. D01.FR.13."""
    return ctx.variable_boolean(ENABLED)


def find_listed(ctx: Context, id_token: IdToken) -> ListedIdToken | None:
    """The entry of an idToken, outdated or not; None: it has none, or the list is disabled."""
    return ctx.state.local_list.find(id_token) if is_enabled(ctx) else None


# --- GetLocalListVersion -------------------------------------------------------------------------


def get_local_list_version(
    ctx: Context, call: Call, request: GetLocalListVersionRequest
) -> Iterator[Decision]:
    """Report the version; 0: none was sent, or the list is disabled. D02.FR.01 to 03."""
    version = ctx.state.local_list.version_number if is_enabled(ctx) else 0
    yield call_result(call, GetLocalListVersionResponse(version_number=version))


# --- SendLocalList -------------------------------------------------------------------------------


def send_local_list(ctx: Context, call: Call, request: SendLocalListRequest) -> Iterator[Decision]:
    """Replace or change the list in one decision, or refuse the message. D01.FR.01 to 19."""
    refusal = _refuse_update(ctx, call, request)
    if refusal:
        yield call_result(call, refusal)
        return
    yield _build_update(ctx, request)
    yield call_result(call, SendLocalListResponse(status="Accepted"))


def _build_update(ctx: Context, request: SendLocalListRequest) -> Decision:
    items = request.local_authorization_list or ()
    listed = tuple(
        _listed_from_message(id_token_from_message(item.id_token), item.id_token_info)
        for item in items
        if item.id_token_info
    )
    if request.update_type == "Full":  # D01.FR.04, D01.FR.15
        return LocalListReplaced(version_number=request.version_number, id_tokens=listed)
    return LocalListChanged(  # D01.FR.05, D01.FR.16, D01.FR.17
        version_number=request.version_number,
        updated=listed,
        removed_refs=tuple(
            item.id_token.id_token
            for item in items
            if item.id_token_info is None
            and ctx.state.local_list.has_reference(item.id_token.id_token)
        ),
    )


def _listed_from_message(id_token: IdToken, info: IdTokenInfoType) -> ListedIdToken:
    group = id_token_from_message(info.group_id_token) if info.group_id_token else None
    return ListedIdToken(
        id_token=id_token,
        status=info.status,
        group_id_token=group if group and _is_reference(group.ref) else None,
        expires_at=to_utc_text(info.cache_expiry_date_time),
        allowed_evse_ids=tuple(info.evse_id or ()),
    )


def _refuse_update(
    ctx: Context, call: Call, request: SendLocalListRequest
) -> SendLocalListResponse | None:
    """The response to a message that changes nothing; None: it is accepted."""
    items, current = request.local_authorization_list or (), ctx.state.local_list
    if not is_enabled(ctx):
        return _fail("NotEnabled")
    if request.version_number <= 0:  # D01.FR.18
        return _fail("InvalidValue", "versionNumber is not greater than 0")
    if request.update_type == "Differential" and request.version_number <= current.version_number:
        return SendLocalListResponse(status="VersionMismatch")  # D01.FR.19
    return (
        _refuse_size(ctx, call, items)
        or _refuse_items(request.update_type, items)
        or _refuse_count(ctx, request.update_type, items)
    )


def _fail(code: str, text: str | None = None) -> SendLocalListResponse:
    return SendLocalListResponse(status="Failed", status_info=status_info(code, text))


def _refuse_size(
    ctx: Context, call: Call, items: tuple[AuthorizationData, ...]
) -> SendLocalListResponse | None:
    """A message over its limits. D01.FR.11.

    The payload has references in place of idTokens. They are not counted, so that a message within
    the limit is never refused.
    """
    items_max = ctx.variable_integer(ITEMS_PER_MESSAGE)
    if len(items) > items_max:
        return _fail("TooManyElements", f"at most {items_max} idTokens in a message")
    groups = sum(
        item.id_token_info is not None and item.id_token_info.group_id_token is not None
        for item in items
    )
    bytes_max = ctx.variable_integer(BYTES_PER_MESSAGE)
    if len(call.payload) - REFERENCE_CHARACTERS * (len(items) + groups) > bytes_max:
        return _fail("TooLargeElement", f"at most {bytes_max} bytes in a message")
    return None


def _refuse_items(
    update_type: str, items: tuple[AuthorizationData, ...]
) -> SendLocalListResponse | None:
    """Items that a list cannot have: twice the same, no idToken, no idTokenInfo. D01.FR.06."""
    refs = {item.id_token.id_token for item in items}
    if len(refs) < len(items):
        return _fail("InvalidValue", "an idToken occurs twice")
    if not all(map(_is_reference, refs)):
        return _fail("InvalidIdToken", "an idToken is empty")
    if update_type == "Full" and any(item.id_token_info is None for item in items):
        return _fail("MissingParam", "an idToken of a Full update has no idTokenInfo")
    return None


def _is_reference(ref: str) -> bool:
    """Whether there was a value. An empty idToken has no reference."""
    return ref.startswith("#") and " " not in ref


def _refuse_count(
    ctx: Context, update_type: str, items: tuple[AuthorizationData, ...]
) -> SendLocalListResponse | None:
    """An update that leaves more idTokens than there is room for. D01.FR.12."""
    entries_max = ctx.product.device_model.by_path[ENTRIES].max_limit or 0
    current = ctx.state.local_list
    count = 0 if update_type == "Full" else current.count
    for item in items:
        is_listed = update_type != "Full" and current.has_reference(item.id_token.id_token)
        count += (item.id_token_info is not None) - is_listed
    if count > entries_max:
        return _fail("OutOfStorage", f"at most {entries_max} idTokens are stored")
    return None


CALLS: Final[dict[str, CallHandler]] = {
    "SendLocalList": send_local_list,
    "GetLocalListVersion": get_local_list_version,
}
REASONS: Final[Reasons] = {
    LocalListReplaced: Reason("the CSMS sent a Full update", "D01.FR.15"),
    LocalListChanged: Reason("the CSMS sent a Differential update", "D01.FR.16"),
}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("SendLocalList", "VersionMismatch"): Reason(
        "versionNumber is not greater than that of the Local Authorization List", "D01.FR.19"
    ),
}
REFUSALS: Final[Refusals] = {
    ("SendLocalList", "TooManyElements"): "D01.FR.11",
    ("SendLocalList", "TooLargeElement"): "D01.FR.11",
    ("SendLocalList", "OutOfStorage"): "D01.FR.12",
}
