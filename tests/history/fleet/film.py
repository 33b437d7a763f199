"""How does a world leave a journal behind, and what do those outside remember of it?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from journal.observations import (
    ActivationChecked,
    DeviceFaulted,
    DownloadEnded,
    InstallEnded,
    SignatureChecked,
)
from journal.state import State
from journal.terms import Entry, Observation
from station import ocppj
from station.messages import timestamp
from station.messages.datatypes import IdTokenInfoType
from station.simulation.agenda import NOON
from station.simulation.cars import Ev
from station.simulation.counterpart import FAMILY
from station.simulation.ledger import Account
from station.simulation.life import Life
from station.simulation.storm import HAPPENINGS, Plan, Stage, asks, breaks
from station.simulation.trial import StormyWitness, Trial
from station.simulation.wire import Wire
from station.simulation.world import World, product, simulate
from station.wanted import WantedFirmware
from tests.authorities import authority, server

MAKER: Final = authority("Maker root")
SIGNER: Final = server(MAKER, first=NOON - timedelta(days=1), last=NOON + timedelta(days=900))
STRANGER: Final = server(authority("Else root"), first=NOON, last=NOON + timedelta(days=900))
VERSION: Final = "1.1"  # of all new firmware


class Sending(NamedTuple):
    """A frame with a TransactionEvent that left the station."""

    at_s: float
    message_id: str
    transaction_id: str
    seq_no: int
    wire: Wire
    life: int  # how many runs of the program there had been


class Happened(NamedTuple):
    """Something that somebody did, or that broke or was mended. EVSE 0: the station."""

    at_s: float
    what: str
    evse_id: int = 0
    how: str = ""


class Bystander(StormyWitness):
    """Keeps in mind what went over the wire."""

    world: Callable[[], World]

    def __init__(self, plan: Plan) -> None:
        super().__init__(product(plan.profile))
        self.sendings: list[Sending] = []
        self.written_s: dict[int, float] = {}  # entry -> when it came to be on the disk
        self.begun_s: list[float] = []  # when a run of the program began
        self.workshop = Workshop()

    def began(self, life: Life) -> None:
        super().began(life)
        self.begun_s.append(trio.current_time())

    def written(self, entries: list[Entry]) -> None:
        now_s = trio.current_time()
        self.written_s.update((one.seq, now_s) for one in entries)
        super().written(entries)

    def committed(self, state: State) -> None:
        super().committed(state)
        self.workshop.looks(self.world())

    def sent(self, wire: Wire, text: str) -> None:
        super().sent(wire, text)
        frame = ocppj.read(text.encode())
        if isinstance(frame, ocppj.CallFrame) and frame.action == "TransactionEvent":
            body = json.loads(bytes(frame.payload))
            self.sendings.append(
                Sending(
                    trio.current_time(),
                    frame.message_id,
                    body["transactionInfo"]["transactionId"],
                    body["seqNo"],
                    wire,
                    self.world().lives,
                )
            )


class Workshop:
    """Fetches, checks and installs firmware, in place of the real one and as well as is wished.

    Attributes:
        seconds: that each step takes.
        troubles: step -> what goes wrong; `sound`: at `install`, with what was downloaded.
    """

    def __init__(self) -> None:
        self.seconds = 5.0
        self.troubles: dict[str, str] = {}
        self._taken: set[tuple[int, int, str]] = set()

    def looks(self, world: World) -> None:
        """Take up the step that is wanted now; each run of the program begins it anew."""
        life = world.life
        level = life.scribe.wanted.value.firmware if life else None
        if level is None or level.step == "wait":
            return
        taken = world.lives, level.update, level.step
        if taken not in self._taken:
            self._taken.add(taken)
            world.agenda.after(self.seconds, lambda: world.observe(self._done(level)))

    def _done(self, level: WantedFirmware) -> Observation:
        why = self.troubles.get(level.step, "")
        match level.step:
            case "download":
                return DownloadEnded(level.update, not why, why)
            case "verify":
                return SignatureChecked(level.update, not why, why)
            case "confirm":
                return ActivationChecked(level.update, not why, why)
        if unsound := self.troubles.get("sound"):
            return InstallEnded(level.update, "invalid", unsound)
        if why:
            return InstallEnded(level.update, "failed", why)
        return InstallEnded(level.update, "restart", version=VERSION)


class Film(Trial):
    """A plan, played to its end, and the journal that is left.

    Attributes:
        journal: a copy of it as it was when the happenings were over, nothing yet made good.
        final: and as it was at the end, everything delivered.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        worlds = directory / "world"
        worlds.mkdir(parents=True)
        super().__init__(plan, worlds)
        self.bystander = Bystander(plan)
        self.bystander.disk = self.disk
        self.bystander.world = lambda: self.world
        self.witness = self.bystander
        self.journal = directory / "open" / "journal.db"
        self.final = directory / "closed" / "journal.db"
        self.taken_by_then: dict[str, frozenset[int]] = {}  # transactionId -> seqNos, at `journal`
        self.happened: list[Happened] = []  # in order
        self.spoiled: set[str] = set()  # messageIds that were answered with an error, or nonsense

    async def _script(self) -> None:
        self._watches()
        for happening in self.plan.happenings:
            await trio.sleep(max(0, happening.at_s - trio.current_time()))
            evse_id = happening.how.get("evse_id") or 0
            self.happened.append(Happened(trio.current_time(), happening.what, evse_id))
            ALL[happening.what](self, **happening.how)
        await self._comes_to_rest()
        self._copied(self.journal)
        self.taken_by_then = {name: frozenset(one.events) for name, one in self.ledger.items()}
        await self._heals()
        self._closes_the_books()
        self._copied(self.final)

    # --- What people and things do ---------------------------------------------------------------

    def _watches(self) -> None:
        """From now on note what is done to the station from outside."""
        world = self.world
        self._noted(world, "card", lambda uid, evse_id=None: (evse_id or 0, uid))
        self._noted(world, "stop_button", lambda evse_id: (evse_id, ""))
        self._noted(world.csms, "ask", lambda request: (0, type(request).__name__))
        self._noted(world.trouble, "begins", lambda one: (one.evse_id, f"{one.device} {one.fault}"))
        self._noted(world.trouble, "ends", lambda one: (one.evse_id, f"{one.device} {one.fault}"))
        self._noted(world, "observe", lambda one: (0, type(one).__name__))
        self._noted(world.lines, "switch", lambda mode: (0, mode))
        for evse_id, bay in world.bays.items():
            self._noted(bay, "unplug", lambda at=evse_id, bay=bay: (at, "full" * bay.full))
            self._noted(bay, "plug_in", lambda ev, at=evse_id: (at, ""))

        mischief: dict[str, Any] = world.csms._does  # to be told of it
        for name in ("refused", "nonsense"):
            mischief[name] = self._spoils(mischief[name])

    def _spoils(self, does: Callable[[Wire, str], Any]) -> Callable[[Wire, str], None]:
        def spoils(wire: Wire, text: str) -> None:
            self.spoiled.add(json.loads(text)[1])
            does(wire, text)

        return spoils

    def _noted(self, owner: Any, name: str, told: Callable[..., tuple[int, str]]) -> None:
        does = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> None:
            self.happened.append(Happened(trio.current_time(), name, *told(*args, **kwargs)))
            does(*args, **kwargs)

        setattr(owner, name, noted)

    async def _comes_to_rest(self) -> None:
        """Until a moment at which nothing is being written."""
        while self.world.life is None or self.world.life.scribe.busy:
            await trio.sleep(1)

    def _copied(self, to: Path) -> None:
        to.parent.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            file = self.world._data / name
            if file.exists():
                shutil.copyfile(file, to.parent / name)

    @property
    def ledger(self) -> dict[str, Account]:
        """What the CSMS has taken in."""
        return self.world.csms.double.ledger.accounts


