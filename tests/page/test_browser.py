"""Both pages in a real headless Chromium, on a real station with emulated devices.

Needs Debian's packages `chromium` and `chromium-driver`; without them these tests are skipped.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import IDENTITY, PASSWORD, Process, StationProcess, wait_until
from tests.e2e.steps import ALICE, FAST_RETRIES, wait_booted, wait_charging, wait_delivered
from tests.page.browser import IS_INSTALLED, Browser, open_browser
from tests.support.csms import Csms

pytestmark = [
    pytest.mark.skipif(
        not IS_INSTALLED, reason="no Chromium: apt-get install chromium chromium-driver"
    ),
    pytest.mark.timeout(240),
]

PHONE = (390, 844)
TAB, ENTER = "\ue004", "\ue007"  # W3C WebDriver, 17.4.2
CONTRAST_MIN = 4.5  # WCAG 2.2, 1.4.3

SEQS = "return [...document.querySelectorAll('#transcript [data-seq]')].map(e => +e.dataset.seq)"
# Controls that are visible and have no name for a screen reader.
NAMELESS = """
return [...document.querySelectorAll('button, a, input, select')]
  .filter(e => e.offsetParent)
  .filter(e => !(e.innerText || e.ariaLabel || e.title || e.labels?.length))
  .map(e => e.outerHTML.slice(0, 100))
"""
OVERFLOW = "return document.documentElement.scrollWidth - innerWidth"
# The lowest contrast of a text with the nearest background below it.
CONTRAST = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b]
  .map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const back = (e) => {
  for (; e; e = e.parentElement) {
    const color = rgb(getComputedStyle(e).backgroundColor);
    if (color.length < 4 || color[3] > 0.9) return color;
  }
  return [255, 255, 255];
};
let worst = [99, ''];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !e.offsetParent || e.disabled || e.closest('svg, option, dialog')) continue;
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 80)];
}
return worst
"""


class PageProcess(Process):
    """`station page` of a data directory, on a port that stays the same over restarts."""

    def __init__(self, data: Path, port: int = 0) -> None:
        self.data = data
        self.port = port
        super().__init__(log=data.parent / "page.log")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.data / "page.token").read_text().strip()

    def start(self) -> None:
        begin = len(self.read_log())
        listen = f"127.0.0.1:{self.port}"
        self.arguments = ("page", "--data", str(self.data), "--listen", listen)
        self.spawn()
        line = wait_until(lambda: self.read_log()[begin:].partition("/ ")[0], 60, "page")
        self.port = int(line.rpartition(":")[2])


