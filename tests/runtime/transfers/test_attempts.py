"""Attempts of a transfer: how many, and when. L01, N01."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from station.runtime.transfers import retry
from station.runtime.transfers.attempt import create_tls_context
from station.runtime.transfers.results import TransferFailed
from station.runtime.transfers.retry import download_file
from tests.runtime.transfers.conftest import run_in_thread
from tests.support.authorities import make_authority


class FailingAttempt:
    """An attempt of a given duration that fails a given number of times."""

    def __init__(self, *, takes_s: float, failures: int, permanent: bool = False) -> None:
        self.start_times: list[float] = []
        self._takes_s = takes_s
        self._failures = failures
        self._permanent = permanent

    async def __call__(self) -> None:
        self.start_times.append(trio.current_time())
        await trio.sleep(self._takes_s)
        if len(self.start_times) <= self._failures:
            raise TransferFailed("gone", permanent=self._permanent)


async def test_attempts_start_an_interval_apart_tc_n_26(autojump_clock: MockClock) -> None:
    attempt = FailingAttempt(takes_s=3, failures=4)
    with pytest.raises(TransferFailed):
        await retry.run_attempts(attempt, attempts=4, interval_s=10)
    assert [time - attempt.start_times[0] for time in attempt.start_times] == [0, 10, 20, 30]


async def test_after_a_long_attempt_the_whole_interval_is_waited(
    autojump_clock: MockClock,
) -> None:
    attempt = FailingAttempt(takes_s=25, failures=1)
    await retry.run_attempts(attempt, attempts=4, interval_s=10)
    assert [time - attempt.start_times[0] for time in attempt.start_times] == [0, 35]


async def test_no_retries_is_one_attempt(autojump_clock: MockClock) -> None:
    attempt = FailingAttempt(takes_s=0, failures=9)
    with pytest.raises(TransferFailed):
        await retry.run_attempts(attempt, attempts=1, interval_s=10)
    assert len(attempt.start_times) == 1


async def test_a_permanent_failure_is_not_attempted_again(autojump_clock: MockClock) -> None:
    attempt = FailingAttempt(takes_s=0, failures=9, permanent=True)
    with pytest.raises(TransferFailed):
        await retry.run_attempts(attempt, attempts=4, interval_s=10)
    assert len(attempt.start_times) == 1


async def test_an_unknown_scheme_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        TransferFailed, match="'gopher' is not supported; supported are ftp"
    ) as failed:
        await download_file(
            "gopher://host/x",
            tmp_path / "x",
            roots_pem="",
            run=run_in_thread,
            attempts=3,
            interval_s=60,
        )
    assert failed.value.permanent
    assert failed.value.status == "NotSupportedOperation"


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "ftps", "sftp"])
@pytest.mark.parametrize("host", ["a..b", "ä" * 70])
async def test_an_impossible_host_name_is_a_failed_attempt(
    tmp_path: Path, scheme: str, host: str
) -> None:
    with pytest.raises(TransferFailed):
        await download_file(
            f"{scheme}://{host}/x",
            tmp_path / "x",
            roots_pem="",
            run=run_in_thread,
            attempts=1,
            interval_s=0,
        )


def test_roots_that_are_no_pem_are_refused() -> None:
    with pytest.raises(TransferFailed, match=r"PEM|certificate") as failed:
        create_tls_context("elephant")
    assert failed.value.permanent


def test_authorities_of_the_host_and_roots_of_the_csms_are_trusted_n01_fr_16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N01.FR.15, N01.FR.16."""
    usual, ours = make_authority("A usual CA"), make_authority("CSO root")
    (tmp_path / "ca.pem").write_text(usual.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    for roots in ("", ours.pem):
        known = str(create_tls_context(roots).get_ca_certs())
        assert "A usual CA" in known
        assert ("CSO root" in known) is bool(roots)
