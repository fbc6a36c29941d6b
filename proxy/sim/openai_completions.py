"""OpenAI's legacy completions in the simulated provider.

Source: OpenAI API reference ("Create completion"), as typed in the `openai` Python SDK 3.52.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.sim import answer
from proxy.sim.answer import Answer, Turn
from proxy.sim.openai import CREATED, headers
from proxy.sim.reply import Given, Invalid, Operation, Piece, Reply, dumps, extra, unknown_event
from proxy.sim.script import Script, read_script

USUAL_MAX = 16
"""What OpenAI takes where `max_tokens` is missing."""
Prompt = str | list[int]
_UNSEEDED = ("stream", "stream_options", "max_tokens", "user", "echo", "n", "best_of")


def completions(given: Given) -> tuple[Script, Reply]:
    """Return the script of a request and the reply to it.

    Raises:
        Invalid: OpenAI would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Invalid("you must provide a model parameter")
    prompts, n = _prompts(body.get("prompt")), body.get("n") or 1
    best = max(n, body.get("best_of") or 1)
    if best > 1 and body.get("best_of") and body.get("stream"):
        raise Invalid("Streaming is not supported with best_of > 1.", "best_of")
    script, _ = read_script(given.script, prompts[-1] if isinstance(prompts[-1], str) else "")
    seed = answer.seed_of({k: v for k, v in body.items() if k not in _UNSEEDED})
    made = [[answer.compose(_turn(body, prompt, seed), script, i) for i in range(best)] for prompt in prompts]
    sent = [(prompt, one) for prompt, answers in zip(prompts, made, strict=True) for one in answers[:n]]
    usage = _usage(prompts, [one for answers in made for one in answers], script)
    base: dict[str, Any] = {
        "id": f"cmpl-{answer.hex_id(seed, 'completion', 29)}",
        "object": "text_completion",
        "created": CREATED,
        "model": body["model"],
    }
    echo = bool(body.get("echo"))
    if body.get("stream"):
        options = body.get("stream_options") or {}
        events = _stream(
            base, [(_echoed(p) if echo else (), one) for p, one in sent], usage if options.get("include_usage") else None, script
        )
        return script, Reply(200, {**headers(seed), "content-type": "text/event-stream; charset=utf-8"}, events=events)
    choices = [_choice(i, ("".join(_echoed(p)) if echo else "") + one.text, _finish(one, script)) for i, (p, one) in enumerate(sent)]
    whole = base | {"choices": choices} | ({} if usage is None else {"usage": usage}) | extra(script.extra_field)
    tokens = sum(one.tokens for answers in made for one in answers)
    return script, Reply(200, {**headers(seed), "content-type": "application/json"}, dumps(whole), tokens=tokens)


def _prompts(value: object) -> list[Prompt]:
    """Return the prompts as a list of texts or of token lists."""
    if value is None:
        return ["<|endoftext|>"]
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and items:
        if all(isinstance(i, str) for i in items):
            return items
        if all(isinstance(i, int) for i in items):
            return [items]
        if all(isinstance(i, list) and i and all(isinstance(t, int) for t in i) for i in items):
            return items
    raise Invalid("Invalid type for 'prompt': expected one of a string, array of strings, array of integers, or array of integer arrays.")


def _turn(body: dict[str, Any], prompt: Prompt, seed: bytes) -> Turn:
    stop, ceiling = body.get("stop"), body.get("max_tokens")
    text = prompt if isinstance(prompt, str) else "tokens"
    return Turn(
        seed=answer.seed_of([seed.hex(), prompt]),
        question=read_script(None, text)[1],
        ceiling=USUAL_MAX if ceiling is None else ceiling,
        stop=(stop,) if isinstance(stop, str) else tuple(s for s in stop or () if isinstance(s, str)),
    )


def _echoed(prompt: Prompt) -> tuple[str, ...]:
    return answer.cut(prompt) if isinstance(prompt, str) else tuple(f" <{token}>" for token in prompt)


def _usage(prompts: list[Prompt], made: list[Answer], script: Script) -> dict[str, Any] | None:
    if script.usage is False:
        return None
    prompt = sum(answer.count(p) if isinstance(p, str) else len(p) for p in prompts)
    completion = sum(one.tokens for one in made)
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if script.cached:
        usage["prompt_tokens_details"] = {"cached_tokens": script.cached}
    if script.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": sum(one.reasoning for one in made)}
    return usage | script.usage if isinstance(script.usage, dict) else usage


def _finish(one: Answer, script: Script) -> str:
    return script.finish_reason or ("length" if one.stopped == "length" else "stop")


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _stream(
    base: dict[str, Any], sent: list[tuple[tuple[str, ...], Answer]], usage: dict[str, Any] | None, script: Script
) -> Iterator[Piece]:
    """Yield the chunks: one choice after the other, each piece of a prompt that is repeated before those of the answer."""
    more = extra(script.extra_field) | ({} if usage is None else {"usage": None})
    first = True
    for index, (echoed, one) in enumerate(sent):
        steps = [(piece, 0) for piece in echoed] + [(piece, 1) for piece in one.pieces]
        for text, tokens in steps:
            yield Piece(b"data: %b\n\n" % dumps(base | {"choices": [_choice(index, text, None)]} | more), tokens)
            if first and script.extra_event:
                yield Piece(unknown_event(script.extra_event))
            first = False
        yield Piece(b"data: %b\n\n" % dumps(base | {"choices": [_choice(index, "", _finish(one, script))]} | more), one.reasoning)
    if usage is not None:
        yield Piece(b"data: %b\n\n" % dumps(base | {"choices": []} | more | {"usage": usage}))
    yield Piece(b"data: [DONE]\n\n")


OPERATIONS: Mapping[tuple[str, str], Operation] = {("POST", "/v1/completions"): completions}
