"""Does the CSMS hold evidence of the journal, and does that evidence find what was done to it?"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from msgspec.structs import replace

from journal.observations import HeadNoted
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStopping
from journal.verify import verify, witness_of
from station.blocks.e_transactions import VENDOR_ID, WITNESS
from station.messages.e_transactions import TransactionEventRequest
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB
from station.simulation.ledger import Ledger
from station.simulation.plans import planned
from station.simulation.trial import Trial
from station.simulation.world import World, simulate
from tests.commands.journals import Command
from tests.story import (
    ONLINE,
    called,
    discharged,
    given,
    in_transaction,
    presented,
    product,
    queued,
    reply_in,
    token,
)

SEED = 24
FORGED = "f" * 64


class Lived(NamedTuple):
    """A station that told the CSMS its heads, in good days and bad ones."""

    path: Path
    ledger: Ledger

    @property
    def ended(self) -> list[TransactionEventRequest]:
        return [one.ended for one in self.ledger.accounts.values() if one.ended]

    @property
    def heads(self) -> list[str]:
        """What the ledger holds, as `station verify --head` takes it."""
        return list(_heads(self.ended))


def _heads(ended: list[TransactionEventRequest]) -> Iterator[str]:
    for event in ended:
        assert event.custom_data is not None, f"{event.transaction_info} names no head"
        assert event.custom_data.vendor_id == VENDOR_ID
        assert set(event.custom_data) == {"vendorId", "seq", "digest"}
        yield f"{event.custom_data['seq']}:{event.custom_data['digest']}"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Sessions at both EVSEs, with the link gone, the program killed and the host without power."""
    directory = tmp_path_factory.mktemp("witness")
    worlds: list[World] = []

    async def script() -> None:
        [world] = worlds
        for number in range(6):
            world.session(1, ALICE, Ev(), 300)
            world.session(2, BOB, Ev(power_w=22_000), 300)  # both end in one commit, or nearly
            await trio.sleep(200)
            assert world.life is not None
            if number == 1:
                world.lines.switch("down")
            elif number == 3:
                world.life.die()
            elif number == 4:
                world.host_dies, world.gap_s = True, 900.0
                world.life.die()
            await trio.sleep(1_000)
            world.lines.switch("up")
        await trio.sleep(600)

    async def main() -> None:
        worlds.append(World(directory, seed=SEED, variables={WITNESS: "true"}))
        await worlds[0].run(script)

    simulate(main, SEED)
    [world] = worlds
    with world.ended():
        pass
    [path] = directory.glob("*/journal.db")
    return Lived(path, world.csms.double.ledger)


def test_every_witness_of_the_ledger_is_accepted(lived: Lived, station: Command) -> None:
    assert len(lived.heads) == 12
    for head in lived.heads:
        assert list(verify(lived.path, witness_of(head))) == []
    assert station("verify", lived.path, "--head", lived.heads[-1]).code == 0


def test_a_head_is_on_the_disk_before_the_message_that_names_it(lived: Lived) -> None:
    with sqlite3.connect(lived.path) as journal:
        told = journal.execute(
            "SELECT seq, cause, body ->> 'payload' FROM entry WHERE kind = 'CallQueued'"
            " AND body ->> '$.transaction.event_type' = 'Ended'"
        ).fetchall()
        noted = dict(
            journal.execute("SELECT body ->> 'head_seq', seq FROM entry WHERE kind = 'HeadNoted'")
        )
    journal.close()
    assert len(told) == len(lived.heads)
    for seq, cause, payload in told:
        head_seq = json.loads(payload)["customData"]["seq"]
        assert head_seq < noted[head_seq] < cause < seq


def test_the_journal_holds_all_that_the_judgement_of_a_head_needs(
    lived: Lived, station: Command
) -> None:
    ran = station("verify", lived.path, "--redecide")
    assert (ran.code, ran.err) == (0, "")


