"""Reasons of authorizations: requested, granted, refused, ended.

Helper module of `c_authorization`, `c_id_token`, `e_transactions` and `f_remote_control`, which
decide with these codes. `station.core.reasons` explains rows and codes.
"""

from __future__ import annotations

from typing import Final

from journal.projections.auth_cache import AuthCacheEntryExpired
from journal.projections.authorizations import (
    AuthorizationBoundToEvse,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
)
from station.core.blocks.evse_conditions import OUT_OF_SERVICE_REASONS
from station.core.reasons import Reason, Reasons, ReasonTable

_GRANTED_REASONS: Final = {
    "CSMS": Reason("the CSMS accepted the IdToken", "C01.FR.02"),
    "Cache": Reason("the IdToken was cached as Accepted", "C12.FR.02", ("offline", "cache_entry")),
    "LocalList": Reason(
        "the IdToken is in the Local Authorization List as Accepted",
        "C13.FR.03, C14.FR.02",
        ("offline", "list_entry"),
    ),
    "OfflineUnknownId": Reason(
        "the CSMS could not be asked, and OfflineTxForUnknownIdEnabled accepts unknown IdTokens",
        "C15.FR.08",
        ("offline",),
    ),
    "Reservation": Reason(
        "the CSMS could not be asked, and had made a reservation for the IdToken",
        "H03.FR.01, H03.FR.02, H03.FR.03",
        ("offline",),
    ),
    "Remote": Reason("no further authorization was needed", "F01.FR.02"),
    "NotNeeded": Reason("AuthCtrlr.Enabled is false: no authorization is needed", "C01.FR.01"),
}
_REMOTE_REASONS: Final = {
    f"{authorized_by}/remote": Reason(
        f"the CSMS requested the start, and {reason.text}", reason.requirement, reason.facts
    )
    for authorized_by, reason in _GRANTED_REASONS.items()
}

NO_ANSWER_TEXTS: Final = {
    "not_asked": "the CSMS could not be asked",
    "link_lost": "the link was lost before the CSMS answered",
    "no_answer": "the CSMS sent no valid answer",
    "too_many_pending": "too many idTokens were waiting for an answer of the CSMS",
}
# Why an idToken is refused without an answer of the CSMS
_OFFLINE_REASONS: Final = {
    "cached": Reason("the IdToken is cached as {event.status}", "C12.FR.02"),
    "listed": Reason(
        "the IdToken is in the Local Authorization List as {event.status}",
        "C13.FR.02",
        ("offline", "list_entry"),
    ),
    "list_not_used": Reason(
        "LocalAuthorizeOffline does not allow using the Local Authorization List",
        "",
        ("offline", "list_entry"),
    ),
    "cache_not_used": Reason("LocalAuthorizeOffline does not allow using the cache"),
    "not_cached": Reason(
        "the IdToken is not cached: only OfflineTxForUnknownIdEnabled would accept it",
        "C15.FR.08",
        after=AuthCacheEntryExpired,
    ),
    "other_request": Reason("another IdToken that was waiting for an answer got the EVSE"),
    "stop_only": Reason("without one the IdToken cannot stop a transaction", "C09.FR.05"),
}
_REFUSAL_REASONS: Final = {
    "csms": Reason("the CSMS answered {event.status}", "C01.FR.07"),
    **OUT_OF_SERVICE_REASONS,
    **{
        f"{code}/{cause}": Reason(
            f"{text}, and {reason.text}",
            reason.requirement,
            reason.facts or ("offline", "cache_entry"),
            after=reason.after,
        )
        for code, text in NO_ANSWER_TEXTS.items()
        for cause, reason in _OFFLINE_REASONS.items()
    },
    "cached_online": Reason(
        "the IdToken is cached as {event.status}, and DisablePostAuthorize or "
        "DisableRemoteAuthorization does not allow asking the CSMS",
        facts=("cache_entry",),
    ),
    "listed_online": Reason(
        "the Local Authorization List has the IdToken as {event.status}, and DisablePostAuthorize "
        "or DisableRemoteAuthorization does not allow asking the CSMS",
        "C14.FR.03",
        ("list_entry",),
    ),
    "evse_taken": Reason(
        "another IdToken is authorized at EVSE {event.evse_id}", facts=("authorization_at_evse",)
    ),
    "master_pass": Reason(
        "it is in the master pass group, which cannot start transactions",
        "C12.FR.09",
        ("cache_entry", "list_entry"),
    ),
    "no_evse_free": Reason(
        "no EVSE was free, and the IdToken can stop no open transaction",
        "C09.FR.03",
        ("authorizations",),
    ),
    "not_cached_online": Reason(
        "the IdToken is not cached, and DisableRemoteAuthorization does not allow asking the CSMS"
    ),
    "not_registered": Reason(
        "the CSMS had not accepted the station", "B03.FR.01", ("registration", "offline")
    ),
    "other_evses_only": Reason(
        "the CSMS allows the IdToken at other EVSEs only",
        "C01.FR.21",
        ("cache_entry", "list_entry"),
    ),
    "other_transaction": Reason(
        "another transaction was open at EVSE {event.evse_id}", "C01.FR.23", ("has_transaction",)
    ),
    "unknown_evse": Reason("the station has no such EVSE"),
}