class World:
    """A CSMS, a station, its page and a browser."""

    def __init__(
        self, csms: Csms, station: StationProcess, page: PageProcess, browser: Browser
    ) -> None:
        self.csms = csms
        self.station = station
        self.page = page
        self.browser = browser

    def order(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self.station.request_operation(operation, **arguments)

    def present_card(self, evse_id: int) -> None:
        self.order("present_token", id_token=ALICE, type="ISO14443", evse_id=evse_id)

    def open_operator(self, *, token: bool = False) -> None:
        """Open the operators' page from the beginning and wait until it shows the station."""
        self.browser.open("about:blank")
        suffix = f"/#token={self.page.token}" if token else "/"
        self.browser.open(self.page.address + suffix)
        self.browser.wait_text("#evse-1 .badge", "")
        self.browser.wait_until(lambda: self.browser.text("#evse-1 .badge"), "EVSE 1")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cs-")))
        csms = stack.enter_context(Csms(passwords={IDENTITY: PASSWORD}))
        csms.responses.add_id_token(ALICE)
        station = StationProcess(
            directory, csms.url, variables=FAST_RETRIES, extra_toml="[traces]\nseconds_after = 1\n"
        )
        stack.callback(station.close)
        station.start()
        wait_booted(station, csms)
        page = PageProcess(station.data)
        stack.callback(page.close)
        page.start()
        browser = stack.enter_context(open_browser())
        yield World(csms, station, page, browser)
    assert csms.problems == []


@pytest.fixture
def browser(world: World) -> Iterator[Browser]:
    """The window at its usual size; no script may fail and no rule of the CSP may be broken."""
    world.browser.resize(1280, 900)
    world.browser.prefer("light")
    world.browser.console_errors()
    yield world.browser
    refused = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_EMPTY_RESPONSE")
    errors = [
        line for line in world.browser.console_errors() if not any(r in line for r in refused)
    ]
    assert [line for line in errors if "401" not in line] == []


def test_a_session_from_card_to_receipt_on_the_display(world: World, browser: Browser) -> None:
    browser.open(f"{world.page.address}/display/1")
    browser.wait_text("#headline", "Welcome")
    world.present_card(1)
    browser.wait_text("#help", "Plug in the cable within")
    world.order("plug_in", evse_id=1, ev={"soc": 30, "max_power_w": 50_000})
    browser.wait_text("#headline", "Charging", 45)
    wait_charging(world.csms, 1)
    browser.wait_until(lambda: "kW" in browser.text("#amounts"), "power")
    browser.wait_until(lambda: "0.00" not in browser.text("#amounts"), "energy")
    assert browser.run("return document.body.dataset.mood") == "charging"
    assert browser.run("return document.querySelector('#soc-bar').hidden") is False
    world.present_card(1)
    browser.wait_until(
        lambda: browser.run("return document.body.dataset.mood") in ("wait", "done"), "the end"
    )
    browser.wait_until(
        lambda: browser.run("return document.body.dataset.mood") == "done", "finished", 45
    )
    world.order("unplug", evse_id=1)
    browser.wait_until(
        lambda: browser.run("return document.body.dataset.situation") == "evse.receipt", "receipt"
    )
    assert "kWh" in browser.text("#amounts")
    wait_delivered(world.station)


def test_the_session_is_in_the_table_and_its_entries_say_why(
    world: World, browser: Browser
) -> None:
    world.open_operator()
    browser.wait_text("#sessions tbody", "delivered")
    row = browser.text("#sessions tbody tr")
    assert "Local" in row
    assert "kWh" in row
    assert ALICE not in browser.run("return document.body.innerText")
    browser.run("document.querySelector('#sessions tbody td:last-child button').click()")
    browser.wait_until(
        lambda: browser.run("return document.querySelector('[name=transaction]').value"), "filter"
    )
    browser.wait_text("#transcript", "starts transaction")
    assert "Heartbeat" not in browser.text("#transcript")
    browser.run("document.querySelector('#transcript [data-seq] button').click()")
    browser.wait_text("#why-text", "Entry ", 60)
    assert "Causes" in browser.text("#why-text")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("evse", "2", "EVSE 2"),
        ("source", "EV driver", "pres"),
        ("direction", "in", "s"),
        ("kind", "TransactionStarted", "starts transaction"),
        ("text", "METER AT", "meter at"),
    ],
)
def test_the_transcript_is_filtered(
    world: World, browser: Browser, field: str, value: str, expected: str
) -> None:
    world.open_operator()
    browser.wait_until(lambda: len(browser.run(SEQS)) > 50, "entries")
    browser.run(
        "const f = document.querySelector(`[name=${arguments[0]}]`);"
        " if (f.tagName === 'SELECT' && ![...f.options].some(o => o.value === arguments[1]))"
        "   f.append(new Option(arguments[1]));"
        " f.value = arguments[1]; f.dispatchEvent(new Event('input', {bubbles: true}))",
        field,
        value,
    )
    lines = "return [...document.querySelectorAll('#transcript .said')].map(e => e.innerText)"

    def is_filtered() -> bool:
        shown = browser.run(lines)
        if field == "evse":
            return expected in " ".join(shown) and "EVSE 1:" not in " ".join(shown)
        return bool(shown) and all(expected in line for line in shown)

    browser.wait_until(is_filtered, expected)


def test_keyboard_only_from_login_to_the_release_of_a_fault(world: World, browser: Browser) -> None:
    world.order("fault", device="output", kind="over_voltage", evse_id=2)
    world.present_card(2)
    world.order("plug_in", evse_id=2)
    world.open_operator()
    browser.wait_text("#faults", "over_voltage", 60)

    focus_by_tab(browser, "Log in")
    browser.press(ENTER)
    browser.press(*world.page.token, ENTER)
    browser.wait_text("#session-button", "Log out")
    world.order("unplug", evse_id=2)
    browser.wait_until(
        lambda: browser.run("return !document.querySelector('#faults button').disabled"), "button"
    )
    focus_by_tab(browser, "Release")
    browser.press(ENTER)
    browser.wait_until(
        lambda: browser.run("return !document.querySelector('#no-faults').hidden"), "no fault", 60
    )
    [release] = world.station.read_entries("FaultReleaseRequested")
    assert release.body["requested_by"] == "page, 127.0.0.1"
    world.order("clear_fault", device="output", kind="over_voltage", evse_id=2)


def focus_by_tab(browser: Browser, name: str) -> None:
    """Press Tab until the focused element has this name, and see that the focus is visible."""
    for _ in range(80):
        browser.press(TAB)
        if browser.run("return document.activeElement.innerText") == name:
            outline = "return getComputedStyle(document.activeElement).outlineStyle"
            assert browser.run(outline) != "none"
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_the_hands_drive_the_emulated_devices(world: World, browser: Browser) -> None:
    world.open_operator(token=True)
    browser.wait_text("#session-button", "Log out")
    browser.wait_until(
        lambda: browser.run("return !!document.querySelector('#plug-2')"), "the hands"
    )
    browser.click("#plug-2")
    browser.wait_text("#evse-2 .badge", "Occupied")
    browser.click("#unplug-2")
    browser.wait_text("#evse-2 .badge", "Available")
    browser.click("[data-op=emergency_stop]")
    browser.wait_text("#evse-1 .badge", "Faulted")
    browser.wait_text("#faults", "emergency_stop pressed")
    browser.click("[data-op=emergency_release]")
    browser.wait_text("#evse-1 .badge", "Available")


