"""The modem of the host, as it was reported last. B01."""

from __future__ import annotations

from journal.events import Entry
from journal.observations import ModemReported
from journal.projections.base import Projection


class Modem(Projection, frozen=True):
    """Its SIM card and signal; None: there is none, or it is not known."""

    HANDLES = (ModemReported,)

    iccid: str | None = None
    imsi: str | None = None
    signal_dbm: int | None = None

    def apply(self, entry: Entry) -> Modem:
        match entry.event:
            case ModemReported(iccid=iccid, imsi=imsi, signal_dbm=signal_dbm):
                return Modem(iccid, imsi, signal_dbm)
            case _:
                return self
