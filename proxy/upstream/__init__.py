"""Asking providers: who they are (`base`) and how bytes get there and back.

There are two transports behind the engine's `Transport` port. `transport` stands on aiohttp's client. `lean` stands on asyncio's
protocols and costs a fraction: `request` writes heads, `pool` and `connection` carry them, `http1` reads what comes back, pure
and stricter than a general client, since a provider that sends doubtful framing is refused instead of guessed at. `coded` undoes a
compression that nobody asked for, for both.

`steady` stands around either: with `health` it leaves a provider alone that is down, with `retry` it sends again what cost nothing.

Base URLs and keys live here and nowhere else: nothing in a request can name an upstream.
"""
