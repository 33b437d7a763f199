"""A charge point that decides nothing: URL DIRECTORY. It runs until it is killed.

It answers every CALL with what the bench expects, after as many entries as the station makes for a
GetVariables are durable in a journal, written by the same thread as the station's.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from trio_websocket import open_websocket_url

from journal.storage.store import Store
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.loop.startup import event_registry
from station.simulation.world import JOURNAL_ID
from tests.bench.journals import endless_entries, simulated_template

ENTRIES: Final = 3  # of a GetVariables: the frame, the reply, and that it was sent
BOOT: Final = {
    "reason": "PowerUp",
    "chargingStation": {"model": "echo", "vendorName": "echo"},
}


async def main(url: str, directory: Path) -> None:
    """Connect, send BootNotification and answer CALLs."""
    directory.mkdir()
    source = endless_entries()
    with (
        Store.open(
            directory / "journal.db", event_registry(), journal_id_if_new=JOURNAL_ID
        ) as store,
        CommitThread(store.write_rows) as writer,
    ):
        async with open_websocket_url(url, subprotocols=["ocpp2.0.1"]) as connection:
            await connection.send_message(_encode([2, "1", "BootNotification", BOOT]))
            while True:
                frame = msgspec.json.decode(await connection.get_message())
                if frame[0] == 2:
                    await writer.write_and_wait(store.chain_rows(list(islice(source, ENTRIES))))
                    await connection.send_message(_encode([3, frame[1], _answer(frame[3])]))
                    if store.is_checkpoint_due:
                        await trio.to_thread.run_sync(store.checkpoint)


def _encode(frame: list[Any]) -> str:
    return msgspec.json.encode(frame).decode()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "getVariableResult": [
            {**item, "attributeStatus": "Accepted", "attributeValue": "300"}
            for item in request["getVariableData"]
        ]
    }


if __name__ == "__main__":
    simulated_template()  # it needs a loop of its own
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
