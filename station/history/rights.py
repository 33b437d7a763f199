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
from journal.projections.auth_cache import CacheExpired, CacheUpdated
from journal.projections.authorizations import (
    AuthorizationAsked,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationSuspended,
)
from station.history.judged import status_told
from station.history.obstacles import in_the_way
from station.history.reason import Behind, Reason, first

_GRANTS: Final = {
    "CSMS": Reason("the CSMS accepted the token", "C01.FR.02"),
    "Cache": Reason("the cache knew the token as accepted", "C12.FR.02"),
    "Offline": Reason("nobody could be asked, and unknown tokens are let in then", "C15.FR.08"),
    "Remote": Reason("the CSMS started it and no further authorization was needed", "F01.FR.02"),
    "NotNeeded": Reason("authorization is switched off, AuthCtrlr.Enabled", "C01.FR.01"),
}


def granted(event: AuthorizationGranted, behind: Behind) -> Reason:
    """Why somebody may charge."""
    return _GRANTS[event.how]


def asked(event: AuthorizationAsked, behind: Behind) -> Reason:
    """Why the CSMS is asked about a token."""
    if event.stopping:
        return Reason(
            "where it could begin somebody charges: it can only mean to stop", "C09.FR.05"
        )
    known = first(behind, CacheUpdated)
    if known is None:
        return Reason("nothing is known of it here, so the CSMS decides", "C01.FR.02")
    why = f"the cache knows it as {known.status}, and the CSMS decides all the same"
    return Reason(why, "C01.FR.05" if known.status == "Accepted" else "C10.FR.03")


# status -> why the station itself refused, where nothing that stood in the way says more
_REFUSALS: Final = {
    "NoEvseFree": Reason("no EVSE was free, and the token may end nothing that runs", "C09.FR.03"),
    "NotAtThisTime": Reason("the EVSE was not in service for anybody new"),
    "UnknownEvse": Reason("the station has no such EVSE"),
    "ConcurrentTx": Reason("somebody may charge there already"),
    "CSNotAccepted": Reason("the CSMS had not accepted the station", "B03.FR.01"),
    "NotAllowedTypeEVSE": Reason("the CSMS allows it at other EVSEs only", "C01.FR.21"),
}


def refused(event: AuthorizationRefused, behind: Behind) -> Reason:
    """Why somebody may not charge."""
    frame = first(behind, FrameReceived)
    if frame and status_told(frame) == event.status:
        return Reason(f"the CSMS says {event.status}", "C01.FR.07")
    obstacle = in_the_way(behind)
    if obstacle is not None and event.status != "NoEvseFree":
        return obstacle
    if event.status in _REFUSALS:
        return _REFUSALS[event.status]
    if event.status == "Offline":
        return _unheard(behind)
    return _by_the_cache(event.status, behind)


def _asking(behind: Behind) -> str:
    """Why the CSMS did not judge, where it might have."""
    if first(behind, LinkClosed, StationStarted):
        return "nobody could be asked"
    return "the CSMS gave no answer of use"


def _unheard(behind: Behind) -> Reason:
    """Nobody judged, and the settings let nobody in then."""
    asking = _asking(behind)
    if first(behind, CacheExpired):
        why = f"{asking}, and what the cache knew of it was too old"
        return Reason(why, "C10.FR.10, C15.FR.08")
    if first(behind, CacheUpdated):
        return Reason(f"{asking}, and LocalAuthorizeOffline forbids to ask the cache")
    why = "nothing is known of it here: only OfflineTxForUnknownIdEnabled would let it in"
    return Reason(f"{asking}, and {why}", "C15.FR.08")


def _by_the_cache(status: str, behind: Behind) -> Reason:
    """The cache judged, or nobody did, because nobody else could or should."""
    known = first(behind, CacheUpdated)
    forbidden = "forbids to ask the CSMS"
    if known is None:
        return Reason(f"the cache does not know the token, and {_NOT_REMOTE} {forbidden}")
    if known.status != status:
        return Reason("it is of the master pass group, which starts nothing", "C12.FR.09")
    knows = f"the cache knows the token as {status}"
    if first(behind, IdTokenPresented) and not first(behind, LinkClosed, StationStarted):
        return Reason(f"{knows}, and DisablePostAuthorize or {_NOT_REMOTE} {forbidden}")
    return Reason(f"{_asking(behind)}, and {knows}", "C12.FR.02")


