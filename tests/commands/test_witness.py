"""Heads sent to the CSMS prove later whether the journal was changed."""

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

from journal.maintenance.verify import parse_witnessed_head, verify
from journal.observations import HeadRecorded
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStopOrdered
from station.core.blocks.e_transaction_events import JOURNAL_HEAD_ENABLED, VENDOR_ID
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import CsmsLedger
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.run_plan import PlanRun
from station.simulation.seeds import make_plan
from station.simulation.world import SimulatedWorld, run_simulation
from tests.commands.fixtures_journals import StationCommand
from tests.support.story import (
    ONLINE,
    called,
    charging_stopped,
    given,
    id_token_named,
    in_transaction,
    load_product,
    presented,
    queued_payloads,
    response_payload_in,
)

SEED = 24
FORGED = "f" * 64


class WitnessedRun(NamedTuple):
    """A station that sent heads to the CSMS, with and without faults."""

    path: Path
    ledger: CsmsLedger

    @property
    def ended_events(self) -> list[TransactionEventRequest]:
        return [
            value.ended_event for value in self.ledger.transactions.values() if value.ended_event
        ]

    @property
    def heads(self) -> list[str]:
        """The heads of the ledger, in the form of `station verify --head`."""
        return list(_reported_heads(self.ended_events))


def _reported_heads(ended: list[TransactionEventRequest]) -> Iterator[str]:
    for event in ended:
        assert event.custom_data is not None, f"{event.transaction_info} names no head"
        assert event.custom_data.vendor_id == VENDOR_ID
        assert set(event.custom_data) == {"vendorId", "seq", "digest"}
        yield f"{event.custom_data['seq']}:{event.custom_data['digest']}"


@pytest.fixture(scope="module")
def witnessed_run(tmp_path_factory: pytest.TempPathFactory) -> WitnessedRun:
    """Sessions at both EVSEs, with a lost link, a killed program and a power cut."""
    directory = tmp_path_factory.mktemp("witness")
    worlds: list[SimulatedWorld] = []

    async def script() -> None:
        [world] = worlds
        for number in range(6):
            world.schedule_session(1, ALICE, SimulatedEv(), 300)
            world.schedule_session(
                2, BOB, SimulatedEv(power_w=22_000), 300
            )  # both end in one commit, or in adjacent ones
            await trio.sleep(200)
            assert world.process is not None
            if number == 1:
                world.network.switch_mode("down")
            elif number == 3:
                world.process.kill()
            elif number == 4:
                world.host_reboot_pending, world.restart_gap_s = True, 900.0
                world.process.kill()
            await trio.sleep(1_000)
            world.network.switch_mode("up")
        await trio.sleep(600)

    async def main() -> None:
        worlds.append(
            SimulatedWorld(directory, seed=SEED, variables={JOURNAL_HEAD_ENABLED: "true"})
        )
        await worlds[0].run(script)

    run_simulation(main, SEED)
    [world] = worlds
    with world.open_final_journal():
        pass
    [path] = directory.glob("*/journal.db")
    return WitnessedRun(path, world.csms.double.ledger)


def test_every_witness_of_the_ledger_is_accepted(
    witnessed_run: WitnessedRun, run_station: StationCommand
) -> None:
    assert len(witnessed_run.heads) == 12
    for head in witnessed_run.heads:
        assert list(verify(witnessed_run.path, parse_witnessed_head(head))) == []
    assert (
        run_station("verify", witnessed_run.path, "--head", witnessed_run.heads[-1]).exit_code == 0
    )


def test_a_head_is_on_the_disk_before_the_message_that_names_it(
    witnessed_run: WitnessedRun,
) -> None:
    with sqlite3.connect(witnessed_run.path) as journal:
        rows = journal.execute(
            "SELECT seq, cause, body ->> 'payload' FROM entry WHERE kind = 'CallQueued'"
            " AND body ->> '$.transaction_event.event_type' = 'Ended'"
        ).fetchall()
        noted = dict(
            journal.execute(
                "SELECT body ->> 'head_seq', seq FROM entry WHERE kind = 'HeadRecorded'"
            )
        )
    journal.close()
    assert len(rows) == len(witnessed_run.heads)
    for seq, cause, payload in rows:
        head_seq = json.loads(payload)["customData"]["seq"]
        assert head_seq < noted[head_seq] < cause < seq


def test_the_journal_holds_all_that_the_judgement_of_a_head_needs(
    witnessed_run: WitnessedRun, run_station: StationCommand
) -> None:
    result = run_station("verify", witnessed_run.path, "--redecide")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_forged_witness_is_refused(
    witnessed_run: WitnessedRun, run_station: StationCommand
) -> None:
    for head in witnessed_run.heads:
        seq = head.partition(":")[0]
        [complaint] = verify(witnessed_run.path, parse_witnessed_head(f"{seq}:{FORGED}"))
        assert str(complaint) == f"entry {seq}: is not the entry that was recorded outside"
    assert run_station("verify", witnessed_run.path, "--head", f"{seq}:{FORGED}").exit_code == 1


