"""OpenAI legacy completions: how its requests read and are edited, and its replies."""

from __future__ import annotations

from proxy.wire.base import Routes

ROUTES: Routes = {}
