"""CSMS connection against real TLS servers on the loopback: accepted and refused ones. A00."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from trio_websocket import WebSocketRequest, wrap_server_stream

from journal.observations import LinkClosed, LinkFailed, LinkOpened
from journal.projections.certificates import CertificateHash, CertificateInstalled
from journal.projections.network_profiles import NetworkProfile
from station.core.desired import DesiredLink, DesiredState
from station.runtime.csms import connection
from station.runtime.csms.dialer import Dialer
from station.runtime.csms.tls import NoRootError, check_host_name, create_tls_context, openssl_name
from tests.runtime.fixtures_csms import (
    PASSWORD,
    FakeRecorder,
    accept_request,
    make_link,
    serve_until_closed,
)
from tests.support.authorities import CertifiedKey, make_authority, make_server_certificate

SUITES = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
)
ROOT, OTHER_ROOT = make_authority("CSO root"), make_authority("Another root")
HOST = "127.0.0.1"
GOOD_SERVER = make_server_certificate(ROOT, HOST, common_name="csms.test")
NOW = datetime.now(UTC)
ATTEMPT_TIMEOUT_S = 20


@pytest.fixture(autouse=True)
def shorten_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close handshakes are short in these tests."""
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", 0.01)


def server_context(
    holder: CertifiedKey,
    *,
    low: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    high: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
    clients: CertifiedKey | None = None,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = low, high
    if ciphers:
        context.set_ciphers(ciphers)
    chain = holder.pem
    if holder.issuer and holder.issuer.issuer:  # a sub-CA goes with the leaf
        chain += holder.issuer.pem
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(holder.key_pem + chain)
        file.flush()
        context.load_cert_chain(file.name)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem)
    return context


class TlsServerLog:
    """Handshakes that a TLS server completed."""

    def __init__(self) -> None:
        self.port = 0
        self.ciphers: list[tuple[str, str]] = []  # name and protocol of each handshake done
        self.clients: list[dict[str, Any] | None] = []


@asynccontextmanager
async def run_tls_server(
    context: ssl.SSLContext,
    *,
    refuses: bool = False,
    serve: Callable[[WebSocketRequest], Awaitable[None]] = serve_until_closed,
) -> AsyncIterator[TlsServerLog]:
    """A CSMS with TLS on a free port; with `refuses`, its side of the handshake fails."""
    server_log = TlsServerLog()

    async def handle(stream: trio.SocketStream) -> None:
        if refuses:
            await fail_handshake(stream, context)
            return
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await secure.do_handshake()
            cipher = secure.cipher()
            assert cipher
            server_log.ciphers.append((cipher[0], cipher[1]))
            server_log.clients.append(secure.getpeercert())
            async with trio.open_nursery() as nursery:
                await serve(await wrap_server_stream(nursery, secure))
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            await trio.aclose_forcefully(stream)
        except* Exception as group:  # a station that closes breaks the handshake of the library
            if "Handshake" not in str(group.exceptions) and "Closed" not in str(group.exceptions):
                raise

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            lambda task_status: trio.serve_tcp(handle, 0, host=HOST, task_status=task_status)
        )
        server_log.port = listeners[0].socket.getsockname()[1]
        yield server_log
        nursery.cancel_scope.cancel()


