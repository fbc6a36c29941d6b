"""The dashboard in a real Chromium over a running proxy: every page, signing in, a kill, an approval, a bad edit, hostile names."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from chromium import Chromium, Page, chromium_bin
from dashboard_page import HOSTILE, PAGES, TOKEN, ask, fleet, go, offline, settled, sign_in, violations, width_on_a_telephone
from serving import Proxy, Raw, Simulator
from streams import Stream

from proxy.engine.record import Record
from proxy.telemetry.ledger import Ledger


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with fleet(sim) as proxy:
        for words in ("hi", "what of the moonshot?", "and now?"):
            assert ask(proxy, words).status == 200
        assert ask(proxy, agent="scout", model="gpt-4o").status == 403
        yield proxy


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium(chromium_bin()) as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(browser: Chromium, proxy: Proxy) -> Page:
    page = browser.page()
    page.open(proxy.admin_url)
    sign_in(page, TOKEN)
    page.wait("document.querySelector('.nav')")
    return page


@pytest.fixture
def page(signed_in: Page) -> Iterator[Page]:
    """The page as somebody left it who works with it; nothing may have gone wrong when a test is over."""
    signed_in.problems.clear()
    yield signed_in
    assert signed_in.problems == []


# --- signing in ------------------------------------------------------------------------------------------------------------------------


def test_signing_in_and_out(browser: Chromium, proxy: Proxy) -> None:
    page = browser.page()
    page.open(f"{proxy.admin_url}/#/budgets")
    page.says("FLEETGATE_ADMIN_TOKEN")
    page.wait("document.activeElement.type === 'password'")
    sign_in(page, "wrong")
    page.says("That is not the token.")
    sign_in(page, TOKEN)
    page.wait("document.querySelector('h1')?.innerText === 'Budgets'")
    assert page.js("document.cookie") == "", "no script can read the cookie"
    assert page.js(f"JSON.stringify([localStorage, sessionStorage]).includes({json.dumps(TOKEN)})") is False
    assert [a for a in page.addresses if TOKEN in a] == []
    assert {a.split("/")[2] for a in page.addresses if not a.startswith("data:")} == {f"127.0.0.1:{proxy.admin_port}"}
    page.button("Sign out")
    page.says("FLEETGATE_ADMIN_TOKEN")
    assert page.js("fetch('/api/v1/fleet').then((r) => r.status)") == 401
    refused = [p for p in page.problems if "401" not in p]
    assert refused == [], "nothing but the two answers that were asked for"
    page.close()


# --- every page ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_shows_what_there_is_and_fits_a_telephone(page: Page, path: str) -> None:
    title, words = PAGES[path]
    go(page, path)
    page.wait(f"document.querySelector('h1')?.innerText === {json.dumps(title)}")
    page.says(words)
    settled(page)
    assert page.js("document.querySelector('.failed')?.innerText ?? ''") == ""
    assert title in page.js("document.title")
    assert width_on_a_telephone(page) <= 400


def test_people_with_a_screen_reader_or_weak_eyes_are_not_kept_out(page: Page) -> None:
    found = []
    light, dark = ("fleet", "fleet/tester", "sessions/tester/first", "decisions", "budgets", "kill"), ("fleet/tester", "config")
    for in_dark in (False, True):
        page.colours(dark=in_dark)
        for path in dark if in_dark else light:
            go(page, path)
            page.says(PAGES[path][1])
            settled(page)
            found += [f"{path} {'dark' if in_dark else 'light'}: {broken}" for broken in violations(page)]
    page.colours(dark=False)
    assert found == []


def test_what_cannot_be_read_says_so_and_tries_again(page: Page) -> None:
    go(page, "fleet/nobody-of-that-name")
    page.wait("document.querySelector('.failed')")
    assert page.js("[...document.querySelectorAll('.failed button')].map((b) => b.innerText)") == ["Try again"] * page.js(
        "document.querySelectorAll('.failed').length"
    )
    page.wait("true")
    page.problems[:] = [p for p in page.problems if "404" not in p]


# --- hands -----------------------------------------------------------------------------------------------------------------------------


def test_a_kill_from_the_page_cuts_a_live_stream(page: Page, proxy: Proxy) -> None:
    go(page, "kill")
    page.says("Nothing is stopped")
    with Stream(proxy, 2000, 50) as stream:
        stream.until(b'"content"')
        page.click(".chooser input.input")
        page.type("tester")
        page.press("Enter")
        page.wait("document.querySelector('dialog[open]')")
        assert page.js("document.querySelector('dialog button[type=submit]').disabled") is True, "a reason is asked for"
        page.click("dialog .field input")
        page.type("it deletes files")
        assert page.js("document.querySelector('dialog select').value") == "1h", "it ends by itself unless somebody wants otherwise"
        page.button("Stop it", "dialog")
        assert b"it deletes files" in stream.rest()
    page.says("1 stop in force")
    page.says("min left")
    assert ask(proxy).status == 403
    go(page, "fleet")
    page.wait("[...document.querySelectorAll('tbody tr')].some((r) => r.innerText.includes('tester') && r.innerText.includes('stopped'))")
    go(page, "kill")
    page.button("Resume agent:tester")
    page.button("Resume", "dialog")
    page.says("Nothing is stopped")
    assert ask(proxy).status == 200


def test_everything_is_stopped_only_by_who_says_it_twice(page: Page, proxy: Proxy) -> None:
    go(page, "kill")
    page.click("input[value=all]")
    page.button("Stop")
    page.wait("document.querySelector('dialog[open]')")
    page.type("why not")
    assert page.js("document.querySelector('dialog button[type=submit]').disabled") is True
    page.press("Escape")
    page.wait("!document.querySelector('dialog')")
    page.click("input[value=agent]")
    assert ask(proxy).status == 200


@pytest.mark.parametrize("allow", [True, False])
def test_a_decision_on_the_page_releases_a_held_call(page: Page, proxy: Proxy, allow: bool) -> None:
    call = {"name": "send_email", "arguments": {"to": f"{allow}@example.com", "text": "<b>hello</b>"}}
    replies: list[Raw] = []
    thread = threading.Thread(target=lambda: replies.append(ask(proxy, session=f"mail-{allow}", tool_calls=[call])))
    thread.start()
    go(page, "approvals")
    page.says(f"{allow}@example.com")
    assert "<b>hello</b>" in page.text(), "what the tool would be given is shown as text"
    page.button("Approve" if allow else "Deny", ".case")
    page.wait("document.querySelector('dialog[open]')")
    page.type("I have looked at it")
    page.button("Approve" if allow else "Deny", "dialog")
    thread.join(60)
    assert (b"@example.com" in replies[0].body) is allow
    assert (b"I have looked at it" in replies[0].body) is not allow
    page.says("Nobody waits for you")
    page.says("Decided of late")


# --- what files and clients say --------------------------------------------------------------------------------------------------------


def test_a_mistake_in_a_file_appears_with_its_line_and_goes_when_it_is_mended(page: Page, proxy: Proxy) -> None:
    go(page, "config")
    page.says("The files are in force as they are.")
    file = proxy.folder / "budgets" / "test.yaml"
    good = file.read_text()
    file.write_text(good.replace("window: month", "window: fortnight"))
    page.says("1 mistake in the files")
    page.says("budgets/test.yaml:")
    assert re.search(r"budgets/test\.yaml:\d+", page.text())
    page.wait("[...document.querySelectorAll('.nav .count')].some((c) => c.innerText.includes('1'))")
    file.write_text(good.replace("100", "200"))
    page.says("The files are in force as they are.")
    page.wait("!document.querySelector('.problems')")


def test_what_clients_send_stays_text(page: Page, proxy: Proxy) -> None:
    session = f"{HOSTILE} \u05d0\u05d1"
    turned = "\u202egnp.exe"
    assert ask(proxy, session=quote(session), model=HOSTILE).status >= 400
    assert ask(proxy, session=session.encode().decode("latin-1"), agent="scout", model=HOSTILE + "m" * 300).status >= 400
    assert ask(proxy, agent="scout", model=f"gpt{turned}").status >= 400
    for path in ("decisions", "sessions", "fleet", "fleet/scout", "fleet/" + HOSTILE + "a" * 3000, "sessions/scout/" + HOSTILE):
        go(page, path)
        page.wait("document.querySelector('h1')")
        settled(page)
        assert page.js("document.querySelectorAll('#app img, #app script').length") == 0
        assert "\u202e" not in page.text()
    go(page, "decisions")
    page.wait("document.querySelectorAll('[data-row]').length >= 4")
    page.problems[:] = [p for p in page.problems if not re.search(r"40[04]|414", p)]  # no such agent, an address too long


def test_what_was_said_is_asked_for_when_it_is_opened_and_stays_text(page: Page, proxy: Proxy) -> None:
    words = f"{HOSTILE} \u202e canary of a talk"
    script: dict[str, Any] = {"tool_calls": [{"name": "read_file", "arguments": {"path": HOSTILE}}]}
    name = ask(proxy, words, session="talk", **script).headers["x-fleetgate-request-id"]
    written = (
        "Promise.all([fetch('/api/v1/sessions/tester%2Ftalk'), fetch('/api/v1/exchanges/NAME/content')]).then((r) => r.every((x) => x.ok))"
    )
    deadline = time.monotonic() + 60
    while not page.js(written.replace("NAME", name)):
        assert time.monotonic() < deadline
    page.problems[:] = [p for p in page.problems if "404" not in p]
    page.addresses.clear()
    go(page, "sessions/tester/talk")
    page.wait("document.querySelector('.step-line')")
    page.js("document.querySelector('.step-line').click()")
    page.wait("document.querySelector('details.said:not([open]) summary')")
    assert "canary of a talk" not in page.text()
    assert [a for a in page.addresses if a.endswith("/content")] == [], "nothing is read before somebody wants it"
    page.js("document.querySelector('details.said summary').click()")
    page.says("canary of a talk")
    page.says("That you read it is in the log.")
    shown = page.js("[...document.querySelectorAll('.part-text')].map((p) => p.textContent)")
    assert shown[0] == words.replace("\u202e", "␣")
    assert json.loads(shown[1]) == {"path": HOSTILE}
    assert page.js("document.querySelectorAll('#app img, #app script').length") == 0
    assert page.js("[...document.querySelectorAll('.turn-role')].map((r) => r.innerText)") == ["user", "assistant"]
    page.js("document.querySelector('details.said summary').click(); document.querySelector('details.said summary').click()")
    assert width_on_a_telephone(page) <= 400
    assert violations(page) == []
    assert len([a for a in page.addresses if a.endswith("/content")]) == 1, "it is asked for once"
    assert not [a for a in page.addresses if "canary" in a or "onerror" in a]
    go(page, "kill")
    page.says("read what was said")


def test_a_name_in_the_ledger_may_be_anything(page: Page, proxy: Proxy) -> None:
    """Files allow plain names alone, but a ledger may be older than that, or shared."""
    name = f"=cmd|{HOSTILE}\u202e" + "a" * 10_000
    ledger = Ledger(proxy.folder / "fleetgate.db")
    ledger.record(
        Record(
            "01jd3k8x9vq2m4n6p8r0s2t4w6", time.time(), name, team=HOSTILE, session=f"{name}/s", model_asked=HOSTILE, outcome="ok", cost=9
        )
    )
    asyncio.run(ledger.close())
    go(page, "fleet", "?q=onerror")
    page.says("=cmd|<img")
    settled(page)
    assert page.js("document.querySelectorAll('#app img, #app script').length") == 0
    assert "\u202e" not in page.text()
    assert page.js("document.documentElement.scrollWidth") <= 1280
    assert page.js("Math.max(...[...document.querySelectorAll('tbody tr')].map((r) => r.offsetHeight))") < 60
    page.js("document.querySelector('tbody a').click()")
    page.wait("document.querySelector('h1').innerText.startsWith('=cmd')")
    settled(page)
    assert page.js("document.querySelector('h1').offsetHeight") < 200
    page.says("too long to be asked for")


def test_a_server_that_goes_away_and_comes_back(page: Page) -> None:
    go(page, "budgets")
    page.says("fleet-month")
    page.says("Live")
    offline(page, True)
    try:
        page.says("What is shown is from before.")
        page.says("Reconnecting")
        assert "fleet-month" in page.text()
    finally:
        offline(page, False)
    page.button("Try again")
    page.wait("!document.querySelector('.failed')")
    page.says("Live")
    page.problems[:] = [p for p in page.problems if "ERR_" not in p]


def test_a_call_appears_without_a_reload(page: Page, proxy: Proxy) -> None:
    go(page, "fleet")
    settled(page)
    calls = (
        "Number([...document.querySelectorAll('.figure')].find((f) => f.innerText.startsWith('Calls today')).querySelector('dd').innerText)"
    )
    before = page.js(calls)
    page.js("document.querySelector('.figures').dataset.kept = 'yes'")
    assert ask(proxy, agent="scout").status == 200
    page.wait(f"{calls} > {before}")
    assert page.js("document.querySelector('.figures').dataset.kept") == "yes"
    page.says("Live")


# --- keys ------------------------------------------------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(page: Page) -> None:
    page.open(page.js("location.origin + '/?again'"))
    page.wait("document.querySelector('tbody a')")
    page.press("Tab")
    assert page.js("document.activeElement.innerText") == "Skip to the page"
    page.press("Enter")
    assert page.js("document.activeElement.id") == "main"
    page.press("g")
    page.press("b")
    page.wait("document.activeElement.id === 'title' && document.activeElement.innerText === 'Budgets'")
    page.press("/")
    assert page.js("document.activeElement.type") == "search"
    page.type("fleet-month")
    page.press("Escape")
    page.wait("document.querySelectorAll('[data-row]').length === 1")
    page.press("j")
    assert "fleet-month" in page.js("document.activeElement.innerText")
    page.press("Enter")
    page.says("Burn-down")
    page.press("?")
    page.wait("document.querySelector('dialog[open]')")
    page.press("Escape")
    page.wait("!document.querySelector('dialog')")
    for dark, offered in ((True, "Light"), (False, "Dark")):  # who has chosen nothing goes with the system
        page.colours(dark=dark)
        page.wait(f"[...document.querySelectorAll('button.quiet')].some((b) => b.innerText === '{offered}')")
    page.press("t")
    assert page.js("document.documentElement.dataset.theme") == "dark"
    page.press("t")
    assert page.js("document.documentElement.dataset.theme") == "light"
