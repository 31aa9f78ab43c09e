"""What the record knows of FHIR R4: the search parameters and the required value sets, read from the files beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import yaml

Kind = Literal["token", "reference", "string", "date", "quantity", "uri"]


@dataclass(frozen=True)
class Parameter:
    """A search parameter: `paths` are dotted, and enter lists by themselves."""

    name: str
    kind: Kind
    paths: tuple[str, ...]


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.load((files(__package__) / name).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return data


@lru_cache(maxsize=1)
def search_parameters() -> dict[str, dict[str, Parameter]]:
    """Resource type -> name -> parameter, for the types the hospital's systems hold."""
    data = _read("parameters.yaml")
    built = {
        "_id": Parameter("_id", "token", ("id",)),
        "_lastUpdated": Parameter("_lastUpdated", "date", ("meta.lastUpdated",)),
        **_parameters(data["common"]),
    }
    return {kind: built | _parameters(listed) for kind, listed in data["types"].items()}


def _parameters(listed: Mapping[str, list[Any]]) -> dict[str, Parameter]:
    return {name: Parameter(name, entry[0], tuple(entry[1:])) for name, entry in listed.items()}


@lru_cache(maxsize=1)
def value_sets() -> dict[str, dict[str, frozenset[str]]]:
    """Resource type -> path -> the codes allowed there."""
    return {kind: {path: frozenset(codes) for path, codes in listed.items()} for kind, listed in _read("valuesets.yaml")["types"].items()}


def at(value: Any, path: str) -> Iterator[Any]:
    """The values at a dotted path; lists are entered."""
    head, _, rest = path.partition(".")
    if isinstance(value, list | tuple):
        for item in value:
            yield from at(item, path)
    elif isinstance(value, Mapping) and head in value:
        found = value[head]
        if rest:
            yield from at(found, rest)
        elif isinstance(found, list | tuple):
            yield from found
        else:
            yield found
