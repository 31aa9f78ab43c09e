"""Validation of FHIR resources where they come in: content check, import, create, update. Never while reading.

Structure is checked by the `fhir.resources` library (R4B, which is R4 with corrections); the required value sets, which it
leaves open, by `valuesets.yaml`; and that what is referred to on the same server is there, by the caller's `known`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .definitions import at, value_sets
from .values import plain

MAX_PROBLEMS = 5


def problems(resource: Any, known: Callable[[str], bool] | None = None) -> list[str]:
    """What is wrong with a resource, each "path: problem"; none if it is valid.

    Args:
        resource: anything that was read from JSON.
        known: whether a reference ("Patient/p1") exists; None: references are not followed.
    """
    if not isinstance(resource, Mapping):
        return ["the resource has to be a JSON object with a resourceType"]
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or not kind:
        return ["resourceType is missing"]
    found = _structure(kind, resource)
    if not found:
        found = list(_codes(kind, resource))
        if known is not None:
            found += _references(resource, known)
    return found[:MAX_PROBLEMS]


def _structure(kind: str, resource: Mapping[str, Any]) -> list[str]:
    import json

    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        model = get_fhir_model_class(kind)
    except (KeyError, ValueError):
        return [f"resourceType: '{kind[:60]}' is not a FHIR R4 resource"]
    try:
        model.model_validate_json(json.dumps(resource, allow_nan=False))
    except ValidationError as error:
        return [f"{'.'.join(str(p) for p in e['loc']) or kind}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
    except (ValueError, TypeError, RecursionError) as error:  # the library raises these for some malformed values
        return [f"{kind}: {str(error)[:200] or type(error).__name__}"]
    return []


def _codes(kind: str, resource: Mapping[str, Any]) -> Iterator[str]:
    for path, codes in value_sets().get(kind, {}).items():
        for value in at(resource, path):
            if value not in codes:
                yield f"{path}: '{value}' is not one of {', '.join(sorted(codes))}"


def _references(value: Any, known: Callable[[str], bool]) -> list[str]:
    if isinstance(value, list | tuple):
        return [p for item in value for p in _references(item, known)]
    if not isinstance(value, Mapping):
        return []
    found = [p for item in value.values() for p in _references(item, known)]
    reference = value.get("reference")
    outside = ("http:", "https:", "urn:", "#")
    if isinstance(reference, str) and "/" in reference and not reference.startswith(outside) and not known(plain(reference)):
        found.append(f"reference: there is no {reference}")
    return found


def outcome(texts: list[str], code: str = "invalid") -> dict[str, Any]:
    """An OperationOutcome; `code` is a FHIR issue type (invalid, not-found, forbidden, not-supported, ...)."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": text} for text in texts],
    }
