"""The code lists: generic value sets that content and closing forms refer to.

They are the same for every scenario, so they tell an agent nothing about any one of them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Literal, TypeVar

import yaml

from ..spec.base import LL, Id, Lang, Model

RecordFieldName = Literal["sex", "age", "chief_complaint", "present_illness", "past_history", "personal_history",
                          "marital_history", "family_history"]  # fmt: skip


class CodeItem(Model):
    """One code with its label in each language."""

    id: Id
    zh: str
    en: str

    def label(self, lang: Lang) -> str:
        return self.zh if lang == "zh" else self.en


class Topic(CodeItem):
    """A topic of questions and facts. See the head of topics.yaml."""

    group: Literal["attribute", "general", "symptom", "critical", "history", "context", "ice"]
    system: str | None = None
    field: RecordFieldName
    parent: Id | None = None
    applies: Literal["female", "child", "elder"] | None = None


class Department(CodeItem):
    kind: Literal["specialty", "entry"] = "specialty"
    bookable: bool = True


class TestCode(CodeItem):
    category: Literal["lab", "imaging", "ecg", "endoscopy", "pathology", "function", "bedside", "score"]
    body_part: bool = False
    synonyms: LL = LL()


T = TypeVar("T", bound=CodeItem)


def _load(file: str, key: str, kind: type[T]) -> dict[str, T]:
    """The code list `key` of mlb_env/codes/`file`, by id in file order."""
    text = (files(__package__) / file).read_text(encoding="utf-8")
    items = [kind.model_validate(data) for data in yaml.load(text, Loader=yaml.CSafeLoader)[key]]
    return {item.id: item for item in items}


@lru_cache(maxsize=1)
def topics() -> dict[str, Topic]:
    """The topic ontology."""
    return _load("topics.yaml", "topics", Topic)


@lru_cache(maxsize=1)
def departments() -> dict[str, Department]:
    """The 64 specialties and the dedicated entries."""
    return _load("departments.yaml", "departments", Department)


@lru_cache(maxsize=1)
def signs() -> dict[str, CodeItem]:
    """Warning signs to tell."""
    return _load("signs.yaml", "signs", CodeItem)


@lru_cache(maxsize=1)
def acts() -> dict[str, CodeItem]:
    """Immediate acts."""
    return _load("acts.yaml", "acts", CodeItem)


@lru_cache(maxsize=1)
def tests() -> dict[str, TestCode]:
    """The test library."""
    return _load("tests.yaml", "tests", TestCode)


@lru_cache(maxsize=1)
def regions() -> dict[str, CodeItem]:
    """Regions of a physical examination."""
    return _load("exams.yaml", "regions", CodeItem)


@lru_cache(maxsize=1)
def manoeuvres() -> dict[str, CodeItem]:
    """Manoeuvres of a physical examination."""
    return _load("exams.yaml", "manoeuvres", CodeItem)
