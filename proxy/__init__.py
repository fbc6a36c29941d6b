"""Fleetgate: a policy-enforcing, metering reverse proxy between fleets of AI agents and their model providers.

The shape of the house, from the street door inwards:

`server` reads an HTTP request and makes an *exchange* of it. The *engine* runs the exchange through an ordered list of *stages*
(`pipeline`); each stage looks at it and returns nothing or a *deny*. What is left goes through the *transport* to a provider, the
*pump* moves the reply back, and the engine closes: the hold on the budget is settled, one *record* is built and handed to the sinks.

A *wire codec* is the only code that knows a protocol's JSON. Decisions are pure functions in each feature's `rules.py`. State lives
behind small ports with memory and SQLite adapters. Everything that files configure is one immutable *runtime* snapshot, swapped whole.
"""

__version__ = "0.1.0"
