"""Wire: the only code that knows a protocol's JSON.

A request comes in as bytes and goes out as the same bytes, with at most a few values spliced. In between a *codec* reads what the house
needs to decide: the model, the ceiling on output, the conversation, the tools. It does so without parsing the body: `jsonio` finds the
top-level members as spans and the messages as slices, and `memo` remembers what every slice said when it was first seen, so a turn costs
what is new in it; `prefix` skips even the splitting of what the last turn's body had already. Where two parsers could read a body
differently (duplicate keys, keys in other letters, escapes in keys, broken UTF-8) it is refused, because a decision on one reading is
worth nothing when the provider takes the other.

A reply passes a *meter*, whole or event by event: `sse` cuts the stream into events without touching a byte, the meter says what each one
is and keeps usage, texts and tool calls. A meter never raises and never trusts: what it cannot read counts as it stands.

- `call`: the nouns: Call, Message, ToolCall, Event. `base`: the interface, Codec and Meter.
- `gemini` with `gemini_generate`, `gemini_contents`, `gemini_reply` and `gemini_frame`; `gemini_other`; `jsonarray` cuts its arrays.
- `ollama` with `ollama_messages` and `ollama_reply`; `ollama_other`; `ndjson` cuts its streams.
- `openai_chat` with `openai_messages` and `openai_reply`; `openai_other`; `anthropic` with `anthropic_messages` and `anthropic_reply`.
- `openai_responses` with `openai_responses_items`, `_tools`, `_reply`, `_output` and `_write`; `openai_completions`.
- `registry`: which codec answers for a route. `refusals`: how we say no.
- `fields`, `reading`, `media`: what the codecs share.

Nothing here does I/O, reads a clock, or decides what is allowed. Faults are `WireError`, which becomes `malformed_request`.
"""
