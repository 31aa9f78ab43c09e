"""Imports the OSCE cases of AgentClinic (agentclinic_*.jsonl) as patient cases with MADiagnosis scenarios, in English.

What the source says is kept: its sentences become facts, findings and results; no wording, grade or plan is made up. The
diagnosis never stands in a fact.
"""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from .. import codes
from ..catalog.load import content_root
from ..catalog.read import read_text, read_yaml, say
from ..errors import ContentError, UserError
from ..patient.understand import Matcher, matcher
from ..spec.base import LL, L, Provenance
from ..spec.case import (
    Age,
    Complaint,
    Diagnosis,
    ExpectedDifficulty,
    Informant,
    Mind,
    PatientCase,
    Person,
    Pregnancy,
    Setting,
    Specialty,
    Truth,
)
from ..spec.scenario import Dataset, InteractiveScenario
from .files import parse_json, write_yaml
from .items import Bad
from .osce_facts import KNOWN_KEYS, facts_of
from .osce_findings import Found, examination, tests
from .report import ImportReport, Tally

FORMAT = "agentclinic"
EDITION = "agentclinic"
DATASET = "MADiagnosis"
VERSION = "1"
START = date(2024, 1, 1)
PARTS = ("Patient_Actor", "Physical_Examination_Findings", "Test_Results", "Correct_Diagnosis")
PROVENANCE = Provenance(
    author_kind="imported", author="AgentClinic authors", date="as released", licence="MIT",
    method="converted by mlb import from AgentClinic's OSCE cases; sentences kept, topics and regions by table",
)  # fmt: skip
AGED = re.compile(r"(\d+(?:\.\d+)?)[- ](year|month|week|day|hour)s?[- ]old", re.IGNORECASE)
SEXED = re.compile(r"\b(boy|male|man|gentleman|son|girl|female|woman|lady|daughter)\b", re.IGNORECASE)
MALE = frozenset({"boy", "male", "man", "gentleman", "son"})
OF_PATIENT = frozenset({"boy", "male", "girl", "female"})


def convert(src: Path, out: Path) -> ImportReport:
    """Convert the cases at `src` (a folder with agentclinic_*.jsonl, or one such file) into the content folder `out`.

    Raises:
        UserError: `src` holds no such file.
        ContentError: a file cannot be read.
        OSError: `out` cannot be written.
    """
    paths = [src] if src.is_file() else sorted(src.glob("agentclinic_*.jsonl"))
    if not paths:
        raise UserError(f"'{src}' holds no cases; expected agentclinic_*.jsonl files, such as agentclinic_medqa.jsonl")
    tally, cues, seen = Tally(), matcher(), set[str]()
    scenarios = out / "scenarios" / "SmartCare"
    for path in paths:
        stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:60] or "agentclinic"
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if not line.strip():
                continue
            where = f"{path.name}, line {number}"
            try:
                osce = _osce(parse_json(line, path, number))
                same = json.dumps(osce, sort_keys=True)
                if same in seen:
                    raise Bad("is the same as an earlier case")
                case = build(f"{stem}-{number:03d}", osce, cues, tally)
            except (Bad, ContentError) as error:
                tally.skip(where, str(error))
                continue
            except ValidationError as error:
                tally.skip(where, say(error)[0])
                continue
            seen.add(same)
            write_yaml(out / "patients" / "agentclinic" / f"{case.id}.yaml", case)
            scenario = InteractiveScenario(id=case.id, case=case.id, case_version=VERSION, title=case.title)
            write_yaml(scenarios / DATASET / f"{case.id}.yaml", scenario)
            tally.written[DATASET] = tally.written.get(DATASET, 0) + 1
    if tally.written:
        ours = read_yaml(content_root() / "scenarios" / "SmartCare" / f"{DATASET}.yaml", Dataset)
        write_yaml(scenarios / f"{DATASET}.yaml", ours.model_copy(update={"edition": EDITION, "provenance": PROVENANCE}))
    return tally.report(FORMAT)


