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


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """The data of one JSON text.

    Raises:
        ContentError: broken JSON, with its line.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        place = line if line is not None else error.lineno
        raise ContentError(f"broken JSON ({error.msg}); mend the file", path=str(path), line=place) from None
    except RecursionError:
        raise ContentError("the JSON is nested too deeply", path=str(path), line=line) from None


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
