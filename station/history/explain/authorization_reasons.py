"""Why may somebody charge, why not, and why no longer?"""

from __future__ import annotations

from typing import Final, NamedTuple

from journal.observations import (
    CableReported,
    FrameReceived,
    IdTokenPresented,
    LinkClosed,
    StationStarted,
)
from journal.projections.auth_cache import AuthCacheEntryExpired, AuthCacheUpdated
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
    AuthorizationSuspended,
)
from station.history.explain.blocking_reasons import find_blocking_reason
from station.history.explain.csms_verdict import read_authorization_status
from station.history.explain.reason import DirectCauses, Reason, first_of_kind

_AUTHORIZED_REASONS: Final = {
    "CSMS": Reason("the CSMS accepted the IdToken", "C01.FR.02"),
    "Cache": Reason("the IdToken was cached as Accepted", "C12.FR.02"),
    "OfflineUnknownId": Reason(
        "the CSMS could not be asked, and OfflineTxForUnknownIdEnabled accepts unknown IdTokens",
        "C15.FR.08",
    ),
    "Remote": Reason(
        "the CSMS requested the start, and no further authorization was needed", "F01.FR.02"
    ),
    "NotNeeded": Reason("AuthCtrlr.Enabled is false: no authorization is needed", "C01.FR.01"),
}


def explain_authorization(event: AuthorizationGranted, causes: DirectCauses) -> Reason:
    """Why somebody may charge."""
    return _AUTHORIZED_REASONS[event.authorized_by]


def explain_authorization_request(event: AuthorizationRequested, causes: DirectCauses) -> Reason:
    """Why the CSMS is asked about a token."""
    if event.stop_only:
        return Reason("the EVSE is in use: the IdToken can only stop the transaction", "C09.FR.05")
    known = first_of_kind(causes, AuthCacheUpdated)
    if known is None:
        return Reason("the IdToken is not cached, so the CSMS decides", "C01.FR.02")
    why = f"the IdToken is cached as {known.status}, and the CSMS decides nevertheless"
    return Reason(why, "C01.FR.05" if known.status == "Accepted" else "C10.FR.03")


# status -> why the station itself refused, where nothing that stood in the way says more
_REFUSAL_REASONS: Final = {
    "NoEvseFree": Reason(
        "no EVSE was free, and the IdToken can stop no open transaction", "C09.FR.03"
    ),
    "NotAtThisTime": Reason("the EVSE accepted no new EV driver"),
    "UnknownEvse": Reason("the station has no such EVSE"),
    "ConcurrentTx": Reason("another IdToken is authorized there"),
    "CSNotAccepted": Reason("the CSMS had not accepted the station", "B03.FR.01"),
    "NotAllowedTypeEVSE": Reason("the CSMS allows the IdToken at other EVSEs only", "C01.FR.21"),
}


def explain_refusal(event: AuthorizationRefused, causes: DirectCauses) -> Reason:
    """Why somebody may not charge."""
    frame = first_of_kind(causes, FrameReceived)
    if frame and read_authorization_status(frame) == event.status:
        return Reason(f"the CSMS answered {event.status}", "C01.FR.07")
    obstacle = find_blocking_reason(causes)
    if obstacle is not None and event.status != "NoEvseFree":
        return obstacle
    if event.status in _REFUSAL_REASONS:
        return _REFUSAL_REASONS[event.status]
    if event.status == "Offline":
        return _explain_offline_refusal(causes)
    return _explain_cached_refusal(event.status, causes)


def _explain_no_verdict(causes: DirectCauses) -> str:
    """Why the CSMS did not judge, where it might have."""
    if first_of_kind(causes, LinkClosed, StationStarted):
        return "the CSMS could not be asked"
    return "the CSMS sent no valid answer"


def _explain_offline_refusal(causes: DirectCauses) -> Reason:
    """Nobody judged, and the settings let nobody in then."""
    asking = _explain_no_verdict(causes)
    if first_of_kind(causes, AuthCacheEntryExpired):
        why = f"{asking}, and its cache entry had expired"
        return Reason(why, "C10.FR.10, C15.FR.08")
    if first_of_kind(causes, AuthCacheUpdated):
        return Reason(f"{asking}, and LocalAuthorizeOffline does not allow using the cache")
    why = "the IdToken is not cached: only OfflineTxForUnknownIdEnabled would accept it"
    return Reason(f"{asking}, and {why}", "C15.FR.08")


def _explain_cached_refusal(status: str, causes: DirectCauses) -> Reason:
    """The cache judged, or nobody did, because nobody else could or should."""
    known = first_of_kind(causes, AuthCacheUpdated)
    forbidden = "does not allow asking the CSMS"
    if known is None:
        return Reason(f"the IdToken is not cached, and {_DISABLE_REMOTE} {forbidden}")
    if known.status != status:
        return Reason(
            "it is in the master pass group, which cannot start transactions", "C12.FR.09"
        )
    knows = f"the IdToken is cached as {status}"
    if first_of_kind(causes, IdTokenPresented) and not first_of_kind(
        causes, LinkClosed, StationStarted
    ):
        return Reason(f"{knows}, and DisablePostAuthorize or {_DISABLE_REMOTE} {forbidden}")
    return Reason(f"{_explain_no_verdict(causes)}, and {knows}", "C12.FR.02")