def test_a_removed_end_is_found_although_the_chain_is_valid(
    witnessed_run: WitnessedRun, run_station: StationCommand, tmp_path: Path
) -> None:
    """An attacker removes a session and everything after it, with a valid chain."""
    last = int(witnessed_run.heads[-1].partition(":")[0])
    path = tmp_path / "journal.db"
    shutil.copyfile(witnessed_run.path, path)
    with sqlite3.connect(path) as journal:
        [trigger] = journal.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'entry_not_deleted'"
        ).fetchone()
        journal.execute("DROP TRIGGER entry_not_deleted")
        journal.execute("DELETE FROM entry WHERE seq >= ?", (last,))
        journal.execute(trigger)
    journal.close()
    assert run_station("verify", path).exit_code == 0  # the file alone does not show it
    for head in witnessed_run.heads:
        cut = int(head.partition(":")[0]) >= last
        result = run_station("verify", path, "--head", head)
        assert result.exit_code == cut
        assert (f"entry {last}: missing" in result.stderr) == cut


@pytest.mark.parametrize("seed", range(6))
def test_every_witness_holds_in_a_world_with_faults(seed: int, tmp_path: Path) -> None:
    """With kills and a disk that stalls and fails, no head is sent that is lost afterwards."""
    plan = replace(make_plan(seed), profile="development")
    trial = PlanRun(
        replace(plan, variables=plan.variables | {JOURNAL_HEAD_ENABLED: "true"}), tmp_path
    )
    run_simulation(trial.run_world, seed)
    with trial.world.open_final_journal():
        pass
    [path] = tmp_path.glob("*/journal.db")
    accounts = trial.world.csms.double.ledger.transactions.values()
    for head in _reported_heads(
        [account.ended_event for account in accounts if account.ended_event]
    ):
        assert list(verify(path, parse_witnessed_head(head))) == []


# --- Who wants it --------------------------------------------------------------------------------


def head_noted() -> HeadRecorded:
    return HeadRecorded(head_seq=48, head_digest="ab" * 32)


def ended_event(
    profile_name: str, *before: HeadRecorded, witness_enabled: bool
) -> dict[str, object]:
    """The event that ends a transaction."""
    station = given(ONLINE, profile_name=profile_name)
    if witness_enabled:
        component = {"name": "CustomizationCtrlr"}
        variable = {"name": "CustomImplementationEnabled", "instance": VENDOR_ID}
        request = {"attributeValue": "true", "component": component, "variable": variable}
        [result] = response_payload_in(
            station.when(called("SetVariables", setVariableData=[request]))
        )["setVariableResult"]
        assert result["attributeStatus"] == "Accepted"
    station.when(in_transaction(1), *before)
    decisions = station.when(presented(id_token_named("alice"), evse_id=1), charging_stopped(1))
    [event] = [
        payload
        for payload in queued_payloads(decisions, "TransactionEvent")
        if payload["eventType"] == "Ended"
    ]
    return event


def test_the_csms_may_switch_it_on() -> None:
    assert ended_event("development", head_noted(), witness_enabled=True)["customData"] == {
        "vendorId": "ocpp-station.journal",
        "seq": 48,
        "digest": "ab" * 32,
    }


def test_without_that_a_message_carries_no_custom_data() -> None:
    assert "customData" not in ended_event("development", head_noted(), witness_enabled=False)


def test_the_certified_product_has_no_witness() -> None:
    assert "customData" not in ended_event("evs-flash-300", head_noted(), witness_enabled=False)
    assert JOURNAL_HEAD_ENABLED not in load_product("evs-flash-300").device_model.by_path
    assert JOURNAL_HEAD_ENABLED in load_product("development").device_model.by_path


def test_where_it_is_off_no_head_is_noted(tmp_path: Path) -> None:
    worlds: list[SimulatedWorld] = []

    async def script() -> None:
        worlds[0].schedule_session(1, ALICE, SimulatedEv(), 60)
        await trio.sleep(300)

    async def main() -> None:
        worlds.append(SimulatedWorld(tmp_path, seed=SEED))
        await worlds[0].run(script)

    run_simulation(main, SEED)
    with worlds[0].open_final_journal() as store:
        kinds = [type(entry.event) for entry in store.reader.iter_entries()]
    assert TransactionStopOrdered in kinds
    assert CallQueued in kinds
    assert HeadRecorded not in kinds
