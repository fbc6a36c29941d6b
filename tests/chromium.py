"""A real headless Chromium for tests, spoken to over its own pipe (the DevTools protocol): no driver, no client library.

    with Chromium() as browser:
        page = browser.page(400, 800)
        page.open("http://127.0.0.1:9090/")
        page.wait("document.querySelector('h1')")

Waiting happens in the page, on its own changes, with a deadline. What the page complained about (errors, exceptions, violations of its
content security policy) is kept in `page.problems`. Every page has cookies and storage of its own.
Source: https://chromedevtools.github.io/devtools-protocol/ (2025).
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

PATIENCE_S = 30.0
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--font-render-hinting=none",
    "--no-sandbox",  # it runs as root in containers, and sees nothing but our own pages
)
_AS_3_AND_4 = """
import os, sys
ends = [os.dup(int(n)) for n in sys.argv[1:3]]
for n, end in enumerate(ends, 3):
    os.dup2(end, n)
    os.set_inheritable(n, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser finds its pipe at these two numbers, which may be taken here."""


class Chromium:
    """The browser, as a process of its own."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._rest = b""
        self._last = 0
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        self._home = tempfile.mkdtemp(prefix="fleetgate-chromium-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        begin = [sys.executable, "-I", "-S", "-c", _AS_3_AND_4, str(theirs_in), str(theirs_out), str(self._program)]
        command = [*begin, *_FLAGS, f"--user-data-dir={self._home}", "about:blank"]
        quiet = subprocess.DEVNULL
        env = {**os.environ, "HOME": self._home}
        self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, pass_fds=(theirs_in, theirs_out), env=env)
        os.close(theirs_in)
        os.close(theirs_out)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self._home, ignore_errors=True)

    def page(self, width: int = 1280, height: int = 900) -> Page:
        """A new window with cookies and storage of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        page.begin(width, height)
        return page

    def call(self, method: str, params: Mapping[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """Ask the browser for something and return its result; what it tells meanwhile goes to its page."""
        self._last += 1
        asked: dict[str, Any] = {"id": self._last, "method": method, "params": dict(params or {})}
        if session:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S + 10
        while asked["id"] not in self._answers:
            self.read(deadline)
        answer = self._answers.pop(asked["id"])
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def read(self, deadline: float) -> None:
        """Take in what the browser says next."""
        ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, "the browser does not answer"
        more = os.read(self._in, 1 << 20)
        assert more, f"the browser has ended: {self._process.poll()}"
        *whole, self._rest = (self._rest + more).split(b"\0")
        for text in whole:
            said = json.loads(text)
            if "id" in said:
                self._answers[said["id"]] = said
            elif said.get("sessionId") in self._pages:
                self._pages[said["sessionId"]].heard(said["method"], said["params"])


class Page:
    """One window.

    Attributes:
        problems: what went wrong in it: errors on the console, exceptions, violations of policies, loads that failed.
        addresses: every address that it asked for.
    """

    def __init__(self, browser: Chromium, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context
        self.problems: list[str] = []
        self.addresses: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something of this page."""
        return self._browser.call(method, params, self._session)

    def begin(self, width: int, height: int) -> None:
        """Listen to everything that it says."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.colours(dark=False)

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """Keep what matters of what the browser tells of the page."""
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            detail = params["exceptionDetails"]
            self.problems.append(f"exception: {detail.get('exception', {}).get('description') or detail['text']}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console: {[a.get('value', a.get('description')) for a in params['args']]}")
        elif method == "Network.requestWillBeSent":
            self.addresses.append(params["request"]["url"])

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """Make the window so large, in CSS pixels; a narrow one is a telephone's."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)

    def colours(self, *, dark: bool) -> None:
        """Say what the system prefers."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, address: str) -> None:
        """Go to an address and wait until it has loaded."""
        went = self.call("Page.navigate", url=address)
        assert "errorText" not in went, went
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"].get("exception", {}).get("description", done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, condition: str, within_s: float = PATIENCE_S) -> Any:
        """Wait until a condition holds in the page; return its value."""
        waiting = f"""new Promise((resolve) => {{
            const end = performance.now() + {within_s * 1000};
            const look = () => {{
                let value;
                try {{ value = ({condition}); }} catch (e) {{ value = undefined; }}
                if (value) resolve(value instanceof Node ? true : value);
                else if (performance.now() > end) resolve(null);
                else setTimeout(look, 25);
            }};
            look();
        }})"""
        found = self.js(waiting)
        if not found:
            raise AssertionError(f"{condition} did not hold within {within_s} s; the page says:\n{self.text()[:1500]}\n{self.problems}")
        return found

    def text(self) -> str:
        """The words of the page, as they are seen."""
        return str(self.js("document.body.innerText"))

    def says(self, words: str) -> None:
        """Wait until the page says something."""
        self.wait(f"document.body.innerText.includes({json.dumps(words)})")

    def click(self, selector: str) -> None:
        """Click what a selector finds, once it is there, with the mouse."""
        place = self.wait(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e || e.disabled) return null;"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return r.width ? {x: r.x + Math.min(r.width / 2, 200), y: r.y + r.height / 2} : null; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **place, button="left", clickCount=1)

    def button(self, words: str, inside: str = "body") -> None:
        """Click the button or link whose words (or label) begin so."""
        mark = f"data-test-{abs(hash((words, inside))) % 10**8}"
        self.wait(
            f"(() => {{ const all = [...document.querySelectorAll({json.dumps(inside)} + ' button, ' + {json.dumps(inside)} + ' a')];"
            f" const e = all.find((b) => !b.disabled && (b.innerText.trim().startsWith({json.dumps(words)})"
            f" || (b.getAttribute('aria-label') ?? '').startsWith({json.dumps(words)})));"
            f" e?.setAttribute('{mark}', ''); return Boolean(e); }})()"
        )
        self.click(f"[{mark}]")
        self.js(f"document.querySelector('[{mark}]')?.removeAttribute('{mark}')")

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press one key: a letter, or `Enter`, `Tab`, `Escape`, `ArrowDown`, …"""
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40}
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        code = codes.get(key) or ord(key.upper())
        more = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close the window and forget its cookies."""
        self._browser.call("Target.disposeBrowserContext", {"browserContextId": self._context})


@cache
def _asked() -> tuple[str, str]:
    command = [sys.executable, str(Path(__file__).parents[1] / "scripts" / "tools.py"), "where", "chromium"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


def chromium_bin() -> Path:
    """The path of Chromium; skips the test where there is none."""
    path, why = _asked()
    if not path:
        pytest.skip(why)
    return Path(path)