def test_a_forged_witness_is_refused(lived: Lived, station: Command) -> None:
    for head in lived.heads:
        seq = head.partition(":")[0]
        [complaint] = verify(lived.path, witness_of(f"{seq}:{FORGED}"))
        assert str(complaint) == f"entry {seq}: is not the entry that was seen outside"
    assert station("verify", lived.path, "--head", f"{seq}:{FORGED}").code == 1


def test_a_tail_that_was_cut_off_shows_though_the_chain_holds(
    lived: Lived, station: Command, tmp_path: Path
) -> None:
    """Somebody removes a session and everything after it, carefully."""
    last = int(lived.heads[-1].partition(":")[0])
    path = tmp_path / "journal.db"
    shutil.copyfile(lived.path, path)
    with sqlite3.connect(path) as journal:
        [trigger] = journal.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'entry_not_deleted'"
        ).fetchone()
        journal.execute("DROP TRIGGER entry_not_deleted")
        journal.execute("DELETE FROM entry WHERE seq >= ?", (last,))
        journal.execute(trigger)
    journal.close()
    assert station("verify", path).code == 0  # nobody can tell from the file alone
    for head in lived.heads:
        cut = int(head.partition(":")[0]) >= last
        ran = station("verify", path, "--head", head)
        assert ran.code == cut
        assert (f"entry {last}: missing" in ran.err) == cut


@pytest.mark.parametrize("seed", range(6))
def test_every_witness_holds_in_a_world_with_faults(seed: int, tmp_path: Path) -> None:
    """Killed, with a disk that stalls and fails: no head is told that is then lost."""
    plan = replace(planned(seed), profile="development")
    trial = Trial(replace(plan, variables=plan.variables | {WITNESS: "true"}), tmp_path)
    simulate(trial.main, seed)
    with trial.world.ended():
        pass
    [path] = tmp_path.glob("*/journal.db")
    accounts = trial.world.csms.double.ledger.accounts.values()
    for head in _heads([one.ended for one in accounts if one.ended]):
        assert list(verify(path, witness_of(head))) == []


# --- Who wants it --------------------------------------------------------------------------------


def noted() -> HeadNoted:
    return HeadNoted(head_seq=48, head_digest="ab" * 32)


def ended(of: str, *before: HeadNoted, on: bool) -> dict[str, object]:
    """The event that ends a transaction."""
    told = given(ONLINE, of=of)
    if on:
        component = {"name": "CustomizationCtrlr"}
        variable = {"name": "CustomImplementationEnabled", "instance": VENDOR_ID}
        asked = {"attributeValue": "true", "component": component, "variable": variable}
        [result] = reply_in(told.when(called("SetVariables", setVariableData=[asked])))[
            "setVariableResult"
        ]
        assert result["attributeStatus"] == "Accepted"
    told.when(in_transaction(1), *before)
    decisions = told.when(presented(token("alice"), evse_id=1), discharged(1))
    [event] = [one for one in queued(decisions, "TransactionEvent") if one["eventType"] == "Ended"]
    return event


def test_the_csms_may_switch_it_on() -> None:
    assert ended("development", noted(), on=True)["customData"] == {
        "vendorId": "ocpp-station.journal",
        "seq": 48,
        "digest": "ab" * 32,
    }


def test_without_that_a_message_carries_no_custom_data() -> None:
    assert "customData" not in ended("development", noted(), on=False)


def test_the_certified_product_knows_nothing_of_it() -> None:
    assert "customData" not in ended("evs-flash-300", noted(), on=False)
    assert WITNESS not in product("evs-flash-300").model.by_path
    assert WITNESS in product("development").model.by_path


def test_where_it_is_off_no_head_is_noted(tmp_path: Path) -> None:
    worlds: list[World] = []

    async def script() -> None:
        worlds[0].session(1, ALICE, Ev(), 60)
        await trio.sleep(300)

    async def main() -> None:
        worlds.append(World(tmp_path, seed=SEED))
        await worlds[0].run(script)

    simulate(main, SEED)
    with worlds[0].ended() as store:
        kinds = [type(entry.event) for entry in store.reader.entries()]
    assert TransactionStopping in kinds
    assert CallQueued in kinds
    assert HeadNoted not in kinds
