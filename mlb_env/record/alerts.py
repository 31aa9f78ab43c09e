"""The prescribing software: alerts on a drafted prescription, from a small cited table (prescribing.yaml) and the person's chart.

It reads what the chart holds and nothing else: an allergy that is not written down raises no alert. Names are looked up as whole
names in the drug fields of the chart, never in free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field

from ..spec.base import LL, L, Lang, Model
from .definitions import at
from .store import Resource, Store
from .values import span

Severity = Literal["hard", "soft"]
_PREGNANT = re.compile(r"O\d\d.*|Z3[345].*|77386006")
YEAR = 365.25 * 24 * 3600
ACTIVE = {"MedicationStatement": ("active", "intended"), "MedicationRequest": ("active",)}
# LOINC codes of an estimated GFR (mL/min/1.73 m2) and of serum creatinine
EGFR = frozenset({"33914-3", "62238-1", "48642-3", "48643-1", "88293-6", "98979-8", "69405-9"})
CREATININE = {"14682-9": 1.0, "2160-0": 88.42}  # code -> factor to umol/L


class RenalLimit(Model):
    egfr_below: float = Field(gt=0)
    action: Literal["contraindicated", "reduce"]
    note: L


class Drug(Model):
    """A drug of the table. Doses in mg for an adult by mouth or injection; `child_max_mg_per_kg_per_day` for those under 14."""

    id: str
    zh: tuple[str, ...]
    en: tuple[str, ...]
    classes: tuple[str, ...]
    adult_max_mg_per_dose: float | None = None
    adult_max_mg_per_day: float | None = None
    child_max_mg_per_kg_per_day: float | None = None
    min_age_years: float = 0
    pregnancy: Literal["contraindicated", "avoid"] | None = None
    pregnancy_note: L | None = None
    renal: tuple[RenalLimit, ...] = ()
    sources: tuple[str, ...] = Field(min_length=1)

    def name(self, lang: Lang) -> str:
        return (self.zh if lang == "zh" else self.en)[0]

    @property
    def groups(self) -> frozenset[str]:
        return frozenset((self.id, *self.classes))


class AllergyRule(Model):
    group: str
    with_: str = Field(alias="with")
    severity: Severity
    note: L
    sources: tuple[str, ...] = Field(min_length=1)


class AllergenWords(LL):
    group: str


class Interaction(Model):
    a: str
    b: str
    severity: Severity
    effect: L
    sources: tuple[str, ...] = Field(min_length=1)


class Knowledge(Model):
    """The whole table. `sources`: key -> document."""

    sources: dict[str, str]
    drugs: tuple[Drug, ...]
    allergies: tuple[AllergyRule, ...]
    allergen_words: tuple[AllergenWords, ...]
    interactions: tuple[Interaction, ...]


@lru_cache(maxsize=1)
def knowledge() -> Knowledge:
    """The bundled table."""
    text = (files(__package__) / "prescribing.yaml").read_text(encoding="utf-8")
    return Knowledge.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))


@dataclass(frozen=True)
class Alert:
    """One alert. `hard`: the draft is not let through. `soft`: it is with a reason."""

    kind: Literal["allergy", "interaction", "dose", "pregnancy", "renal", "age", "duplicate"]
    severity: Severity
    text: str
    drug: str

    @property
    def code(self) -> str:
        """"hard allergy amoxicillin": as the trajectory keeps it."""
        return f"{self.severity} {self.kind} {self.drug}"


@dataclass(frozen=True)
class Draft:
    """What is to be prescribed: the name as written, and the doses in mg where they were given."""

    name: str
    mg_per_dose: float | None = None
    mg_per_day: float | None = None


@dataclass(frozen=True)
class Person:
    """What the registration holds. `now`: seconds since 1970, of the episode's clock."""

    id: str
    sex: str | None
    birth_date: str | None
    weight_kg: float | None = None
    now: float = 0.0

    def years(self, zone: str) -> float | None:
        return (self.now - span(self.birth_date, zone).low) / YEAR if self.birth_date else None


@lru_cache(maxsize=1)
def _names() -> tuple[tuple[str, str, bool], ...]:
    """(name, drug or group, is a drug), longest first."""
    book = knowledge()
    named = [(n.casefold(), d.id, True) for d in book.drugs for n in (*d.zh, *d.en)]
    named += [(n.casefold(), w.group, False) for w in book.allergen_words for n in (*w.zh, *w.en)]
    return tuple(sorted(named, key=lambda entry: -len(entry[0])))


