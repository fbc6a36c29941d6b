"""A simulated provider and a scripted fleet, so that everything can be seen and tested without a key and without the internet.

`provider` is the HTTP server. It speaks OpenAI (chat, embeddings, models) and Anthropic (messages, count_tokens, models) with the field
sets, event sequences and error shapes of the vendors. What the "model" says is decided in `answer`, in no protocol; `openai` and
`anthropic` write it down; `deliver` sends it, with the faults that a `script` asks for; `calls` remembers what arrived. `demo` runs a
small fleet through a real proxy.

It decides nothing that the product relies on, and shares no code with it: its parser, its token rule and its JSON are its own, so that
a test of the proxy against it never compares the proxy with itself.
"""
