"""What is sent to a target, and what is said when it cannot be: the request in its dialect, and the refusals of failed attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from proxy.engine.exchange import Exchange
from proxy.engine.ports import UpstreamError, UpstreamRequest
from proxy.engine.reply import upstream_headers, upstream_query
from proxy.model import Deny, Reason, Target
from proxy.wire.call import Edit
from proxy.wire.editing import replace_words, stands
from proxy.wire.refusals import DECIDED, Asker, Refusal, asker, sentence
from proxy.wire.translate.bridge import Bridge, Origin, Untranslatable

DROPPED = "translate/dropped"
"""The finding for what is left out where a request is carried into another dialect."""
_CARRIED = frozenset({"user-agent", "traceparent", "tracestate"})
"""Headers of the client that mean the same to every provider; the others are its own dialect's."""


HIDDEN_INLINE = 65_536
"""Bytes of a body up to which texts are hidden in it on the loop; in longer ones a thread does it."""


async def hidden(body: bytes, words: Mapping[str, str], carried: bool) -> bytes:
    """Return `body` without `words`, without holding up the loop; `carried`: into another dialect. Raises Untranslatable."""
    hide = partial(_hidden, body, words, carried)
    return await asyncio.to_thread(hide) if len(body) > HIDDEN_INLINE else hide()


def _hidden(body: bytes, words: Mapping[str, str], carried: bool) -> bytes:
    """Return `body` without `words`.

    Raises:
        Untranslatable: it was carried into another dialect, where a text can be a number or a name, and one of them still stands there.
    """
    found = replace_words(body, words)
    if carried and stands(found, words):
        raise Untranslatable("a text that must be hidden, in a place where it cannot be")
    return found


def request_for(ex: Exchange, target: Target) -> tuple[UpstreamRequest, Bridge | None]:
    """Return what `target` is asked, in the client's own words, and the bridge where that is another dialect than the client's.

    Raises:
        Untranslatable: something in the request has no words in that dialect.
    """
    call, codec, model = ex.call, ex.codec, target.upstream_model
    ceiling = "max_tokens" if target.local else "max_completion_tokens"
    edit = Edit(None if model == call.model else model, ex.max_output, call.stream and not call.wants_usage, ceiling, ex.steer)
    headers = upstream_headers(ex.headers)
    if ex.trace is not None:
        headers = ex.trace.upstream(headers, target.local)
    if ex.findings:  # of what an earlier target would have gone without
        ex.findings = [finding for finding in ex.findings if finding.rule != DROPPED]
    if target.wire and target.wire != codec.dialect:
        bridge = Bridge(codec, target.wire, call, edit, Origin(ex.id, ex.rt.carried))
        for words in bridge.dropped:
            ex.find(DROPPED, words)
        ex.note("upstream", f"{target.provider} is asked in {target.wire}")
        path = bridge.codec.upstream_path(bridge.call, model)
        carried = [*bridge.headers, *[h for h in headers if h[0].lower() in _CARRIED]]
        return UpstreamRequest(target, "POST", path, carried, bridge.body, call.stream), bridge
    path, query = codec.upstream_path(call, model), upstream_query(ex.query)
    body = codec.rewrite(call, edit) if ex.method != "GET" else b""
    return UpstreamRequest(target, ex.method, f"{path}?{query}" if query else path, headers, body, call.stream), None


def uncarried(dialect: str, target: Target, e: Untranslatable) -> Deny:
    """Return the refusal of a request that cannot be said in the target's dialect."""
    message = f"{target.model} is served by {target.provider} in {target.wire}, and this {dialect} request cannot be carried there: {e}."
    remedy = "Leave that out, or ask for a model that is served in the protocol of the request."
    return Deny(Reason.MODEL_NOT_ALLOWED, message, rule="translation", remedy=remedy)


def said(ex: Exchange, deny: Deny) -> Refusal | None:
    """Return `deny` as words of the assistant, where the operator wants that (`refusal: message`) and the call can take them.

    A caller that asked for JSON could not read a sentence, and would ask again.
    """
    if ex.rt.refusal != "message" or deny.reason not in DECIDED or not hasattr(ex, "call") or ex.call.wants_json:
        return None
    body = ex.codec.speak(ex.call, sentence(deny), ex.id)
    if body is None:
        return None
    return Refusal(200, (("content-type", ex.codec.content_type(ex.call)), ("x-fleetgate-refusal", str(deny.reason))), body)


def store_down(stage: str) -> Deny:
    """Return the refusal when a stage cannot reach its store."""
    message = "Shared state cannot be reached, so nothing can be spent."
    return Deny(Reason.STORE_UNAVAILABLE, message, rule=stage, remedy="Try again.", retry_after_s=2)


def failed(stage: str) -> Deny:
    """Return the refusal when a stage raised."""
    message = f"Fleetgate failed in its {stage} stage and refuses to guess."
    return Deny(Reason.INTERNAL, message, rule=stage, remedy="See the server log.")


def keyless(provider: str) -> Deny:
    """Return the refusal when a provider does not take our key: passed on as a 401 it would blame the agent's, which is in order."""
    message = f"{provider} does not take the key that Fleetgate holds for it (it answered 401)."
    remedy = f"Whoever runs Fleetgate: set a key that holds under providers.{provider}.api_key."
    return Deny(Reason.UPSTREAM_ERROR, message, rule=f"providers.{provider}", remedy=remedy, lasting=True)


def foreign(provider: str, status: int, kind: str) -> Deny:
    """Return the refusal of an answer that is not the protocol."""
    message = f"{provider} answered {status} with {kind or 'no content type'}, which is not the protocol's."
    return Deny(Reason.UPSTREAM_ERROR, message, rule="upstream", remedy="Try again; if it stays, check the provider's base_url.")


def unreachable(provider: str, e: UpstreamError) -> Deny:
    """Return the refusal when a provider could not be asked, or broke off before anything was passed on."""
    reason = Reason.UPSTREAM_TIMEOUT if e.kind == "timeout" else Reason.UPSTREAM_ERROR
    remedy = "Try again; if it stays, check the provider."
    later = e.retry_after_s if e.retry_after_s is not None else 2 if e.kind == "connect" else None
    return Deny(reason, f"{provider}: {e}.", rule="upstream", remedy=remedy, retry_after_s=later)


def asked_by(ex: Exchange) -> Asker:
    """Return who asks, for the table of refusals."""
    return asker(ex.protocol, ex.headers, ex.codec.name if hasattr(ex, "codec") else "")


def outcome_of(deny: Deny) -> str:
    """Return what a refusal or a cut is called on the record."""
    return "upstream_error" if deny.reason in (Reason.UPSTREAM_ERROR, Reason.UPSTREAM_TIMEOUT) else "denied"
