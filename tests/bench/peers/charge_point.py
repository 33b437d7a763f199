"""A charge point made with the `ocpp` package, for OCPP 2.0.1: URL. It runs until it is killed."""

import asyncio
import sys

import websockets
from ocpp.routing import on
from ocpp.v201 import ChargePoint, call, call_result


class Station(ChargePoint):  # type: ignore[misc]
    """Answers out of its memory."""

    def __init__(self, name: str, connection: object) -> None:
        super().__init__(name, connection)
        self.values = {"HeartbeatInterval": "300"}

    @on("GetVariables")  # type: ignore[untyped-decorator]
    def get(self, get_variable_data: list[dict[str, object]]) -> object:
        """B06."""
        return call_result.GetVariables(
            get_variable_result=[
                {
                    "attribute_status": "Accepted",
                    "attribute_value": self.values["HeartbeatInterval"],
                    "component": one["component"],
                    "variable": one["variable"],
                }
                for one in get_variable_data
            ]
        )

    @on("SetVariables")  # type: ignore[untyped-decorator]
    def set(self, set_variable_data: list[dict[str, object]]) -> object:
        """B05."""
        for one in set_variable_data:
            self.values["HeartbeatInterval"] = str(one["attribute_value"])
        return call_result.SetVariables(
            set_variable_result=[
                {
                    "attribute_status": "Accepted",
                    "component": one["component"],
                    "variable": one["variable"],
                }
                for one in set_variable_data
            ]
        )


async def main(url: str) -> None:
    """Connect, say who we are, and listen."""
    async with websockets.connect(url, subprotocols=["ocpp2.0.1"]) as connection:  # type: ignore[list-item]
        station = Station(url.rpartition("/")[2], connection)
        listening = asyncio.create_task(station.start())
        about = {"model": "peer", "vendor_name": "peer"}
        await station.call(call.BootNotification(charging_station=about, reason="PowerUp"))
        await listening


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
