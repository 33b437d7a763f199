"""Mutants of the Local Authorization List; the certified product has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import (
    Mutant,
    patch_response,
    replace_attribute,
    replace_handler,
    replace_row_variable,
)

PRODUCT = "development"


def _ignore_list() -> None:
    from station.core.blocks import d_local_list

    replace_attribute(d_local_list, "find_listed", lambda _: lambda *args: None)


def _look_into_cache_first() -> None:
    from station.core.blocks import c_authorization_cache, d_local_list

    def make(original: Any) -> Any:
        def find_listed(ctx: Any, id_token: Any) -> Any:
            if c_authorization_cache.find_cache_entry(ctx, id_token):
                return None
            return original(ctx, id_token)

        return find_listed

    replace_attribute(d_local_list, "find_listed", make)


def _accept_every_entry() -> None:
    """Every idToken in the list counts as Accepted, whatever its status."""
    from station.core.blocks import d_local_list

    def make(original: Any) -> Any:
        def find_listed(ctx: Any, id_token: Any) -> Any:
            listed = original(ctx, id_token)
            return listed and msgspec.structs.replace(listed, status="Accepted")

        return find_listed

    replace_attribute(d_local_list, "find_listed", make)


def _lose_groups() -> None:
    from station.core.blocks import d_local_list

    def make(original: Any) -> Any:
        return lambda *args: msgspec.structs.replace(original(*args), group_id_token=None)

    replace_attribute(d_local_list, "_listed_from_message", make)


def _stop_by_group_of_any_status() -> None:
    from station.core.blocks import c_id_token

    replace_attribute(
        c_id_token, "known_group", lambda _: lambda info: info.group_id_token if info else None
    )


def _keep_version() -> None:
    """The version of the list is that of the first update."""
    from journal.projections.local_list import LocalList

    def make(original: Any) -> Any:
        def apply(self: Any, entry: Any) -> Any:
            after = original(self, entry)
            return msgspec.structs.replace(
                after, version_number=self.version_number or after.version_number
            )

        return apply

    replace_attribute(LocalList, "apply", make)


def _refuse_changes_without_entries() -> None:
    """An update without localAuthorizationList fails."""
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.d_local_list import SendLocalListResponse

    def make(original: Any) -> Any:
        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            if request.local_authorization_list:
                yield from original(ctx, call, request)
            else:
                yield call_result(call, SendLocalListResponse(status="Failed"))

        return handler

    replace_handler(decide.CALLS, "SendLocalList", make)


def _accept_any_version() -> None:
    """A Differential update is never a VersionMismatch."""
    from station.core import decide

    def make(original: Any) -> Any:
        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            current = ctx.state.local_list.version_number
            version = max(request.version_number, current + 1)
            yield from original(ctx, call, msgspec.structs.replace(request, version_number=version))

        return handler

    replace_handler(decide.CALLS, "SendLocalList", make)


def _lose_list_at_a_start() -> None:
    """The list is lost with a restart of the program."""
    from journal.observations import StationStarted
    from journal.projections.local_list import LocalList
    from journal.state import PROJECTIONS_BY_EVENT

    def make(original: Any) -> Any:
        def apply(self: Any, entry: Any) -> Any:
            is_start = isinstance(entry.event, StationStarted)
            return LocalList() if is_start else original(self, entry)

        return apply

    replace_attribute(LocalList, "apply", make)
    PROJECTIONS_BY_EVENT[StationStarted] += ("local_list",)


def _report_version_of_disabled_list() -> None:
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.d_local_list import GetLocalListVersionResponse

    def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
        version = ctx.state.local_list.version_number
        yield call_result(call, GetLocalListVersionResponse(version_number=version))

    replace_handler(decide.CALLS, "GetLocalListVersion", lambda _: handler)


MUTANTS: Mapping[str, Mutant] = {
    "local-list-ignored": Mutant(
        _ignore_list,
        ("TC_C_21_CS", "TC_C_27_CS", "TC_C_40_CS", "TC_C_58_CS"),
        "the Local Authorization List is not looked up",
        PRODUCT,
    ),
    "local-list-after-cache": Mutant(
        _look_into_cache_first,
        ("TC_C_25_CS",),
        "the cache counts before the Local Authorization List",
        PRODUCT,
    ),
    "local-list-accepts": Mutant(
        _accept_every_entry,
        (
            "TC_C_22_CS",
            "TC_C_23_CS",
            "TC_C_24_CS",
            "TC_C_28_CS",
            "TC_C_29_CS",
            "TC_C_30_CS",
            "TC_C_31_CS",
            "TC_C_43_CS",
        ),
        "every idToken of the Local Authorization List is accepted",
        PRODUCT,
    ),
    "local-list-refusal": Mutant(
        replace_row_variable("LocalAuthListCtrlr.DisablePostAuthorize", "-"),
        ("TC_C_58_CS",),
        "a refusal of the list is checked with the CSMS although DisablePostAuthorize is true",
        PRODUCT,
    ),
    "local-list-never-asks": Mutant(
        replace_row_variable(
            "LocalAuthListCtrlr.DisablePostAuthorize", "LocalAuthListCtrlr.Enabled"
        ),
        ("TC_C_28_CS", "TC_C_29_CS", "TC_C_30_CS", "TC_C_31_CS"),
        "a refusal of the list is never checked with the CSMS",
        PRODUCT,
    ),
    "local-list-groups": Mutant(
        _lose_groups,
        ("TC_C_40_CS",),
        "the Local Authorization List has no groups",
        PRODUCT,
    ),
    "local-list-refused-group": Mutant(
        _stop_by_group_of_any_status,
        ("TC_C_43_CS",),
        "a refused idToken of the same group stops a transaction",
        PRODUCT,
    ),
    "local-list-not-stored": Mutant(
        patch_response("SendLocalList", "Accepted"),
        (
            "TC_D_01_CS",
            "TC_D_02_CS",
            "TC_D_03_CS",
            "TC_D_04_CS",
            "TC_D_05_CS",
            "TC_D_08_CS",
        ),
        "SendLocalList is accepted and not performed",
        PRODUCT,
    ),
    "local-list-version": Mutant(
        _keep_version,
        ("TC_D_02_CS", "TC_D_03_CS", "TC_D_05_CS"),
        "the version of the Local Authorization List does not change",
        PRODUCT,
    ),
    "local-list-emptied": Mutant(
        _refuse_changes_without_entries,
        ("TC_D_04_CS", "TC_D_05_CS"),
        "an update of the Local Authorization List without entries fails",
        PRODUCT,
    ),
    "local-list-mismatch": Mutant(
        _accept_any_version,
        ("TC_D_06_CS",),
        "an older version of the Local Authorization List is accepted",
        PRODUCT,
    ),
    "local-list-lost": Mutant(
        _lose_list_at_a_start,
        ("TC_D_07_CS",),
        "the Local Authorization List is lost with a restart",
        PRODUCT,
    ),
    "local-list-disabled": Mutant(
        _report_version_of_disabled_list,
        ("TC_D_10_CS",),
        "a disabled Local Authorization List has a version",
        PRODUCT,
    ),
}
