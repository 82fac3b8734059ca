"""A real headless Chromium, driven by chromedriver over the WebDriver protocol; nothing of it is a dependency."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--window-size=1400,1000",
)
MISSING = "needs Chromium: apt-get install chromium chromium-driver"


class Browser:
    """A window. `run(script)` returns what the script returns; `errors()` and `requests()` what was logged since."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}{path}", data, {"Content-Type": "application/json"})
        request.method = method
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        self.ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str, seconds: float = 60.0) -> Any:
        """Wait until a JavaScript expression is true; its value."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(f"return ({condition});")):
            assert time.monotonic() < deadline, f"never true: {condition}; {self.errors()}"
            time.sleep(0.05)
        return found

    def keys(self, *keys: str) -> None:
        """Press keys one after another, where the focus is."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    def click(self, selector: str, x: int = 0, y: int = 0) -> None:
        """Click on an element, beside its middle by x and y."""
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        move = {"type": "pointerMove", "origin": found, "x": x, "y": y, "duration": 0}
        buttons = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "actions": [move, {"type": "pause", "duration": 100}, *buttons]}
        self.ask("POST", "/actions", {"actions": [mouse]})

    def errors(self) -> list[str]:
        """Warnings and errors on the console since the last call."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that were requested since the last call."""
        found = []
        for entry in self.ask("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def resize(self, width: int, height: int) -> None:
        """Set the size of the page itself, which may be narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        body = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        self.ask("POST", "/goog/cdp/execute", body)

    def dark(self) -> None:
        media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        self.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": media})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose files are in `folder`; it ends with the block."""
    assert DRIVER is not None and BROWSER is not None
    with (folder / "chromedriver.log").open("w") as log:
        process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            address = f"http://127.0.0.1:{_port(process)}"
            options = {
                "binary": BROWSER,
                "args": [*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"],
                "perfLoggingPrefs": {"enableNetwork": True},
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            opened = Browser(address).ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            window = Browser(f"{address}/session/{opened['sessionId']}")
            try:
                yield window
            finally:
                window.ask("DELETE", "")
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rpartition(" ")[2])
    raise AssertionError("chromedriver did not start")
