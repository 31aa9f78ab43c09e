"""What agents that cheat fill in: every candidate where a field takes several, a random one where it takes one.

Used by the bundled calibration agents, which must stay at the floor.
"""

from __future__ import annotations

from random import Random
from typing import Any

from .spec.action import Briefing, ToolCall


def _fill(schema: dict[str, Any], rng: Random, text: str, most: int | None) -> Any:
    """A value for a schema. `text` goes into every free text; `most` None: every code, up to the schema's limit."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "anyOf" in schema:
        return _fill(schema["anyOf"][0], rng, text, most)
    kind = schema.get("type")
    if kind == "object":
        return {key: _fill(item, rng, text, most) for key, item in schema.get("properties", {}).items()}
    if kind == "array":
        limit = schema.get("maxItems", 20)
        items = schema["items"]
        if "enum" in items:
            codes = list(items["enum"])
            rng.shuffle(codes)
            return codes[: limit if most is None else min(most, limit)]
        return [_fill(items, rng, text, most) for _ in range(min(most or 3, limit))]
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "boolean":
        return True
    return text[: schema.get("maxLength", 4000)] or "-"


def form(tool: str, briefing: Briefing, rng: Random, *, text: str, most: int | None) -> ToolCall:
    """A valid call of the closing tool, filled without knowing anything."""
    parameters = next(t["function"]["parameters"] for t in briefing.tools if t["function"]["name"] == tool)
    return ToolCall.of(tool, **_fill(parameters, rng, text, most))


def random_value(schema: dict[str, Any], rng: Random) -> Any:
    """A random valid value of a tool's parameters, with one entry in each list."""
    return _fill(schema, rng, "-", 1)


def random_form(tool: str, briefing: Briefing, rng: Random) -> ToolCall:
    """A random valid closing form with one entry in each list."""
    return form(tool, briefing, rng, text="-", most=1)
