"""What keeps a request from a target: where the agent's data may go, and what a model is able to do.

Data first: `routing.local_only` and `data.residency` hold for every target of every route, whoever named it, and a provider that says of
itself nothing is nowhere. What a model can do holds for targets that we choose: the simple model, fallbacks, and where budgets move calls
to; a model that the client names itself is asked. Pure; each answer is the reason in words, or nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from proxy.model import Grant, Target
from proxy.wire.blocks import carried, has_media
from proxy.wire.call import Call

LEAST_ANSWER = 1024
"""Tokens of an answer that must fit beside the prompt, where the client names no ceiling."""


def held(grant: Grant) -> Mapping[str, str]:
    """Return what of the agent's data settings is enforced."""
    return grant.firm_data if grant.shadow else grant.data


def barred(target: Target, data: Mapping[str, str], local_only: Collection[str]) -> str:
    """Return why data that `data` (`policy.data`) describes may not go to `target`, empty when it may."""
    level = data.get("classification", "")
    if level in local_only and not target.local:
        return f"{level} data stays on local models (routing.local_only), and {target.provider} is none"
    places = data.get("residency")
    if places is None or (target.region and target.region.casefold() in [place.casefold() for place in places.split(",")]):
        return ""
    where = f"in {target.region}" if target.region else "in no region that its settings name"
    return f"data stays in {places.replace(',', ', ') or 'no region at all'} (policy.data.residency), and {target.provider} is {where}"


def unable(call: Call, target: Target) -> str:
    """Return what of `call` the model of `target` is said not to be able to do, empty for nothing."""
    if target.tools is False and call.tools.specs:
        return "it is offered tools"
    if target.images is False and has_media(call.messages):
        return "it holds images or files"
    if target.json is False and call.wants_json:
        return "it wants JSON"
    return ""


def unproven(call: Call, target: Target) -> str:
    """Return what of `call` nobody says that the model of `target` can do: where we choose, tools and images need a yes."""
    if target.tools is not True and (call.tools.specs or _used(call)):
        return "it uses tools"
    if target.images is not True and has_media(call.messages):
        return "it holds images or files"
    return unable(call, target)


def too_long(call: Call, target: Target, tokens: int) -> bool:
    """Tell if a prompt of `tokens` leaves no room for an answer in what the model of `target` reads."""
    if target.context is None:
        return False
    return tokens + min(call.max_output or LEAST_ANSWER, target.context // 4) > target.context


def _used(call: Call) -> bool:
    """Tell if tools were called in the conversation."""
    return any(carried(call.messages, "tools", lambda part: any(m.tool_calls or m.tool_results for m in part)))
