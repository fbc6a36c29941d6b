"""Reads the files of rules: policies/*.yaml beside baseline.yaml, and those that ship with Fleetgate.

All that is wrong in all files comes back at once, each with its line; nothing of a wrong file is used. Whether a rule says what its
writer meant is not decided here; what looks like a slip is a warning of `fleetgate check`.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from proxy.config import ConfigError, ConfigErrors, Doc, KeyPath, load_yaml, near
from proxy.model import Approval, Source
from proxy.policy import fields
from proxy.policy.match import Match, compile_match, listed, name_test
from proxy.policy.rules import Action, Direction, Rule, RuleSet, When, Window

LONGEST_WAIT_S = 3600.0
"""The longest that a person is waited for."""

MAX_BYTES = 1 << 20
SHIPPED = Path(__file__).parent / "baseline"
"""The rules that ship with Fleetgate, and hold unless a file switches them off."""
ASKING: frozenset[Direction] = frozenset(("request", "tool_result"))
TEXTS: frozenset[Direction] = frozenset(("request", "tool_result", "tool_definition", "reply"))


@dataclass(slots=True)
class Read:
    """What one file says: its rules, and which shipped ones it switches (`*` is all), each with where it says so."""

    doc: Doc
    rules: list[Rule]
    switches: dict[str, tuple[str, Source]]


def load_rules(files: Sequence[tuple[Path, str]]) -> RuleSet:
    """Return the rules of `files`, pairs of path and how messages name it, with the shipped ones behind them.

    Raises:
        ConfigErrors: all that is wrong in them.
    """
    errors: list[ConfigError] = []
    found: list[Read] = []
    for path, name in files:
        try:
            found.append(read_file(path, name))
        except ConfigErrors as e:
            errors += e.errors
    rules = [rule for read in found for rule in read.rules]
    own: dict[str, Rule] = {}
    shipped = {rule.id: rule for rule in shipped_rules()}
    for rule in rules:
        twin = own.setdefault(rule.id, rule)
        if twin is not rule:
            errors.append(ConfigError(rule.source.file, rule.source.line, f"rule {rule.id} is also at {twin.source}", "each id once"))
        elif rule.id in shipped:
            hint = f"give it another id; `shipped: {{{rule.id}: off}}` switches that one off"
            errors.append(
                ConfigError(rule.source.file, rule.source.line, f"rule {rule.id} ships with Fleetgate", "an id of your own", hint)
            )
    kept = _switched(shipped, found, errors)
    if errors:
        raise ConfigErrors(errors)
    return RuleSet([*rules, *kept])


def shipped_rules() -> list[Rule]:
    """Return the rules that ship with Fleetgate, as they are written."""
    return [
        replace(rule, shipped=True) for path in sorted(SHIPPED.glob("*.yaml")) for rule in read_file(path, f"shipped/{path.name}").rules
    ]


def _switched(shipped: dict[str, Rule], reads: Iterable[Read], errors: list[ConfigError]) -> list[Rule]:
    """Return the shipped rules as the files want them. A word on one rule goes before a word on all."""
    words: dict[str, tuple[str, Source]] = {}
    for read in reads:
        for name, (word, source) in read.switches.items():
            if name != "*" and name not in shipped:
                errors.append(ConfigError(source.file, source.line, f"no rule {name} ships with Fleetgate", hint=near(name, shipped)))
                continue
            before = words.setdefault(name, (word, source))
            if before[0] != word:
                errors.append(ConfigError(source.file, source.line, f"{name}: {word}, and {before[0]} at {before[1]}", "one word"))
    kept: list[Rule] = []
    for name, rule in shipped.items():
        word = words.get(name, words.get("*", ("", None)))[0]
        if word == "shadow":
            kept.append(replace(rule, shadow=True))
        elif word == "warn":
            kept.append(replace(rule, action="warn"))
        elif word != "off":
            kept.append(rule)
    return kept


def read_file(path: Path, name: str) -> Read:
    """Return what the file at `path` says.

    Raises:
        ConfigErrors: all that is wrong in it.
    """
    try:
        doc = load_yaml(path, name, MAX_BYTES)
    except ConfigError as e:
        raise ConfigErrors([e]) from None
    return read_rules(doc)


def read_rules(doc: Doc) -> Read:
    """Return what a parsed file says. Raises ConfigErrors."""
    if doc.value is None:
        return Read(doc, [], {})
    errors = fields.FILE.check(doc, (), doc.value)
    if errors:
        raise ConfigErrors(errors)
    dry = doc.value.get("mode") == "shadow"
    rules: list[Rule] = []
    for i, item in enumerate(doc.value.get("rules", ())):
        try:
            rules.append(_rule(doc, ("rules", i), item, dry))
        except ConfigError as e:
            errors.append(e)
    if errors:
        raise ConfigErrors(errors)
    return Read(doc, rules, _switches(doc, doc.value.get("shipped")))


def _switches(doc: Doc, value: Any) -> dict[str, tuple[str, Source]]:
    if value is None:
        return {}

    def said(path: KeyPath, word: Any) -> tuple[str, Source]:
        return "off" if word is False else str(word), Source(doc.file, doc.line(path), "shipped")

    if isinstance(value, dict):
        return {name: said(("shipped", name), word) for name, word in value.items()}
    return {"*": said(("shipped",), value)}


def _rule(doc: Doc, path: KeyPath, value: dict[str, Any], dry: bool) -> Rule:
    action, argument = _action(value["action"])
    match = compile_match(doc, (*path, "match"), value["match"]) if "match" in value else None
    when = value.get("when", {})
    directions = _directions(doc, path, when, match)
    _fitting(doc, path, action, directions, match)
    return Rule(
        id=value["id"],
        action=action,
        source=Source(doc.file, doc.line((*path, "id")), value["id"]),
        directions=directions,
        when=_when(doc, (*path, "when"), when),
        match=match,
        title=value.get("title", ""),
        severity=value.get("severity", "medium"),
        owasp=tuple(value.get("owasp", ())),
        shadow=dry or value.get("mode") == "shadow",
        message=value.get("message", ""),
        approval=_approval(doc, path, value),
        remedy=value.get("remedy", ""),
        route_to=argument if isinstance(argument, str) else "",
        max_output=argument if isinstance(argument, int) else 0,
        reach=_reach(value, directions, match),
        text=repr(value),
    )


def _action(value: Any) -> tuple[Action, str | int | None]:
    if isinstance(value, str):
        return value, None  # type: ignore[return-value]  # the shape knows the words
    if "route" in value:
        return "route", value["route"]["to"]
    return "limit", int(value["limit"]["max_output_tokens"])


def _directions(doc: Doc, path: KeyPath, when: dict[str, Any], match: Match | None) -> frozenset[Direction]:
    """Return where the rule looks: what it says, else tool calls where it speaks of them, else all that the model is told."""
    if "direction" in when:
        found: frozenset[Direction] = frozenset(listed(when["direction"]))
        if not found:
            raise doc.error((*path, "when", "direction"), "an empty list", "at least one direction")
    elif "tool" in when or (match is not None and match.call):
        found = frozenset(("tool_call",))
    else:
        found = ASKING if match is not None else frozenset(("request",))
    if match is not None and match.call and found != {"tool_call"}:
        where = (*path, "when", "direction")
        raise doc.error(where, "command, path, url, host, effect and argument are of tool calls", "direction: tool_call", "use two rules")
    if match is None and found & {"tool_result", "reply"}:
        raise doc.error((*path, "when", "direction"), "no `match`", "contains, regex or glob where texts are looked at")
    if "tool" in when and not found <= {"tool_call", "tool_definition"}:
        raise doc.error((*path, "when", "tool"), "a tool", "direction: tool_call or tool_definition with it")
    return found


def _fitting(doc: Doc, path: KeyPath, action: Action, directions: frozenset[Direction], match: Match | None) -> None:
    """Refuse an action that has no meaning where the rule looks."""
    at = (*path, "action")
    if action == "redact" and (match is None or not directions <= TEXTS - {"tool_definition"}):
        raise doc.error(at, "redact", "deny or warn", "only texts of requests, tool results and replies can be redacted")
    if action in ("route", "limit") and directions & {"tool_call", "reply"}:
        raise doc.error(at, action, "deny or warn", "once there is a reply it is too late for that")


def _approval(doc: Doc, path: KeyPath, value: dict[str, Any]) -> Approval:
    """Return how a person is asked. Raises ConfigError where nobody is, or for too long."""
    said = value.get("approval")
    if said is None:
        return Approval()
    if value["action"] != "require_approval":
        raise doc.error((*path, "approval"), f"approval with action {value['action']}", "action: require_approval")
    timeout = said.get("timeout")
    seconds = None if timeout is None else float(timeout[:-1]) * {"s": 1, "m": 60, "h": 3600}[timeout[-1]]
    if seconds is not None and seconds > LONGEST_WAIT_S:
        raise doc.error((*path, "approval", "timeout"), timeout, "an hour at most")
    return Approval(seconds, said.get("default"))


def _reach(value: dict[str, Any], directions: frozenset[Direction], match: Match | None) -> int | None:
    if "reply" not in directions or match is None:
        return 0
    return int(value["reach"]) if "reach" in value else match.longest


def _when(doc: Doc, path: KeyPath, when: dict[str, Any]) -> When:
    return When(
        agent=name_test(when.get("agent")),
        team=name_test(when.get("team")),
        model=name_test(when.get("model")),
        provider=name_test(when.get("provider")),
        tool=name_test(when.get("tool")),
        level=fields.LEVELS.index(when["data"]) if "data" in when else 0,
        window=_window(doc, path, when),
    )


def _window(doc: Doc, path: KeyPath, when: dict[str, Any]) -> Window | None:
    zone: tzinfo = UTC
    if "timezone" in when:
        try:
            zone = zoneinfo.ZoneInfo(when["timezone"])
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            at = (*path, "timezone")
            raise doc.error(at, when["timezone"], "a time zone that this machine knows", "UTC always works") from None
    if "hours" not in when and "days" not in when:
        if "timezone" in when:
            raise doc.error((*path, "timezone"), "a time zone alone", "hours or days with it")
        return None
    start, end = (int(t[:2]) * 60 + int(t[3:]) for t in when.get("hours", "00:00-00:00").split("-"))
    days = frozenset(fields.DAYS.index(day) for day in listed(when.get("days", list(fields.DAYS))))
    return Window(days, start, end, zone)


def doubts(rules: RuleSet) -> list[str]:
    """Return what looks like a slip, a line each, for `fleetgate check`."""
    found = []
    for rule in rules.rules:
        if rule.shipped:
            continue
        if rule.everything and rule.action in ("deny", "require_approval"):
            found.append(f"{rule.place}: it refuses everything ({', '.join(sorted(rule.directions))})")
        if "reply" in rule.directions and rule.reach is None:
            found.append(f"{rule.place}: nobody can tell how long a match is, so replies are held back whole; give it a `reach`")
    return found
