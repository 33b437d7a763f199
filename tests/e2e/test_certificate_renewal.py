"""Renewals of a running station: link losses, kill -9, and no key in any file. A02, A03.

End to end: a CSMS that demands client certificates, and the real program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.octt import states
from tests.conformance.octt.bench import StationBench
from tests.conformance.octt.cases.b_provisioning import set_variable
from tests.conformance.octt.tester import Tester
from tests.e2e.harness import PASSWORD, wait_until
from tests.e2e.steps import check_without_cryptography

NEW_PASSWORD = "another-horse-battery-staple"
SETTLE_S = 30.0


@pytest.fixture(scope="module")
def bench() -> Iterator[StationBench]:
    with StationBench("development", security_profile=3) as bench:
        yield bench


def data_directory(bench: StationBench) -> Path:
    return bench.directory / "data"


def private_keys(bench: StationBench) -> list[str]:
    """The private keys in the secret store, PEM."""
    files = (data_directory(bench) / "secrets").iterdir()
    texts = [file.read_text("utf-8") for file in files if len(file.name) == 32]
    return [text for text in texts if "PRIVATE KEY" in text]


def exported_certificates(bench: StationBench) -> list[Path]:
    directory = data_directory(bench) / "certificates" / "ChargingStationCertificate"
    return sorted(directory.iterdir())


def wait_for_one_certificate(bench: StationBench) -> None:
    """After the proof by a connection, one certificate and one private key are left. A02.FR.10."""
    wait_until(
        lambda: len(private_keys(bench)) == 1 and len(exported_certificates(bench)) == 1,
        SETTLE_S,
        "one certificate and one private key",
    )


def test_three_renewals_with_link_losses_and_a_kill_a02_fr_05_a03_fr_05(
    bench: StationBench,
) -> None:
    """A02.FR.05, A02.FR.08, A02.FR.10, A03.FR.05; A01.FR.12: no key, no password in any file."""
    seen_keys = private_keys(bench)
    tester = Tester(bench)
    for renewal in range(3):
        states.renew_station_certificate(tester)
        seen_keys += private_keys(bench)
        wait_for_one_certificate(bench)
        check_without_cryptography(bench.station)
        if renewal == 1:
            bench.station.kill()
            bench.station.start()
        else:
            bench.csms.stop_listening()
            bench.csms.start_listening()
        bench.csms.wait_connected(SETTLE_S)
        bench.wait_settled()
    result = set_variable(tester, "password", "BasicAuthPassword", NEW_PASSWORD, "SecurityCtrlr")
    assert result["attributeStatus"] == "Accepted"
    assert bench.station.terminate() == 0
    keys = {*seen_keys, *private_keys(bench)}
    assert len(keys) >= 4  # of the factory and of each renewal
    leaks = [
        f"{path}: {what}"
        for path in files_to_search(bench)
        for what in secrets_in(path.read_bytes(), keys)
    ]
    assert leaks == []


def files_to_search(bench: StationBench) -> Iterator[Path]:
    """Every file of the data directory except the secret store, and the log."""
    data = data_directory(bench)
    files = [path for path in data.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert {path.name for path in files} >= {"journal.db", "snapshot"}
    yield from files
    log = bench.directory / "log.txt"
    log.write_text(bench.station.read_log())
    assert log.stat().st_size
    yield log


def secrets_in(content: bytes, keys: set[str]) -> Iterator[str]:
    """The secrets of which a part is in a file: a line of a private key, a password."""
    for key in keys:
        lines = [line for line in key.splitlines() if line and "-----" not in line]
        if any(line.encode() in content for line in lines):
            yield "a line of a private key"
    if b"PRIVATE KEY" in content:
        yield "PRIVATE KEY"
    for password in (PASSWORD, NEW_PASSWORD):
        if password.encode() in content:
            yield "a password"
