"""Is what `station why` answers true of worlds in which everything goes wrong at once?

Here nobody knows the answers beforehand. But whatever is answered, the world outside must have
been so: somebody pressed the button that is told of, the device was broken at that time, the frame
went over the wire as often as is said, and for no other reason than one that the wire knows.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from station.simulation.counterpart import PEOPLE
from tests.history.fleet.asking import Analyst, Line, ask
from tests.history.fleet.film import Film, Happened, Sending

SLACK_S: Final = 450.0  # a slow line and a program that is away put things off; so do stalls
AWAY_S: Final = 1_200.0  # a link that was silent is looked for with longer and longer waits
TIMEOUT_S: Final = 29.99  # uptime is whole milliseconds; OCPPCommCtrlr.MessageTimeout[Default]
EVER_S: Final = float("inf")

MISCHIEF: Final = ("cut", "network", "slow", "csms_restarts", "temper", "registration", "stall",
                   "dies", "dies_at_commit", "disk_fails", "sigterm", "asks")  # fmt: skip

_SENT: Final = re.compile(r"It was sent (?:once|(\d+) times)\.$")
_TRIED: Final = re.compile(r"It was tried (?:once|(\d+) times), and (not )?known to have left")


class Storm:
    """One world, and an analyst who has its journal."""

    def __init__(self, film: Film, analyst: Analyst) -> None:
        self.film = film
        self.analyst = analyst
        self.asked = 0
        self._slack_s = SLACK_S + sum(
            one.how["seconds"] for one in film.plan.happenings if one.what == "stall"
        )

    def wrong(self) -> Iterator[str]:
        """A line for every answer that is missing or not true."""
        for line in self.analyst.transcript:
            for pattern, answers in ASKED:
                if found := re.match(pattern, line.sentence):
                    yield from self._wrong(line, self._evse(found.groupdict()), answers)
        yield from self._messages()
        yield from self.totals()

    def _evse(self, named: dict[str, Any]) -> int:
        """Where an entry took place; 0: nowhere in particular."""
        if name := named.get("name"):
            accounts = self.film.ledger.items()
            return next((one.evse_id or 0 for full, one in accounts if full.startswith(name)), 0)
        return int(named.get("evse") or 0)

    def _wrong(self, line: Line, evse_id: int, answers: Answers) -> Iterator[str]:
        self.asked += 1
        lines = self.analyst.why(line.seq).lines
        because = next((one for one in lines if one.startswith("Because ")), "no reason is told")
        for says, is_true in answers.items():
            if found := re.match(f"Because {says}", because):
                if not is_true(self, line.seq, evse_id, found):
                    yield f"entry {line.seq}, {line.sentence}: not true that: {because}"
                return
        yield f"entry {line.seq}, {line.sentence}: {because}"

    # --- What was true ---------------------------------------------------------------------------

    def before(self, seq: int, *whats: str, within_s: float = 0) -> Iterator[Happened]:
        """What of that kind happened not long before an entry; 0: as long as things may take."""
        until_s = self.film.bystander.written_s[seq]
        within_s = within_s or self._slack_s
        for one in self.film.happened:
            if one.what in whats and until_s - within_s <= one.at_s <= until_s:
                yield one

    def at(self, seq: int, evse_id: int, *whats: str) -> bool:
        return any(0 in (one.evse_id, evse_id) or one.evse_id == evse_id
                   for one in self.before(seq, *whats))  # fmt: skip

    def empty(self, seq: int, evse_id: int) -> bool:
        """Whether no EV was plugged in; at any EVSE, where nobody was told which it is."""
        last = {one.evse_id: one.what for one in
                self.before(seq, "plug_in", "unplug", "session", within_s=EVER_S)}  # fmt: skip
        where = [evse_id] if evse_id else [1, 2]
        return any(last.get(one, "unplug") == "unplug" for one in where)

    def came(self, seq: int, evse_id: int) -> bool:
        """Whether an EV had ever been plugged in there."""
        found = self.before(seq, "plug_in", "session", within_s=EVER_S)
        return any(one.evse_id == evse_id for one in found)

    def asked_for(self, seq: int, *actions: str) -> bool:
        found = self.before(seq, "ask", within_s=EVER_S)
        return any(one.how == f"{action}Request" for one in found for action in actions)

    def broken(self, seq: int, evse_id: int, fault: str) -> bool:
        """Whether it broke before, and had not been mended long before."""
        began = [one.at_s for one in self.before(seq, "begins", within_s=EVER_S)
                 if (one.evse_id, one.how) == (evse_id, fault)]  # fmt: skip
        ended = [one.at_s for one in self.before(seq, "ends", within_s=EVER_S)
                 if (one.evse_id, one.how) == (evse_id, fault)]  # fmt: skip
        late_s = self.film.bystander.written_s[seq] - self._slack_s
        mended_s = max(ended, default=0)
        return bool(began) and (mended_s <= max(began) or mended_s >= late_s)

    def full(self, seq: int, evse_id: int) -> bool:
        """Whether the EV that left next had all it needed."""
        since_s = self.film.bystander.written_s[seq] - self._slack_s
        return any(one.what == "unplug" and one.how == "full" and one.at_s >= since_s
                   and one.evse_id == evse_id for one in self.film.happened)  # fmt: skip

    def judged(self, seq: int, *statuses: str) -> bool:
        """Whether somebody who was there has one of these statuses with the CSMS."""
        there = {one.how for one in self.before(seq, "card", within_s=EVER_S)}
        if self.asked_for(seq, "RequestStartTransaction"):
            there |= set(PEOPLE)
        if self.asked_for(seq, "SetVariables"):
            there |= {""}  # whoever comes while nobody needs to be asked
        return any((PEOPLE[one].status if one in PEOPLE else "Unknown") in statuses
                   for one in there)  # fmt: skip

    def hampered(self, seq: int) -> bool:
        """Whether anything at all could keep the CSMS from being asked."""
        starting = self.film.bystander.written_s[seq] < 2
        return starting or any(self.before(seq, *MISCHIEF, within_s=AWAY_S))

    def starts_at(self, *points: str) -> bool:
        """Whether one of these is what the station was told to begin at."""
        return self.film.plan.variables.get("TxCtrlr.TxStartPoint", "PowerPathClosed") in points

    def short(self, seq: int) -> bool:
        """Whether the disk was short of room: two that fill it may leave it so until the end."""
        return any(self.before(seq, "disk_fills", within_s=EVER_S))

    def tempered(self, seq: int, mischief: str) -> bool:
        """Whether the CSMS was in that mood."""
        until_s = self.film.bystander.written_s[seq]
        return any(one.what == "temper" and mischief in one.how and one.at_s <= until_s
                   for one in self.film.plan.happenings)  # fmt: skip

    def died(self, seq: int) -> bool:
        """Whether the program had begun anew not long before."""
        until_s = self.film.bystander.written_s[seq]
        return any(
            until_s - self._slack_s <= one <= until_s for one in self.film.bystander.begun_s[1:]
        )

    # --- Why was this message sent twice? --------------------------------------------------------

    def _messages(self) -> Iterator[str]:
        sendings: dict[tuple[str, int], list[Sending]] = defaultdict(list)
        for one in self.film.bystander.sendings:
            sendings[one.transaction_id, one.seq_no].append(one)
        for (name, seq_no), (call, tried) in self._attempts().items():
            sent = sendings[name, seq_no]
            if len(tried) > 1 or len(sent) != 1:
                self.asked += 1
                lines = self.analyst.why(call).lines
                for fault in (*self._often(lines, len(tried), len(sent)),
                              *self._again(lines, tried, sent)):  # fmt: skip
                    yield f"seqNo {seq_no} of {name}, call {call}: {fault}"

    def _attempts(self) -> dict[tuple[str, int], tuple[int, list[tuple[int, str]]]]:
        """(transactionId, seqNo) -> (call, its attempts as (entry, messageId)), as exported."""
        found: dict[tuple[str, int], tuple[int, list[tuple[int, str]]]] = {}
        for row in self._exported("messages"):
            if row["direction"] == "out" and row["action"] == "TransactionEvent":
                of = row["transaction_id"], row["seq_no"]
                found.setdefault(of, (row["call"], []))[1].append((row["seq"], row["message_id"]))
        return found

    def _often(self, lines: list[str], tried: int, sent: int) -> Iterator[str]:
        """What is told for certain was so, and the wire knows of no attempt that is not told."""
        for line in lines:
            if found := _SENT.match(line):
                if not int(found[1] or 1) == sent == tried:
                    yield f"{line} It was tried {tried} times, and sent {sent} times."
                return
            if found := _TRIED.match(line):
                if int(found[1] or 1) != tried or not sent <= tried:
                    yield f"{line} It was tried {tried} times, and sent {sent} times."
                return
        yield f"nothing tells how often it was sent: {lines[:3]}"

    def _again(
        self, lines: list[str], tried: list[tuple[int, str]], sent: list[Sending]
    ) -> Iterator[str]:
        by_name = {one.message_id: one for one in sent}
        for (_, before), (entry, name) in pairwise(tried):
            why = next((line for line in lines if line.startswith(f"Entry {entry}: ")), "nothing")
            if before in by_name and name in by_name:
                possible = set(self._reasons(by_name[before], by_name[name]))
                if not any(one in why for one in possible):
                    yield f"attempt {entry} is explained by {why!r}, not one of {possible}"

    def _reasons(self, before: Sending, again: Sending) -> Iterator[str]:
        """Why the same went once more, as the wire has it."""
        if again.life != before.life:
            yield "the program ended"
        if again.wire is not before.wire:
            yield "the link went"
        waited_s = again.at_s - before.at_s
        if waited_s >= TIMEOUT_S or before.message_id in self.film.spoiled:
            yield "the attempt before failed"
        if any(one.how == "RetryRequested" and before.at_s <= one.at_s <= again.at_s
               for one in self.film.happened):  # fmt: skip
            yield "an operator wanted it"

    # --- What does it add up to? -----------------------------------------------------------------

    def _exported(self, table: str) -> list[dict[str, Any]]:
        told = ask("export", self.analyst.journal, table, "--format", "jsonl")
        assert told.code == 0, told.err
        return [json.loads(line, parse_float=Decimal) for line in told.lines]

    def totals(self) -> Iterator[str]:
        """The exported transactions are those of the CSMS's ledger, to the last digit."""
        rows = {row["transaction_id"]: row for row in self._exported("transactions")}
        if rows.keys() != self.film.ledger.keys():
            yield f"exported are {sorted(rows)}, the CSMS knows {sorted(self.film.ledger)}"
            return
        for name, account in self.film.ledger.items():
            assert account.ended is not None
            known = {
                "energy_wh": account.energy_wh,
                "stopped_reason": account.ended.transaction_info.stopped_reason,
                "seq_no_last": max(account.events),
            }
            if account.evse_id is not None:  # else the EV never came, and nobody was told where
                known["evse_id"] = account.evse_id
            for field, value in known.items():
                if rows[name][field] != value:
                    yield f"{name}: {field} is exported as {rows[name][field]}, and was {value}"


