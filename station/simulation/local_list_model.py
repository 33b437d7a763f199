"""The Local Authorization List as the CSMS expects it: what it sent and the station accepted.

Written apart from the station: a dictionary that each accepted SendLocalList changes. D01.
"""

from __future__ import annotations

from typing import Any

import msgspec

from journal.events import IdToken
from journal.projections.local_list import LocalList

_decode = msgspec.json.Decoder().decode


class LocalListModel:
    """Status of each idToken by its reference and type, and the version of the list."""

    def __init__(self) -> None:
        self.version = 0
        self._statuses: dict[tuple[str, str], str] = {}
        self._requests: dict[str, dict[str, Any]] = {}  # without an answer, by messageId

    def on_request(self, message_id: str, payload: msgspec.Raw) -> None:
        """A SendLocalList was recorded."""
        self._requests[message_id] = _decode(payload)

    def on_response(self, message_id: str, payload: msgspec.Raw) -> None:
        """The station answered a CALL."""
        request = self._requests.pop(message_id, None)
        if request is None or _decode(payload)["status"] != "Accepted":
            return
        self.version = request["versionNumber"]
        if request["updateType"] == "Full":
            self._statuses.clear()
        for item in request.get("localAuthorizationList", ()):
            key = (item["idToken"]["idToken"], item["idToken"]["type"])
            if "idTokenInfo" in item:
                self._statuses[key] = item["idTokenInfo"]["status"]
            else:
                self._statuses.pop(key, None)

    def describe_difference(self, local_list: LocalList) -> str:
        """How the list of the station differs; empty: it does not."""
        if local_list.version_number != self.version:
            return f"version {local_list.version_number}, accepted was {self.version}"
        if local_list.count != len(self._statuses):
            return f"{local_list.count} idTokens, accepted were {len(self._statuses)}"
        for (ref, type), status in self._statuses.items():
            listed = local_list.find(IdToken(ref, type))
            if listed is None or listed.status != status:
                return f"{ref} is {listed and listed.status}, accepted was {status}"
        return ""
