"""How often, and when?"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from station.runtime.transfers import TransferFailed, create_tls_context, download_file, retry
from tests.support.authorities import make_authority


class FailingAttempt:
    """Takes its time, then fails, until the last."""

    def __init__(self, *, takes_s: float, failures: int, permanent: bool = False) -> None:
        self.began: list[float] = []
        self._takes_s = takes_s
        self._failures = failures
        self._permanent = permanent

    async def __call__(self) -> None:
        self.began.append(trio.current_time())
        await trio.sleep(self._takes_s)
        if len(self.began) <= self._failures:
            raise TransferFailed("gone", permanent=self._permanent)


async def test_retries_begin_an_interval_apart_tc_n_26(autojump_clock: MockClock) -> None:
    attempt = FailingAttempt(takes_s=3, failures=4)
    with pytest.raises(TransferFailed):
        await retry.run_attempts(attempt, attempts=4, interval_s=10)
    assert [began - attempt.began[0] for began in attempt.began] == [0, 10, 20, 30]


async def test_after_an_attempt_longer_than_the_interval_comes_a_whole_one(
    autojump_clock: MockClock,
) -> None:
    attempt = FailingAttempt(takes_s=25, failures=1)
    await retry.run_attempts(attempt, attempts=4, interval_s=10)
    assert [began - attempt.began[0] for began in attempt.began] == [0, 35]


async def test_no_retries_is_one_attempt(autojump_clock: MockClock) -> None:
    attempt = FailingAttempt(takes_s=0, failures=9)
    with pytest.raises(TransferFailed):
        await retry.run_attempts(attempt, attempts=1, interval_s=10)
    assert len(attempt.began) == 1


async def test_what_is_wrong_here_is_not_attempted_again(autojump_clock: MockClock) -> None:
    attempt = FailingAttempt(takes_s=0, failures=9, permanent=True)
    with pytest.raises(TransferFailed):
        await retry.run_attempts(attempt, attempts=4, interval_s=10)
    assert len(attempt.began) == 1


async def test_an_unknown_scheme_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="'gopher' is none of ftp") as failed:
        await download_file(
            "gopher://host/x", tmp_path / "x", tls_context=None, attempts=3, interval_s=60
        )
    assert failed.value.permanent
    assert failed.value.status == "NotSupportedOperation"


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "ftps", "sftp"])
@pytest.mark.parametrize("host", ["a..b", "ä" * 70])
async def test_a_host_that_can_have_no_address_is_a_failed_attempt(
    tmp_path: Path, scheme: str, host: str
) -> None:
    with pytest.raises(TransferFailed):
        await download_file(
            f"{scheme}://{host}/x", tmp_path / "x", tls_context=None, attempts=1, interval_s=0
        )


def test_trust_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(OSError, match=r"PEM|certificate"):
        create_tls_context("elephant")


def test_the_authorities_of_the_host_count_beside_the_roots_of_the_csms_n01_fr_16(
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
