"""What every model of the specification shares: strictness, bilingual text, language codes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Lang = Literal["zh", "en"]
LANGS: tuple[Lang, ...] = ("zh", "en")


class Model(BaseModel):
    """Base of everything that is read or written: unknown fields are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class L(Model):
    """One text in Chinese and English. At least one language; bundled content has both (`mlb check` enforces it)."""

    zh: str | None = None
    en: str | None = None

    @model_validator(mode="after")
    def _has_one(self) -> L:
        if not (self.zh or self.en):
            raise ValueError("needs a text in zh or en")
        return self

    def __getitem__(self, lang: Lang) -> str:
        """The text in `lang`, or in the other language where only that exists."""
        text = (self.zh or self.en) if lang == "zh" else (self.en or self.zh)
        assert text is not None
        return text

    @property
    def langs(self) -> tuple[Lang, ...]:
        """The languages that are present."""
        return tuple(lang for lang in LANGS if getattr(self, lang))


class LL(Model):
    """Several wordings (or several items) in each language."""

    zh: tuple[str, ...] = ()
    en: tuple[str, ...] = ()

    def __getitem__(self, lang: Lang) -> tuple[str, ...]:
        """The wordings in `lang`, or in the other language where only that exists."""
        return (self.zh or self.en) if lang == "zh" else (self.en or self.zh)

    @property
    def langs(self) -> tuple[Lang, ...]:
        return tuple(lang for lang in LANGS if getattr(self, lang))


Id = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")]
Difficulty = Literal["low", "medium", "high"]
Split = Literal["dev", "test"]


class Source(Model):
    """A guideline, textbook or statute that a clinical statement rests on."""

    title: str
    body: str
    year: int
    section: str | None = None
    url: str | None = None


class Provenance(Model):
    """Who wrote a piece of content, when, how, under which licence, and from which sources."""

    author_kind: Literal["clinician", "researcher", "model-assisted", "imported"]
    author: str
    date: str
    licence: str
    method: str
    sources: tuple[Source, ...] = ()


class Review(Model):
    """One review by a licensed clinician. The bundled content has none, and says so."""

    reviewer_id: str
    licence_kind: str
    specialty: str
    date: str
    version: str
    scope: Literal["truth", "language zh", "language en", "rubric"]
    result: str
    comments: str = ""
