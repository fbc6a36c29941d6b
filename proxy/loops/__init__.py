"""Agents that go in circles: seen in the history that every request carries, so no store is needed and a restart forgets nothing.

`facts` says what is known of one message and remembers it with the message, `steps` reads a conversation back as steps, `score` says which
of them were done before and how much that counts, `rules` what level it makes (all pure); `trail` is what is kept of a history that the
next request does not bring. `ladder` says what is done, `delegation` looks at several agents, `stage` puts the signal on the exchange and
acts.
"""
