"""The rules of an agent's contract, as pure functions of its grant and one call.

Each returns None or the Deny that says which rule refused, where it is written, and what to do. Where an enforced rule and a shadow one
both refuse, the enforced one is returned. Nothing here raises or waits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

from proxy import globs
from proxy.model import Approval, ArgumentClause, Clause, Deny, Grant, Limit, Reason, Source
from proxy.policy.facts import CallFacts
from proxy.wire.blocks import carried
from proxy.wire.call import Call, Message, ToolSpec
from proxy.wire.ollama_messages import plain_name

AUTO = "auto"
"""The model name that leaves the choice to routing, which then keeps to `Grant.may_use`."""
SHOWN = 80
"""Longest piece of a caller's name that a message repeats."""


def firmest(denies: Iterable[Deny | None]) -> Deny | None:
    """Return the first enforced refusal, else the first shadow one, else None."""
    dry: Deny | None = None
    for deny in denies:
        if deny is not None:
            if not deny.shadow:
                return deny
            dry = dry or deny
    return dry


def check_model(grant: Grant, model: str, aliases: Sequence[str] = ()) -> Deny | None:
    """Return the refusal of `model`, the name that the client asked for. `auto` is nobody's name: routing picks an allowed one.

    Args:
        grant: what the agent may do.
        model: the name.
        aliases: other names of the same model: each layer must allow one of all, and deny none.
    """
    if model == AUTO:
        return None
    refusing = [clause for clause in grant.models if not _passes(clause, model, aliases)]
    return firmest(_no_model(grant, clause, model) for clause in refusing) if refusing else None


def check_spelling(grant: Grant, model: str) -> Deny | None:
    """Return the refusal of `model` where a rule denies the short name under which an Ollama server or Google knows it.

    An Ollama server may stand behind any protocol, and reads `llama3:latest` or `library/llama3` as `llama3`; Google reads
    `models/gemini-x` as `gemini-x`, also on its paths for OpenAI's clients. For other servers these are names that nobody has, so nothing
    is lost.
    """
    short = plain_name(model[7:] if model[:7].casefold() == "models/" else model) if ":" in model or "/" in model else model
    if short == model:
        return None
    return firmest(_no_model(grant, clause, short) for clause in grant.models if not _undenied(clause.deny)(short))


def _passes(clause: Clause, model: str, aliases: Sequence[str]) -> bool:
    if not aliases:
        return clause.allows(model)
    names, undenied = (model, *aliases), _undenied(clause.deny)
    return all(map(undenied, names)) and any(map(clause.allows, names))


@functools.lru_cache(maxsize=256)
def _undenied(deny: tuple[str, ...]) -> Callable[[str], bool]:
    return globs.allower(None, deny)


def _no_model(grant: Grant, clause: Clause, model: str) -> Deny:
    rule, why = _ruling(clause, model)
    usable = grant.default_model if grant.default_model and grant.may_use(grant.default_model) else ""
    remedy = f"Ask for {usable}." if usable else f"Ask for a model that the rule allows: {_few(clause.allow)}." if clause.allow else ""
    message = f"Agent {grant.agent} may not use model {_shown(model)}: {why}."
    return Deny(Reason.MODEL_NOT_ALLOWED, message, rule, remedy or f"Ask whoever keeps {clause.source.file}.", clause.shadow)


def check_tools(grant: Grant, tools: Sequence[ToolSpec]) -> Deny | None:
    """Return the refusal of the first tool offered to the model that a rule does not let pass, or that would ask a forbidden model."""
    found = [_no_tool(grant, c, t.name) for c in grant.tools for t in tools if not c.allows(t.name)]
    found += [_no_model(grant, c, t.model) for t in tools if t.model for c in grant.models if not c.allows(t.model)]
    return firmest(found)


def _no_tool(grant: Grant, clause: Clause, tool: str) -> Deny:
    rule, why = _ruling(clause, tool)
    message = f"Agent {grant.agent} may not offer tool {_shown(tool)}: {why}."
    remedy = f"Take {_shown(tool)} out of the request's tools, or allow it in {clause.source.file}."
    return Deny(Reason.TOOL_NOT_ALLOWED, message, rule, remedy, clause.shadow)


def check_call(grant: Grant, call: CallFacts) -> tuple[Deny | None, list[Source]]:
    """Return the refusal of a tool call that the model makes, and where the clauses are written that only note it.

    A name is held to the lists whether or not the request offered such a tool; arguments too long to be read hold anything.
    """
    name = call.name
    found = [_no_call(grant, clause, name) for clause in grant.tools if not clause.allows(name)]
    asking: list[Deny] = []
    noted: list[Source] = []
    for clause in grant.tool_args:
        if not clause.names(name.casefold()) or not (call.unread or any(map(clause.found, call.values(clause.key)))):
            continue
        if clause.action == "warn":
            noted.append(clause.source)
        elif clause.action == "require_approval":
            asking.append(_unapproved(grant, clause.source, clause.shadow, name))
        else:
            found.append(_no_arguments(grant, clause, name))
    return firmest([*found, *asking]), noted


