"""A real browser without a window: chromium, spoken to over two pipes, so that no socket is opened."""

import base64
import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Chromium reads commands from descriptor 3 and answers on 4.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page. `console` holds what it complained of: errors, warnings, exceptions, blocked requests."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", "--hide-scrollbars", "about:blank"]
        launch = [sys.executable, "-c", _LAUNCH, str(commands), str(answers), str(CHROMIUM), *flags]
        self._process = subprocess.Popen(
            launch, pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        self._numbers, self._rest, self._session = count(1), b"", ""
        self.console: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol, and its result."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": number, "method": method, "params": params, **session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path, *, width: int = 1280, height: int = 900) -> None:
        """Load a page, seen through a window of this size by day."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.prefer(dark=False)
        self.console.clear()
        self.call("Page.navigate", url=page.as_uri())
        self.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done() : (onload = () => done()))"
        )

    def prefer(self, dark: bool, media: str = "") -> None:
        """The scheme that the reader prefers, and the medium (`print`, or none for the screen)."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def evaluate(self, script: str) -> Any:
        """The value of a script in the page, awaited."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def point(self, x: float, y: float, *, click: bool = False) -> None:
        """Move the mouse to a place in the window, and perhaps click."""
        for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def shoot(self, path: Path, **options: Any) -> None:
        """A picture of the window, or of all of the page with `captureBeyondViewport=True`."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        self.call("Browser.close")
        self._process.wait(30)
        os.close(self._commands)
        os.close(self._answers)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "the browser is gone"
            self._rest += chunk
        message, self._rest = self._rest.split(b"\0", 1)
        found = json.loads(message)
        if found.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(found["params"])[:500])
        if found.get("method") == "Runtime.consoleAPICalled" and found["params"]["type"] in (
            "error",
            "warning",
        ):
            self.console.append(json.dumps(found["params"])[:500])
        return found
