"""The dashboard's pictures in docs/img, taken in a real Chromium from a real proxy: `python scripts/screenshots.py [NAME …]`.

Light and dark, at a desk and on a telephone for the pages that matter most. A picture larger than 200 KB is an error: it is then shown
at a smaller scale or with fewer rows. Set `$PICTURES` to write them elsewhere.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]

from chromium import Chromium, Page, chromium_bin  # noqa: E402
from picture_fleet import TOKEN, Fleet, proxy_of  # noqa: E402
from serving import Simulator  # noqa: E402

OUT = Path(os.environ.get("PICTURES", ROOT / "docs" / "img"))
MOST = 200_000
LOGIN = f"""{{method: "POST", headers: {{"content-type": "application/json"}}, body: JSON.stringify({{token: "{TOKEN}"}})}}"""


@dataclass(frozen=True)
class Picture:
    """One page: its address behind the #, a condition that says when it is there, its height at a desk, and what to take of it."""

    path: str
    ready: str
    height: int = 860
    kinds: tuple[str, ...] = ("light", "dark")


ALL = ("light", "dark", "phone", "phone-dark")
BURN = "[...document.querySelectorAll('tbody a')].find((a) => a.innerText.includes('team-day'))"
PICTURES = {
    "fleet": Picture("fleet", "document.querySelectorAll('[data-row]').length > 20", 900, ALL),
    "agent": Picture("fleet/invoice-triage", "document.querySelectorAll('.column').length > 3", 1000, ALL),
    "session": Picture("sessions/paper-scout/survey-41", "document.querySelectorAll('.node').length > 3", 1180, ALL),
    "said": Picture("sessions/refund-checker/case-207", "document.querySelectorAll('.step-line').length > 1", 960),
    "decisions": Picture("decisions", "document.querySelectorAll('[data-row]').length > 5", 700),
    "budgets": Picture("budgets", "document.querySelectorAll('[data-row]').length > 5"),
    "budget": Picture("", "document.querySelector('.plot .line')", 900, ("light", "dark", "phone")),
    "routing": Picture("routing", "document.querySelectorAll('.column').length > 3"),
    "approvals": Picture("approvals", "document.querySelector('.case')", 620, ALL),
    "kill": Picture("kill", "document.querySelectorAll('[data-row]').length > 2", 640),
    "config": Picture("config", "document.querySelector('.problems')", 900),
    "login": Picture("login", "document.querySelector('.login-form')", 620),
}


def take(page: Page, name: str, kind: str, picture: Picture) -> None:
    """Take one picture."""
    phone = kind.startswith("phone")
    page.colours(dark=kind.endswith("dark"))
    page.size(400 if phone else 1280, 860 if phone else picture.height, 1.5 if phone else 1.0)
    page.js("scrollTo(0, 0); document.activeElement?.blur(); new Promise((r) => setTimeout(r, 300))")
    path = OUT / f"{name}-{kind}.png"
    page.picture(path)
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size // 1000} KB\n")
    if size > MOST:
        raise SystemExit(f"{path.name} has more than {MOST} bytes")


def show(page: Page, name: str, picture: Picture) -> None:
    """Go to the page of a picture."""
    if name == "budget":
        page.js("location.hash = '/budgets'")
        page.wait(BURN)
        page.js(f"location.hash = {BURN}.getAttribute('href').slice(1)")
    else:
        page.js(f"location.hash = {json.dumps('/' + picture.path)}")
    page.wait(picture.ready)
    page.wait("!document.querySelector('.bone, [aria-busy=true]')")
    if name == "said":
        for selector in (".step-line", ".said > summary"):
            page.js(f"document.querySelector('{selector}').click()")
            page.wait("document.querySelector('.said')")
        page.wait("document.querySelectorAll('.part-text').length > 2")


def main(names: list[str]) -> int:
    """Take the pictures that are named, or all."""
    OUT.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Simulator() as sim, proxy_of(sim, Path(folder) / "behind") as proxy:
        fleet = Fleet(proxy, Path(folder) / "behind")
        fleet.day()
        sys.stdout.write(f"a day has passed in {time.monotonic() - began:.0f} s\n")
        with Chromium(chromium_bin()) as browser:
            page = browser.page()
            page.open(proxy.admin_url)
            page.js(f"fetch('/api/v1/login', {LOGIN}).then((r) => r.json())")
            page.open(f"{proxy.admin_url}/?signed-in")
            for name, picture in PICTURES.items():
                if names and name not in names:
                    continue
                if name == "config":
                    file = proxy.folder / "AGENTS.md"
                    file.write_text(file.read_text().replace("models: {allow:", "models: {alow:", 1))
                if name == "login":
                    page = login(browser, proxy.admin_url)
                else:
                    show(page, name, picture)
                for kind in picture.kinds:
                    take(page, name, kind, picture)
                if page.problems:
                    raise SystemExit(f"{name}: {page.problems}")
        fleet.close()
    return 0


def login(browser: Chromium, address: str) -> Page:
    """Return a page that asks for the token, as it does away from this machine."""
    page = browser.page()
    page.call("Network.setExtraHTTPHeaders", headers={"via": "1.1 away"})
    page.open(address)
    page.wait(PICTURES["login"].ready)
    return page


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
