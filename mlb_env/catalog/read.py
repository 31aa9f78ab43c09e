"""Reads YAML and JSONL content files into models; every error names file, line and field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import ContentError
from ..spec.jsontext import BadJson, parse_json

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.CSafeLoader):
    """Safe YAML without implicit dates; only `true` and `false` are booleans (YAML 1.1 also reads `no` and `on` as such).

    A key given twice is an error: the second would silently replace the first.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_DROP = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in _DROP] for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_BITS = 1024  # longer whole numbers are no data, and Python refuses to show them


def _guarded(tag: str, construct: Callable[[Any, yaml.Node], Any]) -> Callable[[Any, yaml.Node], Any]:
    """A constructor whose every failure is a YAML error with its line (PyYAML's fail in many ways: `!!int ""`, `!!bool x`)."""

    def guarded(loader: Any, node: yaml.Node) -> Any:
        try:
            value = construct(loader, node)
            sound = not isinstance(value, int) or value.bit_length() <= _BITS
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            sound = False
        if not sound:
            raise yaml.constructor.ConstructorError(None, None, f"a value that is no {tag}, or too long", node.start_mark)
        return value

    return guarded


for _tag in ("int", "float", "bool", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _guarded(_tag, yaml.CSafeLoader.yaml_constructors[f"tag:yaml.org,2002:{_tag}"]))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"])


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        ContentError: not there, not readable, not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ContentError("no such file", path=str(path)) from None
    except IsADirectoryError:
        raise ContentError("is a folder, a file was expected", path=str(path)) from None
    except OSError as error:
        raise ContentError(f"cannot be read ({error.strerror})", path=str(path)) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ContentError("is not UTF-8 text; save it as UTF-8", path=str(path), line=line) from None


def read_lines(path: Path) -> tuple[dict[str, Any], ...]:
    """The FHIR resources of an .ndjson file, one a line, each with a resourceType and an id of its own.

    Raises:
        ContentError: not there, broken, or a line without them.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except BadJson as error:
            raise ContentError(f"is not JSON ({error})", path=str(path), line=number) from None
        if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str) or not isinstance(value.get("id"), str):
            raise ContentError("is not a FHIR resource with resourceType and id", path=str(path), line=number)
        reference = f"{value['resourceType']}/{value['id']}"
        if reference in found:
            raise ContentError(f"{reference} stands twice", path=str(path), line=number)
        found[reference] = value
    return tuple(found.values())


def parse_yaml(text: str, path: str) -> Any:
    """The data of one YAML document.

    Raises:
        ContentError: broken YAML, with its line; a key given twice; an empty file.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ContentError(
            f"broken YAML: {error.problem or error.context}", path=path, line=mark.line + 1 if mark else None
        ) from None
    except yaml.YAMLError as error:  # for example a control character
        raise ContentError(f"broken YAML: {str(error).splitlines()[0]}", path=path) from None
    except RecursionError:
        raise ContentError("is nested too deeply", path=path) from None
    if data is None:
        raise ContentError("is empty", path=path)
    return data


def line_of(text: str, loc: tuple[int | str, ...]) -> int | None:
    """The 1-based line of the field at `loc` in a YAML text, or of its nearest parent that exists."""
    node = yaml.compose(text, Loader=_Loader)
    line = None
    for key in loc:
        if node is None:
            return line
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                continue  # a union tag of pydantic, or a missing field: stay at the parent
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def say(error: ValidationError) -> tuple[str, tuple[int | str, ...]]:
    """One clear sentence for the first problem of a validation error, and its place."""
    first = error.errors()[0]
    loc = tuple(first["loc"])
    kind = first["type"]
    if kind == "extra_forbidden":
        problem = f"unknown field '{loc[-1]}'"
    elif kind == "missing":
        problem = f"the field '{loc[-1]}' is missing"
    else:
        value = first.get("input")
        long = isinstance(value, int) and value.bit_length() > _BITS  # Python refuses to show it
        shown = f", not {value!r}" if isinstance(value, str | int | float) and not long and len(str(value)) < 60 else ""
        problem = first["msg"].removeprefix("Value error, ") + shown
    more = error.error_count() - 1
    return problem + (f" (and {more} more)" if more else ""), loc


def read_yaml(path: Path, model: type[M]) -> M:
    """One model from a YAML file.

    Raises:
        ContentError: with file, line and field of the first problem.
    """
    text = read_text(path)
    data = parse_yaml(text, str(path))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem, loc = say(error)
        field = ".".join(str(part) for part in loc)
        raise ContentError(problem, path=str(path), line=line_of(text, loc), field=field) from None


def read_jsonl(path: Path, model: type[M]) -> list[M]:
    """The models of a JSONL file, one a line; blank lines are skipped.

    Raises:
        ContentError: with file, line and field of the first problem.
    """
    items = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(model.model_validate(parse_json(line)))
        except ValidationError as error:
            problem, loc = say(error)
            field = ".".join(str(part) for part in loc)
            raise ContentError(problem, path=str(path), line=number, field=field) from None
        except BadJson as error:
            raise ContentError(f"broken JSON: {error}", path=str(path), line=number) from None
    return items
