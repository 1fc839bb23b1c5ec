"""A headless Chromium for tests, spoken to over its debugging pipe: nothing but the standard library, and no port is opened."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # a container's root may not have one; only pages of our own are opened
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
)
KEYS = {" ": (" ", "Space", 32), "?": ("?", "Slash", 191), "+": ("+", "Equal", 187), "-": ("-", "Minus", 189)}
CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Escape": 27, "Tab": 9, "Enter": 13}


def find_chromium() -> str | None:
    """The first Chromium on the path; `CHROMIUM` names another."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for path in map(shutil.which, NAMES) if path), None)


CHROMIUM = find_chromium()
NO_CHROMIUM = "no Chromium is installed (Debian: chromium); CHROMIUM names one elsewhere"


class Page:
    """One tab. `messages` are what the page wrote to the console and errors that nobody caught, as [kind, text]."""

    def __init__(self, process: subprocess.Popen[bytes], write: int, read: int) -> None:
        self.process, self._write, self._read = process, write, read
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.messages: list[list[str]] = []
        self.requests: list[str] = []
        self._loaded = False

    def open(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """A command of the debugging protocol. Raises `RuntimeError` with the browser's words."""
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._receive(60)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError(f"Chromium did not answer within {seconds} s." if not ready else "Chromium has ended.")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params") or {})
        return message

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.messages.append([params["type"], " ".join(str(part.get("value", part.get("description"))) for part in params["args"])])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.messages.append(["exception", str(details.get("exception", {}).get("description") or details["text"])])
        elif method == "Log.entryAdded":
            self.messages.append([params["entry"]["level"], params["entry"]["text"]])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def go(self, path: Path, address: str = "") -> None:
        """Open a file, at what `address` (`#turn=3`) says, and wait until it has loaded."""
        self._loaded = False
        self.call("Page.navigate", url="about:blank")  # the same file with another # would not be loaded anew
        while not self._loaded:
            self._receive(60)
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri() + address)
        while not self._loaded:
            self._receive(60)

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for. Raises `RuntimeError` with the page's error."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "the page failed"))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Until a JavaScript expression is true. Raises `RuntimeError` when the time is over."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise RuntimeError(f"Not within {seconds} s: {condition}; {self.messages}")
            time.sleep(0.02)

    def press(self, key: str, shift: bool = False) -> None:
        """A key, as the keyboard sends it."""
        name, code, number = KEYS.get(key) or (key, key if key in CODES else f"Key{key.upper()}", CODES.get(key) or ord(key.upper()))
        event = {"key": name, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """`move` or `click` at a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if kind == "click":
            for event in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int, scale: float = 1) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)

    def theme(self, name: str) -> None:
        """What the system wishes: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """A running Chromium with one empty tab; it and its children end with the context."""
    to_browser, from_test = os.pipe()
    from_browser, to_test = os.pipe()

    def pipes() -> None:
        # the protocol wants 3 and 4; copies above first, since these numbers may be taken by the ends themselves
        read, write = os.dup2(to_browser, 40), os.dup2(to_test, 41)
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=pipes,
        start_new_session=True,
    )
    os.close(to_browser)
    os.close(to_test)
    try:
        page = Page(process, from_test, from_browser)
        page.open()
        yield page
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(from_test)
        os.close(from_browser)
