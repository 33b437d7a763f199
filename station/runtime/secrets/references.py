"""Which secrets a state needs; the others are deleted at the start and the end of the station."""

from __future__ import annotations

from collections.abc import Iterator

from journal.state import State
from station.runtime.secrets.urls import find_secret_reference


def secrets_in_use(state: State) -> Iterator[str]:
    """A superset of the secrets' references in use; some values are no references."""
    yield from state.variables.values.values()
    yield from (certificate.private_key_ref for certificate in state.certificates.installed)
    yield from (request.private_key_ref for request in state.certificate_signing.requests)
    for transfer in (state.firmware.running_update, state.logs.upload):
        if transfer is not None:
            yield find_secret_reference(transfer.order.location) or ""