def named_in(text: str, *, groups: bool = False) -> list[str]:
    """The drugs (and allergen groups) that a drug field names; a name inside a longer one does not count."""
    rest, found = text.casefold(), []
    for name, id_, is_drug in _names():
        if not (is_drug or groups) or name not in rest:
            continue
        pattern = rf"(?<![a-z]){re.escape(name)}(?![a-z])" if name.isascii() else re.escape(name)
        rest, count = re.subn(pattern, " ", rest)
        if count:
            found.append(id_)
    return list(dict.fromkeys(found))


def _field_texts(resource: Resource, paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        for value in at(resource, path):
            if isinstance(value, str):
                yield value


def taken(store: Store, patient: str) -> dict[str, str]:
    """Drug -> reference of the chart's entry by which the person takes it."""
    found: dict[str, str] = {}
    for kind, statuses in ACTIVE.items():
        for reference in store.find(kind, patient=patient):
            resource = store.read(reference)
            if resource.get("status") in statuses:
                for text in _field_texts(resource, ("medicationCodeableConcept.text", "medicationCodeableConcept.coding.display")):
                    found |= {drug: found.get(drug, reference) for drug in named_in(text)}
    return found


def allergies(store: Store, patient: str) -> set[str]:
    """The drugs and groups to which the chart has an allergy that is not refuted or resolved."""
    found: set[str] = set()
    drugs = {d.id: d for d in knowledge().drugs}
    for reference in store.find("AllergyIntolerance", patient=patient):
        resource = store.read(reference)
        states = {*at(resource, "clinicalStatus.coding.code"), *at(resource, "verificationStatus.coding.code")}
        if states & {"inactive", "resolved", "refuted", "entered-in-error"}:
            continue
        for text in _field_texts(resource, ("code.text", "code.coding.display", "reaction.substance.text", "reaction.substance.coding.display")):
            for name in named_in(text, groups=True):
                found |= drugs[name].groups if name in drugs else {name}
    return found


def pregnant(store: Store, patient: str) -> bool:
    """Whether the chart has a pregnancy as an active condition: ICD-10 chapter O or Z33 to Z35, or SNOMED CT 77386006."""
    for reference in store.find("Condition", patient=patient):
        resource = store.read(reference)
        over = set(at(resource, "clinicalStatus.coding.code")) & {"inactive", "resolved", "remission"} or resource.get("abatementDateTime")
        if not over and any(_PREGNANT.fullmatch(str(code)) for code in at(resource, "code.coding.code")):
            return True
    return False


def egfr(store: Store, person: Person) -> float | None:
    """The latest estimated GFR of the chart in mL/min/1.73 m2; from the latest creatinine by CKD-EPI 2021 where none is reported.

    Source: Inker et al., N Engl J Med 2021;385:1737 (creatinine equation without race), adults.
    """
    latest: dict[str, tuple[float, float]] = {}
    for reference in store.find("Observation", patient=person.id):
        resource = store.read(reference)
        value = resource.get("valueQuantity", {}).get("value")
        when = resource.get("effectiveDateTime")
        if not isinstance(value, int | float) or not when or resource.get("status") not in ("final", "amended", "corrected"):
            continue
        time = span(when, store.base.zone).low
        for code in at(resource, "code.coding.code"):
            key, factor = ("egfr", 1.0) if code in EGFR else ("creatinine", CREATININE.get(code, 0.0))
            if factor and time <= person.now and time >= latest.get(key, (0.0, 0.0))[0]:
                latest[key] = (time, value * factor)
    if "egfr" in latest:
        return latest["egfr"][1]
    years = person.years(store.base.zone)
    if "creatinine" not in latest or years is None or years < 18 or person.sex not in ("female", "male"):
        return None
    return ckd_epi(latest["creatinine"][1], years, person.sex)


def ckd_epi(creatinine_umol_l: float, years: float, sex: str) -> float:
    """CKD-EPI 2021: creatinine in umol/L, age in years (18 and over) -> mL/min/1.73 m2."""
    kappa, alpha = (0.7, -0.241) if sex == "female" else (0.9, -0.302)
    ratio = creatinine_umol_l / 88.42 / kappa
    value = 142 * min(ratio, 1.0) ** alpha * max(ratio, 1.0) ** -1.2 * 0.9938**years
    return float(value * (1.012 if sex == "female" else 1.0))


def alerts(draft: Draft, store: Store, person: Person, lang: Lang) -> list[Alert]:
    """The alerts that a draft raises, hard ones first; none for a drug that the table does not have."""
    book = knowledge()
    drugs = {d.id: d for d in book.drugs}
    found: list[Alert] = []
    for id_ in named_in(draft.name):
        drug = drugs[id_]
        found += [*_allergy(drug, book, store, person, lang), *_interactions(drug, book, store, person, lang), *_limits(drug, draft, store, person, lang)]
    return sorted(found, key=lambda a: a.severity != "hard")


def _allergy(drug: Drug, book: Knowledge, store: Store, person: Person, lang: Lang) -> Iterator[Alert]:
    known = allergies(store, person.id)
    if drug.id in known:
        text = f"病历记录对{drug.name(lang)}过敏。" if lang == "zh" else f"The chart lists an allergy to {drug.name(lang)}."
        yield Alert("allergy", "hard", text, drug.id)
        return
    for rule in book.allergies:
        if rule.group in known and rule.with_ in drug.groups:
            yield Alert("allergy", rule.severity, rule.note[lang], drug.id)


def _interactions(drug: Drug, book: Knowledge, store: Store, person: Person, lang: Lang) -> Iterator[Alert]:
    drugs = {d.id: d for d in book.drugs}
    for other_id, reference in taken(store, person.id).items():
        other = drugs[other_id]
        if other_id == drug.id:
            text = f"病历中已在使用{drug.name(lang)}（{reference}）。" if lang == "zh" else f"{drug.name(lang)} is already taken ({reference})."
            yield Alert("duplicate", "soft", text, drug.id)
            continue
        for rule in book.interactions:
            if (rule.a in drug.groups and rule.b in other.groups) or (rule.b in drug.groups and rule.a in other.groups):
                pair = f"{drug.name(lang)} + {other.name(lang)}" + ("：" if lang == "zh" else ": ")
                yield Alert("interaction", rule.severity, pair + rule.effect[lang], drug.id)
                break


def _limits(drug: Drug, draft: Draft, store: Store, person: Person, lang: Lang) -> Iterator[Alert]:
    zh, name = lang == "zh", drug.name(lang)
    years = person.years(store.base.zone)
    if years is not None and years < drug.min_age_years:
        text = f"{name}不用于{drug.min_age_years:g}岁以下。" if zh else f"{name} is not for those under {drug.min_age_years:g} years."
        yield Alert("age", "soft", text, drug.id)
    if drug.pregnancy and drug.pregnancy_note and pregnant(store, person.id):
        yield Alert("pregnancy", "hard" if drug.pregnancy == "contraindicated" else "soft", drug.pregnancy_note[lang], drug.id)
    rate = egfr(store, person) if drug.renal else None
    if rate is not None:
        reached = [limit for limit in drug.renal if rate < limit.egfr_below]
        if reached:
            limit = min(reached, key=lambda r: r.egfr_below)
            text = f"eGFR {rate:.0f}：{limit.note.zh}" if zh and limit.note.zh else f"eGFR {rate:.0f}: {limit.note[lang]}"
            yield Alert("renal", "hard" if limit.action == "contraindicated" else "soft", text, drug.id)
    yield from _doses(drug, draft, person, years, name, zh)


def _doses(drug: Drug, draft: Draft, person: Person, years: float | None, name: str, zh: bool) -> Iterator[Alert]:
    if years is not None and years < 14:
        if drug.child_max_mg_per_kg_per_day is None or person.weight_kg is None:
            return
        limits: list[tuple[float | None, float | None, str]] = [(draft.mg_per_day, drug.child_max_mg_per_kg_per_day * person.weight_kg, "每日" if zh else "a day")]
    else:
        limits = [(draft.mg_per_dose, drug.adult_max_mg_per_dose, "每次" if zh else "a dose"),
                  (draft.mg_per_day, drug.adult_max_mg_per_day, "每日" if zh else "a day")]  # fmt: skip
    for given, most, what in limits:
        if given is None or most is None or given <= most:
            continue
        severity: Severity = "hard" if given > 2 * most else "soft"  # twice the limit is an error of writing or of thought
        text = f"{name}{what}{given:g} mg，超过上限{most:g} mg。" if zh else f"{name}: {given:g} mg {what}; the limit is {most:g} mg."
        yield Alert("dose", severity, text, drug.id)


def as_texts(found: Sequence[Alert]) -> list[dict[str, Any]]:
    """Plain data of alerts, for a tool's answer."""
    return [{"severity": a.severity, "kind": a.kind, "text": a.text} for a in found]
