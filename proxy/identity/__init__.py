"""Who is calling, and what that agent may do.

Two questions, kept apart. *Who*: a key in the request's headers (`keys`) proves a principal; nothing else in a request does, and the
body is not even read yet. *May what*: the agent's `AGENTS.md` (or a neighbour's format) is read at start (`carriers` finds the metadata,
`fields` says which keys there are, `aliases` understands other dialects, `agents_md` makes one layer of each file), and `grants` folds
the operator's baseline and all files of an agent into one immutable `Grant`: deny wins, allow-lists intersect, limits take the minimum.
`directory` holds the grants of all agents; `show` prints them with the file and line of every value.

A session (`sessions`) is correlation and never authority: it says which counter a call falls on, inside what its agent may do anyway.

How it fails: a bad file gives its agent the baseline alone and an error that `fleetgate check` fails on; a bad baseline refuses to load;
an unknown key, or a key for an unknown agent, is a refusal that says what to do.
"""