_NOT_REMOTE: Final = "DisableRemoteAuthorization"


class Ended(NamedTuple):
    """Why a right to charge ended, and by which requirement.

    `updated` says that the CSMS is told while the transaction goes on, `ended` that it is over.
    """

    why: str
    rule: str = ""
    updated: str = ""
    ended: str = ""

    @property
    def requirement(self) -> str:
        return self.rule or " or ".join(one for one in (self.updated, self.ended) if one)


_BY_CARD: Final = "then E06.FR.03 or E06.FR.06"
_BY_CABLE: Final = "then E06.FR.02 or E06.FR.06"
_NOT_ACCEPTED: Final = "the CSMS does not accept the token that authorised it"

# (triggerReason, stoppedReason) -> why the right to charge ended
_RIGHT_ENDS: Final = {
    ("StopAuthorized", "Local"): Ended(
        "the stop button was pressed", "E07.FR.05", "E07.FR.02", f"E07.FR.05, {_BY_CARD}"
    ),
    ("StopAuthorized", "StoppedByEV"): Ended(
        "the EV ended its session", "", "E15.FR.05", "E15.FR.04"
    ),
    ("RemoteStop", "Remote"): Ended("the CSMS asked for it", "", "F03.FR.02", "F03.FR.03"),
    ("Deauthorized", "DeAuthorized"): Ended(_NOT_ACCEPTED, "", "E05.FR.09", "E05.FR.10"),
    ("EVCommunicationLost", "EVDisconnected"): Ended(
        "the EV was disconnected", "E09.FR.01", "E09.FR.01", f"E09.FR.01, {_BY_CABLE}"
    ),
    ("EVConnectTimeout", "Timeout"): Ended(
        "no EV was plugged in in time", "E03.FR.05", "E03.FR.05", "E03.FR.05"
    ),
}


def right_end(event: AuthorizationEnded, behind: Behind) -> Ended | None:
    """What ended a right to charge."""
    granted = first(behind, AuthorizationGranted)
    if event.id_token is not None:
        return _shown(event, granted, behind)
    match event.trigger_reason:
        case "EVConnectTimeout" if first(behind, StationStarted):
            return Ended("the program began anew, and no transaction carried the right on")
        case "EVConnectTimeout" if first(behind, CableReported):
            return Ended("the EV had left, and none came in time", *["E10.FR.02"] * 3)
        case "Deauthorized" if granted and granted.how == "Offline":
            return Ended(_NOT_ACCEPTED, "", "C15.FR.03", "C15.FR.04")
    return _RIGHT_ENDS.get((event.trigger_reason, event.stopped_reason))


def _shown(
    event: AuthorizationEnded, granted: AuthorizationGranted | None, behind: Behind
) -> Ended:
    """A card ended it: which one?"""
    if granted is None:
        why, rule = "the token that began it, or one of its group, was shown", "E07.FR.01"
    elif granted.id_token == event.id_token:
        why, rule = "the token that began it was shown", "E07.FR.01"
    elif first(behind, FrameReceived):
        why = "another token was shown, which the CSMS says is of the group that began it"
        rule = "C09.FR.03"
    else:
        why, rule = "another token of the group that began it was shown", "C09.FR.07"
    return Ended(why, rule, "E07.FR.02", f"{rule}, {_BY_CARD}")


def right_ended(event: AuthorizationEnded, behind: Behind) -> Reason | None:
    """Why somebody may charge no longer."""
    end = right_end(event, behind)
    return end and Reason(end.why, end.requirement)


def suspended(event: AuthorizationSuspended, behind: Behind) -> Reason:
    """Why somebody gets no energy."""
    if event.status == "MaxEnergyOnInvalidId":
        return Reason("what MaxEnergyOnInvalidId allowed has flowed", "E05.FR.02")
    return Reason("the CSMS does not accept the token", "E05.FR.02")
