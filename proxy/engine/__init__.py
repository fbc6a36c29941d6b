"""The engine: one path for every exchange, and the four promises kept in one place.

1. *One settle per hold.* A stage registers the release with `ex.defer` just before it awaits the acquire. The engine runs the
   releases once, whatever happens: refused, served, cut, cancelled. Releases are idempotent by hold id, so a doubled one is harmless.
2. *Fail closed.* A stage that raises is a refusal. Nothing is sent upstream unless every stage has spoken.
3. *Order is proven at start.* See `stage.compile_plan`.
4. *Pay for use.* Hooks that nobody overrides are not in the plan, and the pump picks the cheapest mode that serves those that are.

Shadow mode lives here too: a Deny marked `shadow` becomes a finding and the exchange goes on, so every rule has a dry run for free.
"""