def _no_call(grant: Grant, clause: Clause, tool: str) -> Deny:
    rule, why = _ruling(clause, tool)
    message = f"Agent {grant.agent} may not call tool {_shown(tool)}: {why}."
    return Deny(Reason.TOOL_NOT_ALLOWED, message, rule, f"Use another tool, or have {clause.source.file} allow it.", clause.shadow)


def _no_arguments(grant: Grant, clause: ArgumentClause, tool: str) -> Deny:
    what = f"its {clause.key}" if clause.key else "what it is given"
    message = f"Agent {grant.agent} may not call tool {_shown(tool)} like this: {what} holds what {clause.source} forbids."
    remedy = f"Do it in another way, or ask whoever keeps {clause.source.file}."
    return Deny(Reason.TOOL_CALL_BLOCKED, message, str(clause.source), remedy, clause.shadow)


def _unapproved(grant: Grant, source: Source, shadow: bool, tool: str) -> Deny:
    message = f"A person must approve each such call of tool {_shown(tool)} by agent {grant.agent}."
    remedy = f"Have a person do it, or ask whoever keeps {source.file}."
    return Deny(Reason.TOOL_CALL_BLOCKED, message, str(source), remedy, shadow, approval=Approval())


def _ruling(clause: Clause, name: str) -> tuple[str, str]:
    """Return (where the rule is written, why `name` does not pass). A denied name is one that the allow-list alone would pass."""
    source = clause.source
    if clause.allow is None:
        return str(clause.deny_source or source), f"{_few(clause.deny)} is denied"
    if clause.deny and clause.deny_source is not None and _would_pass(clause, name):
        return str(clause.deny_source), f"{_few(clause.deny)} is denied"
    return str(source), f"only {_few(clause.allow)} is allowed" if clause.allow else "the rule allows none"


def _would_pass(clause: Clause, name: str) -> bool:
    """Return whether the allow-list could have let `name` pass, so that it was the deny-list that refused. For messages only."""
    return clause.allow is not None and any(p in ("*", name) or (p.endswith("*") and name.startswith(p[:-1])) for p in clause.allow)


def _few(patterns: Sequence[str] | None) -> str:
    listed = list(patterns or ())
    text = ", ".join(listed[:5])
    return f"{text} and {len(listed) - 5} more" if len(listed) > 5 else text


def _shown(name: str) -> str:
    """Return a caller's name fit for a message: printable and short."""
    text = "".join(c if c.isprintable() else "?" for c in name[:SHOWN])
    return text + "..." if len(name) > SHOWN else text or "(no name)"


def output_ceiling(grant: Grant, asked: int | None) -> Limit | None:
    """Return the enforced limit that must replace the request's own ceiling `asked` (None: it has none), or None where that may stay."""
    for limit in grant.max_output:
        if not limit.shadow and (asked is None or asked > limit.value):
            return limit
    return None


def dry_ceiling(grant: Grant, asked: int | None) -> Limit | None:
    """Return the shadow limit that would have lowered the request's ceiling."""
    for limit in grant.max_output:
        if limit.shadow and (asked is None or asked > limit.value):
            return limit
    return None


_MODEL = ("assistant", "model")


def turns(messages: Sequence[Message]) -> int:
    """Return how many turns the model has taken in this history.

    A message of the assistant is a turn; tool calls that follow one another without an answer between them belong to one (some
    protocols send each as an item of its own).
    """
    total, before = 0, False
    for count, calls, after in carried(messages, "turns", _turns):
        total += count - (before and calls)
        before = after
    return total


def _turns(part: Sequence[Message]) -> tuple[int, bool, bool]:
    """Return the turns in a part of a history, whether it begins with the model's calls, and whether it ends with the model."""
    count, before = 0, False
    for message in part:
        mine = message.role in _MODEL
        if mine and not (before and message.tool_calls):
            count += 1
        before = mine
    return count, bool(part) and part[0].role in _MODEL and bool(part[0].tool_calls), before


def check_turns(grant: Grant, call: Call) -> Deny | None:
    """Return the refusal of one more turn when the history already holds as many as the agent may take."""
    if not grant.max_turns:
        return None
    least = min(limit.value for limit in grant.max_turns)
    if len(call.messages) < least:
        return None
    taken = turns(call.messages)
    return firmest(_enough(grant, limit, taken) for limit in grant.max_turns if taken >= limit.value)


def _enough(grant: Grant, limit: Limit, taken: int) -> Deny:
    message = f"The conversation has {taken} turns of the model; agent {grant.agent} may take {limit.value} in one session."
    remedy = f"Finish with what is known, start a new session, or raise the limit in {limit.source.file}."
    return Deny(Reason.STEP_LIMIT, message, str(limit.source), remedy, limit.shadow)