async def fail_handshake(stream: trio.SocketStream, context: ssl.SSLContext) -> None:
    """Fail a handshake and send its alert, which trio's SSLStream would not send."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_side=True)
    async with stream:
        while True:
            try:
                handshake.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send_all(outgoing.read())
            except ssl.SSLError:
                await stream.send_all(outgoing.read())
                await stream.receive_some()  # until the station closes
                return
            else:
                raise AssertionError("the handshake succeeded")
            data = await stream.receive_some()
            if not data:
                return
            incoming.write(data)


def certificate_installed(
    holder: CertifiedKey, use: str = "CSMSRootCertificate", key: str = ""
) -> CertificateInstalled:
    return CertificateInstalled(
        use=use,
        pem=holder.pem,
        sha256="00",
        hash_data=CertificateHash("", "", ""),
        subject="",
        issuer="",
        not_before="2020-01-01T00:00:00Z",
        not_after="2090-01-01T00:00:00Z",
        private_key_ref=key,
    )


async def attempt_connection(
    context: ssl.SSLContext,
    *installed: CertificateInstalled,
    host: str = HOST,
    suites: Sequence[str] = SUITES,
    security_profile: int = 2,
    read_key: Callable[[str], str | None] = lambda reference: None,
    refuses: bool = False,
    network: Dialer | None = None,
) -> tuple[LinkOpened | LinkFailed, TlsServerLog]:
    """The first observation of an attempt."""
    async with run_tls_server(context, refuses=refuses) as server_log:
        slot = NetworkProfile(1, f"wss://{host}:{server_log.port}/ocpp", security_profile)
        own = tuple(each for each in installed if each.use == "ChargingStationCertificate")
        link = DesiredLink(candidates=(slot,), client_certificates=own)
        recorder = FakeRecorder(DesiredState(link=link, certificates=installed))
        async with trio.open_nursery() as nursery:
            ours = make_link(
                recorder, network or Dialer(), cipher_suites=tuple(suites), read_key=read_key
            )
            nursery.start_soon(ours.run)
            with trio.fail_after(ATTEMPT_TIMEOUT_S):
                while not recorder.observed:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert PASSWORD not in str(recorder.observed)
    return cast(LinkOpened | LinkFailed, recorder.observed[0]), server_log


TRUSTED = certificate_installed(ROOT)
STATION_CERTIFICATE = make_authority("CS001", issuer=ROOT, is_ca=False)
BOTH_PROFILES = pytest.mark.parametrize("security_profile", [2, 3])


async def attempt_with_profile(
    security_profile: int, context: ssl.SSLContext, *, refuses: bool = False
) -> tuple[LinkOpened | LinkFailed, TlsServerLog]:
    """An attempt with that profile by a station that has all it needs for it."""
    own = certificate_installed(STATION_CERTIFICATE, "ChargingStationCertificate", "<key>")
    return await attempt_connection(
        context,
        TRUSTED,
        *([own] if security_profile == 3 else []),
        security_profile=security_profile,
        read_key={"<key>": STATION_CERTIFICATE.key_pem}.get,
        refuses=refuses,
    )


class LoopbackNetwork(Dialer):
    """Every name resolves to this host."""

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        return await super().dial(HOST, port)


def assert_link_failed(result: LinkOpened | LinkFailed, fault: str) -> None:
    assert isinstance(result, LinkFailed), result
    assert result.security_event == fault, result


# --- Trusted roots -------------------------------------------------------------------------------


@BOTH_PROFILES
async def test_a_csms_of_an_installed_root_a00_fr_308_a00_fr_415(security_profile: int) -> None:
    result, server_log = await attempt_with_profile(security_profile, server_context(GOOD_SERVER))
    assert isinstance(result, LinkOpened), result
    assert [protocol for _, protocol in server_log.ciphers] == ["TLSv1.2"]


async def test_one_of_several_roots_is_enough_m05() -> None:
    result, _ = await attempt_connection(
        server_context(GOOD_SERVER), certificate_installed(OTHER_ROOT), TRUSTED
    )
    assert isinstance(result, LinkOpened), result


async def test_a_csms_certified_by_a_sub_ca_a00_fr_308() -> None:
    server = make_server_certificate(make_authority("Sub CA", issuer=ROOT), HOST)
    result, _ = await attempt_connection(server_context(server), TRUSTED)
    assert isinstance(result, LinkOpened), result


async def test_an_installed_sub_ca_is_an_anchor() -> None:
    sub = make_authority("Sub CA", issuer=ROOT)
    result, _ = await attempt_connection(
        server_context(make_server_certificate(sub, HOST)), certificate_installed(sub)
    )
    assert isinstance(result, LinkOpened), result


BAD = {
    "another root": make_server_certificate(OTHER_ROOT, HOST),
    "signed by itself": make_authority("csms", is_ca=False),
    "expired": make_server_certificate(ROOT, HOST, valid_until=NOW - timedelta(hours=1)),
    "not valid yet": make_server_certificate(ROOT, HOST, valid_from=NOW + timedelta(hours=1)),
    "another address": make_server_certificate(ROOT, "127.0.0.2", common_name="127.0.0.2"),
    "another name": make_server_certificate(ROOT, "csms.test", common_name="csms.test"),
    "no name at all": make_server_certificate(ROOT, common_name="csms.test"),
    "signed by a leaf": make_server_certificate(make_server_certificate(ROOT, HOST), HOST),
}


@BOTH_PROFILES
@pytest.mark.parametrize("kind", BAD)
async def test_any_other_csms_is_refused_a00_fr_310_a00_fr_311(
    kind: str, security_profile: int
) -> None:
    """A00.FR.308 to 311, A00.FR.411 to 414."""
    result, server_log = await attempt_with_profile(security_profile, server_context(BAD[kind]))
    assert_link_failed(result, "InvalidCsmsCertificate")
    assert server_log.clients == [] or kind in ("another address", "another name", "no name at all")


async def test_without_a_root_no_csms_is_trusted_m04() -> None:
    result, server_log = await attempt_connection(
        server_context(GOOD_SERVER), certificate_installed(ROOT, "ManufacturerRootCertificate")
    )
    assert isinstance(result, LinkFailed)
    assert result.reason == "no CSMSRootCertificate is installed; set [csms] ca_file"
    assert server_log.ciphers == []


# --- Names ---------------------------------------------------------------------------------------


async def test_the_common_name_is_enough_a00_fr_309_a00_fr_510() -> None:
    named = make_server_certificate(ROOT, common_name="localhost")
    result, _ = await attempt_connection(server_context(named), TRUSTED, host="localhost")
    assert isinstance(result, LinkOpened), result


async def test_an_address_may_be_the_common_name_a00_fr_309() -> None:
    result, _ = await attempt_connection(
        server_context(make_server_certificate(ROOT, common_name=HOST)), TRUSTED
    )
    assert isinstance(result, LinkOpened), result


PEER = {
    "subject": ((("organizationName", "CSO"),), (("commonName", "csms.example.com"),)),
    "subjectAltName": (
        ("DNS", "other.example.com"),
        ("DNS", "*.wild.example.com"),
        ("IP Address", "10.1.2.3"),
        ("IP Address", "2001:DB8:0:0:0:0:0:1"),
        ("email", "mail.example.com"),
    ),
}


@pytest.mark.parametrize(
    "host",
    ["csms.example.com", "CSMS.Example.Com", "other.example.com.", "10.1.2.3", "2001:db8::1"],
)
def test_a_certificate_names_its_hosts_a00_fr_511(host: str) -> None:
    check_host_name(PEER, host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "a.csms.example.com",
        "a.wild.example.com",  # erratum 2.62: wildcards are refused
        "mail.example.com",
        "10.1.2.4",
        "CSO",
        "",
    ],
)
def test_it_names_no_other_host_a00_fr_309(host: str) -> None:
    with pytest.raises(Exception, match="it names"):
        check_host_name(PEER, host)


def test_a_missing_certificate_names_no_host() -> None:
    missing: list[dict[str, Any] | None] = [None, {}]
    for peer in missing:
        with pytest.raises(Exception, match="it names no host"):
            check_host_name(peer, "csms")


async def test_a_wildcard_is_refused_erratum_2_62() -> None:
    wild = make_server_certificate(ROOT, "*.localhost", common_name="*.localhost")
    loopback = LoopbackNetwork()
    result, _ = await attempt_connection(
        server_context(wild), TRUSTED, host="csms.localhost", network=loopback
    )
    assert_link_failed(result, "InvalidCsmsCertificate")
    named = server_context(make_server_certificate(ROOT, "csms.localhost"))
    result, _ = await attempt_connection(named, TRUSTED, host="csms.localhost", network=loopback)
    assert isinstance(result, LinkOpened), result


# --- Versions and cipher suites ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
@BOTH_PROFILES
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_tls_below_1_2_is_refused_a00_fr_316(
    version: ssl.TLSVersion, security_profile: int
) -> None:
    """A00.FR.313, A00.FR.314, A00.FR.316, A00.FR.416, A00.FR.417, A00.FR.419."""
    old = server_context(GOOD_SERVER, low=version, high=version, ciphers="ALL:@SECLEVEL=0")
    result, _ = await attempt_with_profile(security_profile, old, refuses=True)
    assert_link_failed(result, "InvalidTLSVersion")


@BOTH_PROFILES
@pytest.mark.parametrize("suite", SUITES)
async def test_each_cipher_suite_of_the_profile_works_a00_fr_319_a00_fr_422(
    suite: str, security_profile: int
) -> None:
    only = server_context(GOOD_SERVER, high=ssl.TLSVersion.TLSv1_2, ciphers=openssl_name(suite))
    result, server_log = await attempt_with_profile(security_profile, only)
    assert isinstance(result, LinkOpened), result
    assert [name for name, _ in server_log.ciphers] == [openssl_name(suite)]


@pytest.mark.parametrize(
    "ciphers",
    [
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-CCM",
    ],
)
@BOTH_PROFILES
async def test_no_other_cipher_suite_works_a00_fr_323(ciphers: str, security_profile: int) -> None:
    """A00.FR.320, A00.FR.323, A00.FR.423, A00.FR.426."""
    other = server_context(GOOD_SERVER, high=ssl.TLSVersion.TLSv1_2, ciphers=ciphers)
    result, _ = await attempt_with_profile(security_profile, other, refuses=True)
    assert_link_failed(result, "InvalidTLSCipherSuite")


RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA_CSMS = make_server_certificate(ROOT, HOST, key=RSA_KEY)


async def test_a_csms_with_an_rsa_key_has_no_suite_of_the_certificate_c_41() -> None:
    result, _ = await attempt_connection(server_context(RSA_CSMS), TRUSTED, refuses=True)
    assert_link_failed(result, "InvalidTLSCipherSuite")


async def test_a_product_with_rsa_suites_takes_it_a00_fr_319() -> None:
    suites = ("TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_256_GCM_SHA384")
    context = server_context(RSA_CSMS, high=ssl.TLSVersion.TLSv1_2, ciphers="AES128-GCM-SHA256")
    result, server_log = await attempt_connection(context, TRUSTED, suites=suites)
    assert isinstance(result, LinkOpened), result
    assert [name for name, _ in server_log.ciphers] == ["AES128-GCM-SHA256"]


@pytest.mark.parametrize(
    "own",
    [None, (STATION_CERTIFICATE.pem, STATION_CERTIFICATE.key_pem)],
    ids=["profile 2", "profile 3"],
)
def test_exactly_the_suites_of_the_profile_are_offered_c_41(own: tuple[str, str] | None) -> None:
    context = create_tls_context([ROOT.pem], SUITES, own)
    offered = {
        cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"
    }
    assert offered == {openssl_name(suite) for suite in SUITES}
    assert context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.options & ssl.OP_NO_COMPRESSION  # A00.FR.321, A00.FR.424


def test_tls_1_3_is_offered_where_the_profile_names_a_suite_of_it() -> None:
    context = create_tls_context([ROOT.pem], [*SUITES, "TLS_AES_128_GCM_SHA256"])
    assert context.maximum_version != ssl.TLSVersion.TLSv1_2


def test_there_is_no_context_without_a_root() -> None:
    with pytest.raises(NoRootError):
        create_tls_context([], SUITES)


# --- Security profile 3 --------------------------------------------------------------------------


async def test_the_station_sends_its_certificate_a00_fr_402() -> None:
    own = make_authority("CS001", issuer=ROOT, is_ca=False)
    context = server_context(GOOD_SERVER, clients=ROOT)
    result, server_log = await attempt_connection(
        context,
        TRUSTED,
        certificate_installed(own, "ChargingStationCertificate", "<key>"),
        security_profile=3,
        read_key={"<key>": own.key_pem}.get,
    )
    assert isinstance(result, LinkOpened), result
    assert result.certificate_sha256 == "00"
    [client] = server_log.clients
    assert client
    assert (("commonName", "CS001"),) in client["subject"]


async def test_without_a_certificate_of_ours_there_is_no_profile_3_a00_fr_401() -> None:
    result, server_log = await attempt_connection(
        server_context(GOOD_SERVER, clients=ROOT), TRUSTED, security_profile=3
    )
    assert isinstance(result, LinkFailed)
    assert "ChargingStationCertificate" in result.reason
    assert server_log.ciphers == []


async def test_an_expired_certificate_of_ours_is_left_to_the_csms_to_refuse_a00_fr_430() -> None:
    expired = make_authority("CS001", issuer=ROOT, is_ca=False, valid_until=NOW - timedelta(days=1))
    result, _ = await attempt_connection(
        server_context(GOOD_SERVER),
        TRUSTED,
        certificate_installed(expired, "ChargingStationCertificate", "<key>"),
        security_profile=3,
        read_key={"<key>": expired.key_pem}.get,
    )
    assert isinstance(result, LinkOpened), result


OLD_OWN, NEW_OWN = (
    make_authority(name, issuer=ROOT, is_ca=False) for name in ("CS001 old", "CS001 new")
)
OWN_KEYS = {"<old>": OLD_OWN.key_pem, "<new>": NEW_OWN.key_pem}


def own_installed(holder: CertifiedKey, key: str) -> CertificateInstalled:
    installed = certificate_installed(holder, "ChargingStationCertificate", key)
    return msgspec.structs.replace(installed, sha256=key)


OLD_INSTALLED, NEW_INSTALLED = own_installed(OLD_OWN, "<old>"), own_installed(NEW_OWN, "<new>")


@asynccontextmanager
async def running_link(
    context: ssl.SSLContext, *own: CertificateInstalled
) -> AsyncIterator[tuple[FakeRecorder, TlsServerLog]]:
    """A connection with security profile 3 that goes on until the end of the block."""
    async with run_tls_server(context) as server_log, trio.open_nursery() as nursery:
        slot = NetworkProfile(1, f"wss://{HOST}:{server_log.port}/ocpp", 3)
        link = DesiredLink(
            candidates=(slot,),
            client_certificates=own,
            attempts_per_candidate=1,
            back_off_minimum_s=0,
        )
        recorder = FakeRecorder(DesiredState(link=link, certificates=(TRUSTED, *own)))
        nursery.start_soon(
            make_link(recorder, Dialer(), cipher_suites=SUITES, read_key=OWN_KEYS.get).run
        )
        with trio.fail_after(ATTEMPT_TIMEOUT_S):
            yield recorder, server_log
        nursery.cancel_scope.cancel()


def client_names(server_log: TlsServerLog) -> list[str]:
    return [client["subject"][-1][0][1] for client in server_log.clients if client]


async def test_a_new_certificate_is_used_at_once_a02_fr_08() -> None:
    """A02.FR.08, A03.FR.08: the connection is opened again, after the reply was sent."""
    context = server_context(GOOD_SERVER, clients=ROOT)
    async with running_link(context, OLD_INSTALLED) as (recorder, server_log):
        await recorder.wait_for_observation(LinkOpened)
        recorder.set_desired_link(client_certificates=(NEW_INSTALLED, OLD_INSTALLED))
        closed = await recorder.wait_for_observation(LinkClosed)
        opened = await recorder.wait_for_observation(LinkOpened, 2)
    assert closed.reason == "the certificate of the station was renewed"
    assert opened.certificate_sha256 == "<new>"
    assert client_names(server_log) == ["CS001 old", "CS001 new"]


async def test_a_deleted_certificate_does_not_end_the_connection_a02_fr_10() -> None:
    context = server_context(GOOD_SERVER, clients=ROOT)
    async with running_link(context, NEW_INSTALLED, OLD_INSTALLED) as (recorder, _):
        await recorder.wait_for_observation(LinkOpened)
        recorder.set_desired_link(client_certificates=(NEW_INSTALLED,))
        await trio.sleep(0.1)
        assert not [each for each in recorder.observed if isinstance(each, LinkClosed)]


async def test_a_certificate_without_its_key_is_followed_by_the_other_a02_fr_28() -> None:
    context = server_context(GOOD_SERVER, clients=ROOT)
    lost = msgspec.structs.replace(NEW_INSTALLED, private_key_ref="<lost>")
    async with running_link(context, lost, OLD_INSTALLED) as (recorder, _):
        opened = await recorder.wait_for_observation(LinkOpened)
    assert opened.certificate_sha256 == "<old>"


async def test_a_csms_that_closes_at_once_gets_the_other_certificate_a02_fr_28() -> None:
    """It opens the WebSocket, which proves nothing, and closes it without having sent a frame."""

    async def close_at_once(request: WebSocketRequest) -> None:
        websocket = await accept_request(request)
        await websocket.aclose(1008)

    context = server_context(GOOD_SERVER, clients=ROOT)
    async with run_tls_server(context, serve=close_at_once) as server_log:
        slot = NetworkProfile(1, f"wss://{HOST}:{server_log.port}/ocpp", 3)
        own = (NEW_INSTALLED, OLD_INSTALLED)
        link = DesiredLink(candidates=(slot,), client_certificates=own, back_off_minimum_s=0)
        recorder = FakeRecorder(DesiredState(link=link, certificates=(TRUSTED, *own)))
        async with trio.open_nursery() as nursery:
            ours = make_link(recorder, Dialer(), cipher_suites=SUITES, read_key=OWN_KEYS.get)
            nursery.start_soon(ours.run)
            with trio.fail_after(ATTEMPT_TIMEOUT_S):
                await recorder.wait_for_observation(LinkOpened, 3)
            nursery.cancel_scope.cancel()
    assert client_names(server_log)[:3] == ["CS001 new", "CS001 old", "CS001 new"]


# --- Reasons for people --------------------------------------------------------------------------

CSMS_REASONS = {
    "another root": "its CA is no installed CSMSRootCertificate; check [csms] ca_file",
    "signed by itself": "it is signed by itself; its CA must be an installed CSMSRootCertificate",
    "expired": f"it has expired at {NOW.date()}",
    "not valid yet": f"it is not valid yet at {NOW.date()}",
    "another name": f"it names csms.test, csms.test, not {HOST}",
    "no name at all": f"it names csms.test, not {HOST}",
}


@pytest.mark.parametrize("kind", CSMS_REASONS)
async def test_the_reason_says_what_is_wrong_with_the_csms(kind: str) -> None:
    result, _ = await attempt_with_profile(2, server_context(BAD[kind]))
    assert isinstance(result, LinkFailed)
    assert f"certificate of the CSMS: {CSMS_REASONS[kind]}" in result.reason


def own_certificate(**options: Any) -> CertifiedKey:
    return make_authority("CS001", is_ca=False, **options)


OWN_REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown CA": ({"issuer": OTHER_ROOT}, "it does not know its CA"),
    "expired": ({"issuer": ROOT, "valid_until": NOW - timedelta(days=1)}, "it has expired"),
}


@pytest.mark.parametrize("kind", OWN_REASONS)
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_reason_says_what_the_csms_refuses(kind: str, newest: ssl.TLSVersion) -> None:
    """A00.FR.407 at the CSMS. With TLS 1.3 the refusal follows the handshake."""
    options, reason = OWN_REASONS[kind]
    own = own_certificate(**options)
    suites = [*SUITES, "TLS_AES_128_GCM_SHA256"]
    result, _ = await attempt_connection(
        server_context(GOOD_SERVER, clients=ROOT, high=newest),
        TRUSTED,
        certificate_installed(own, "ChargingStationCertificate", "<key>"),
        security_profile=3,
        suites=SUITES if newest == ssl.TLSVersion.TLSv1_2 else suites,
        read_key={"<key>": own.key_pem}.get,
        refuses=True,
    )
    assert_link_failed(result, "FailedToAuthenticateAtCsms")
    assert isinstance(result, LinkFailed)
    assert result.reason == f"the CSMS refuses the certificate of the station: {reason}"


async def test_the_reason_says_that_there_is_no_cipher_suite_in_common() -> None:
    other = server_context(
        GOOD_SERVER, high=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES256-CCM"
    )
    result, _ = await attempt_with_profile(2, other, refuses=True)
    assert isinstance(result, LinkFailed)
    assert "no cipher suite in common" in result.reason


async def test_a_key_of_another_certificate_is_named_as_the_reason() -> None:
    own, other = own_certificate(issuer=ROOT), own_certificate(issuer=ROOT)
    result, _ = await attempt_connection(
        server_context(GOOD_SERVER, clients=ROOT),
        TRUSTED,
        certificate_installed(own, "ChargingStationCertificate", "<key>"),
        security_profile=3,
        read_key={"<key>": other.key_pem}.get,
    )
    assert isinstance(result, LinkFailed)
    assert result.reason == "the ChargingStationCertificate cannot be used: KEY_VALUES_MISMATCH"


# --- Wildcards -----------------------------------------------------------------------------------


def test_a_wildcard_names_one_label_more_if_it_is_allowed_erratum_2_62() -> None:
    check_host_name(PEER, "a.wild.example.com", wildcards_allowed=True)
    for host in ("wild.example.com", "a.b.wild.example.com", "10.1.2.4", "com"):
        with pytest.raises(Exception, match="it names"):
            check_host_name(PEER, host, wildcards_allowed=True)
    with pytest.raises(Exception, match="it names"):
        check_host_name({"subjectAltName": (("DNS", "*.0.0.1"),)}, HOST, wildcards_allowed=True)


# --- Without TLS ---------------------------------------------------------------------------------


async def test_a_plain_server_gets_no_password() -> None:
    received = bytearray()

    async def handle(stream: trio.SocketStream) -> None:
        received.extend(await stream.receive_some(4096))
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            lambda task_status: trio.serve_tcp(handle, 0, host=HOST, task_status=task_status)
        )
        port = listeners[0].socket.getsockname()[1]
        slot = NetworkProfile(1, f"wss://{HOST}:{port}/ocpp", 2)
        recorder = FakeRecorder(
            DesiredState(link=DesiredLink(candidates=(slot,)), certificates=(TRUSTED,))
        )
        nursery.start_soon(make_link(recorder, Dialer(), cipher_suites=SUITES).run)
        with trio.fail_after(ATTEMPT_TIMEOUT_S):
            while not recorder.observed:
                await trio.sleep(0.01)
        assert_link_failed(recorder.observed[0], "")  # type: ignore[arg-type]
        assert b"Authorization" not in received
        nursery.cancel_scope.cancel()


# --- AdditionalRootCertificateCheck --------------------------------------------------------------

NEW_ROOT = make_authority("CSO root, 2nd key", issuer=ROOT)
OLD_TRUST, NEW_TRUST = (
    msgspec.structs.replace(certificate_installed(root), sha256=name)
    for root, name in ((ROOT, "<old root>"), (NEW_ROOT, "<new root>"))
)


async def attempt_with_two_roots(
    server: CertifiedKey, *, last_slot: int = 1
) -> LinkOpened | LinkFailed:
    """The first observation; the slot is 1, so another `last_slot` makes it a migration."""
    async with run_tls_server(server_context(server)) as server_log, trio.open_nursery() as nursery:
        slot = NetworkProfile(1, f"wss://{HOST}:{server_log.port}/ocpp", 2)
        last = msgspec.structs.replace(slot, slot=last_slot)
        link = DesiredLink(
            candidates=(slot,), last_successful=last, csms_roots=(NEW_TRUST, OLD_TRUST)
        )
        recorder = FakeRecorder(DesiredState(link=link, certificates=(OLD_TRUST, NEW_TRUST)))
        nursery.start_soon(make_link(recorder, Dialer(), cipher_suites=SUITES).run)
        with trio.fail_after(ATTEMPT_TIMEOUT_S):
            while not recorder.observed:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return cast(LinkOpened | LinkFailed, recorder.observed[0])


async def test_the_newest_root_verifies_the_csms_m05_fr_13() -> None:
    """The server sends the new root too, so the old one would verify it."""
    opened = await attempt_with_two_roots(make_server_certificate(NEW_ROOT, HOST))
    assert isinstance(opened, LinkOpened), opened
    assert opened.root_sha256 == "<new root>"


async def test_the_fallback_verifies_the_csms_in_the_same_attempt_m05_fr_14() -> None:
    opened = await attempt_with_two_roots(GOOD_SERVER)
    assert isinstance(opened, LinkOpened), opened
    assert opened.root_sha256 == "<old root>"


async def test_a_migration_does_not_use_the_fallback_m05_fr_15() -> None:
    failed = await attempt_with_two_roots(GOOD_SERVER, last_slot=2)
    assert isinstance(failed, LinkFailed)
    assert failed.security_event == "InvalidCsmsCertificate"


async def test_neither_root_verifies_the_csms_m05_fr_14() -> None:
    failed = await attempt_with_two_roots(make_server_certificate(OTHER_ROOT, HOST))
    assert isinstance(failed, LinkFailed)
    assert failed.security_event == "InvalidCsmsCertificate"


async def test_all_roots_are_trusted_without_the_check() -> None:
    opened, _ = await attempt_connection(server_context(GOOD_SERVER), OLD_TRUST, NEW_TRUST)
    assert isinstance(opened, LinkOpened), opened
    assert opened.root_sha256 == ""
