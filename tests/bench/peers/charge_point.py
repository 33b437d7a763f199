"""A charge point made with the `ocpp` package, for OCPP 2.0.1: URL. It runs until it is killed."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import websockets
from ocpp.routing import after, on
from ocpp.v201 import ChargePoint, call, call_result


class PeerStation(ChargePoint):  # type: ignore[misc]
    """Answers from values in memory."""

    def __init__(self, name: str, connection: object) -> None:
        super().__init__(name, connection)
        self.values = {"HeartbeatInterval": "300"}
        self.transaction_id = ""

    async def send_boot(self) -> None:
        """Send BootNotification, then Available for both connectors. B01."""
        charging_station = {"model": "peer", "vendor_name": "peer"}
        await self.call(call.BootNotification(charging_station=charging_station, reason="PowerUp"))
        for evse_id in (1, 2):
            await self._send_status(evse_id, "Available")

    @on("GetVariables")  # type: ignore[untyped-decorator]
    def get_variables(self, get_variable_data: list[dict[str, object]]) -> object:
        """B06."""
        return call_result.GetVariables(
            get_variable_result=[
                {
                    "attribute_status": "Accepted",
                    "attribute_value": self.values["HeartbeatInterval"],
                    "component": data["component"],
                    "variable": data["variable"],
                }
                for data in get_variable_data
            ]
        )

    @on("SetVariables")  # type: ignore[untyped-decorator]
    def set_variables(self, set_variable_data: list[dict[str, object]]) -> object:
        """B05."""
        for data in set_variable_data:
            self.values["HeartbeatInterval"] = str(data["attribute_value"])
        return call_result.SetVariables(
            set_variable_result=[
                {
                    "attribute_status": "Accepted",
                    "component": data["component"],
                    "variable": data["variable"],
                }
                for data in set_variable_data
            ]
        )

    @on("TriggerMessage")  # type: ignore[untyped-decorator]
    def trigger_message(self, requested_message: str) -> object:
        """F06, for the Heartbeat."""
        return call_result.TriggerMessage(status="Accepted")

    @after("TriggerMessage")  # type: ignore[untyped-decorator]
    async def send_triggered_heartbeat(self, requested_message: str) -> None:
        await self.call(call.Heartbeat())

    @on("RequestStartTransaction")  # type: ignore[untyped-decorator]
    def start_transaction(self, evse_id: int, remote_start_id: int, id_token: object) -> object:
        """F02."""
        return call_result.RequestStartTransaction(status="Accepted")

    @after("RequestStartTransaction")  # type: ignore[untyped-decorator]
    async def send_started_event(
        self, evse_id: int, remote_start_id: int, id_token: object
    ) -> None:
        self.transaction_id = str(uuid4())
        start = {"remote_start_id": remote_start_id}
        await self._send_transaction_event(
            "Started", "RemoteStart", "Transaction.Begin", 0, start, id_token
        )
        await self._send_status(evse_id, "Occupied")

    @on("RequestStopTransaction")  # type: ignore[untyped-decorator]
    def stop_transaction(self, transaction_id: str) -> object:
        """F03."""
        return call_result.RequestStopTransaction(status="Accepted")

    @after("RequestStopTransaction")  # type: ignore[untyped-decorator]
    async def send_ended_event(self, transaction_id: str) -> None:
        await self._send_transaction_event(
            "Ended", "RemoteStop", "Transaction.End", 1, {"stopped_reason": "Remote"}
        )
        await self._send_status(1, "Available")

    async def _send_transaction_event(
        self,
        kind: str,
        reason: str,
        context: str,
        seq_no: int,
        transaction_info: dict[str, Any],
        id_token: object = None,
    ) -> None:
        sampled = {
            "value": 100000.0,
            "context": context,
            "measurand": "Energy.Active.Import.Register",
            "location": "Outlet",
            "unit_of_measure": {"unit": "Wh"},
        }
        info = {
            "transaction_id": self.transaction_id,
            "charging_state": "Idle",
            "time_spent_charging": 0,
        }
        event = call.TransactionEvent(
            event_type=kind,
            timestamp=_current_timestamp(),
            trigger_reason=reason,
            seq_no=seq_no,
            transaction_info=info | transaction_info,
            meter_value=[{"sampled_value": [sampled], "timestamp": _current_timestamp()}],
            id_token=id_token,
        )
        await self.call(event)

    async def _send_status(self, evse_id: int, status: str) -> None:
        request = call.StatusNotification(
            timestamp=_current_timestamp(), connector_status=status, evse_id=evse_id, connector_id=1
        )
        await self.call(request)


def _current_timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def main(url: str) -> None:
    """Connect, send the boot messages and answer CALLs."""
    async with websockets.connect(url, subprotocols=["ocpp2.0.1"]) as connection:  # type: ignore[list-item]
        station = PeerStation(url.rpartition("/")[2], connection)
        listening = asyncio.create_task(station.start())
        await station.send_boot()
        await listening


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
