"""One-time links: a page that shows what is asked, and two buttons.

Whoever has the link may decide that one question, once: its secret is 32 random bytes of which the store keeps a hash, and a decision wipes
that. GET only shows; what acts is a POST that carries the secret, which no other page knows. Everything on the page that came from outside
is escaped, and the page may run, load and frame nothing.

How it fails: a wrong, used or missing secret shows nothing of the question and is a 403, whether there is such a question or not.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from aiohttp import web

from proxy.admin.answers import HEADERS
from proxy.admin.hands import STATUS, Hands
from proxy.control.questions import UNDECIDED, Case, Decision, matches
from proxy.control.rules import clean

LINKS = "/approve/"
PAGE = "/approve/{id}"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#8881;padding:1rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}"
    "dt{font-weight:600}dd{margin:0 0 .5rem;overflow-wrap:anywhere}button{font:inherit;padding:.5rem 1.5rem;margin-right:1rem}"
)


def links(hands: Hands, now: Callable[[], float]) -> list[web.RouteDef]:
    """Return the routes."""
    pages = _Links(hands, now)
    return [web.get(PAGE, pages.show), web.post(PAGE, pages.decide)]


class _Links:
    def __init__(self, hands: Hands, now: Callable[[], float]) -> None:
        self._hands, self._now = hands, now

    async def show(self, request: web.Request) -> web.Response:
        """Show what is asked."""
        token = request.query.get("token", "")
        case = await self._hands.case(request.match_info["id"])
        if case is None or not matches(case, token):
            return _page(403, "This link does not hold", f"<p>{UNDECIDED['foreign']}</p>")
        if self._now() >= case.expires:
            return _page(410, "Too late", f"<p>{UNDECIDED['expired']}</p>")
        return _page(200, f"{case.question.agent} asks", _asked(case, token))

    async def decide(self, request: web.Request) -> web.Response:
        """Carry out what a button says."""
        form = await request.post() if request.content_type == "application/x-www-form-urlencoded" else {}
        said = {name: value for name, value in form.items() if isinstance(value, str)}
        if said.get("decision") not in ("approve", "deny"):
            return _page(400, "Nothing was decided", "<p>Use the buttons of the page.</p>")
        name = clean(said.get("by", ""), 60)
        by = f"{name} (with a link)" if name else "the holder of a link"
        decision = Decision(said["decision"] == "approve", by, said.get("reason", ""), token=said.get("token", ""))
        found = await self._hands.decide(request.match_info["id"], decision)
        if not isinstance(found, Case):
            hidden = "foreign" if found == "unknown" else found
            return _page(STATUS[hidden].status_code, "Nothing was decided", f"<p>{UNDECIDED[hidden]}</p>")
        return _page(
            200, f"It is {found.status}", f"<p>{escape(found.question.what)} for {escape(found.question.agent)}: {found.status}.</p>"
        )


def _asked(case: Case, token: str) -> str:
    q = case.question
    rows = (
        ("Agent", q.agent),
        ("Wants", f"{q.kind.replace('_', ' ')}: {q.what}"),
        ("Rule", q.rule),
        ("Why", q.why),
        ("Session", q.session),
    )
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows if value)
    shown = f"<pre>{escape(q.preview)}</pre>" if q.preview else ""
    return (
        f"<dl>{facts}</dl>{shown}"
        f'<form method="post" action="{LINKS}{escape(case.id)}" autocomplete="off">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        '<p><label>Your name <input name="by" maxlength="60"></label></p>'
        '<p><label>Why <input name="reason" maxlength="400" size="50"></label></p>'
        '<p><button name="decision" value="approve">Approve once</button>'
        '<button name="decision" value="deny">Deny</button></p></form>'
    )


def _page(status: int, title: str, body: str) -> web.Response:
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
    text = f"{head}<body><h1>{escape(title)}</h1>{body}</body></html>"
    headers = {**HEADERS, "Content-Security-Policy": _POLICY}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)
