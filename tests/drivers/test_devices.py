"""What every serial driver has in common."""

import inspect
from typing import Any

import pytest

from drivers.displays.vt100 import Vt100Display
from drivers.insulation.bender_isocha425hv import BenderIsoCha425hv
from drivers.io.icpdas_m7055 import IcpdasM7055
from drivers.meters.acrel_djsf1352 import AcrelDjsf1352
from drivers.ports import Device
from drivers.readers.pn532 import Pn532Reader
from drivers.wire.modbus_master import ModbusMaster

BUS = ModbusMaster("/dev/null")
DEVICES: list[Device] = [
    Pn532Reader("/dev/null"),
    Vt100Display("/dev/null"),
    AcrelDjsf1352(BUS),
    IcpdasM7055(BUS),
    BenderIsoCha425hv(BUS),
]


def keyword_defaults(function: Any) -> dict[str, Any]:
    """Keyword-only parameters and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: type(device).__name__)
def test_a_driver_says_what_its_line_is_and_has_a_default_for_every_key(device: Device) -> None:
    line = getattr(type(device), "LINE_DEFAULTS")  # noqa: B009, Device itself has none
    known = keyword_defaults(type(device))
    opens_itself = "open_port" in known
    assert set(line) <= set(known if opens_itself else keyword_defaults(ModbusMaster))
    assert inspect.Parameter.empty not in known.values()
    if opens_itself:
        assert {key: known[key] for key in line} == dict(line)


def test_a_line_serves_its_driver() -> None:
    for kind in (AcrelDjsf1352, IcpdasM7055, BenderIsoCha425hv):
        settings: dict[str, Any] = dict(kind.LINE_DEFAULTS)
        bus = ModbusMaster("/dev/null", **settings)
        assert bus.timeout_ms == kind.LINE_DEFAULTS["timeout_ms"]
