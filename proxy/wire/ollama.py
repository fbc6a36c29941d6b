"""Ollama: chat, generate, the list of models and the words about one."""

from __future__ import annotations

from proxy.wire.base import Routes

ROUTES: Routes = {}
