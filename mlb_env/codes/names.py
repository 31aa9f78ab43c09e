"""Names matched as wholes: width, case, spaces and brackets set aside. Never substrings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from . import tests


@lru_cache(maxsize=1 << 15)  # the names of cases and tests are compared again and again
def normalise(name: str) -> str:
    """The form of a name under which equal names are equal."""
    return re.sub(r"[\s()\[\]{}<>·.,，。、:：_/\-–'’\"“”]+", "", unicodedata.normalize("NFKC", name).casefold())


@lru_cache(maxsize=1)
def _library() -> dict[str, str]:
    index: dict[str, str] = {}
    for test in tests().values():
        for name in (test.id, test.zh, test.en, *test.synonyms.zh, *test.synonyms.en):
            index.setdefault(normalise(name), test.id)
    return index


def library_code(name: str) -> str | None:
    """The library code of a test named in full (code, name or synonym); None if it is not known."""
    return _library().get(normalise(name))


def same_name(name: str, names: Iterable[str]) -> bool:
    """Whether a name equals one of several."""
    wanted = normalise(name)
    return bool(wanted) and any(wanted == normalise(n) for n in names)