def test_the_bus_trace_of_a_fault_is_downloaded(
    world: World, browser: Browser, tmp_path: Path
) -> None:
    world.open_operator()
    world.order("emergency_stop")
    browser.wait_text("#faults", "Bus trace", 60)
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.click("#faults a")
    [archive] = browser.wait_until(lambda: list(tmp_path.glob("*.tar.gz")), "the archive")
    with tarfile.open(archive) as files:
        names = [Path(name).name for name in files.getnames()]
    listed = "return document.querySelector('#traces li .files').innerText"
    assert {"about.txt", "secc.asc", "io.txt"} <= set(names)
    assert all(name in browser.run(listed) for name in names)
    browser.click("#traces .files a[href$='secc.asc']")
    [file] = browser.wait_until(lambda: list(tmp_path.glob("*_secc.asc")), "the file")
    assert file.name.startswith(archive.name.removesuffix(".tar.gz"))
    browser.resize(*PHONE)
    assert browser.run(OVERFLOW) <= 0
    world.order("emergency_release")


def test_without_the_token_an_order_asks_for_it(world: World, browser: Browser) -> None:
    browser.command("Network.clearBrowserCookies")
    world.open_operator()
    browser.wait_text("#session-button", "Log in")
    before = world.station.read_emulated_evse(1)
    browser.run("document.querySelector('#plug-1').click()")
    browser.wait_until(lambda: browser.run("return document.querySelector('#login').open"), "login")
    assert world.station.read_emulated_evse(1)["plugged"] == before["plugged"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/display/1"])
def test_phone_width_names_and_contrast(
    world: World, browser: Browser, path: str, scheme: str
) -> None:
    browser.prefer(scheme)
    browser.resize(*PHONE)
    browser.open("about:blank")
    browser.open(world.page.address + path)
    wait_for = "#evse-1 .badge" if path == "/" else "#headline"
    browser.wait_until(lambda: browser.text(wait_for) not in ("", "…"), "the page")
    time.sleep(0.5)  # transitions of color
    assert browser.run(OVERFLOW) <= 0
    assert browser.run(NAMELESS) == []
    ratio, element = browser.run(CONTRAST)
    assert ratio >= CONTRAST_MIN, element
    back = browser.run("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in back.strip("rgb()").split(",")[:3]) / 3
    assert (brightness < 128) is (scheme == "dark")


def test_a_headline_is_legible_at_three_meters(world: World, browser: Browser) -> None:
    """On a display of 10 inches with 600 rows (13 cm high): letters of at least 1 cm."""
    browser.resize(1024, 600)
    browser.open(f"{world.page.address}/display/1")
    browser.wait_until(lambda: browser.text("#headline") not in ("", "…"), "the page")
    size = browser.run("return parseFloat(getComputedStyle(document.querySelector('h1')).fontSize)")
    assert size * 0.7 / 600 * 13 >= 1.0  # capitals have 0.7 of the font size
    fits = "return document.documentElement.scrollHeight <= innerHeight"
    assert browser.run(fits)


def test_restarts_of_page_and_station_lose_and_double_no_line(
    world: World, browser: Browser
) -> None:
    world.open_operator()
    browser.wait_until(lambda: len(browser.run(SEQS)) > 50, "entries")
    first = browser.run(SEQS)[0]

    world.page.terminate()
    world.order("stop_button", evse_id=1)
    browser.wait_text("#pills", "No connection")
    world.order("stop_button", evse_id=2)
    world.page.start()
    wait_complete(world, first)

    world.station.kill()
    browser.wait_text("#alerts", "does not answer", 60)
    world.station.restart()
    wait_booted(world.station, world.csms, after=1)
    wait_complete(world, first)
    browser.wait_until(lambda: browser.text("#alerts") == "", "no alert")

    browser.open(f"{world.page.address}/display/1")
    browser.wait_text("#headline", "Welcome", 60)
    world.page.terminate()
    browser.wait_text("#headline", "Out of service", 20)
    world.page.start()
    browser.wait_text("#headline", "Welcome", 60)


def wait_complete(world: World, first: int) -> None:
    """Wait until every entry from `first` to the head is in the transcript, each once."""

    def complete() -> bool:
        head = world.order("live")["journal"]["seq"]
        shown = world.browser.run(SEQS)
        return bool(shown == list(range(first, head + 1)))

    wait_until(complete, 60, "every line once")
