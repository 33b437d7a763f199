"""Every problem of a station.toml in one run, and no consequence of another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.config.hardware import find_hardware_problems
from station.config.problems import find_problems
from tests.config.test_station_toml import BAD, GOOD, config_error, write_config

NOT_CERTIFIED = "[csms] security profile 1 is not in product profile evs-flash-300"
SECOND = {
    "a table missing": "[csms] password is missing; security profile 1 needs",
    "a use that is not one": "[[certificate]] 1: file x does not exist",
    "hardware that is no table": NOT_CERTIFIED,
    "a device without driver": NOT_CERTIFIED,
    "a port that is no text": NOT_CERTIFIED,
}
"""Files of `BAD` with a second problem."""


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_problem_in_the_words_of_a_start(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    problems, _ = find_problems(write_config(tmp_path, text))
    problems.remove(f"station.toml: {expected}")
    for problem, beginning in zip(problems, [SECOND[name]] if name in SECOND else [], strict=True):
        assert problem.startswith(f"station.toml: {beginning}")


def test_a_sound_file_has_no_problem(tmp_path: Path) -> None:
    problems, config = find_problems(write_config(tmp_path, GOOD))
    assert problems == []
    assert config is not None
    assert config.csms.security_profile == 1


TABLES = {
    "csms": (
        """
[station]
identity = "CS001"
profile = "evs-flash-300"
[csms]
url = "http://csms"
security_profile = 5
password = "short"
ca_file = "gone.pem"
retries = 5
""",
        [
            "[csms] retries is not a key",
            '[csms] url "http://csms": it must begin with ws:// or wss://',
            "[csms] security_profile is 5; use 1, 2 or 3",
            "[csms] password needs at least 16 characters",
            "[csms] ca_file gone.pem does not exist",
        ],
    ),
    "csms of wrong types": (
        """
[station]
identity = 5
profil = "development"
[csms]
url = 5
security_profile = "2"
password_file = 7
""",
        [
            "[station] identity needs text in quotes, got a whole number",
            "[station] profil is not a key; did you mean profile?",
            "[csms] url needs text in quotes",
            "[csms] security_profile needs a whole number or nothing",
            "[csms] password_file needs text in quotes or nothing",
        ],
    ),
    "tables": (
        """
station = 5
csms = []
[variable]
component = "x"
[jurnal]
retention = 0
[limits]
station_w = "much"
contact_w = 5
contact_input = 5
""",
        [
            "[station] needs a table, got a whole number",
            "[csms] needs a table, got a list",
            "[variable] needs a list, got a table",
            "jurnal is not a key; did you mean journal?",
            "[limits] station_w needs a whole number or nothing",
            "[limits] contact_input needs text in quotes or nothing",
        ],
    ),
    "rows": (
        f"""{GOOD}
[[certificate]]
use = "CSMSRoot"
file = "gone.pem"
key_pasword = "x"
[[certificate]]
file = "station.toml"
[[certificate]]
use = "ChargingStationCertificate"
file = "gone.pem"
key_password_file = "gone"
[[variable]]
component = "EVSE"
[[variable]]
component = "OCPPCommCtrlr"
variable = "HeartbeatInterval"
value = "5m"
colour = "red"
""",
        [
            "[[certificate]] 1: key_pasword is not a key; did you mean key_password?",
            "[[certificate]] 2: use is missing",
            "[[certificate]] 1: use CSMSRoot is not a use",
            "[[certificate]] 1: file gone.pem does not exist",
            "[[certificate]] 3: file gone.pem does not exist",
            "[[certificate]] 3: key_file is missing; a ChargingStationCertificate needs",
            "[[certificate]] 3: key_password_file gone cannot be read",
            "[[variable]] 1: variable is missing",
            "[[variable]] 1: value is missing",
            "[[variable]] 2: colour is not a key",
            "[[variable]] 2: OCPPCommCtrlr.HeartbeatInterval needs an integer of s",
        ],
    ),
    "keys that belong together beside another table": (
        f"""{GOOD}
[journal]
retention = 0
grow_bytes = -1
[limits]
contact_w = 1000
contact_input = "A2"
""",
        [
            "[journal] grow_bytes is -1; allowed are 0 to",
            "[journal] retention is 0; allowed are 1 to 36500",
        ],
    ),
    "devices": (
        f"""{GOOD.replace("[csms]", 'profile = "development"' + chr(10) + "[csms]")}
[hardware.meter]
driver = "acrel_djsf1352"
port = "/dev/ttyS1"
adresses = [1, 2]
parity = "X"
stop_bits = "1"
idle_interval_s = 3.0
silent_s = 2.0
energy_unit_wh = 0
[hardware.secc]
driver = "advantics"
[hardware.io]
driver = "icpdas_m7055"
port = "/dev/ttyS2"
[hardware.insulation]
driver = "bender_isocha425hv"
port = "/dev/ttyS3"
[hardware.modules]
driver = "infypower"
port = "/dev/ttyS4"
groups = [[1, 2], []]
hot_c = 1000
""",
        [
            "[hardware.secc] port is missing",
            "[hardware.meter] adresses is not a key; did you mean addresses?",
            '[hardware.meter] parity "X" is not one of "N", "E", "O"',
            "[hardware.meter] stop_bits needs a whole number, got text in quotes",
            "[hardware.meter] idle_interval_s 3.0 must be below silent_s 2.0",
            "[hardware.meter] energy_unit_wh 0 must be above 0",
            "[hardware.modules] hot_c needs a whole number of at most 150",
            "[hardware.modules] groups: EVSE 2 has no modules",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), TABLES.values(), ids=TABLES.keys())
def test_all_problems_of_a_table_are_found_and_none_that_follows_from_another(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    problems, config = find_problems(write_config(tmp_path, text))
    assert config is not None
    if config.hardware:
        kinds = ("secc",)  # its table is there, and its problem is found already
        problems += find_hardware_problems(config.hardware, config.profile.evse_ids, kinds)
    else:
        assert config_error(tmp_path, text) in problems
    lines = [problem.removeprefix("station.toml: ") for problem in problems]
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(beginning)
