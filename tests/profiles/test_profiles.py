"""The profiles have the answers of the certificate, and mistakes in a profile are reported."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from station.core.device_model.model import DeviceModel
from station.profiles import (
    Profile,
    ProfileError,
    certificate_questions,
    load_profile,
    profile_names,
)

CERTIFIED = load_profile("evs-flash-300")
DEVELOPMENT = load_profile("development")

# The questions that the certificate answers with yes; all others are no.
YES = [
    "C-01", "C-06.2", "C-09.4", "C-10.1", "C-10.2", "C-12.2", "C-20", "C-21", "C-23", "C-28",
    "C-29.1", "C-29.2", "C-29.3", "C-29.5", "C-29.6", "C-30", "C-36", "C-37", "C-38", "C-41",
    "C-48.1", "C-49", "C-56", "C-58",
]  # fmt: skip


def test_the_certified_profile_answers_as_the_certificate() -> None:
    assert [
        question
        for question in certificate_questions.OPTIONAL_FEATURES
        if CERTIFIED.supports(question)
    ] == YES
    assert [
        question
        for question in certificate_questions.ADDITIONAL_QUESTIONS
        if CERTIFIED.supports(question)
    ] == []
    yes = [
        question
        for question in certificate_questions.HARDWARE_FEATURES
        if CERTIFIED.supports(question)
    ]
    assert yes == ["HFS-2", "HFS-4", "HFS-8", "HFS-9", "HFS-10", "HFS-11", "HFS-12"]


def test_the_certified_numbers_and_lists() -> None:
    settings = {
        setting: CERTIFIED.certificate_answer(setting)
        for setting in certificate_questions.LIMIT_BY_SETTING
    }
    assert settings == {
        "ORS-1": 100,
        "ORS-2": 100,
        "ORS-3": 100,
        "ORS-4": 2048,
        "ORS-5": 2048,
        "ORS-6": 2048,
        "ORS-16": 10,
        "ORS-17": 10,
        "ORS-24": ("HTTP", "HTTPS", "SFTP", "FTP", "FTPS"),
    }
    assert CERTIFIED.cipher_suites == (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    )
    assert CERTIFIED.certificate_answer("HFS-8") == 2
    assert CERTIFIED.certificate_answer("HFS-9") == ("Wi-Fi", "LTE", "Ethernet")
    assert [[connector.type for connector in evse.connectors] for evse in CERTIFIED.evse] == [
        ["cCCS1"]
    ] * 2
    assert CERTIFIED.measurands.tx_updated.supported == (
        "Current.Import",
        "Energy.Active.Import.Register",
        "Power.Active.Import",
        "Voltage",
    )
    assert CERTIFIED.response_time[0].max_s == Decimal("0.20")
    assert CERTIFIED.response_time[3].average_s is None
    assert CERTIFIED.certificate is not None
    assert CERTIFIED.certificate.number == "OCA.0201.0113.CS"


def test_what_follows_from_the_certified_answers() -> None:
    assert CERTIFIED.security_profiles == (2, 3)
    assert CERTIFIED.tx_start_points == ("PowerPathClosed",)
    assert CERTIFIED.tx_stop_points == ("EVConnected", "Authorized")
    assert CERTIFIED.local_id_token_types == ("ISO14443",)
    assert CERTIFIED.remote_id_token_types == ("ISO14443", "ISO15693", "Central")
    assert CERTIFIED.token_types == ("ISO14443", "ISO15693", "Central")
    assert "FirmwareStatusNotification" not in CERTIFIED.triggers
    assert CERTIFIED.cache_policies == ()
    assert CERTIFIED.network_slots == ("1", "2", "3")
    assert CERTIFIED.evse_ids == (1, 2)


def test_development_only_adds_to_the_same_hardware() -> None:
    assert DEVELOPMENT.hardware == CERTIFIED.hardware
    assert DEVELOPMENT.evse == CERTIFIED.evse
    assert all(DEVELOPMENT.supports(question) for question in YES)
    assert DEVELOPMENT.transaction == CERTIFIED.transaction  # the certificate's defaults
    assert DEVELOPMENT.security_profiles == (1, 2, 3)
    for field in CERTIFIED.measurands.__struct_fields__:
        ours = set(getattr(CERTIFIED.measurands, field).supported)
        assert ours <= set(getattr(DEVELOPMENT.measurands, field).supported)


def test_a_certificate_is_not_inherited() -> None:
    assert DEVELOPMENT.certificate is None


def test_the_profiles_that_come_with_the_program() -> None:
    assert profile_names() == ("development", "evs-flash-300")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("C-49", True),
        ("not C-49", False),
        ("C-07 or C-49", True),
        ("C-07 and C-49", False),
        ("C-48.1 and not C-48.2", True),
        ("C-07 and C-49 or C-01", True),
        ("HFS-12", True),
        ("ORS-17", True),
    ],
)
def test_a_condition_reads_the_answers(condition: str, holds: bool) -> None:
    assert CERTIFIED.meets_condition(condition) is holds


def test_a_condition_with_an_unknown_question_is_an_error() -> None:
    with pytest.raises(ProfileError, match=r"no answer to 'C-99' of a condition"):
        CERTIFIED.meets_condition("C-99")


def load_text(directory: Path, text: str) -> Profile:
    path = directory / "mine.toml"
    path.write_text(f'name = "mine"\ninherits = "evs-flash-300"\n{text}', "utf-8")
    return load_profile(path)


BAD = {
    "an unknown answer": (
        "[features]\nC-99 = true",
        "[features] C-99 is not a key; did you mean C-59?",
    ),
    "an answer of the wrong kind": (
        '[features]\nC-49 = "yes"',
        "[features] C-49 needs true or false, got 'yes'",
    ),
    "an unknown limit": (
        "[limits]\nnetwork_slot = 4",
        "[limits] network_slot is not a key; did you mean network_slots?",
    ),
    "EVSEs miscounted": (
        "[hardware]\nHFS-8 = 3",
        "[hardware] HFS-8 has 3 EVSEs, [[evse]] lists 2",
    ),
    "a cable the hardware does not have": (
        "[hardware]\nHFS-1 = true",
        "[hardware] HFS-1 and the cables of [[evse]] disagree about detachable ones",
    ),
    "an EVSE number left out": (
        "[hardware]\nHFS-8 = 1\n[[evse]]\nid = 2\npower_max_w = 1\n"
        'connectors = [{ id = 1, type = "cCCS1", cable = "fixed" }]',
        "[[evse]] 1: id is 2; EVSEs are numbered from 1 without gaps",
    ),
    "an EVSE stronger than the supply": (
        "[supply]\npower_max_w = 1000",
        "[[evse]] 1: power_max_w is more than the 1000 of [supply]",
    ),
    "a connector of no kind": (
        "[hardware]\nHFS-8 = 1\n[[evse]]\nid = 1\npower_max_w = 1\n"
        'connectors = [{ id = 1, type = "cCCS1", cable = "loose" }]',
        '[[evse]] 1: connectors 1: cable "loose" is not one of "fixed", "detachable"',
    ),
    "no way to start": (
        '[features]\n"C-09.4" = false',
        "[features] C-09: at least one of C-09.1, C-09.2, C-09.3, C-09.4, C-09.5, C-09.6"
        " must be true",
    ),
    "a start point that is not offered": (
        '[transaction]\nstart_points = ["Authorized"]',
        "[transaction] start_points has Authorized, which C-09 does not offer",
    ),
    "offline without any authorization": (
        "[features]\nC-49 = false",
        "[features] C-01 needs C-02, C-49 or LA-1: offline nothing else can authorize",
    ),
    "one network slot": (
        "[limits]\nnetwork_slots = 1",
        "[limits] network_slots must be 2 or more (B09.FR.06)",
    ),
    "a measurand that does not exist": (
        '[measurands.aligned]\nsupported = ["Temperature"]\ndefault = []',
        "[measurands.aligned] Temperature is not a measurand of OCPP 2.0.1",
    ),
    "a default that is not supported": (
        '[measurands.aligned]\ndefault = ["SoC"]',
        "[measurands.aligned] default SoC is not among supported",
    ),
    "a model too long for BootNotification": (
        '[product]\nmodel = "EVS-FLASH-300-D01-LONG"',
        "[product] model is longer than the 20 characters BootNotification carries",
    ),
    "no heartbeat": (
        '[features]\nC-23 = ["NTP"]',
        "[features] C-23 must list Heartbeat",
    ),
    "no TOML": ("[", "is not TOML: "),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_an_invalid_profile_is_reported_in_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load_text(tmp_path, text)
    message = str(caught.value)
    assert message == f"mine.toml: {expected}" or (expected.endswith(": ") and expected in message)
    assert "\n" not in message


def test_a_profile_without_an_answer_names_it(tmp_path: Path) -> None:
    here = Path(certificate_questions.__file__).parent
    text = (here / "evs-flash-300.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("C-49 ")]
    (tmp_path / "mine.toml").write_text("\n".join(lines), "utf-8")
    with pytest.raises(ProfileError, match=r"C-49 is missing: authorization cache$"):
        load_profile(tmp_path / "mine.toml")


def test_profiles_may_not_inherit_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('inherits = "b.toml"')
    (tmp_path / "b.toml").write_text('inherits = "a.toml"')
    with pytest.raises(ProfileError, match="inherits in a circle"):
        load_profile(tmp_path / "a.toml")


def test_an_unknown_profile_name_is_an_error() -> None:
    with pytest.raises(ProfileError, match="there are development, evs-flash-300"):
        load_profile("evs-flash")
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        load_profile("gone.toml")


SMALL = """
[hardware]
HFS-1 = true
HFS-2 = false
HFS-8 = 1
[[evse]]
id = 1
power_max_w = 50_000
connectors = [
    { id = 1, type = "sType2", cable = "detachable" },
    { id = 2, type = "sType2", cable = "detachable" },
]
[features]
"C-12.1" = true
C-51 = true
[[variable]]
component = "OCPPCommCtrlr"
variable = "HeartbeatInterval"
value = "77"
[[variable]]
component = "TxCtrlr"
variable = "StopTxOnInvalidId"
writable = false
"""


def test_another_product_is_another_file(tmp_path: Path) -> None:
    model = DeviceModel(load_text(tmp_path, SMALL))
    paths = set(model.by_path)
    assert "EVSE@2.Available" not in paths
    assert "Connector@1/2.ConnectorType" in paths
    assert model.by_path["EVSE@1.Power"].max_limit == 50_000
    assert model.by_path["OCPPCommCtrlr.HeartbeatInterval"].attributes[0].value == "77"
    assert not model.by_path["TxCtrlr.StopTxOnInvalidId"].is_settable
    assert model.by_path["TxCtrlr.TxStartPoint"].is_settable
    unlock = model.by_path["OCPPCommCtrlr.UnlockOnEVSideDisconnect"]
    assert unlock.is_settable
    assert unlock.attributes[0].value == "true"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[[variable]]\ncomponent = "TxCtrlr"\nvariable = "Nothing"\nvalue = "1"',
            "mine: [[variable]] TxCtrlr.Nothing is no variable of this product",
        ),
        (
            '[[variable]]\ncomponent = "TxCtrlr"\nvariable = "ResumptionTimeout"\nvalue = "5m"',
            'mine: TxCtrlr.ResumptionTimeout needs an integer of s, got "5m"',
        ),
        (
            '[[component]]\nname = "TxCtrlr"\n'
            'variables = [{ name = "TxStartPoint", type = "string", value = "x" }]',
            "mine: two rows make TxCtrlr.TxStartPoint; their `when` must exclude each other",
        ),
        (
            '[[component]]\nname = "Heater"\n'
            'variables = [{ name = "Active", type = "boolean", source = "warmth" }]',
            "mine: Heater.Active: warmth is not a source",
        ),
        (
            '[[component]]\nname = "Heater"\n'
            'variables = [{ name = "Mode", type = "string", rule = "nice" }]',
            "mine: Heater.Mode: nice is not a rule",
        ),
        (
            '[[component]]\nname = "Heater"\n'
            'variables = [{ name = "Mode", type = "string", value = "$limits.heat" }]',
            "mine: $limits.heat is no fact of a profile",
        ),
        (
            '[[component]]\nname = "Heater"\nwhen = "C-77"\nvariables = []',
            "mine: no answer to 'C-77' of a condition",
        ),
    ],
)
def test_an_inconsistent_device_model_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    profile = load_text(tmp_path, text)
    with pytest.raises(ProfileError) as caught:
        DeviceModel(profile)
    assert str(caught.value) == expected


def test_reading_a_profile_imports_nothing_heavy() -> None:
    program = (
        "import sys; from station.profiles import load_profile; load_profile('development');"
        "print(sorted({'trio', 'sqlite3', 'difflib', 'cryptography'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
