"""Which keys a file of rules has and what each may hold: the one description behind the reader, its errors and the JSON Schema."""

from __future__ import annotations

from typing import Any

from proxy.config import Doc, KeyPath
from proxy.effects import EFFECTS
from proxy.patterns import MAX_CHARS
from proxy.shapes import Choice, Either, Errors, Flag, ListOf, Named, Number, Table, Text

MAX_RULES = 1000
"""Most rules of one file."""
SEVERITIES = ("low", "medium", "high", "critical")
DIRECTIONS = ("request", "tool_definition", "tool_result", "tool_call", "reply")
LEVELS = ("public", "internal", "confidential", "restricted")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SWITCHES = ("off", "shadow", "warn")
OWASP = r"LLM(0[1-9]|10)|ASI(0[1-9]|10)"

rule_id = Text(64, r"[a-z0-9][a-z0-9._-]*", "a name of a-z, 0-9, dot, dash and underscore, such as no-prod-drop")
words = Text(2000)
glob = Text(512, what="text (a name or a glob with * and ?)")
globs = Either((glob, ListOf(glob, most=500)))
expression = Text(MAX_CHARS, what="a regular expression (RE2)")
expressions = Either((expression, ListOf(expression, most=200)))
phrase = Text(MAX_CHARS)
phrases = Either((phrase, ListOf(phrase, most=1000)))
kind = Choice(tuple(EFFECTS))
kinds = Either((kind, ListOf(kind, most=100)))
flag = Text(64, r"[a-z][a-z0-9_-]*", "a flag such as recursive")
flags = Either((flag, ListOf(flag, most=50)))

said = Either((glob, ListOf(glob, most=500), Table({"glob": globs, "regex": expressions, "contains": phrases})))
"""What a command, a path or a URL is held against: globs, or a mapping that also takes regular expressions."""

EFFECT = Table({"kind": kinds, "flags": flags, "any_flag": flags, "without": flags, "subject": said}, required=("kind",))
effect = Either((kind, EFFECT, ListOf(Either((kind, EFFECT)), most=100)))
plain = Either((Text(2000), Number(-(10**15), 10**15), Flag()))
ARGUMENT = Table(
    {
        "pointer": Text(256, r"(/[^\x00-\x1f\x7f]*)?", "a JSON pointer such as /amount"),
        "equals": Either((plain, ListOf(plain, most=500))),
        "glob": globs,
        "regex": expressions,
        "contains": phrases,
        "above": Number(-(10**15), 10**15),
        "below": Number(-(10**15), 10**15),
    },
    required=("pointer",),
)
condition = Named("match", lambda: MATCH)
conditions = ListOf(condition, most=100)
MATCH: Table = Table(
    {
        "any": conditions,
        "all": conditions,
        "none": conditions,
        "contains": phrases,
        "regex": expressions,
        "glob": globs,
        "command": said,
        "path": said,
        "url": said,
        "host": globs,
        "effect": effect,
        "argument": Either((ARGUMENT, ListOf(ARGUMENT, most=50))),
    },
    what="a mapping of conditions",
    doc={
        "any": "At least one of these holds.",
        "all": "Each of these holds.",
        "none": "None of these holds.",
        "contains": "The text has one of these in it, in any letter case.",
        "regex": "One of these RE2 expressions is found in the text.",
        "glob": "One of these globs is the whole text.",
        "command": "A command that the call would run.",
        "path": "A file or folder that the call names.",
        "url": "A URL that the call names.",
        "host": "A host that the call names; networks such as 10.0.0.0/8 too.",
        "effect": "What the call would do.",
        "argument": "A value among the call's arguments, by JSON pointer.",
    },
)
WHEN = Table(
    {
        "agent": globs,
        "team": globs,
        "model": globs,
        "provider": globs,
        "tool": globs,
        "direction": Either((Choice(DIRECTIONS), ListOf(Choice(DIRECTIONS), most=5))),
        "data": Choice(LEVELS),
        "hours": Text(11, r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", "hours such as 22:00-06:00"),
        "days": Either((Choice(DAYS), ListOf(Choice(DAYS), most=7))),
        "timezone": Text(64, r"[A-Za-z][A-Za-z0-9_+/-]*", "a time zone such as Europe/Berlin"),
    },
    doc={
        "data": "The agent's data is classified as this or higher.",
        "hours": "From (included) to (not included); over midnight where the second is earlier.",
        "timezone": "What hours and days are in; UTC where none is given.",
    },
)


class Action:
    """One word, or one mapping with one key; `Either` tells by type alone, so the two mappings are told apart here."""

    what = "deny | redact | require_approval | warn, or {route: {to: MODEL}}, or {limit: {max_output_tokens: N}}"
    _word = Choice(("deny", "redact", "require_approval", "warn"))
    _more = Table(
        {
            "route": Table({"to": glob}, required=("to",)),
            "limit": Table({"max_output_tokens": Number(1, 10**9, whole=True)}, required=("max_output_tokens",)),
        },
        what=what,
    )

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, (str, dict))

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        if isinstance(value, dict):
            if len(value) == 1:
                return self._more.check(doc, path, value)
            return [doc.error(path, f"{len(value)} actions" if value else "no action", self.what)]
        if value in ("route", "limit"):
            return [doc.error(path, f"{value} without its argument", self.what)]
        return self._word.check(doc, path, value) if isinstance(value, str) else [doc.error(path, "no action", self.what)]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"anyOf": [self._word.schema(), {**self._more.schema(), "minProperties": 1, "maxProperties": 1}]}


ACTION = Action()
mode = Choice(("enforce", "shadow"))
RULE = Table(
    {
        "id": rule_id,
        "title": Text(200),
        "severity": Choice(SEVERITIES),
        "owasp": ListOf(Text(5, OWASP, "an OWASP id such as LLM06 or ASI02"), most=20),
        "when": WHEN,
        "match": condition,
        "action": ACTION,
        "mode": mode,
        "message": words,
        "remedy": words,
        "reach": Number(1, 100_000, whole=True),
        "approval": Table(
            {
                "timeout": Text(8, r"[1-9]\d{0,4}[smh]", "a time such as 90s, 5m or 1h"),
                "default": Choice(("deny", "allow")),
            },
            what="how a person is asked: {timeout, default}",
            doc={
                "timeout": "How long an answer is waited for; an hour at most.",
                "default": "What follows when nobody decides in that time.",
            },
        ),
    },
    required=("id", "action"),
    what="a rule",
)
switch = Choice(SWITCHES)
FILE = Table(
    {
        "description": Text(4096),
        "mode": mode,
        "rules": ListOf(RULE, most=MAX_RULES),
        "shipped": Either((switch, Table({}, values=switch))),
    },
    what="a file of rules: `rules:`, `shipped:`",
    doc={
        "mode": "shadow: all rules of this file run dry.",
        "shipped": "Switches rules that ship with Fleetgate: `off`, `shadow` or `warn`, for all or by id.",
    },
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file of rules."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules that Fleetgate enforces",
        "description": "A file policies/*.yaml other than baseline.yaml.",
        **FILE.schema(),
        "$defs": {"match": MATCH.schema()},
    }
