"""Observations made from station.toml at the first start and at later ones. P8, P9."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from journal.events import Entry, Observation
from journal.observations import (
    CertificatePreset,
    CsmsConfigured,
    StationStarted,
    VariablePreset,
)
from journal.state import State, apply_entry
from station.config.station_toml import Config, load_config
from station.core.certificates import known_facts, parser
from station.runtime.crypto.process import Execute
from station.runtime.crypto.program import (
    Answer,
    ExaminationOrder,
    Order,
    PrivateKeyOrder,
    execute,
)
from station.runtime.loop.initial_observations import initial_observations
from tests.support.authorities import CertifiedKey, make_authority
from tests.support.story import JOURNAL_ID, NOON, given

HEARTBEAT = "OCPPCommCtrlr.HeartbeatInterval"
ROOT, OTHER = make_authority("Root 1"), make_authority("Root 2")
OWN = make_authority("CS001", issuer=ROOT, is_ca=False)


class SecretStoreStub:
    """Keeps the secrets it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> str:
        self.texts.append(text)
        return f"<secret {len(self.texts)}>"


def write_config(directory: Path, extra: str = "", csms: str = "") -> Config:
    file = directory / "station.toml"
    file.write_text(
        '[station]\nidentity = "CS001"\n'
        '[csms]\nurl = "wss://csms/ocpp"\npassword = "correct-horse-battery"\n'
        f"{csms}\n{extra}\n"
    )
    return load_config(file)


def write_pem(directory: Path, name: str, *holders: CertifiedKey, text: str = "") -> None:
    (directory / name).write_text(text + "".join(holder.pem for holder in holders))


def list_initial_observations(
    config: Config,
    state: State | None = None,
    secrets: SecretStoreStub | None = None,
    execute: Execute = execute,
) -> list[Observation]:
    first = state is None
    return list(
        initial_observations(
            config,
            state or State(JOURNAL_ID),
            first,
            secrets or SecretStoreStub(),
            execute=execute,
        )
    )


def state_after(*observations: Observation) -> State:
    state = State(JOURNAL_ID)
    for seq, observation in enumerate(observations, start=1):
        state = apply_entry(state, Entry(seq, NOON, seq, observation))
    return state


def test_the_first_start_records_every_setting(tmp_path: Path) -> None:
    write_pem(tmp_path, "csms.pem", ROOT)
    write_pem(tmp_path, "maker.pem", OTHER)
    config = write_config(
        tmp_path,
        '[[certificate]]\nuse = "ManufacturerRootCertificate"\nfile = "maker.pem"\n'
        '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "60"\n',
        'ca_file = "csms.pem"',
    )
    assert list_initial_observations(config) == [
        VariablePreset("OCPPCommCtrlr.HeartbeatInterval", "60"),
        CertificatePreset("ManufacturerRootCertificate", OTHER.pem),
        CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,)),
    ]


def test_a_later_start_records_only_a_changed_csms_table(tmp_path: Path) -> None:
    write_pem(tmp_path, "csms.pem", ROOT)
    config = write_config(tmp_path, csms='ca_file = "csms.pem"')
    state = state_after(CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,)))
    assert list_initial_observations(config, state) == []
    write_pem(tmp_path, "csms.pem", ROOT, OTHER)
    assert list_initial_observations(config, state) == [
        CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem, OTHER.pem))
    ]


def refuse_order(order: Order) -> Answer:
    raise AssertionError(f"{order} is executed")


def test_a_start_with_known_roots_reads_no_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pem(tmp_path, "csms.pem", ROOT)
    config = write_config(tmp_path, csms='ca_file = "csms.pem"')
    monkeypatch.setattr("station.core.x509.parse_root", None)  # calling it would fail
    state = state_after(CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,)))
    assert list_initial_observations(config, state, execute=refuse_order) == []


def test_every_certificate_of_station_toml_is_read_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the decisions on the observations, of which some follow from others."""
    known_facts.forget_all()
    orders: list[Order] = []

    def execute_elsewhere(order: Order) -> Answer:
        orders.append(order)
        with monkeypatch.context() as patch:
            patch.setattr(parser, "parse_block", parse_block)
            patch.setattr(parser, "is_signed_by", is_signed_by)
            return execute(order)

    parse_block, is_signed_by = parser.parse_block, parser.is_signed_by
    monkeypatch.setattr(parser, "parse_block", None)
    monkeypatch.setattr(parser, "is_signed_by", None)
    write_pem(tmp_path, "csms.pem", ROOT, OTHER)
    write_pem(tmp_path, "own.pem", OWN)
    (tmp_path / "own.key").write_text(OWN.key_pem)
    own = '[[certificate]]\nuse = "ChargingStationCertificate"\nfile = "own.pem"\n'
    config = write_config(
        tmp_path,
        f'{own}key_file = "own.key"\n'
        '[[certificate]]\nuse = "ManufacturerRootCertificate"\nfile = "csms.pem"\n',
        'ca_file = "csms.pem"',
    )
    observations = list_initial_observations(config, execute=execute_elsewhere)
    assert [type(order) for order in orders] == [ExaminationOrder, PrivateKeyOrder]
    station = given()
    for observation in observations:
        station.decide_observation(observation)
    assert sorted(each.use for each in station.state.certificates.installed) == [
        "CSMSRootCertificate",
        "CSMSRootCertificate",
        "ChargingStationCertificate",
        "ManufacturerRootCertificate",
        "ManufacturerRootCertificate",
    ]


def test_a_certificate_added_later_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pem(tmp_path, "maker.pem", OTHER)
    config = write_config(
        tmp_path, '[[certificate]]\nuse = "ManufacturerRootCertificate"\nfile = "maker.pem"\n'
    )
    assert (
        list_initial_observations(config, state_after(CsmsConfigured("wss://csms/ocpp", 2))) == []
    )
    assert "it is used at the first start only" in caplog.text


def test_a_variable_that_is_not_in_effect_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Changed or added after the first start, or set by the CSMS since."""
    config = write_config(
        tmp_path,
        '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "60"\n'
        '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "MessageTimeout"\n'
        'variable_instance = "Default"\nvalue = "29"\n',
    )
    configured = CsmsConfigured("wss://csms/ocpp", 2)
    in_effect = VariablePreset("OCPPCommCtrlr.MessageTimeout[Default]", "29")
    state = state_after(configured, in_effect, VariablePreset(HEARTBEAT, "60"))
    assert list_initial_observations(config, state) == []
    assert not caplog.text
    state = state_after(configured, in_effect, VariablePreset(HEARTBEAT, "90"))
    assert list_initial_observations(config, state) == []
    [warning] = caplog.messages
    assert f'[[variable]] {HEARTBEAT} = "60" is ignored' in warning
    assert 'The value is "90"' in warning


