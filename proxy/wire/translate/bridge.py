"""One call carried into another dialect, and its reply carried back.

Made for one attempt at one target: the target's own codec meters the reply (so usage and tool calls are read from what the provider
really said), the bridge turns bytes into the client's dialect. What cannot be carried raises `Untranslatable` before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from proxy.model import Deny
from proxy.wire import gemini, jsonio, ollama
from proxy.wire.anthropic import MessagesCodec
from proxy.wire.base import Codec, Meter
from proxy.wire.call import Call, Edit, Steer
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.steering import answers_first, takes_temperature
from proxy.wire.translate.anthropic import MessagesDialect
from proxy.wire.translate.carried import Carried
from proxy.wire.translate.gemini import GeminiDialect
from proxy.wire.translate.history import UNREADABLE, Apart, Conversation, parsed
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Dialect,
    Ended,
    Failed,
    Said,
    Step,
    Text,
    Thought,
    ToolBegan,
    ToolMore,
    ToolOutput,
    Turn,
    Untranslatable,
    Words,
)
from proxy.wire.translate.ollama import OllamaDialect
from proxy.wire.translate.openai_chat import ChatDialect
from proxy.wire.translate.openai_responses import ResponsesDialect

_SPOKEN: Final[tuple[tuple[Dialect, Codec], ...]] = (
    (ChatDialect(), ChatCodec()),
    (MessagesDialect(), MessagesCodec()),
    (GeminiDialect(), gemini.target_codec()),
    (OllamaDialect(), ollama.ChatCodec()),
    (ResponsesDialect(), ResponsesCodec()),
)
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect, _ in _SPOKEN}
"""Dialect to what reads and writes it."""
TARGETS: dict[str, Codec] = {dialect.name: codec for dialect, codec in _SPOKEN}
"""Dialect to the codec that meters a target of it."""
DEEP = "nested too deep"
_object_decoder = msgspec.json.Decoder(dict[str, Any])
PREFERRED = ("openai.chat", "anthropic.messages", "gemini.generate", "ollama.chat", "openai.responses")
"""What a provider is asked in when it does not speak the client's dialect, first choice first."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call comes from.

    Attributes:
        id: what a reply without an id of its own is called; unique.
        carried: what was carried over before; None to carry all of it anew.
    """

    id: str = ""
    carried: Carried | None = None


NEW = Origin()


class Bridge:
    """See the module.

    Args:
        source: the client's codec.
        wire: the target's dialect.
        call: what the client asked.
        edit: what must change on the way, as for `Codec.rewrite`.
        origin: of the call.

    Raises:
        Untranslatable: something in the request has no words in the target's dialect.
    """

    def __init__(self, source: Codec, wire: str, call: Call, edit: Edit, origin: Origin = NEW) -> None:
        if source.dialect not in DIALECTS or wire not in DIALECTS:
            raise Untranslatable(f"{source.dialect} cannot be carried into {wire}")
        self.codec = TARGETS[wire]
        self._client, self._target = DIALECTS[source.dialect], DIALECTS[wire]
        if call.choices > 1:
            raise Untranslatable("several answers to one request")
        if call.operation != "chat":
            raise Untranslatable(f"/{self._client.history}: none, which only loads the model")
        if call.thread:
            raise Untranslatable("a history that the provider keeps")
        try:
            self.asked, self.body = self._carry(source, call, edit, origin)
        except RecursionError:
            raise Untranslatable(DEEP) from None
        self.call = Call("chat", self.asked.model, self.body, stream=call.stream, max_output=self.asked.max_output)

    def _carry(self, source: Codec, call: Call, edit: Edit, origin: Origin) -> tuple[Asked, bytes]:
        """Return what is asked, and its JSON in the target's dialect. Half a surrogate has all of it written by the other encoder."""
        if origin.carried is not None:
            asked = self._asked(source, call, edit, origin)
            try:
                return asked, msgspec.json.encode(self._target.write_request(asked))
            except UnicodeEncodeError:
                origin = Origin(origin.id)
        asked = self._asked(source, call, edit, origin)
        return asked, jsonio.encoded(self._target.write_request(asked))

    def _asked(self, source: Codec, call: Call, edit: Edit, origin: Origin) -> Asked:
        body = _whole(call.body) if origin.carried is None else _members(call, self._client, origin.carried)
        asked = self._client.read_request(body, call.model, call.stream)
        asked.carried = origin.carried
        asked.model, asked.id = edit.model or call.model, origin.id
        asked.max_output = edit.max_output if edit.max_output is not None else call.max_output
        asked.ceiling_key, asked.framing = edit.max_output_key, source.content_type(call)
        if edit.steer is not None:
            _steer(asked, edit.steer)
        _refuse_prefill(asked)
        return asked

    @property
    def dropped(self) -> list[str]:
        """What was left out by the documented rules."""
        return self.asked.dropped

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that the target's dialect wants."""
        return (("content-type", "application/json"), *self._target.headers)

    def meter(self) -> Meter:
        """Return a meter for what the target says."""
        return self.codec.meter(self.call)

    def reply(self, body: bytes) -> bytes:
        """Return a whole reply in the client's dialect: a body, or all events where the client asked for a stream.

        Raises:
            Untranslatable: it is not a reply of the target's dialect.
        """
        try:
            said = self._said(body)
            if not self.asked.stream:
                return jsonio.encoded(self._client.write_reply(said, self.asked))
            writer = self._client.writer(self.asked)
            return b"".join([writer.step(step) for step in steps(said)]) + writer.end()
        except RecursionError:
            raise Untranslatable(DEEP) from None

    def _said(self, body: bytes) -> Said:
        try:
            return self._target.read_reply(jsonio.decoded(_object_decoder, body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Untranslatable("the reply is no JSON object") from None

    def back(self) -> Back:
        """Return what carries one streamed reply back."""
        return Back(self._target, self._client, self)


class Back:
    """Carries one streamed reply back, event by event."""

    def __init__(self, target: Dialect, client: Dialect, bridge: Bridge) -> None:
        self._reader, self._writer = target.reader(), client.writer(bridge.asked)

    def event(self, raw: bytes) -> bytes:
        """Return the client's bytes for one event of the target; often none."""
        try:
            return b"".join([self._writer.step(step) for step in self._reader.event(raw)])
        except RecursionError:
            return self._writer.step(Failed(DEEP))

    def end(self) -> bytes:
        """Return the client's ending of a stream that ended by itself."""
        try:
            return self._writer.end()
        except RecursionError:
            return self._writer.step(Failed(DEEP))

    def cut(self, deny: Deny) -> bytes:
        """Return the client's ending of a stream that is cut."""
        return self._writer.cut(deny)


def asked_beside(call: Call, dialect: str) -> Asked | None:
    """Return what `call`, of a client of `dialect`, asks for beside what it says and offers: conversation, system prompt and tools are not
    read. None where it cannot be said."""
    client = DIALECTS.get(dialect)
    if client is None:
        return None
    unread = {client.history, "tools", *client.prompts}
    try:
        body = {key: parsed(call.body[start:end]) for key, (start, end) in call.members.items() if key not in unread}
        return client.read_request(body, call.model, call.stream)
    except (Untranslatable, RecursionError):
        return None


def _whole(body: bytes) -> dict[str, Any]:
    value = parsed(body)
    if not isinstance(value, dict):
        raise Untranslatable(UNREADABLE)
    return value


def _members(call: Call, client: Dialect, carried: Carried) -> dict[str, Any]:
    """Return the members of a request, with what may be known in the place of its JSON."""
    found: dict[str, Any] = {}
    for key, (start, end) in call.members.items():
        if key == client.history and call.body.startswith(b"[", start):
            found[key] = Conversation(carried, client.name, call, (start, end))
        elif key == "tools":
            found[key] = Apart(carried, f"{client.name} tools", call, call.tools, (start, end))
        elif key in client.prompts and call.system:
            found[key] = Apart(carried, f"{client.name} system", call, call.system[0], (start, end))
        else:
            found[key] = parsed(call.body[start:end])
    return found


def _steer(asked: Asked, steer: Steer) -> None:
    """Put what `steer` asks for into the request: see `wire.steering`, whose rules these are."""
    if steer.system is not None:
        first = next((i for i, turn in enumerate(asked.turns) if turn.role != "system"), len(asked.turns))
        asked.turns[:first] = [Turn("system", (Text(steer.system),))]
    if steer.note and asked.turns and asked.turns[-1].role != "assistant" and not _waits(asked):
        asked.turns.append(Turn("user", (Text(steer.note),)))
    if steer.temperature is not None and not asked.effort and (takes_temperature(asked.model) or asked.temperature is not None):
        asked.temperature = steer.temperature
    if steer.no_tools and asked.tools:
        asked.choice = "none"


def _waits(asked: Asked) -> bool:
    """Return whether the model must answer what tools gave before it may read anything else."""
    return answers_first(asked.model) and any(isinstance(part, ToolOutput) for part in asked.turns[-1].parts)


def _refuse_prefill(asked: Asked) -> None:
    """Refuse a conversation whose last word is the assistant's: some models go on with it, some answer it, some take it for a mistake."""
    last = next((turn for turn in reversed(asked.turns) if turn.role != "system" and turn.parts), None)
    if last is not None and last.role == "assistant":
        raise Untranslatable("/messages: the last one is the assistant's (prefill)")


def steps(said: Said) -> list[Step]:
    """Return a whole reply as the steps of a stream."""
    found: list[Step] = [Began(said.id, said.model, said.usage)]
    calls = 0
    for part in said.parts:
        if isinstance(part, Text):
            found.append(Words(part.text))
        elif isinstance(part, Thought):
            found.append(Words(part.text, thought=True))
        else:
            found += [ToolBegan(calls, part.id, part.name), ToolMore(calls, part.arguments)]
            calls += 1
    found.append(Ended(said.stop, said.usage))
    return found


__all__ = ["DIALECTS", "PREFERRED", "TARGETS", "Back", "Bridge", "Untranslatable", "asked_beside", "steps"]
