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

from journal.observations import FrameGarbled, FrameReceived
from journal.terms import IdToken
from journal.tokens import apart, nobody_in
from station.blocks.b_variables import UNFIT_SECRET
from station.devicemodel import Component, DeviceModel
from station.runtime.locations import hidden
from station.variables import Refusal, check_value

log = logging.getLogger("station.ingest")

EXCERPT_MAX: Final = 200  # characters of a frame nobody can read
ID_TOKEN_MAX: Final = 36  # characters. IdTokenType
TOO_LONG: Final = "#" * (ID_TOKEN_MAX + 1)  # keeps an overlong value overlong, and nobody's
SECRET_WORDS: Final = ("password", "secret", "simpin", '"key"', "idtoken", "private", "://")
HIDDEN: Final = "***"
LOST_SECRET: Final = f"<secret {'0' * 32}>"  # a reference behind which there is nothing

# request -> the way to a URL in it, which may hold a password
URLS: Final = {
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
PRIVATE_KEY: Final = re.compile(rb'PRIVATE KEY-----[^"]*')

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Ingest:
    """Takes frames in: knows where values and secrets go, and which variables are secret."""

    def __init__(
        self,
        model: DeviceModel,
        refer: Callable[[str, str], IdToken],
        keep_secret: Callable[[str], str],
    ) -> None:
        self._model = model
        self._refer = refer
        self._keep_secret = keep_secret

    def frame(self, text: str) -> FrameReceived | FrameGarbled:
        """The observation a frame makes. Total: any text gives one.

        A secret that the disk refuses does not take the link with it: the variable is Rejected, and
        the transfer finds the credentials of its URL lost.
        """
        try:
            frame = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ArithmeticError) as error:
            return _garbled(text, str(error) or "nested too deeply")
        if not isinstance(frame, list):
            return _garbled(text, "not a JSON array")
        try:
            clean = self._without_secrets(frame)
            if not nobody_in(text):
                clean = apart(clean, self._reference)
            return FrameReceived(msgspec.Raw(_without_keys(_encoder.encode(clean))))
        except RecursionError:
            return _garbled(text, "nested too deeply")

    def _reference(self, type: str, value: str) -> IdToken:
        if len(value) > ID_TOKEN_MAX:
            return IdToken(TOO_LONG, type)
        return self._refer(type, value)

    def _without_secrets(self, frame: list[Any]) -> list[Any]:
        """A CALL with its secrets replaced; every other frame as it is."""
        if len(frame) != 4 or frame[0] != 2 or not isinstance(frame[3], dict):
            return frame
        payload = frame[3]
        if frame[2] == "SetVariables":
            payload = self._set_variables(payload)
        if frame[2] in SECRET_KEYS:
            payload = _hidden(payload, SECRET_KEYS[frame[2]])
        if frame[2] in URLS:
            payload = self._without_credentials(payload, URLS[frame[2]])
        return [*frame[:3], payload]

    def _without_credentials(self, part: Any, way: tuple[str, ...]) -> Any:
        """The payload with the URL as the journal may have it. N01.FR.17."""
        if not isinstance(part, dict) or way[0] not in part:
            return part
        inner = part[way[0]]
        if len(way) > 1:
            return part | {way[0]: self._without_credentials(inner, way[1:])}
        if not isinstance(inner, str):
            return part
        return part | {way[0]: hidden(inner, self._kept)}

    def _set_variables(self, payload: dict[str, Any]) -> dict[str, Any]:
        asked = payload.get("setVariableData")
        if not isinstance(asked, list):
            return payload
        return payload | {"setVariableData": [self._set_one(one) for one in asked]}

    def _set_one(self, one: Any) -> Any:
        """A secret variable's value is kept if it is fit, and only then. A01.FR.02."""
        definition = self._meant(one)
        if definition is None:
            return one
        if definition == HIDDEN:
            return one | {"attributeValue": HIDDEN}
        fit = check_value(self._model.by_path[definition], one["attributeValue"]) is None
        kept = self._kept(one["attributeValue"]) if fit else UNFIT_SECRET
        return one | {"attributeValue": UNFIT_SECRET if kept == LOST_SECRET else kept}

    def _kept(self, secret: str) -> str:
        """The reference of a secret that is stored now."""
        try:
            return self._keep_secret(secret)
        except OSError as error:
            log.error("a secret of the CSMS cannot be stored: %s", error.strerror)
            return LOST_SECRET

    def _meant(self, one: Any) -> str | None:
        """Path of the secret variable that is set; HIDDEN where it only sounds like one."""
        match one:
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
                found = self._model.find(place, variable, inst if isinstance(inst, str) else None)
                if not isinstance(found, Refusal):
                    return found.path if found.secret else None
                return HIDDEN if "password" in variable.casefold() else None
            case _:
                return None


def _without_keys(frame: bytes) -> bytes:
    """What follows the head of a private key goes, to the end of its string."""
    return PRIVATE_KEY.sub(HIDDEN.encode(), frame) if b"PRIVATE KEY" in frame else frame


def _hidden(part: Any, keys: frozenset[str]) -> Any:
    if isinstance(part, dict):
        return {
            key: (0 if isinstance(value, int) else HIDDEN) if key in keys else _hidden(value, keys)
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_hidden(item, keys) for item in part]
    return part


def _garbled(text: str, why: str) -> FrameGarbled:
    data = text.encode("utf-8", "surrogatepass")
    folded = text.casefold()
    harmless = not any(word in folded for word in SECRET_WORDS)
    excerpt = text[:EXCERPT_MAX].encode("utf-8", "replace").decode() if harmless else ""
    return FrameGarbled(len(data), hashlib.sha256(data).hexdigest(), why[:200], excerpt)
