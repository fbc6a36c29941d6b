"""Agents that go in circles: seen in the history that every request carries, so no store is needed and a restart forgets nothing.

`rules` counts repeats (pure), `stage` puts the signal on the exchange and refuses where the agent's limits say so.
"""
