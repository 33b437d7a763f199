"""Client of the control socket for the page: one connection, one request at a time.

However many browsers there are, the station sees one client. A connection that fails is opened
again with the next request.
"""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any, Final

import trio

STATION_SOCKET: Final = "control.sock"
RESPONSE_TIMEOUT_S: Final = 5.0
RESPONSE_BYTES_MAX: Final = 1 << 20
CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid of the listener; unix(7)

JsonObject = dict[str, Any]


class StationUnreachable(Exception):
    """No station answers on its socket."""


class RequestRefused(Exception):
    """The station refused an operation; the message is its error."""


class StationClient:
    """Sends operations to the station of a data directory."""

    def __init__(self, data_directory: Path) -> None:
        self._path = data_directory / STATION_SOCKET
        self._stream: trio.SocketStream | None = None
        self._turn = trio.Lock()
        self.peer_pid: int | None = None  # process of the station, as of the last connection

    async def request(self, operation: str, **arguments: Any) -> JsonObject:
        """Send one operation and return its response without `ok`.

        Raises:
            StationUnreachable: no answer within `RESPONSE_TIMEOUT_S`.
            RequestRefused: the operation was refused.
        """
        line = json.dumps({"op": operation, **arguments}).encode() + b"\n"
        async with self._turn:
            reply = await self._exchange(line)
        if reply.pop("ok", False) is not True:
            raise RequestRefused(str(reply.get("error", "refused without a reason")))
        return reply

    async def aclose(self) -> None:
        """Close the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _exchange(self, line: bytes) -> JsonObject:
        """One request and its response; a connection of an earlier run is tried only once."""
        is_reused = self._stream is not None
        try:
            with trio.fail_after(RESPONSE_TIMEOUT_S):
                try:
                    return await self._exchange_once(line)
                except (OSError, trio.BrokenResourceError, EOFError):
                    if not is_reused:
                        raise
                    await self.aclose()
                    return await self._exchange_once(line)
        except (OSError, trio.BrokenResourceError, EOFError, ValueError) as error:
            await self.aclose()
            raise StationUnreachable(f"no station answers ({error})") from error
        except trio.TooSlowError:
            await self.aclose()
            raise StationUnreachable(f"no answer within {RESPONSE_TIMEOUT_S:.0f} s") from None
        except BaseException:  # canceled: the answer would be taken for that of the next request
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def _exchange_once(self, line: bytes) -> JsonObject:
        if self._stream is None:
            self._stream = await trio.open_unix_socket(str(self._path))
            credentials = self._stream.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size
            )
            self.peer_pid = CREDENTIALS.unpack(credentials)[0]
        await self._stream.send_all(line)
        data = bytearray()
        while not data.endswith(b"\n"):
            chunk = await self._stream.receive_some()
            data += chunk
            if not chunk or len(data) > RESPONSE_BYTES_MAX:
                raise EOFError("the connection was closed")
        reply = json.loads(data)
        if not isinstance(reply, dict):
            raise ValueError("the response is no JSON object")  # noqa: TRY004  # the station's fault
        return reply
