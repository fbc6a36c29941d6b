"""Where a call goes: which provider serves a model, whether a simpler one will do, and what to try when the first is down.

`models` compiles the table of models, `features` and `rules` judge how hard a request looks (pure), `stage` puts the route on the
exchange. A route never widens a grant: every target but the one that the caller asked for must be allowed by name.
"""
