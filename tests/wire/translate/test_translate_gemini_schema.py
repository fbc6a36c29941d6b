"""Schemas as Gemini writes them, and as everybody else does."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.wire.translate.gemini_schema import MAX_DEPTH, json_schema
from proxy.wire.translate.hub import (
    Untranslatable,
)


def test_a_schema_of_geminis_is_one_of_everybodys() -> None:
    given: dict[str, Any] = {
        "type": "OBJECT",
        "propertyOrdering": ["a"],
        "property_ordering": ["a"],
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["x"], "maxLength": "9", "minLength": "many"},
            "a": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "min_items": "1", "maxItems": 2, "nullable": False},
            "b": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": True},
            "c": {"type": "TYPE_UNSPECIFIED", "nullable": True, "description": "Any"},
            "d": {
                "type": "OBJECT",
                "additionalProperties": {"type": "STRING"},
                "defs": {"e": {"type": "NULL"}},
                "nullable": True,
                "enum": [None],
            },
            "f": True,
            "g": {"properties": 7, "anyOf": 7, "items": False},
        },
    }
    assert json_schema(given, "/x") == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["x", None], "maxLength": 9, "minLength": "many"},
            "a": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 1, "maxItems": 2},
            "b": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
            "c": {"description": "Any"},
            "d": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "string"},
                "$defs": {"e": {"type": "null"}},
                "enum": [None],
            },
            "f": True,
            "g": {"properties": 7, "anyOf": 7, "items": False},
        },
    }


def test_a_schema_is_read_to_a_depth() -> None:
    given: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        given = {"items": given}
    assert json_schema(given, "/x") == given
    with pytest.raises(Untranslatable, match="/x: a schema nested too deep"):
        json_schema({"items": given}, "/x")
