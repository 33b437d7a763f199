"""What goes over the wire for a call or an answer, given what the journal holds of it?

The journal has a payload as it will be sent, except that personal values are references and that
a TransactionEvent may turn out to be late: `offline` is the one field that may still change.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from journal.projections.replies import Reply
from journal.tokens import ValueOf, together
from station import ocppj

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def call_frame(
    message_id: str, action: str, payload: msgspec.Raw, value_of: ValueOf, *, offline: bool
) -> str:
    """The text of a CALL. E04.FR.03, E11.FR.07, E12.FR.02."""
    payload = personal(payload, value_of)
    if offline:
        body = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        payload = msgspec.Raw(msgspec.json.encode(body | {"offline": msgspec.Raw(b"true")}))
    return ocppj.call_text(message_id, action, payload)


def reply_frame(reply: Reply, value_of: ValueOf) -> str:
    """The text of a CALLRESULT or a CALLERROR."""
    if reply.code:
        return ocppj.error_text(reply.message_id, reply.code, reply.description)
    return ocppj.result_text(reply.message_id, personal(reply.payload, value_of))


def personal(payload: msgspec.Raw, value_of: ValueOf) -> msgspec.Raw:
    """The payload with personal values back in their places; an erased one stays a reference."""
    if b'"#' not in bytes(payload):
        return payload
    return msgspec.Raw(_encoder.encode(together(_decoder.decode(payload), value_of)))