def _osce(data: Any) -> dict[str, Any]:
    osce = data.get("OSCE_Examination") if isinstance(data, dict) else None
    if not isinstance(osce, dict):
        raise Bad("is not an OSCE case (no 'OSCE_Examination')")
    for part, kind in zip(PARTS, (dict, dict, dict, str), strict=True):
        if not isinstance(osce.get(part), kind):
            raise Bad(f"'{part}' is missing or of another kind")
    if not osce["Correct_Diagnosis"].strip():
        raise Bad("'Correct_Diagnosis' is empty")
    return osce


def build(id_: str, osce: dict[str, Any], cues: Matcher, tally: Tally) -> PatientCase:
    """One case. What is left out is counted in `tally`.

    Raises:
        Bad: the age is not given, or the patient says nothing.
        pydantic.ValidationError: the case does not fit our model.
    """
    actor: dict[str, Any] = osce["Patient_Actor"]
    name = osce["Correct_Diagnosis"].strip()
    names = variants(name)
    demographics = str(actor.get("Demographics") or "").strip()
    person = _person(id_, demographics, osce, tally)
    told = facts_of(actor, cues, _reveals((name, *names)), _concerns(person))
    if not told.complaint:
        raise Bad("the patient has nothing to say (no symptom and no history)")
    found = Found()
    examination(osce["Physical_Examination_Findings"], found)
    tests(osce["Test_Results"], found)
    known = codes.topics()
    symptoms = [known[f.topic] for f in told.facts if f.polarity == "present" and known[f.topic].group == "symptom"]
    case = PatientCase(
        id=id_, schema="case/1", version=VERSION, changelog=("imported",), title=L(en=f"Imported case {id_}"),
        summary=L(en=str(osce.get("Objective_for_Doctor") or "").strip() or f"An imported case: {name}."),
        family="agentclinic-" + (re.sub(r"[^a-z0-9]+", "-", names[0].lower()).strip("-")[:60].strip("-") or id_), split="test",
        specialty=Specialty(code="general_internal", name=L(en=codes.departments()["general_internal"].en)),
        setting=Setting(jurisdiction="US", site_level="tertiary", channel="in_person", place=L(en="clinic"),
                        date_time=f"{START.isoformat()}T09:00", season="not stated"),
        difficulty=ExpectedDifficulty(expected="medium", reason="the source does not grade it"),
        traps=(), suits=(DATASET,), provenance=PROVENANCE, review=(), valid_until="not stated", canary="", person=person,
        mind=Mind(reason_for_visit=L(en=told.complaint)),
        complaint=Complaint(systems=tuple(sorted({s.system for s in symptoms if s.system}))),
        opening=LL(en=(f"The main problem is this: {told.complaint}.",)), observed=L(en=demographics), facts=tuple(told.facts),
        vitals=(found.vitals,) if found.vitals else (), exam=tuple(found.exam), tests=tuple(found.tests),
        truth=Truth(diagnoses=(Diagnosis(id="primary", role="primary", name=L(en=name), certainty="definite",
                                         acceptable=LL(en=tuple(n for n in names if n != name))),)),
    )  # fmt: skip
    _account(actor, told.named_diagnosis, told.empty + found.empty, told.unplaced, found, tally)
    return case


def _account(actor: dict[str, Any], named: int, empty: int, unplaced: int, found: Found, tally: Tally) -> None:
    for key in sorted(set(actor) - KNOWN_KEYS):
        tally.count(f"parts of the patient that were not imported ('{key}')")
    for what, number in (
        ("sentences left out because they name the diagnosis", named),
        ("entries left out because the source says that they were not done, not given or pending", empty),
        ("sentences whose topic is not known (put under the section's topic)", unplaced),
        ("findings whose region is not known (put under the general appearance)", found.no_region),
        ("tests outside the test library (they keep a code of their own)", found.unlisted),
    ):
        if number:
            tally.count(what, number)


