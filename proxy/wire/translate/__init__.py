"""Translation: a call in one chat dialect served by a target that speaks another, through one hub.

`hub` says what all dialects share; `openai_chat`, `openai_responses`, `anthropic`, `gemini` and `ollama` read and write theirs; `bridge`
carries one call over and its reply back. Targets that speak the client's own dialect never come here: their bytes stay as they are.
"""
