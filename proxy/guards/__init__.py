"""Guards: what an agent may say, see and do, looked for in texts and in tool calls.

A *text guard* finds spans in a text (a key, a card number, an instruction that a web page slipped in); a *call guard* says what a tool
call would do. Both are pure and know no protocol: `stage` walks the messages of a request, `engine.gate` the reply as it streams, and the
agent's grant says what happens with a finding: nothing, a note, a placeholder, a refusal.
"""