_ID_TOKEN_FACTS: Final = ("authorization",)
AUTHORIZATION_REASONS: Final[Reasons] = {
    AuthorizationRequested: ReasonTable(
        {
            "stop_only": Reason(
                "the EVSE is in use: the IdToken can only stop the transaction", "C09.FR.05"
            ),
            "connecting": Reason(
                "the program has just started: the CSMS decides if it can be asked within 3 s",
                "C01.FR.02",
            ),
            "not_cached": Reason("the IdToken is not cached, so the CSMS decides", "C01.FR.02"),
            "cached_accepted": Reason(
                "the IdToken is cached as Accepted, and the CSMS decides nevertheless",
                "C01.FR.05",
                ("cache_entry",),
            ),
            "listed_accepted": Reason(
                "the Local Authorization List has the IdToken as Accepted, and the CSMS decides "
                "nevertheless",
                "C01.FR.05",
                ("list_entry",),
            ),
            "listed_refused": Reason(
                "the Local Authorization List has the IdToken with another status than Accepted, "
                "so the CSMS decides",
                "C14.FR.03",
                ("list_entry",),
            ),
            "listed_outdated": Reason(
                "the entry of the IdToken in the Local Authorization List has expired, so the CSMS "
                "decides",
                "C14.FR.05",
                ("list_entry",),
            ),
            "cached_refused": Reason(
                "the IdToken is cached as {cause.status}, and the CSMS decides nevertheless",
                "C10.FR.03",
                ("cache_entry",),
            ),
        }
    ),
    AuthorizationGranted: ReasonTable(
        {**_GRANTED_REASONS, **_REMOTE_REASONS},
        lambda granted: granted.authorized_by + "/remote" * (granted.remote_start_id is not None),
    ),
    AuthorizationRefused: ReasonTable(_REFUSAL_REASONS),
    AuthorizationBoundToEvse: Reason(
        "the oldest authorization without an EVSE gets the EVSE where an EV is plugged in",
        facts=("authorization",),
    ),
    AuthorizationEnded: ReasonTable(
        {
            "same_id_token": Reason(
                "the IdToken that started it was presented",
                "E07.FR.01",
                _ID_TOKEN_FACTS,
                when_continued="E07.FR.02",
            ),
            "cached_group": Reason(
                "another IdToken of the same group was presented",
                "C09.FR.07",
                _ID_TOKEN_FACTS,
                when_continued="E07.FR.02",
            ),
            "group_by_csms": Reason(
                "another IdToken was presented, which the CSMS reported as a member of the same "
                "group",
                "C09.FR.03",
                _ID_TOKEN_FACTS,
                when_continued="E07.FR.02",
            ),
            "not_connected": Reason(
                "no EV was plugged in within EVConnectionTimeOut", "E03.FR.05", ("authorization",)
            ),
            "not_reconnected": Reason(
                "the EV was disconnected, and none was plugged in within EVConnectionTimeOut",
                "E10.FR.02",
                ("cable", "authorization"),
            ),
            "restarted": Reason(
                "the program restarted, and no transaction kept the authorization",
                facts=("authorization",),
            ),
            # Codes of `e_transactions` and `f_remote_control`, which end authorizations too
            "stop_button": Reason(
                "the stop button was pressed", "E07.FR.05", when_continued="E07.FR.02"
            ),
            "ev_stopped": Reason(
                "the EV ended its session", when_stopped="E15.FR.04", when_continued="E15.FR.05"
            ),
            "unplugged": Reason("the EV was disconnected", "E09.FR.01"),
            "remote_stop": Reason(
                "the CSMS requested it", when_stopped="F03.FR.03", when_continued="F03.FR.02"
            ),
            "deauthorized": Reason(
                "the CSMS does not accept the IdToken that authorized it",
                facts=("authorization",),
                when_stopped="E05.FR.10",
                when_continued="E05.FR.09",
            ),
            "deauthorized_unknown": Reason(
                "the CSMS does not accept the IdToken that authorized it",
                facts=("authorization",),
                when_stopped="C15.FR.04",
                when_continued="C15.FR.03",
            ),
        }
    ),
}
