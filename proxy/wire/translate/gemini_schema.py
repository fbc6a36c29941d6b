"""Gemini's own schemas, a subset of OpenAPI's, as JSON Schema: types in lower case, `nullable` as a type, numbers as numbers.

Source: Gemini API reference (v1beta), "Schema": `type` is an enum in upper case, int64 fields are written as text.
"""

from __future__ import annotations

from typing import Any

from proxy.wire.translate.hub import Untranslatable

MAX_DEPTH = 64
_WHOLE = frozenset({"minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"})
_SPELLED = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "additional_properties": "additionalProperties",
    "property_ordering": "propertyOrdering",
    "defs": "$defs",
    "ref": "$ref",
}
_NOT_CARRIED = frozenset({"propertyOrdering", "nullable"})


def json_schema(schema: dict[str, Any], place: str, depth: int = 0) -> dict[str, Any]:
    """Return `schema` as JSON Schema.

    Args:
        schema: as the request has it.
        place: where it stands.
        depth: how deep we are in it.

    Raises:
        Untranslatable: it is nested too deep.
    """
    if depth > MAX_DEPTH:
        raise Untranslatable(f"{place}: a schema nested too deep")
    found: dict[str, Any] = {}
    for key, value in schema.items():
        name = _SPELLED.get(key, key)
        if name not in _NOT_CARRIED:
            found[name] = _value(name, value, place, depth + 1)
    if found.get("type") == "type_unspecified":
        del found["type"]
    return _nullable(found) if schema.get("nullable") is True else found


def _value(name: str, value: Any, place: str, depth: int) -> Any:
    if name == "type" and isinstance(value, str):
        return value.lower()
    if name in _WHOLE and isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    if name in ("properties", "$defs") and isinstance(value, dict):
        return {key: _value("items", item, place, depth) for key, item in value.items()}
    if name in ("items", "additionalProperties") and isinstance(value, dict):
        return json_schema(value, place, depth)
    if name in ("anyOf", "prefixItems") and isinstance(value, list):
        return [_value("items", item, place, depth) for item in value]
    return value


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that takes null too."""
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return schema