def filmed(plan: Plan, directory: Path) -> Film:
    """Play a plan.

    Raises:
        BrokenPromiseError: the station broke a promise, which is for others to test.
    """
    film = Film(plan, directory)
    simulate(film.main, plan.seed)
    return film


def moment(at_s: float) -> datetime:
    """Seconds from the beginning of a world, as its true UTC."""
    return NOON + timedelta(seconds=at_s)


# --- What can happen only here -------------------------------------------------------------------


def judges(
    stage: Stage, *, who: str, status: str, family: bool = False, evse_ids: Sequence[int] = ()
) -> None:
    """The CSMS changes its mind about somebody, or hears of them for the first time."""
    stage.world.csms.double.tokens[who.casefold()] = IdTokenInfoType(
        status=status,  # type: ignore[arg-type]
        group_id_token=FAMILY if family else None,
        evse_id=tuple(evse_ids) or None,
    )


def trips(
    stage: Stage, *, evse_id: int, device: str, kind: str, stopped_reason: str, seconds: float
) -> None:
    """Something breaks that forbids to charge, and what ends of it has this stoppedReason."""
    breaks(stage, DeviceFaulted(evse_id, device, kind, True, stopped_reason), seconds)


def workshop(stage: Film, *, seconds: float, troubles: dict[str, str]) -> None:
    """How the next update shall fare."""
    stage.bystander.workshop.seconds = seconds
    stage.bystander.workshop.troubles = troubles


def update(stage: Stage, *, request_id: int, stranger: bool = False) -> None:
    """The CSMS wants new firmware on the station, which knows who makes it."""
    root = {"certificateType": "ManufacturerRootCertificate", "certificate": MAKER.pem}
    asks(stage, action="InstallCertificate", payload=root)
    firmware = {
        "location": "https://files.invalid/firmware.bin",
        "retrieveDateTime": timestamp(NOON),
        "signingCertificate": (STRANGER if stranger else SIGNER).pem,
        "signature": "c2lnbmF0dXJl",
    }
    asks(stage, action="UpdateFirmware", payload={"requestId": request_id, "firmware": firmware})


def crash(stage: Stage, *, gap_s: float, host: bool) -> None:
    """The program is killed right now."""
    stage.world.gap_s, stage.world.host_dies = gap_s, host
    if stage.world.life is not None:
        stage.world.life.die()


def comes(stage: Stage, *, evse_id: int, needs_wh: int) -> None:
    """An EV that does not want much is plugged in."""
    stage.world.bays[evse_id].plug_in(Ev(needs_wh=Decimal(needs_wh)))


def rest(stage: Stage) -> None:
    """Nothing happens, until then."""


ALL: Final[dict[str, Callable[..., None]]] = HAPPENINGS | {
    one.__name__: one for one in (judges, trips, workshop, update, crash, comes, rest)
}
