"""Text of outgoing frames, from payloads as the journal holds them.

The journal holds a payload as it is sent, with two differences: personal values are references, and
`offline` of a TransactionEvent is decided with each attempt, because it depends on when the message
is sent.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from journal.format.id_tokens import ValueOf, restore_payload
from journal.projections.pending_replies import PendingReply
from station.ocpp import rpc

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def build_call_frame(
    message_id: str, action: str, payload: msgspec.Raw, value_of: ValueOf, *, offline: bool
) -> str:
    """The text of a CALL. E04.FR.03, E11.FR.07, E12.FR.02."""
    payload = restore_personal_values(payload, value_of)
    if offline:
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        payload = msgspec.Raw(msgspec.json.encode(fields | {"offline": msgspec.Raw(b"true")}))
    return rpc.encode_call(message_id, action, payload)


def build_reply_frame(reply: PendingReply, value_of: ValueOf) -> str:
    """The text of a CALLRESULT or a CALLERROR."""
    if reply.error_code:
        return rpc.encode_error(reply.message_id, reply.error_code, reply.error_description)
    return rpc.encode_result(reply.message_id, restore_personal_values(reply.payload, value_of))


def restore_personal_values(payload: msgspec.Raw, value_of: ValueOf) -> msgspec.Raw:
    """The payload with personal values for their references; an erased one stays a reference."""
    if b'"#' not in bytes(payload):
        return payload
    return msgspec.Raw(_encoder.encode(restore_payload(_decoder.decode(payload), value_of)))
