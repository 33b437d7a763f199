"""How does a frame become an observation that may be kept for ten years?

Personal values go to the side table, secrets to their own files; what is left is what the CSMS
said. A frame that is no JSON is described and quoted only as far as it can hold no secret.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.events import IdToken
from journal.format.id_tokens import has_no_personal_value, pseudonymize_payload
from journal.observations import FrameMalformed, FrameReceived
from station.core.blocks.b_variables import INVALID_SECRET
from station.core.device_model.definitions import Refusal, check_value
from station.core.device_model.model import Component, DeviceModel
from station.runtime.secrets.urls import hide_credentials

log = logging.getLogger("station.ingest")

EXCERPT_MAX: Final = 200  # characters of a frame nobody can read
ID_TOKEN_MAX: Final = 36  # characters. IdTokenType
OVERLONG_ID_TOKEN: Final = "#" * (
    ID_TOKEN_MAX + 1
)  # keeps an overlong value overlong, and nobody's
SECRET_WORDS: Final = ("password", "secret", "simpin", '"key"', "idtoken", "private", "://")
REDACTED: Final = "***"
LOST_SECRET: Final = f"<secret {'0' * 32}>"  # a reference behind which there is nothing

# request -> the way to a URL in it, which may hold a password
URL_PATHS: Final = {
    "GetLog": ("log", "remoteLocation"),
    "PublishFirmware": ("location",),
    "SetNetworkProfile": ("connectionData", "ocppCsmsUrl"),
    "UpdateFirmware": ("firmware", "location"),
}

# request -> keys of it that are secret wherever they stand in the payload
SECRET_KEYS: Final = {
    "SetNetworkProfile": frozenset({"apnPassword", "simPin", "password", "key"}),
}

# A private key that somebody sends along with a certificate, in a JSON string. RFC 7468
PRIVATE_KEY_PATTERN: Final = re.compile(rb'PRIVATE KEY-----[^"]*')

_json_decoder = msgspec.json.Decoder(float_hook=Decimal)
_json_encoder = msgspec.json.Encoder(decimal_format="number")


class FrameFilter:
    """Takes frames in: knows where values and secrets go, and which variables are secret."""

    def __init__(
        self,
        device_model: DeviceModel,
        reference_for: Callable[[str, str], IdToken],
        store_secret: Callable[[str], str],
    ) -> None:
        self._device_model = device_model
        self._reference_for = reference_for
        self._store_secret = store_secret

    def to_observation(self, text: str) -> FrameReceived | FrameMalformed:
        """The observation a frame makes. Total: any text gives one.

        A secret that the disk refuses does not take the link with it: the variable is Rejected, and
        the transfer finds the credentials of its URL lost.
        """
        try:
            frame = _json_decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ArithmeticError) as error:
            return _malformed_frame(text, str(error) or "nested too deeply")
        if not isinstance(frame, list):
            return _malformed_frame(text, "not a JSON array")
        try:
            clean = self._without_secrets(frame)
            if not has_no_personal_value(text):
                clean = pseudonymize_payload(clean, self._id_token_reference)
            return FrameReceived(msgspec.Raw(_redact_private_keys(_json_encoder.encode(clean))))
        except RecursionError:
            return _malformed_frame(text, "nested too deeply")

    def _id_token_reference(self, type: str, value: str) -> IdToken:
        if len(value) > ID_TOKEN_MAX:
            return IdToken(OVERLONG_ID_TOKEN, type)
        return self._reference_for(type, value)

    def _without_secrets(self, frame: list[Any]) -> list[Any]:
        """A CALL with its secrets replaced; every other frame as it is."""
        if len(frame) != 4 or frame[0] != 2 or not isinstance(frame[3], dict):
            return frame
        payload = frame[3]
        if frame[2] == "SetVariables":
            payload = self._redact_set_variables(payload)
        if frame[2] in SECRET_KEYS:
            payload = _redact_keys(payload, SECRET_KEYS[frame[2]])
        if frame[2] in URL_PATHS:
            payload = self._without_credentials(payload, URL_PATHS[frame[2]])
        return [*frame[:3], payload]

    def _without_credentials(self, payload: Any, path: tuple[str, ...]) -> Any:
        """The payload with the URL as the journal may have it. N01.FR.17."""
        if not isinstance(payload, dict) or path[0] not in payload:
            return payload
        inner = payload[path[0]]
        if len(path) > 1:
            return payload | {path[0]: self._without_credentials(inner, path[1:])}
        if not isinstance(inner, str):
            return payload
        return payload | {path[0]: hide_credentials(inner, self._secret_reference)}

    def _redact_set_variables(self, payload: dict[str, Any]) -> dict[str, Any]:
        asked = payload.get("setVariableData")
        if not isinstance(asked, list):
            return payload
        return payload | {"setVariableData": [self._redact_variable(one) for one in asked]}

    def _redact_variable(self, set_variable_data: Any) -> Any:
        """A secret variable's value is kept if it is fit, and only then. A01.FR.02."""
        definition = self._secret_variable_path(set_variable_data)
        if definition is None:
            return set_variable_data
        if definition == REDACTED:
            return set_variable_data | {"attributeValue": REDACTED}
        fit = (
            check_value(self._device_model.by_path[definition], set_variable_data["attributeValue"])
            is None
        )
        kept = (
            self._secret_reference(set_variable_data["attributeValue"]) if fit else INVALID_SECRET
        )
        return set_variable_data | {
            "attributeValue": INVALID_SECRET if kept == LOST_SECRET else kept
        }

    def _secret_reference(self, secret: str) -> str:
        """The reference of a secret that is stored now."""
        try:
            return self._store_secret(secret)
        except OSError as error:
            log.error("a secret of the CSMS cannot be stored: %s", error.strerror)
            return LOST_SECRET

    def _secret_variable_path(self, set_variable_data: Any) -> str | None:
        """Path of the secret variable that is set; HIDDEN where it only sounds like one."""
        match set_variable_data:
            case {
                "component": {"name": str(component), **where},
                "variable": {"name": str(variable), **which},
                "attributeValue": str(),
            }:
                evse = where.get("evse")
                at = evse.get("id") if isinstance(evse, dict) else None
                instance = where.get("instance")
                place = Component(component, instance if isinstance(instance, str) else None, at)
                inst = which.get("instance")
                found = self._device_model.find_variable(
                    place, variable, inst if isinstance(inst, str) else None
                )
                if not isinstance(found, Refusal):
                    return found.path if found.secret else None
                return REDACTED if "password" in variable.casefold() else None
            case _:
                return None


def _redact_private_keys(frame: bytes) -> bytes:
    """What follows the head of a private key goes, to the end of its string."""
    return PRIVATE_KEY_PATTERN.sub(REDACTED.encode(), frame) if b"PRIVATE KEY" in frame else frame


def _redact_keys(node: Any, keys: frozenset[str]) -> Any:
    if isinstance(node, dict):
        return {
            key: (0 if isinstance(value, int) else REDACTED)
            if key in keys
            else _redact_keys(value, keys)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_redact_keys(item, keys) for item in node]
    return node


def _malformed_frame(text: str, reason: str) -> FrameMalformed:
    data = text.encode("utf-8", "surrogatepass")
    folded = text.casefold()
    harmless = not any(word in folded for word in SECRET_WORDS)
    excerpt = text[:EXCERPT_MAX].encode("utf-8", "replace").decode() if harmless else ""
    return FrameMalformed(len(data), hashlib.sha256(data).hexdigest(), reason[:200], excerpt)
