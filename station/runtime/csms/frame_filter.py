"""Filter for received frames: no secret and no personal value enters the journal.

A frame passes these steps in this order; what is left of it is recorded as FrameReceived:

1. Decode. Text that is no JSON array, or is nested too deeply, becomes FrameMalformed: its
   length, digest and reason, and its beginning only if it has none of the words that secrets come
   with.
2. SetVariables: the value of a secret variable is stored in the secret store and replaced by its
   reference. A value that the variable cannot hold is replaced by INVALID_SECRET and not stored,
   so the request is rejected. A variable that this product lacks but that has "password" in its
   name is redacted.
3. SetNetworkProfile: passwords, keys and PINs, at any depth, are redacted. They cannot be used.
4. A URL with credentials is stored in the secret store; its reference and its harmless parts
   replace it.
5. Personal values (idTokens) go to the journal's side table and are replaced by references.
6. Private keys in PEM, in any text, are removed.

Decoding again as exact decimals keeps the digits of every number.

A peer must not hold the loop with a frame. `is_quick` is true of the frames that take a few
milliseconds at most and store no secret, which are nearly all of them; the connection passes the
others to a thread. `PARTS_MAX` bounds what a single call of the JSON library takes, because other
threads wait for its end; a frame with more becomes FrameMalformed. `SECRETS_MAX` bounds the files
that are written for a frame.
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

log = logging.getLogger("station.csms")

EXCERPT_MAX: Final = 200  # characters of a malformed frame
QUICK_CHARACTERS_MAX: Final = 2048
PARTS_MAX: Final = 32 * 1024  # arrays, objects and commas; the longest SetChargingProfile has half
SECRETS_MAX: Final = 4  # of a frame
TOO_MANY_PARTS: Final = f"more than {PARTS_MAX} arrays, objects and values"
ID_TOKEN_MAX: Final = 36  # characters. IdTokenType
# Replaces every overlong idToken: still overlong, so the request is refused, but not personal.
OVERLONG_ID_TOKEN: Final = "#" * (ID_TOKEN_MAX + 1)
SECRET_WORDS: Final = ("password", "secret", "simpin", '"key"', "idtoken", "private", "://")
REDACTED: Final = "***"
LOST_SECRET: Final = f"<secret {'0' * 32}>"  # the reference of no secret

# request -> keys that lead to a URL in it, which may contain a password
URL_PATHS: Final = {
    "GetLog": ("log", "remoteLocation"),
    "PublishFirmware": ("location",),
    "SetNetworkProfile": ("connectionData", "ocppCsmsUrl"),
    "UpdateFirmware": ("firmware", "location"),
}

# request -> keys that are secret at any depth of the payload
SECRET_KEYS: Final = {
    "SetNetworkProfile": frozenset({"apnPassword", "simPin", "password", "key"}),
}

# A private key sent along with a certificate, in a JSON string. RFC 7468
PRIVATE_KEY_PATTERN: Final = re.compile(rb'PRIVATE KEY-----[^"]*')

_json_decoder = msgspec.json.Decoder(float_hook=Decimal)
_json_encoder = msgspec.json.Encoder(decimal_format="number")


class FrameFilter:
    """Turns received text into an observation."""

    def __init__(
        self,
        device_model: DeviceModel,
        reference_for: Callable[[str, str], IdToken],
        store_secret: Callable[[str], str],
    ) -> None:
        """Prepare.

        Args:
            device_model: has which variables are secret.
            reference_for: stores a personal value, by type and value, and returns its reference.
            store_secret: stores a secret and returns its reference; raises OSError.
        """
        self._device_model = device_model
        self._reference_for = reference_for
        self._store_secret = store_secret
        secret_variables = (each for each in device_model.by_path.values() if each.secret)
        slow_words = (*URL_PATHS, *SECRET_KEYS, *(each.key.name for each in secret_variables))
        self._slow_words = tuple(word.casefold() for word in slow_words)

    def is_quick(self, text: str) -> bool:
        """Whether `to_observation` may be called in the loop: a short frame without a secret."""
        if len(text) > QUICK_CHARACTERS_MAX or "\\" in text:  # an escape can spell any word
            return False
        folded = text.casefold()
        return not any(word in folded for word in self._slow_words)

    def to_observation(self, text: str) -> FrameReceived | FrameMalformed:
        """The observation of a frame. Total: any text gives one.

        If a secret cannot be stored, the connection continues: the variable is Rejected, and a
        transfer fails because the credentials of its URL are lost.
        """
        if _has_too_many_parts(text):
            return _malformed_frame(text, TOO_MANY_PARTS)
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

    def to_digest(self, text: str, reason: str) -> FrameMalformed:
        """The observation of a frame that is not to be recorded whole."""
        return _malformed_frame(text, reason)

    def _id_token_reference(self, type: str, value: str) -> IdToken:
        if len(value) > ID_TOKEN_MAX:
            return IdToken(OVERLONG_ID_TOKEN, type)
        return self._reference_for(type, value)

    def _without_secrets(self, frame: list[Any]) -> list[Any]:
        """A CALL with its secrets replaced; any other frame unchanged."""
        if len(frame) != 4 or frame[0] != 2 or not isinstance(frame[3], dict):
            return frame
        _, _, action, payload = frame
        if not isinstance(action, str):
            return frame  # MalformedFrame; `in` would raise for a list or an object
        if action == "SetVariables":
            payload = self._redact_set_variables(payload)
        if action in SECRET_KEYS:
            payload = _redact_keys(payload, SECRET_KEYS[action])
        if action in URL_PATHS:
            payload = self._without_credentials(payload, URL_PATHS[action])
        return [*frame[:3], payload]

    def _without_credentials(self, payload: Any, path: tuple[str, ...]) -> Any:
        """The payload with the URL as the journal may contain it. N01.FR.17."""
        if not isinstance(payload, dict) or path[0] not in payload:
            return payload
        inner = payload[path[0]]
        if len(path) > 1:
            return payload | {path[0]: self._without_credentials(inner, path[1:])}
        if not isinstance(inner, str):
            return payload
        return payload | {path[0]: hide_credentials(inner, self._secret_reference)}

    def _redact_set_variables(self, payload: dict[str, Any]) -> dict[str, Any]:
        items = payload.get("setVariableData")
        if not isinstance(items, list):
            return payload
        stored: list[str] = []
        return payload | {
            "setVariableData": [self._redact_variable(item, stored) for item in items]
        }

    def _redact_variable(self, set_variable_data: Any, stored: list[str]) -> Any:
        """Replace a secret variable's value; store it if the variable can hold it. A01.FR.02.

        Args:
            set_variable_data: an item of the request.
            stored: references of this frame; after SECRETS_MAX of them no value is stored.
        """
        path = self._secret_variable_path(set_variable_data)
        if path is None:
            return set_variable_data
        if path == REDACTED:
            return set_variable_data | {"attributeValue": REDACTED}
        value = set_variable_data["attributeValue"]
        reference = INVALID_SECRET
        is_valid = check_value(self._device_model.by_path[path], value) is None
        if is_valid and len(stored) < SECRETS_MAX:
            reference = self._secret_reference(value)
            stored.append(reference)
        if reference == LOST_SECRET:
            reference = INVALID_SECRET
        return set_variable_data | {"attributeValue": reference}

    def _secret_reference(self, secret: str) -> str:
        """Store a secret and return its reference; LOST_SECRET if the disk refuses."""
        try:
            return self._store_secret(secret)
        except OSError as error:
            log.error(
                "a secret received from the CSMS cannot be stored: %s. It is not used.",
                error.strerror,
            )
            return LOST_SECRET

    def _secret_variable_path(self, set_variable_data: Any) -> str | None:
        """Path of the secret variable to be set; REDACTED where only the name suggests a secret."""
        match set_variable_data:
            case {
                "component": {"name": str(name), **component_rest},
                "variable": {"name": str(variable), **variable_rest},
                "attributeValue": str(),
            }:
                evse = component_rest.get("evse")
                evse_id = evse.get("id") if isinstance(evse, dict) else None
                if not isinstance(evse_id, int):
                    evse_id = None  # the request is refused; its value is a secret all the same
                component = Component(name, _text_or_none(component_rest.get("instance")), evse_id)
                definition = self._device_model.find_variable(
                    component, variable, _text_or_none(variable_rest.get("instance"))
                )
                if not isinstance(definition, Refusal):
                    return definition.path if definition.secret else None
                return REDACTED if "password" in variable.casefold() else None
            case _:
                return None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _has_too_many_parts(text: str) -> bool:
    """Whether the JSON may have more than PARTS_MAX parts. Those within strings count too."""
    return len(text) > PARTS_MAX and sum(map(text.count, "[{,")) > PARTS_MAX


def _redact_private_keys(frame: bytes) -> bytes:
    """The frame without the body of any private key, up to the end of its JSON string."""
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
