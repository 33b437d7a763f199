"""The certified profile uses TLS, and only with a CSMS that it trusts. A00."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.e2e.harness import IDENTITY, PASSWORD, StationProcess, wait_until
from tests.e2e.steps import (
    ALICE,
    FAST_RETRIES,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_transaction_complete,
    wait_booted,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms

# The two of the certificate (C-41); with TLS 1.2, because TLS 1.3 does not have them.
CIPHER_SUITES = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"

StationMaker = Callable[[trustme.CA], StationProcess]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def csms_with_tls(authority: trustme.CA) -> Iterator[Csms]:
    """A CSMS on wss, with a certificate of the authority for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHER_SUITES)
    authority.issue_cert("127.0.0.1", common_name="127.0.0.1").configure_cert(context)
    with Csms(tls=context, passwords={IDENTITY: PASSWORD}) as csms:
        csms.responses.add_id_token(ALICE)
        yield csms
    assert csms.problems == []


@pytest.fixture
def make_certified_station(csms_with_tls: Csms, short_directory: Path) -> Iterator[StationMaker]:
    """A factory of stations with the certified profile that trust one authority."""
    with ExitStack() as stations:

        def make(trusted: trustme.CA) -> StationProcess:
            ca_file = short_directory / "ca.pem"
            trusted.cert_pem.write_to_path(str(ca_file))
            station = StationProcess(
                short_directory,
                csms_with_tls.url,
                variables=FAST_RETRIES,
                profile="evs-flash-300",
                security_profile=2,
                ca_file=ca_file,
            )
            stations.callback(station.close)
            station.start()
            return station

        yield make


def test_a_session_under_security_profile_2_a00_fr_312(
    make_certified_station: StationMaker, authority: trustme.CA, csms_with_tls: Csms
) -> None:
    station = make_certified_station(authority)
    wait_booted(station, csms_with_tls)
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms_with_tls)
    wait_energy_drawn(station)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms_with_tls, transaction_id)
    wait_delivered(station)
    check_transaction_complete(station, csms_with_tls, transaction_id, meter_before_wh)


def test_a_csms_of_an_untrusted_authority_gets_no_connection_a00_fr_311(
    make_certified_station: StationMaker, csms_with_tls: Csms
) -> None:
    station = make_certified_station(trustme.CA())
    wait_until(
        lambda: station.read_entries("LinkFailed"),
        STEP_TIMEOUT_S,
        "failed connection in the journal",
    )
    assert csms_with_tls.handshakes == []
    assert PASSWORD not in station.read_log()
    assert station.read_state()["link"] == "down"
