"""Reads the sources of an import and writes its results; always UTF-8, always the same bytes for the same source."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..catalog.read import read_text
from ..errors import ContentError
from ..spec.base import Model

MAX_DEPTH = 40


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """The data of one JSON text.

    Raises:
        ContentError: broken JSON, with its line; nested too deeply; a text that is no Unicode text.
    """
    try:
        data = json.loads(text.removeprefix("\ufeff"))
        _sound(data)
    except json.JSONDecodeError as error:
        place = line if line is not None else error.lineno
        raise ContentError(f"broken JSON ({error.msg}); mend the file", path=str(path), line=place) from None
    except RecursionError:
        raise ContentError("the JSON is nested too deeply", path=str(path), line=line) from None
    except ValueError as error:
        raise ContentError(f"the JSON cannot be used ({error}); mend the file", path=str(path), line=line) from None
    return data


def _sound(data: Any) -> None:
    """Refuse what could not be worked on or written: deep nesting, texts that are no Unicode text."""
    level = [data]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, dict):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                inner += value
        if not inner:
            return
        level = inner
    raise RecursionError


def read_json(path: Path) -> Any:
    """The data of a JSON file.

    Raises:
        ContentError: it cannot be read, or is broken.
    """
    return parse_json(read_text(path), path)


def plain(model: Model) -> dict[str, Any]:
    """A model as plain data: aliases as in the files, defaults left out."""
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)


def write_yaml(path: Path, model: Model) -> None:
    """Write one model as YAML, making its folder.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plain(model), allow_unicode=True, sort_keys=False, width=1000)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_jsonl(path: Path, models: Iterable[Model]) -> None:
    """Write models as JSONL, one a line, making the folder.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(plain(model), ensure_ascii=False) + "\n" for model in models)
    path.write_text(text, encoding="utf-8", newline="\n")
