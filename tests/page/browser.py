"""A headless Chromium, driven over the W3C WebDriver protocol of Debian's `chromium-driver`."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

POLL_S = 0.05
START_TIMEOUT_S = 30.0
WAIT_S = 30.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver, 12.1

T = TypeVar("T")

IS_INSTALLED = bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """One window."""

    def __init__(self, url: str) -> None:
        """Use the session of a driver at `url`."""
        self._url = url

    def open(self, address: str) -> None:
        """Go to an address and wait until the page is loaded."""
        self._call("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript and return what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """The visible text of the first element; empty if there is none."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.run(script, selector))

    def click(self, selector: str) -> None:
        """Click as a person does: scrolled into view, refused if something covers it."""
        element = self._call("POST", "/element", {"using": "css selector", "value": selector})[
            ELEMENT
        ]
        self._call("POST", f"/element/{element}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        element = self._call("POST", "/element", {"using": "css selector", "value": selector})[
            ELEMENT
        ]
        self._call("POST", f"/element/{element}/clear", {})
        self._call("POST", f"/element/{element}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call(
            "POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]}
        )

    def resize(self, width: int, height: int) -> None:
        """Set the size of the viewport, also below the least width of a window."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer the color scheme `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def console_errors(self) -> list[str]:
        """Errors of scripts and breaches of the Content-Security-Policy since the last call."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def wait_until(
        self, condition: Callable[[], T], description: str, timeout_s: float = WAIT_S
    ) -> T:
        """Poll until the condition returns a true value, and return that."""
        deadline = time.monotonic() + timeout_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {description} within {timeout_s} s")
            time.sleep(POLL_S)

    def wait_text(self, selector: str, text: str, timeout_s: float = WAIT_S) -> None:
        """Wait until an element contains a text."""
        self.wait_until(lambda: text in self.text(selector), f"{text!r} in {selector}", timeout_s)

    def _call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return _request(method, self._url + path, body)


@contextmanager
def open_browser(width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """Start Chromium and its driver; both end with the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}", "--log-level=OFF"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        _wait_for_driver(base)
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--no-first-run", "--force-device-scale-factor=1",
        ]  # fmt: skip
        capabilities = {
            "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = _request(
            "POST", f"{base}/session", {"capabilities": {"alwaysMatch": capabilities}}
        )
        browser = Browser(f"{base}/session/{session['sessionId']}")
        browser.resize(width, height)
        try:
            yield browser
        finally:
            _request("DELETE", f"{base}/session/{session['sessionId']}", None)
    finally:
        driver.terminate()
        driver.wait()


def _wait_for_driver(base: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            if _request("GET", f"{base}/status", None)["ready"]:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("chromedriver does not answer")
        time.sleep(POLL_S)


def _request(method: str, url: str, body: dict[str, Any] | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        value = json.load(error)["value"]
        raise AssertionError(f"{value['error']}: {value['message'][:300]}") from None
