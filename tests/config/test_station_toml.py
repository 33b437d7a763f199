"""station.toml: every key is read, and every mistake is reported in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from station.config.station_toml import Config, ConfigError, FirmwareConfig, Secret, load_config

GOOD = """
[station]
identity = "CS001"

[csms]
url = "ws://csms.example/ocpp/"
password = "0123456789abcdef"
"""


def write_config(directory: Path, text: str) -> Path:
    path = directory / "station.toml"
    path.write_text(text, "utf-8")
    return path


def config_error(directory: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(directory, text))
    return str(caught.value)


def load_text(directory: Path, text: str) -> Config:
    return load_config(write_config(directory, text))


def test_the_minimal_file_a00_fr_004(tmp_path: Path) -> None:
    config = load_text(tmp_path, GOOD)
    assert config.identity == "CS001"
    assert config.profile.name == "development"  # without hardware
    assert config.data_directory == tmp_path / "data"
    assert config.csms.url == "ws://csms.example/ocpp"
    assert config.csms.security_profile == 1
    assert config.csms.password == Secret("0123456789abcdef")
    assert config.hardware == {}
    assert config.journal.reading_interval_s == 10
    assert config.journal.powersafe_overwrite is True


def test_a_file_with_every_key(tmp_path: Path) -> None:
    for name in ("ca.pem", "leaf.pem", "leaf.key"):
        (tmp_path / name).write_text("pem")
    (tmp_path / "secret.txt").write_text("correct horse battery\n")
    config = load_text(
        tmp_path,
        """
        [station]
        identity = "DE*ABC*E1"
        profile = "evs-flash-300"
        data = "/var/lib/station"
        [csms]
        url = "wss://csms.example:8443/ocpp"
        security_profile = 2
        password_file = "secret.txt"
        ca_file = "ca.pem"
        [[variable]]
        component = "ocppcommctrlr"
        variable = "HEARTBEATINTERVAL"
        value = "60"
        [[variable]]
        component = "ChargingStation"
        variable = "Model"
        value = "Other"
        [[certificate]]
        use = "ChargingStationCertificate"
        file = "leaf.pem"
        key_file = "leaf.key"
        key_password = "open"
        [hardware.meter_1]
        driver = "acrel_djsf1352"
        port = "/dev/ttyS1"
        address = 1
        [journal]
        checkpoint_pages = 500
        grow_bytes = 0
        powersafe_overwrite = false
        reading_interval_s = 5
        retention = 30
        """,
    )
    assert config.profile.name == "evs-flash-300"
    assert config.data_directory == Path("/var/lib/station")
    assert config.csms.password == Secret("correct horse battery")
    assert config.csms.ca_file == tmp_path / "ca.pem"
    assert config.variables == {
        "OCPPCommCtrlr.HeartbeatInterval": "60",
        "ChargingStation.Model": "Other",  # ReadOnly for the CSMS, settable here
    }
    [certificate] = config.certificates
    assert certificate.key_file == tmp_path / "leaf.key"
    assert certificate.key_password == Secret("open")
    meter = config.hardware["meter_1"]
    assert (meter.driver, meter.port, meter.options) == (
        "acrel_djsf1352",
        "/dev/ttyS1",
        {"address": 1},
    )
    assert config.journal.retention == 30


def test_with_hardware_the_default_is_the_certified_profile(tmp_path: Path) -> None:
    text = GOOD.replace("ws:", "wss:") + '[hardware.reader]\ndriver = "pn532"\nport = "/dev/ttyS0"'
    config = load_text(tmp_path, text)
    assert config.profile.name == "evs-flash-300"
    assert config.csms.security_profile == 2


def test_security_profile_3_needs_no_password(tmp_path: Path) -> None:
    text = """
    [station]
    identity = "CS001"
    [csms]
    url = "wss://csms.example"
    security_profile = 3
    """
    assert load_text(tmp_path, text).csms.password is None


def test_a_secret_is_not_printed(tmp_path: Path) -> None:
    config = load_text(tmp_path, GOOD)
    assert "0123456789abcdef" not in repr(config)
    assert config.csms.password is not None
    assert "0123456789abcdef" not in f"{config.csms.password} {config.csms.password!r}"


def test_a_refused_password_is_not_in_the_message(tmp_path: Path) -> None:
    message = config_error(tmp_path, GOOD.replace("0123456789abcdef", "hunter2hunter2"))
    assert "hunter2" not in message


def test_a_profile_file_is_found_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\ninherits = "development"\n')
    config = load_text(tmp_path, GOOD.replace("[csms]", 'profile = "mine.toml"\n[csms]'))
    assert config.profile.name == "mine"


IDENTITY = 'identity = "CS001"'
URL = 'url = "ws://csms.example/ocpp/"'
PASSWORD = 'password = "0123456789abcdef"'


def good_config_with(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


def good_config_with_variable(rest: str) -> str:
    return f"{GOOD}\n[[variable]]\n{rest}"


BAD = {
    "a key that is not one": (
        good_config_with(URL, 'ulr = "ws://x"'),
        "[csms] ulr is not a key; did you mean url?",
    ),
    "a table that is not one": (
        f"{GOOD}\n[jurnal]\nretention = 1",
        "jurnal is not a key; did you mean journal?",
    ),
    "a key far from any": (
        f"{GOOD}\n[journal]\nzzz = 1",
        "[journal] zzz is not a key; known are checkpoint_pages, csms_bytes_per_day, grow_bytes,"
        " powersafe_overwrite, reading_interval_s, reserve_bytes, retention",
    ),
    "a table missing": ("[csms]\nurl = 'ws://x'", "[station] is missing"),
    "a key missing": (good_config_with(IDENTITY, ""), "[station] identity is missing"),
    "a wrong type": (
        good_config_with(PASSWORD, f"{PASSWORD}\nsecurity_profile = '1'"),
        "[csms] security_profile needs a whole number or nothing, got text in quotes",
    ),
    "an empty identity": (
        good_config_with(IDENTITY, 'identity = ""'),
        "[station] identity is empty; use the identity configured in the CSMS",
    ),
    "a long identity": (
        good_config_with(IDENTITY, f'identity = "{"x" * 49}"'),
        "[station] identity has 49 characters; at most 48 are allowed",
    ),
    "a colon in the identity": (
        good_config_with(IDENTITY, 'identity = "CS:1"'),
        "[station] identity has ':'; allowed are letters, digits and * - _ = + | @ .",
    ),
    "a space in the identity": (
        good_config_with(IDENTITY, 'identity = "RDAM 123"'),
        "[station] identity has ' '; allowed are letters, digits and * - _ = + | @ .",
    ),
    "an unknown profile": (
        good_config_with(IDENTITY, f'{IDENTITY}\nprofile = "evs-flash-400"'),
        "[station] profile: evs-flash-400 is not a profile; there are development,"
        " evs-flash-300, or give the path of a .toml file",
    ),
    "http": (
        good_config_with("ws://csms.example/ocpp/", "http://csms"),
        '[csms] url "http://csms": it must begin with ws:// or wss://',
    ),
    "no host": (
        good_config_with("ws://csms.example/ocpp/", "ws:///ocpp"),
        '[csms] url "ws:///ocpp": it has no usable host name',
    ),
    "a port that is none": (
        good_config_with("ws://csms.example/ocpp/", "ws://csms:99999"),
        '[csms] url "ws://csms:99999": it cannot be read: Port out of range 0-65535',
    ),
    "an empty label in the host name": (
        good_config_with("ws://csms.example/ocpp/", "ws://csms..example/"),
        '[csms] url "ws://csms..example/": a label of its host name is empty or too long',
    ),
    "a path that is not percent-encoded": (
        good_config_with("ocpp/", "caf\u00e9/"),
        '[csms] url "ws://csms.example/caf\u00e9/": it has characters that are not ASCII; write'
        " the host in its xn-- form and the path percent-encoded",
    ),
    "a password in the url": (
        good_config_with("ws://csms", "ws://CS001:geheim@csms"),
        "[csms] url contains a user or password; use the key password or password_file",
    ),
    "a query": (
        good_config_with("ocpp/", "ocpp?x=1"),
        '[csms] url "ws://csms.example/ocpp?x=1": it must end with its path: no ? and no #',
    ),
    "TLS profile on ws": (
        good_config_with(PASSWORD, f"{PASSWORD}\nsecurity_profile = 2"),
        "[csms] url begins with ws://, but security profile 2 needs wss://",
    ),
    "profile 1 on wss": (
        good_config_with(URL, 'url = "wss://csms"\nsecurity_profile = 1'),
        "[csms] url begins with wss://, but security profile 1 needs ws://",
    ),
    "profile 0": (
        good_config_with(PASSWORD, f"{PASSWORD}\nsecurity_profile = 0"),
        "[csms] security_profile is 0; use 1, 2 or 3",
    ),
    "profile 1 where C-61 is no": (
        good_config_with(IDENTITY, f'{IDENTITY}\nprofile = "evs-flash-300"'),
        "[csms] security profile 1 is not in product profile evs-flash-300; use one of 2, 3"
        ' (wss://), or [station] profile = "development" for tests',
    ),
    "no password": (
        good_config_with(PASSWORD, ""),
        "[csms] password is missing; security profile 1 needs password or password_file",
    ),
    "two passwords": (
        good_config_with(PASSWORD, f'{PASSWORD}\npassword_file = "p"'),
        "[csms] password and password_file are both given; keep one",
    ),
    "a short password": (
        good_config_with("0123456789abcdef", "0123456789abcde"),
        "[csms] password needs at least 16 characters, got 15 characters",
    ),
    "a long password": (
        good_config_with("0123456789abcdef", "x" * 41),
        "[csms] password needs at most 40 characters, got 41 characters",
    ),
    "a control character in the password": (
        good_config_with("0123456789abcdef", "0123456789abcdef\\n"),
        "[csms] password needs no control characters, got 17 characters",
    ),
    "a password file that is not there": (
        good_config_with(PASSWORD, 'password_file = "gone"'),
        "[csms] password_file gone cannot be read: No such file or directory",
    ),
    "a CA that is not there": (
        good_config_with(PASSWORD, f'{PASSWORD}\nca_file = "ca.pem"'),
        "[csms] ca_file ca.pem does not exist; relative paths start at the directory of"
        " station.toml",
    ),
    "a variable without value": (
        good_config_with_variable('component = "EVSE"\nvariable = "Power"'),
        "[[variable]] 1: value is missing",
    ),
    "a value that is not text": (
        good_config_with_variable(
            'component = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = 5'
        ),
        "[[variable]] 1: value needs text in quotes, got a whole number",
    ),
    "a key of a variable": (
        good_config_with_variable(
            'component = "OCPPCommCtrlr"\nvaraible = "HeartbeatInterval"\nvalue = "5"'
        ),
        "[[variable]] 1: varaible is not a key; did you mean variable?",
    ),
    "an unknown component": (
        good_config_with_variable(
            'component = "OCPPComCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "5"'
        ),
        "[[variable]] 1: OCPPComCtrlr is not a component here;"
        " did you mean OCPPCommCtrlr.HeartbeatInterval?",
    ),
    "an unknown variable": (
        good_config_with_variable('component = "EVSE"\nevse = 1\nvariable = "Colour"\nvalue = "5"'),
        "[[variable]] 1: EVSE@1.Colour is not a variable here",
    ),
    "a variable of the wrong type": (
        good_config_with_variable(
            'component = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "5m"'
        ),
        '[[variable]] 1: OCPPCommCtrlr.HeartbeatInterval needs an integer of s, got "5m"',
    ),
    "a variable out of range": (
        good_config_with_variable(
            'component = "OCPPCommCtrlr"\nvariable = "WebSocketPingInterval"\nvalue = "-1"'
        ),
        '[[variable]] 1: OCPPCommCtrlr.WebSocketPingInterval needs 0, or 5 to 3600, got "-1"',
    ),
    "a measurand that is not offered": (
        good_config_with_variable(
            'component = "AlignedDataCtrlr"\nvariable = "Measurands"\nvalue = "Frequency"'
        ),
        "[[variable]] 1: AlignedDataCtrlr.Measurands needs only values of Current.Import,"
        "Energy.Active.Export.Register,Energy.Active.Import.Register,Power.Active.Import,SoC,"
        'Voltage, got "Frequency"',
    ),
    "a measured variable": (
        good_config_with_variable('component = "EVSE"\nevse = 1\nvariable = "Power"\nvalue = "5"'),
        "[[variable]] 1: EVSE@1.Power is measured by the station and cannot be set",
    ),
    "a variable that the product does not obey": (
        good_config_with_variable(
            'component = "SecurityCtrlr"\nvariable = "AdditionalRootCertificateCheck"\n'
            'value = "true"'
        )
        .replace("ws://", "wss://")
        .replace("[csms]", 'profile = "evs-flash-300"\n[csms]'),
        "[[variable]] 1: SecurityCtrlr.AdditionalRootCertificateCheck has no effect here: the "
        "product profile does not answer AS-2 with true",
    ),
    "a secret variable": (
        good_config_with_variable(
            'component = "SecurityCtrlr"\nvariable = "BasicAuthPassword"\nvalue = "x"'
        ),
        "[[variable]] 1: SecurityCtrlr.BasicAuthPassword is a secret; set it with [csms] password"
        " or password_file",
    ),
    "a variable given twice": (
        good_config_with_variable(
            'component = "TxCtrlr"\nvariable = "ResumptionTimeout"\nvalue = "5"\n'
            '[[variable]]\ncomponent = "txctrlr"\nvariable = "ResumptionTimeout"\nvalue = "6"'
        ),
        "[[variable]] 2: TxCtrlr.ResumptionTimeout is given twice; keep one",
    ),
    "a use that is not one": (
        f'{GOOD}\n[[certificate]]\nuse = "CSMSRoot"\nfile = "x"',
        "[[certificate]] 1: use CSMSRoot is not a use; did you mean CSMSRootCertificate?",
    ),
    "a certificate that is not there": (
        f'{GOOD}\n[[certificate]]\nuse = "CSMSRootCertificate"\nfile = "x"',
        "[[certificate]] 1: file x does not exist; relative paths start at the directory of"
        " station.toml",
    ),
    "a station certificate without key": (
        f'{GOOD}\n[[certificate]]\nuse = "ChargingStationCertificate"\nfile = "station.toml"',
        "[[certificate]] 1: key_file is missing; a ChargingStationCertificate needs its private"
        " key",
    ),
    "a root with a key": (
        f'{GOOD}\n[[certificate]]\nuse = "V2GRootCertificate"\nfile = "station.toml"\nkey_file="k"',
        "[[certificate]] 1: key_file is given; a V2GRootCertificate has no private key here",
    ),
    "a key password without key": (
        f'{GOOD}\n[[certificate]]\nuse = "V2GRootCertificate"\nfile = "station.toml"\n'
        'key_password="k"',
        "[[certificate]] 1: key_password is given without key_file",
    ),
    "hardware that is no table": (
        f'{GOOD}\n[hardware]\nmeter = "x"',
        "[hardware] meter needs a table of its own: [hardware.meter]",
    ),
    "a device without driver": (
        f'{GOOD}\n[hardware.meter]\nport = "x"',
        "[hardware.meter] driver is missing",
    ),
    "a port that is no text": (
        f'{GOOD}\n[hardware.meter]\ndriver = "pn532"\nport = 1',
        "[hardware.meter] port needs text in quotes, got 1",
    ),
    "an interval of nothing": (
        f"{GOOD}\n[journal]\nreading_interval_s = 0",
        "[journal] reading_interval_s is 0; allowed are 1 to 900",
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    assert config_error(tmp_path, text) == f"station.toml: {expected}"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "station.toml")
    assert str(caught.value) == (
        f"{tmp_path}/station.toml: cannot be read: No such file or directory"
    )


BOM = b"\xef\xbb\xbf"  # as Windows editors begin a file in UTF-8


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(BOM + b"correct-horse-battery\r\n")
    (tmp_path / "own.toml").write_bytes(BOM + b'inherits = "development"\nname = "own"\n')
    text = """\