def test_a_variable_added_later_is_compared_with_the_profile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(
        tmp_path,
        '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "61"\n',
    )
    list_initial_observations(config, state_after(CsmsConfigured("wss://csms/ocpp", 2)))
    [warning] = caplog.messages
    in_profile = config.device_model.by_path[HEARTBEAT].attributes[0].value
    assert f'The value is "{in_profile}"' in warning


def test_a_changed_identity_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_config(tmp_path)
    for identity, warnings in (("CS001", 0), ("CS002", 1)):
        started = StationStarted("boot", "1.0", "development", identity, (), None, None)
        list_initial_observations(
            config, state_after(CsmsConfigured("wss://csms/ocpp", 2), started)
        )
        assert len(caplog.messages) == warnings
    assert "identity changed from CS002 to CS001" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_the_station_starts_with_an_unusable_ca_file_p8(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    write_pem(tmp_path, "csms.pem", text=text)
    assert list_initial_observations(write_config(tmp_path, csms='ca_file = "csms.pem"')) == [
        CsmsConfigured("wss://csms/ocpp", 2, ())
    ]
    assert "csms.pem" in caplog.text


def test_the_usable_roots_of_a_ca_file_are_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pem(tmp_path, "csms.pem", OWN, ROOT, text="Subject: the root of the CSO\n")
    [configured_csms] = list_initial_observations(
        write_config(tmp_path, csms='ca_file = "csms.pem"')
    )
    assert configured_csms == CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,))
    assert "certificate 1 is not of a CA" in caplog.text


def test_a_bundle_is_cut_to_the_size_of_the_store_m05_fr_06(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pem(tmp_path, "csms.pem", *(make_authority(f"Root {number}") for number in range(12)))
    [configured_csms] = list_initial_observations(
        write_config(tmp_path, csms='ca_file = "csms.pem"')
    )
    assert isinstance(configured_csms, CsmsConfigured)
    assert len(configured_csms.ca_certificates) == 10
    assert "12 roots, the product stores 10" in caplog.text


def config_with_own_certificate(directory: Path, key: str) -> Config:
    write_pem(directory, "own.pem", OWN)
    (directory / "own.key").write_text(key)
    return write_config(
        directory,
        '[[certificate]]\nuse = "ChargingStationCertificate"\nfile = "own.pem"\n'
        'key_file = "own.key"\nkey_password = "sesame"\n',
    )


def test_a_private_key_is_stored_as_a_secret_p9(tmp_path: Path) -> None:
    locked = OWN.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    ).decode()
    secrets = SecretStoreStub()
    preset, _ = list_initial_observations(
        config_with_own_certificate(tmp_path, locked), secrets=secrets
    )
    assert preset == CertificatePreset("ChargingStationCertificate", OWN.pem, "<secret 1>")
    assert secrets.texts == [OWN.key_pem]


def test_a_password_of_a_key_without_one_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = SecretStoreStub()
    preset, _ = list_initial_observations(
        config_with_own_certificate(tmp_path, OWN.key_pem), secrets=secrets
    )
    assert preset == CertificatePreset("ChargingStationCertificate", OWN.pem, "<secret 1>")
    assert "key_password is not needed" in caplog.text


def test_a_key_of_another_certificate_is_left_out_p8(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = OTHER.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    ).decode()
    [observation] = list_initial_observations(config_with_own_certificate(tmp_path, key))
    assert isinstance(observation, CsmsConfigured)
    assert "does not belong to the key in own.key" in caplog.text


def test_a_key_that_cannot_be_opened_is_left_out_p8(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = SecretStoreStub()
    [observation] = list_initial_observations(
        config_with_own_certificate(tmp_path, "no key"), secrets=secrets
    )
    assert isinstance(observation, CsmsConfigured)
    assert secrets.texts == []
    assert "has no usable key in own.key" in caplog.text
    assert "sesame" not in caplog.text
