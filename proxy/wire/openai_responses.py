"""OpenAI Responses: how its requests read and are edited."""

from __future__ import annotations

from proxy.wire.base import Routes

ROUTES: Routes = {}