Truth = Callable[[Storm, int, int, re.Match[str]], bool]  # entry, EVSE, and what was answered
Answers = dict[str, Truth]  # the beginning of an answer -> whether it is true

_OUT_OF_ORDER: Final[Answers] = {
    r"EVSE (\d) had a fault, (\S+ \S+?)[ .:]": lambda storm, seq, evse, found: (
        int(found[1]) == evse and storm.broken(seq, evse, found[2])
    ),
    r"the station had a fault, (\S+ \S+?)[ .:]": lambda storm, seq, evse, found: storm.broken(
        seq, 0, found[1]
    ),
}
_FULL: Final[Answers] = {
    r"the disk had room left only": lambda storm, seq, evse, found: storm.short(seq),
}
_CLOSED: Final[Answers] = {
    **_FULL,
    r"the CSMS (took|wants) (EVSE|the station)": lambda storm, seq, evse, found: storm.asked_for(
        seq, "ChangeAvailability"
    ),
    r"the station was about to restart": lambda storm, seq, evse, found: storm.asked_for(
        seq, "Reset"
    ),
    r"the CSMS ordered (a|an immediate) restart": lambda storm, seq, evse, found: storm.asked_for(
        seq, "Reset"
    ),
}
_STOPPED: Final[Answers] = {
    **_OUT_OF_ORDER,
    **_FULL,
    r"the token that began it": lambda storm, seq, evse, found: storm.at(seq, evse, "card"),
    r"another token": lambda storm, seq, evse, found: storm.at(seq, evse, "card"),
    r"the stop button was": lambda storm, seq, evse, found: storm.at(seq, evse, "stop_button"),
    r"the EV ended its session": lambda storm, seq, evse, found: storm.full(seq, evse),
    r"the EV was disconnected": lambda storm, seq, evse, found: storm.at(seq, evse, "unplug"),
    r"the EV had left": lambda storm, seq, evse, found: storm.empty(seq, evse),
    r"the CSMS asked for it": lambda storm, seq, evse, found: storm.asked_for(
        seq, "RequestStopTransaction"
    ),
    r"an immediate reset": lambda storm, seq, evse, found: storm.asked_for(seq, "Reset"),
    r"no EV was plugged in in time": lambda storm, seq, evse, found: storm.empty(seq, evse),
    r"the supply was lost": lambda storm, seq, evse, found: storm.died(seq),
    r"the program (was away|began anew)": lambda storm, seq, evse, found: storm.died(seq),
    r"the CSMS does not accept the token": lambda storm, seq, evse, found: storm.judged(
        seq, "Blocked", "Unknown"
    ),
}
_UNHEARD: Final = "(nobody could be asked|the CSMS gave no answer of use)"
_REFUSED: Final[Answers] = {
    **_OUT_OF_ORDER,
    **_CLOSED,
    r"the CSMS says (\w+)": lambda storm, seq, evse, found: storm.judged(seq, found[1]),
    rf"{_UNHEARD}, and the cache knows the token as (\w+)": lambda storm, seq, evse, found: (
        storm.hampered(seq) and storm.judged(seq, found[2])
    ),
    _UNHEARD: lambda storm, seq, evse, found: storm.hampered(seq),
    r"the CSMS had not accepted": lambda storm, seq, evse, found: storm.hampered(seq),
    r"(no EVSE was free|somebody|another transaction)": lambda storm, seq, evse, found: any(
        storm.before(seq, "card", "ask", within_s=EVER_S)
    ),
}
_GRANTED: Final[Answers] = {
    r"the (CSMS accepted|cache knew) the token": lambda storm, seq, evse, found: storm.judged(
        seq, "Accepted"
    ),
    r"the CSMS started it": lambda storm, seq, evse, found: storm.asked_for(
        seq, "RequestStartTransaction"
    ),
    r"authorization is switched off": lambda storm, seq, evse, found: storm.asked_for(
        seq, "SetVariables"
    ),
}
_STARTED: Final[Answers] = {
    r"a person was authorised": lambda storm, seq, evse, found: (
        storm.judged(seq, "Accepted") and storm.starts_at("Authorized", "PowerPathClosed")
    ),
    r"an EV was plugged in, and nobody needs to be asked": lambda storm, seq, evse, found: (
        storm.came(seq, evse) and storm.asked_for(seq, "SetVariables")
    ),
    r"the EV of an authorised person": lambda storm, seq, evse, found: (
        storm.came(seq, evse) and storm.starts_at("EVConnected", "PowerPathClosed")
    ),
    r"an EV was plugged in": lambda storm, seq, evse, found: (
        storm.came(seq, evse) and storm.starts_at("EVConnected")
    ),
    r"energy (began to flow|flowed)": lambda storm, seq, evse, found: (
        storm.came(seq, evse) and storm.starts_at("EnergyTransfer")
    ),
    r"the CSMS started it": lambda storm, seq, evse, found: storm.asked_for(
        seq, "RequestStartTransaction"
    ),
}
_PARKED: Final[Answers] = {
    r"its last attempt failed, attempt (\d+) of \1: ": lambda storm, seq, evse, found: (
        storm.hampered(seq)
    ),
}
_DROPPED: Final[Answers] = {
    r"the link went": lambda storm, seq, evse, found: any(
        storm.before(seq, *MISCHIEF, within_s=EVER_S)  # one that is silent may stay so for long
    ),
    r"the program ended": lambda storm, seq, evse, found: storm.died(seq),
    r"little room was left": lambda storm, seq, evse, found: storm.short(seq),
    r"the CSMS refused it, InternalError: not today": lambda storm, seq, evse, found: (
        storm.tempered(seq, "refused")
    ),
    r"InternalError: not today, and the station introduces itself anew": (
        lambda storm, seq, evse, found: storm.tempered(seq, "refused")
    ),
    r"no answer within 30 s": lambda storm, seq, evse, found: storm.hampered(seq),
    r"unusable answer": lambda storm, seq, evse, found: storm.tempered(seq, "nonsense"),
}

# A sentence of the transcript -> what may be answered to whoever asks why.
ASKED: Final[tuple[tuple[str, Answers], ...]] = (
    (r"begins transaction \S+ at EVSE (?P<evse>\d)", _STARTED),
    (r"ends the right to charge(?: at EVSE (?P<evse>\d))?", _STOPPED),
    (r"lets \S+ charge(?: at EVSE (?P<evse>\d)| where)", _GRANTED),
    (r"brings (?P<name>[0-9a-f]+)\S* to its end", _STOPPED),
    (r"lets \S+ not charge(?: at EVSE (?P<evse>\d))?:", _REFUSED),
    (r"has for the CSMS: EVSE (?P<evse>\d) connector \d is Unavailable", _CLOSED),
    (r"has for the CSMS: EVSE (?P<evse>\d) connector \d is Faulted", _OUT_OF_ORDER),
    (r"parks call ", _PARKED),
    (r"drops calls? ", _DROPPED),
)
