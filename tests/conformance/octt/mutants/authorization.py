"""Mutants of block C: authorization and the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import (
    Mutant,
    patch_constant_result,
    patch_response,
    replace_attribute,
    replace_handler,
    replace_row_variable,
)


def _accept_every_id_token() -> None:
    from station.core import decide

    def make(original: Any) -> Any:
        return lambda ctx, call, response: original(
            ctx, call, None if response is None else _accept_response(response)
        )

    replace_handler(decide.RESULTS, "Authorize", make)


def _accept_response(response: Any) -> Any:
    info = msgspec.structs.replace(response.id_token_info, status="Accepted")
    return msgspec.structs.replace(response, id_token_info=info)


def _ignore_deauthorization() -> None:
    from station.core import decide

    decide.RESULTS["TransactionEvent"] = lambda *args: iter(())


def _stop_with_any_card() -> None:
    from station.core.blocks import c_authorization

    def any_authorization(ctx: Any, presented: Any) -> Any:
        return next(iter(ctx.state.authorizations.active), None)

    replace_attribute(c_authorization, "authorization_of_token", lambda _: any_authorization)


MUTANTS: Mapping[str, Mutant] = {
    "pre-authorize": Mutant(
        replace_row_variable("AuthCtrlr.LocalPreAuthorize", "AuthCtrlr.LocalAuthorizeOffline"),
        ("TC_C_36_CS",),
        "the cache is used although LocalPreAuthorize is false",
    ),
    "clear-cache": Mutant(
        patch_response("ClearCache", "Accepted"),
        ("TC_C_37_CS", "TC_C_38_CS"),
        "ClearCache is accepted and not performed",
    ),
    "refused": Mutant(
        _accept_every_id_token,
        (
            "TC_C_02_CS",
            "TC_C_06_CS",
            "TC_C_42_CS",
            "TC_C_07_CS",
            "TC_C_56_CS",
            "TC_C_09_CS",
            "TC_C_10_CS",
            "TC_C_11_CS",
        ),
        "an idToken that the CSMS refuses may charge",
    ),
    "deauthorized": Mutant(
        _ignore_deauthorization,
        (
            "TC_C_34_CS",
            "TC_E_16_CS",
            "TC_C_16_CS",
            "TC_C_17_CS",
        ),
        "the idTokenInfo in a TransactionEventResponse is ignored",
    ),
    "forgetful": Mutant(
        patch_constant_result("c_authorization_cache", "find_cache_entry"),
        (
            "TC_C_08_CS",
            "TC_C_13_CS",
            "TC_C_33_CS",
            "TC_C_32_CS",
            "TC_C_41_CS",
        ),
        "the cache has no entries",
    ),
    "group": Mutant(
        patch_constant_result("c_authorization", "group_of_authorization"),
        ("TC_C_39_CS",),
        "a token of the same group cannot stop a transaction",
    ),
    "any-card": Mutant(
        _stop_with_any_card, ("TC_C_04_CS", "TC_C_44_CS"), "any card stops a transaction"
    ),
    "cached-refusal": Mutant(
        replace_row_variable("AuthCacheCtrlr.DisablePostAuthorize", "AuthCacheCtrlr.Enabled"),
        ("TC_C_12_CS",),
        "a token refused in the cache is not checked with the CSMS",
    ),
}