[station]
identity = "CS001"
profile = "own.toml"
[csms]
url = "wss://csms/ocpp"
password_file = "password"
"""
    (tmp_path / "station.toml").write_bytes(BOM + text.replace("\n", "\r\n").encode())
    config = load_config(tmp_path / "station.toml")
    assert config.csms.password == Secret("correct-horse-battery")
    assert config.profile.name == "own"


def test_utf_16_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_bytes(b"\xff\xfe" + GOOD.encode("utf-16-le"))
    with pytest.raises(ConfigError, match=r"^station.toml: is UTF-16; save it as UTF-8$"):
        load_config(tmp_path / "station.toml")
    (tmp_path / "password").write_bytes("correct-horse-battery".encode("utf-16"))
    text = GOOD.replace('password = "', 'password_file = "password"\n# "')
    with pytest.raises(ConfigError, match=r"password_file password: is UTF-16; save it as UTF-8$"):
        load_text(tmp_path, text)


def test_a_value_with_a_nul_or_nested_too_deeply_is_an_error(tmp_path: Path) -> None:
    """Neither a path of the system nor a text of OCPP may contain U+0000."""
    for text, reason in (
        (
            GOOD + '[hardware.meter]\nport = "/dev/tty\\u0000S1"\n',
            "contains the character U\\+0000",
        ),
        (f"deep = {'[' * 2000}{']' * 2000}\n" + GOOD, "nested too deeply"),
    ):
        (tmp_path / "station.toml").write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=f"^station.toml: .*{reason}$"):
            load_config(tmp_path / "station.toml")


def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match=r"^station.toml: byte 2 is not UTF-8$"):
        load_config(tmp_path / "station.toml")


def test_invalid_toml_is_reported_with_line_and_column(tmp_path: Path) -> None:
    message = config_error(tmp_path, "[station\n")
    assert message.startswith("station.toml: line 1, column 9: expected")


def test_the_keys_of_a_driver_are_kept_for_its_own_check(tmp_path: Path) -> None:
    text = GOOD.replace("ws:", "wss:") + '[hardware.x]\ndriver = "any"\nport = "p"\nown = 1'
    config = load_config(write_config(tmp_path, text))
    assert config.hardware["x"].options == {"own": 1}


def test_a_custom_installer(tmp_path: Path) -> None:
    (tmp_path / "install").write_text("#!/bin/sh\n")
    (tmp_path / "install").chmod(0o755)
    text = f'{GOOD}\n[firmware]\ninstaller = "install"\ndirectory = "releases"'
    firmware = load_text(tmp_path, text).firmware
    assert firmware.installer == (tmp_path / "install").absolute()
    assert firmware.directory == (tmp_path / "releases").absolute()
    assert load_text(tmp_path, GOOD).firmware == FirmwareConfig()


def test_an_installer_that_cannot_run_is_reported(tmp_path: Path) -> None:
    text = f'{GOOD}\n[firmware]\ninstaller = "install"'
    assert "[firmware] installer install does not exist" in config_error(tmp_path, text)
    (tmp_path / "install").write_text("#!/bin/sh\n")
    assert "[firmware] installer install is not executable" in config_error(tmp_path, text)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ("station_w = -1", "station_w is -1; allowed are 0 to 10000000"),
        ("offline_after_s = 86401", "offline_after_s is 86401; allowed are 0 to 86400"),
        ("contact_w = 60000", "contact_w and contact_input belong together"),
        ('contact_input = "A2"', "contact_w and contact_input belong together"),
        ('contact_w = 1\ncontact_input = "A0"', "free for a contact are A2, B1"),
        ('contact_w = 1\ncontact_input = "F9"', 'contact_input: "F9" is not a channel'),
    ],
)
def test_limits_that_cannot_work_are_refused(tmp_path: Path, table: str, error: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(error)):
        load_text(tmp_path, f"{GOOD}\n[limits]\n{table}\n")


IO_TABLE = """
[hardware.io]
driver = "icpdas_m7055"
port = "/dev/ttyUSB0"
[hardware.io.wiring]
"""


@pytest.mark.parametrize(
    ("wiring", "error"),
    [
        (
            'stop_button = ["A2", "B7"]\nplug_in_holster = ["none", "B1"]',
            "contact_input is A2; inputs that are free for a contact are B1, B6",
        ),
        ('plug_in_holster = ["none", "none"]', None),
        ('door_closed = "A0"', None),  # refused with the hardware
    ],
)
def test_a_contact_has_an_input_of_its_own(tmp_path: Path, wiring: str, error: str | None) -> None:
    text = GOOD.replace("[csms]", 'profile = "development"\n[csms]')
    text += f'{IO_TABLE}{wiring}\n[limits]\ncontact_w = 1\ncontact_input = "A2"\n'
    if error is None:
        assert load_text(tmp_path, text).limits.contact_input == "A2"
    else:
        assert error in config_error(tmp_path, text)
