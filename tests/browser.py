"""A headless Chromium driven through the DevTools protocol, over a pipe.

The protocol is JSON with a NUL behind each message, written to and read from the file
descriptors 3 and 4 of the browser (--remote-debugging-pipe): no library is needed, and no
port is open to others on the machine.
https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Seconds after which the browser is taken to hang
PATIENCE = 60


def find_chromium() -> str | None:
    """The path of Chromium, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class BrowserError(Exception):
    """The browser refused a command, did not answer, or a script failed in it."""


class Browser:
    """One browser process without a network, for any number of pages."""

    def __init__(self, chromium: str, folder: Path):
        self._folder = folder
        self._last_id = 0
        self._buffer = b""
        self._pages: dict[str, Page] = {}
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # Above 4, so that neither is overwritten while they become 3 and 4
        ends = [
            fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
            for fd in (to_browser, from_browser)
        ]

        def connect() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                # No WebGL either: many a remote desktop at a beamline has none
                "--disable-3d-apis",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--force-color-profile=srgb",
                "--hide-scrollbars",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder / 'profile'}",
                "--remote-debugging-pipe",
            ],
            preexec_fn=connect,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (to_browser, from_browser, *ends):
            os.close(fd)

    def close(self) -> None:
        """End the browser with all its processes."""
        with contextlib.suppress(BrowserError, OSError):
            self.send("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    @contextlib.contextmanager
    def open(
        self, path: Path, width: int = 1280, height: int = 900, watched: bool = True
    ) -> Iterator[Page]:
        """Open a page from disk in a tab of its own, offline, and wait for its scripts.

        Args:
            path: The page.
            width: Of the window, in CSS pixels.
            height: Of the window.
            watched: Whether requests and complaints are recorded. A browser whose
                scripts are watched takes half as long again to read plotly's, for it
                looks up where in them each error that they make and catch arose.
        """
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, session["sessionId"], self._folder / f"saved-{target}")
        self._pages[session["sessionId"]] = page
        try:
            page.load(path, width, height, watched)
            yield page
        finally:
            self.send("Target.closeTarget", targetId=target)
            del self._pages[session["sessionId"]]

    def send(self, method: str, session: str | None = None, **params: Any) -> dict:
        """Send a command and return its result; events meanwhile go to their pages.

        Raises:
            BrowserError: It was refused or not answered.
        """
        self._last_id += 1
        message: dict[str, Any] = {
            "id": self._last_id,
            "method": method,
            "params": params,
        }
        if session:
            message["sessionId"] = session
        _write_all(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def wait_for_event(self, page: Page, method: str) -> dict:
        """Wait until a page has had an event, and take it out.

        Raises:
            BrowserError: It never came.
        """
        end = time.monotonic() + PATIENCE
        while True:
            for index, event in enumerate(page.events):
                if event["method"] == method:
                    return page.events.pop(index)["params"]
            self._receive(end)

    def _receive(self, end: float) -> dict:
        """The next message; events are kept for their pages."""
        while b"\0" not in self._buffer:
            ready = select.select([self._in], [], [], max(end - time.monotonic(), 0))[0]
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise BrowserError("the browser did not answer")
            self._buffer += chunk
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(raw)
        page = self._pages.get(message.get("sessionId", ""))
        if page and "method" in message:
            page.events.append(message)
        return message


@dataclasses.dataclass
class Page:
    """A page in a tab, with what happened in it."""

    browser: Browser
    session: str
    downloads: Path
    events: list[dict] = dataclasses.field(default_factory=list)

    def send(self, method: str, **params: Any) -> dict:
        """Send a command to the tab of this page."""
        return self.browser.send(method, self.session, **params)

    def load(self, path: Path, width: int, height: int, watched: bool) -> None:
        for domain in ("Page", *(("Runtime", "Log", "Network") if watched else ())):
            self.send(f"{domain}.enable")
        self.send("Performance.enable", timeDomain="threadTicks")
        self.send(
            "Network.emulateNetworkConditions",
            offline=True,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )
        self.downloads.mkdir(parents=True, exist_ok=True)
        self.browser.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(self.downloads),
        )
        self.resize(width, height)
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.browser.wait_for_event(self, "Page.loadEventFired")
        self.wait_until("document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript; promises are awaited.

        Raises:
            BrowserError: It threw.
        """
        answer = self.send(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(
                details.get("exception", {}).get("description", details["text"])
            )
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until an expression of JavaScript is true.

        Raises:
            BrowserError: It never was.
        """
        end = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise BrowserError(f"never true: {condition}")
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click in the middle of an element as a mouse does.

        Raises:
            BrowserError: It cannot be seen, or something covers it.
        """
        x, y, hit = self.evaluate(
            f"""(() => {{
              const element = document.querySelector({json.dumps(selector)});
              element.scrollIntoView({{block: "center"}});
              const box = element.getBoundingClientRect();
              const x = box.x + box.width / 2, y = box.y + box.height / 2;
              const top = document.elementFromPoint(x, y);
              return [x, y, element.contains(top)];
            }})()"""
        )
        if not hit:
            raise BrowserError(f"{selector} is covered or cannot be seen")
        for kind in ("mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, for instance press("Enter", 13, "\\r")."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if kind == "keyDown" and text else {}),
            )

    def saved(self, name: str) -> bytes:
        """The content of a file that the page had the browser save.

        Raises:
            BrowserError: There is no such file.
        """
        path = self.downloads / name
        end = time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > end:
                raise BrowserError(
                    f"{name} was not saved, but {sorted(os.listdir(self.downloads))}"
                )
            self.evaluate("0")
            time.sleep(0.02)
        return path.read_bytes()

    def screenshot(self, whole: bool = True) -> bytes:
        """A PNG of the whole page, or of its first screen."""
        params: dict[str, Any] = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            params = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(self.send("Page.captureScreenshot", **params)["data"])

    def pdf(self) -> bytes:
        """The page as the browser prints it."""
        answer = self.send(
            "Page.printToPDF", preferCSSPageSize=True, printBackground=False
        )
        return base64.b64decode(answer["data"])

    def busy_seconds(self) -> float:
        """Processor time that the page's own thread has taken so far.

        What is opened on an idle machine takes as long.
        """
        metrics = self.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    def requests(self) -> list[str]:
        """Every address that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Exceptions, and errors and warnings on the console."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                if params["type"] in ("error", "warning", "assert"):
                    found.append(json.dumps(params["args"]))
            elif event["method"] == "Log.entryAdded":
                if params["entry"]["level"] in ("error", "warning"):
                    found.append(json.dumps(params["entry"]))
        return found


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser for as long as it is needed.

    Raises:
        FileNotFoundError: Chromium is not installed.
    """
    chromium = find_chromium()
    if chromium is None:
        raise FileNotFoundError("Chromium is not installed")
    with tempfile.TemporaryDirectory(
        prefix="browser-", ignore_cleanup_errors=True
    ) as name:
        browser = Browser(chromium, Path(name))
        try:
            yield browser
        finally:
            browser.close()


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
