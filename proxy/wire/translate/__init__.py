"""Translation: a call in one chat dialect served by a target that speaks another, through one hub.

`hub` says what all dialects share; `openai_chat`, `openai_responses`, `anthropic`, `gemini` and `ollama` read and write theirs; `bridge`
carries one call over and its reply back. Targets that speak the client's own dialect never come here: their bytes stay as they are.

- `hub`: the types, and the interface of a dialect. `given`: typed reads, and the rules that hold whatever the dialect.
- `history`: the conversation and the tools of a request, read and written; `carried`: what is known of them from the turns before.
- `draft`: a reply kept until it can be said, within bounds. `calls`: ids for dialects that do without.
- each dialect: its requests in a module of its name (read apart in `_asked` where that is long), its replies in `_reply`, long writers in
  `_writer`.

What is carried, dropped and refused is the table of docs/translation.md; `Untranslatable` names the place.
"""
