"""Who may spend what: counters, holds, prices and token counts.

A call is paid for in two steps. Before it is sent, the most that it can cost is *held* on every counter that it touches, in one atomic
step, all or none. When it ends, the hold is *settled*: what it really cost becomes spent, the rest is free again. Nothing is ever
checked first and counted later, so no number of concurrent calls can pass a limit together: spent + held never exceeds it.

* `rules` says which budgets a call touches, `cost` how much output still fits (both pure); `files` reads them from `budgets/*.yaml`.
* `windows` says when a window begins, ends or forgets; `port` is the store's interface, `book` and `counter` the arithmetic that the memory
  and SQLite stores share.
* `prices` and `estimate` turn a model and a text into nano-dollars and tokens; `settle` does so for a reply.
* `stage` puts them together for one exchange.

What it does not do: it does not know who an agent is, where a call goes, or a protocol's JSON. It fails closed: a store that cannot
answer is a refusal, and a hold whose process died settles in full.
"""