_DISABLE_REMOTE: Final = "DisableRemoteAuthorization"


class AuthorizationEnd(NamedTuple):
    """Why a right to charge ended, and by which requirement.

    `updated` says that the CSMS is told while the transaction goes on, `ended` that it is over.
    """

    why: str
    main_requirement: str = ""
    updated_requirement: str = ""
    ended_requirement: str = ""

    @property
    def requirement(self) -> str:
        return self.main_requirement or " or ".join(
            one for one in (self.updated_requirement, self.ended_requirement) if one
        )


_AFTER_ID_TOKEN: Final = "then E06.FR.03 or E06.FR.06"
_AFTER_UNPLUGGING: Final = "then E06.FR.02 or E06.FR.06"
_NOT_ACCEPTED_TEXT: Final = "the CSMS does not accept the IdToken that authorized it"

# (triggerReason, stoppedReason) -> why the right to charge ended
_AUTHORIZATION_ENDS: Final = {
    ("StopAuthorized", "Local"): AuthorizationEnd(
        "the stop button was pressed", "E07.FR.05", "E07.FR.02", f"E07.FR.05, {_AFTER_ID_TOKEN}"
    ),
    ("StopAuthorized", "StoppedByEV"): AuthorizationEnd(
        "the EV ended its session", "", "E15.FR.05", "E15.FR.04"
    ),
    ("RemoteStop", "Remote"): AuthorizationEnd(
        "the CSMS requested it", "", "F03.FR.02", "F03.FR.03"
    ),
    ("Deauthorized", "DeAuthorized"): AuthorizationEnd(
        _NOT_ACCEPTED_TEXT, "", "E05.FR.09", "E05.FR.10"
    ),
    ("EVCommunicationLost", "EVDisconnected"): AuthorizationEnd(
        "the EV was disconnected", "E09.FR.01", "E09.FR.01", f"E09.FR.01, {_AFTER_UNPLUGGING}"
    ),
    ("EVConnectTimeout", "Timeout"): AuthorizationEnd(
        "no EV was plugged in within EVConnectionTimeOut", "E03.FR.05", "E03.FR.05", "E03.FR.05"
    ),
}


def find_authorization_end(
    event: AuthorizationEnded, causes: DirectCauses
) -> AuthorizationEnd | None:
    """What ended a right to charge."""
    granted = first_of_kind(causes, AuthorizationGranted)
    if event.ended_by_id_token is not None:
        return _explain_token_stop(event, granted, causes)
    match event.trigger_reason:
        case "EVConnectTimeout" if first_of_kind(causes, StationStarted):
            return AuthorizationEnd(
                "the program restarted, and no transaction kept the authorization"
            )
        case "EVConnectTimeout" if first_of_kind(causes, CableReported):
            return AuthorizationEnd(
                "the EV was disconnected, and none was plugged in within EVConnectionTimeOut",
                *["E10.FR.02"] * 3,
            )
        case "Deauthorized" if granted and granted.authorized_by == "OfflineUnknownId":
            return AuthorizationEnd(_NOT_ACCEPTED_TEXT, "", "C15.FR.03", "C15.FR.04")
    return _AUTHORIZATION_ENDS.get((event.trigger_reason, event.stopped_reason))


def _explain_token_stop(
    event: AuthorizationEnded, authorization: AuthorizationGranted | None, causes: DirectCauses
) -> AuthorizationEnd:
    """A card ended it: which one?"""
    if authorization is None:
        why, rule = "the IdToken that started it, or one of its group, was presented", "E07.FR.01"
    elif authorization.id_token == event.ended_by_id_token:
        why, rule = "the IdToken that started it was presented", "E07.FR.01"
    elif first_of_kind(causes, FrameReceived):
        why = "another IdToken was presented, which the CSMS reported as a member of the same group"
        rule = "C09.FR.03"
    else:
        why, rule = "another token of the group that started it was presented", "C09.FR.07"
    return AuthorizationEnd(why, rule, "E07.FR.02", f"{rule}, {_AFTER_ID_TOKEN}")


def explain_authorization_end(event: AuthorizationEnded, causes: DirectCauses) -> Reason | None:
    """Why somebody may charge no longer."""
    end = find_authorization_end(event, causes)
    return end and Reason(end.why, end.requirement)


def explain_suspension(event: AuthorizationSuspended, causes: DirectCauses) -> Reason:
    """Why somebody gets no energy."""
    if event.status == "MaxEnergyOnInvalidId":
        return Reason("the energy allowed by MaxEnergyOnInvalidId was delivered", "E05.FR.02")
    return Reason("the CSMS does not accept the IdToken", "E05.FR.02")
