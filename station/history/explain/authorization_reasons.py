"""Reasons of authorizations: granted, refused, ended, suspended."""

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
    """Why an IdToken is authorized."""
    return _AUTHORIZED_REASONS[event.authorized_by]


def explain_authorization_request(event: AuthorizationRequested, causes: DirectCauses) -> Reason:
    """Why the CSMS is asked about an IdToken."""
    if event.stop_only:
        return Reason("the EVSE is in use: the IdToken can only stop the transaction", "C09.FR.05")
    cached = first_of_kind(causes, AuthCacheUpdated)
    if cached is None:
        return Reason("the IdToken is not cached, so the CSMS decides", "C01.FR.02")
    text = f"the IdToken is cached as {cached.status}, and the CSMS decides nevertheless"
    return Reason(text, "C01.FR.05" if cached.status == "Accepted" else "C10.FR.03")


# status -> why the station refused, where no blocking entry shows more
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
    """Why an IdToken is refused."""
    frame = first_of_kind(causes, FrameReceived)
    if frame and read_authorization_status(frame) == event.status:
        return Reason(f"the CSMS answered {event.status}", "C01.FR.07")
    blocking_reason = find_blocking_reason(causes)
    if blocking_reason is not None and event.status != "NoEvseFree":
        return blocking_reason
    if event.status in _REFUSAL_REASONS:
        return _REFUSAL_REASONS[event.status]
    if event.status == "Offline":
        return _explain_offline_refusal(causes)
    return _explain_cached_refusal(event.status, causes)


def _explain_no_verdict(causes: DirectCauses) -> str:
    """Why there is no answer of the CSMS."""
    if first_of_kind(causes, LinkClosed, StationStarted):
        return "the CSMS could not be asked"
    return "the CSMS sent no valid answer"


def _explain_offline_refusal(causes: DirectCauses) -> Reason:
    """There is no answer, and the variables do not allow unknown IdTokens."""
    no_answer = _explain_no_verdict(causes)
    if first_of_kind(causes, AuthCacheEntryExpired):
        text = f"{no_answer}, and its cache entry had expired"
        return Reason(text, "C10.FR.10, C15.FR.08")
    if first_of_kind(causes, AuthCacheUpdated):
        return Reason(f"{no_answer}, and LocalAuthorizeOffline does not allow using the cache")
    text = "the IdToken is not cached: only OfflineTxForUnknownIdEnabled would accept it"
    return Reason(f"{no_answer}, and {text}", "C15.FR.08")


def _explain_cached_refusal(status: str, causes: DirectCauses) -> Reason:
    """The cache decided, or its lack of an entry, because the CSMS could or should not be asked."""
    cached = first_of_kind(causes, AuthCacheUpdated)
    not_allowed = "does not allow asking the CSMS"
    if cached is None:
        return Reason(f"the IdToken is not cached, and {_DISABLE_REMOTE} {not_allowed}")
    if cached.status != status:
        return Reason(
            "it is in the master pass group, which cannot start transactions", "C12.FR.09"
        )
    cached_text = f"the IdToken is cached as {status}"
    if first_of_kind(causes, IdTokenPresented) and not first_of_kind(
        causes, LinkClosed, StationStarted
    ):
        return Reason(f"{cached_text}, and DisablePostAuthorize or {_DISABLE_REMOTE} {not_allowed}")
    return Reason(f"{_explain_no_verdict(causes)}, and {cached_text}", "C12.FR.02")


_DISABLE_REMOTE: Final = "DisableRemoteAuthorization"


class AuthorizationEnd(NamedTuple):
    """Why an authorization ended, and its requirements."""

    text: str
    main_requirement: str = ""
    updated_requirement: str = ""  # for TransactionEvent Updated, if the transaction continues
    ended_requirement: str = ""  # for TransactionEvent Ended

    @property
    def requirement(self) -> str:
        return self.main_requirement or " or ".join(
            requirement
            for requirement in (self.updated_requirement, self.ended_requirement)
            if requirement
        )


_AFTER_ID_TOKEN: Final = "then E06.FR.03 or E06.FR.06"
_AFTER_UNPLUGGING: Final = "then E06.FR.02 or E06.FR.06"
_NOT_ACCEPTED_TEXT: Final = "the CSMS does not accept the IdToken that authorized it"

# (triggerReason, stoppedReason) -> why the authorization ended
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
    """What ended an authorization; None: the journal does not show it."""
    authorization = first_of_kind(causes, AuthorizationGranted)
    if event.ended_by_id_token is not None:
        return _explain_token_stop(event, authorization, causes)
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
        case "Deauthorized" if authorization and authorization.authorized_by == "OfflineUnknownId":
            return AuthorizationEnd(_NOT_ACCEPTED_TEXT, "", "C15.FR.03", "C15.FR.04")
    return _AUTHORIZATION_ENDS.get((event.trigger_reason, event.stopped_reason))


def _explain_token_stop(
    event: AuthorizationEnded, authorization: AuthorizationGranted | None, causes: DirectCauses
) -> AuthorizationEnd:
    """An IdToken ended it: the same, another of its group, or one the CSMS confirmed."""
    if authorization is None:
        text, requirement = (
            "the IdToken that started it, or one of its group, was presented",
            "E07.FR.01",
        )
    elif authorization.id_token == event.ended_by_id_token:
        text, requirement = "the IdToken that started it was presented", "E07.FR.01"
    elif first_of_kind(causes, FrameReceived):
        text = (
            "another IdToken was presented, which the CSMS reported as a member of the same group"
        )
        requirement = "C09.FR.03"
    else:
        text, requirement = "another IdToken of the same group was presented", "C09.FR.07"
    return AuthorizationEnd(text, requirement, "E07.FR.02", f"{requirement}, {_AFTER_ID_TOKEN}")


def explain_authorization_end(event: AuthorizationEnded, causes: DirectCauses) -> Reason | None:
    """Why an authorization ended."""
    end = find_authorization_end(event, causes)
    return end and Reason(end.text, end.requirement)


def explain_suspension(event: AuthorizationSuspended, causes: DirectCauses) -> Reason:
    """Why an authorization gives no energy."""
    if event.status == "MaxEnergyOnInvalidId":
        return Reason("the energy allowed by MaxEnergyOnInvalidId was delivered", "E05.FR.02")
    return Reason("the CSMS does not accept the IdToken", "E05.FR.02")