def variants(name: str) -> tuple[str, ...]:
    """Simple names of a diagnosis: what stands before brackets first, then the abbreviation or name in brackets."""
    before = re.sub(r"\s*\([^()]*\)", "", name).strip()
    inside = [text.strip() for text in re.findall(r"\(([^()]+)\)", name)]
    return tuple(dict.fromkeys(text for text in (before or name, *inside) if text))


def _reveals(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a text that names the diagnosis. Abbreviations count in capitals only."""
    parts = [re.escape(n) if n.isupper() and len(n) <= 6 else f"(?i:{re.escape(n)})" for n in dict.fromkeys(names)]
    return re.compile(r"(?<!\w)(?:" + "|".join(parts) + r")(?!\w)")


# --- person -------------------------------------------------------------------------------------------------------------


def _person(id_: str, demographics: str, osce: dict[str, Any], tally: Tally) -> Person:
    age, born = _age(demographics)
    sex = _sex(demographics, osce)
    if sex is None:
        tally.note(f"{id_}: the source does not state the sex; it stays open")
    child = age.unit != "year" or age.value < 14
    weeks = re.search(r"(\d+) weeks['’]? (?:of )?gestation", demographics) if not child and sex == "female" else None
    expecting = bool(weeks or re.search(r"pregnan|gravid", demographics)) and sex == "female" and not child
    fertile = sex != "male" and age.unit == "year" and 12 <= age.value <= 55
    status: Literal["yes", "unknown", "not_applicable"] = "yes" if expecting else "unknown" if fertile else "not_applicable"
    kind: Literal["parent", "self"] = "parent" if child else "self"
    evidence = demographics if expecting else ""
    pregnant = Pregnancy(status=status, weeks=int(weeks.group(1)) if weeks else None, evidence=evidence)
    return Person(
        name=L(en=f"Patient {id_.rsplit('-', 1)[-1]}"), sex_at_birth=sex, age=age,
        birth_date=born.isoformat(), pregnant=pregnant, informant=Informant(kind=kind, relation=L(en=kind), reliability="good"),
    )  # fmt: skip


def _concerns(person: Person) -> frozenset[str | None]:
    """The values of a topic's `applies` that concern the person; the ages are those of topics.yaml."""
    years = person.age.value if person.age.unit == "year" else 0
    female = person.sex_at_birth == "female" and 12 <= years <= 55
    holds = {None: True, "female": female, "child": years < 14, "elder": years >= 65}
    return frozenset(value for value, true in holds.items() if true)


def _age(text: str) -> tuple[Age, date]:
    """The age, and a birth date that gives it on the day of the case.

    Raises:
        Bad: no age is given.
    """
    m = AGED.search(text)
    if m is None:
        if re.search(r"newborn|neonate", text, re.IGNORECASE):
            return Age(value=0, unit="day"), START
        raise Bad(f"no age is given ('{text}')")
    number, unit = float(m.group(1)), m.group(2).lower()
    if unit == "year":
        years = int(number)
        return Age(value=years, unit="year"), date(START.year - years, 1, 1)
    if unit == "month":
        months = int(number)
        total = START.year * 12 - months
        return Age(value=months, unit="month"), date(total // 12, total % 12 + 1, 1)
    days = int(number * 7) if unit == "week" else int(number) if unit == "day" else 0
    return Age(value=days, unit="day"), START - timedelta(days=days)


def _sex(demographics: str, osce: dict[str, Any]) -> Literal["female", "male"] | None:
    """The sex, where the source states it: in the demographics, else in the objective."""
    found = SEXED.findall(demographics)
    if not found:  # the objective may name the mother or another adult: only one sex, and no "woman" or "man", counts
        found = [w for w in SEXED.findall(str(osce.get("Objective_for_Doctor") or "")) if w.lower() in OF_PATIENT]
        if len({w.lower() in MALE for w in found}) > 1:
            found = []
    if not found:
        return None
    return "male" if found[0].lower() in MALE else "female"
