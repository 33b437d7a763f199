"""Does the certified profile speak TLS to the right CSMS, and only to that?"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.csms import Csms
from tests.e2e.harness import IDENTITY, PASSWORD, StationProcess, until
from tests.e2e.steps import (
    ALICE,
    EAGER,
    PATIENCE_S,
    authorize_and_plug_in,
    check_account,
    draw,
    wait_booted,
    wait_charging,
    wait_closed,
    wait_delivered,
)

# The two of the certificate (C-41); TLS 1.2, for TLS 1.3 has no choice of these.
CIPHER_SUITES = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"

Certified = Callable[[trustme.CA], StationProcess]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Csms]:
    """A CSMS on wss, with a certificate of the authority for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHER_SUITES)
    authority.issue_cert("127.0.0.1", common_name="127.0.0.1").configure_cert(context)
    with Csms(tls=context, passwords={IDENTITY: PASSWORD}) as csms:
        csms.answers.know(ALICE)
        yield csms
    assert csms.problems == []


@pytest.fixture
def certified(secure: Csms, place: Path) -> Iterator[Certified]:
    """Makes a station of the certified product that trusts one authority."""
    with ExitStack() as stations:

        def make(trusted: trustme.CA) -> StationProcess:
            ca_file = place / "ca.pem"
            trusted.cert_pem.write_to_path(str(ca_file))
            station = StationProcess(
                place,
                secure.url,
                variables=EAGER,
                profile="evs-flash-300",
                security_profile=2,
                ca_file=ca_file,
            )
            stations.callback(station.close)
            station.start()
            return station

        yield make


def test_a_session_under_security_profile_2_a00_fr_312(
    certified: Certified, authority: trustme.CA, secure: Csms
) -> None:
    station = certified(authority)
    wait_booted(station, secure)
    meter_before_wh = station.meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(secure)
    draw(station)
    station.op("unplug", evse_id=1)
    wait_closed(secure, transaction_id)
    wait_delivered(station)
    check_account(station, secure, transaction_id, meter_before_wh)


def test_a_csms_of_another_authority_is_left_alone_a00_fr_311(
    certified: Certified, secure: Csms
) -> None:
    station = certified(trustme.CA())
    until(lambda: station.entries("LinkFailed"), PATIENCE_S, "failed connection in the journal")
    assert secure.handshakes == []
    assert PASSWORD not in station.log()
    assert station.state()["link"] == "down"
