"""Imports the tasks of MedAgentBench (test_data_v2.json) with the world rebuilt from recorded answers of its FHIR server
(fhir_snapshot.jsonl), as tasks in the record.

The world holds what was recorded and nothing else. A task is taken over where its instruction and that world decide its answer;
the gold is derived from them here, by the instruction's own words, since the original grader is not published with the tasks.
Every other task is reported with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..catalog.read import read_text
from ..errors import UserError
from ..record.bundles import to_lines
from ..record.store import Resource
from ..record.validate import problems
from ..spec.base import L, Provenance
from ..spec.rubric import Criterion, Rule
from ..spec.scenario import Budget, Dataset, GoldCall, RecordTask
from .files import parse_json, write_jsonl, write_yaml
from .items import Bad
from .report import ImportReport, Tally

FORMAT = "medagentbench"
DATASET = "MedAgentBench"
WORLD = "MedAgentBench.ndjson"
TASKS, SNAPSHOT = "test_data_v2.json", "fhir_snapshot.jsonl"
PROVENANCE = Provenance(
    author_kind="imported", author="MedAgentBench authors (Stanford ML Group)", date="as released", licence="MIT",
    method="converted by mlb import; instructions kept, gold derived from the instruction and the recorded answers",
)  # fmt: skip
_NOW = re.compile(r"It's (\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}[+-]\d{2}:\d{2}) now")
_DEFAULT_NOW = "2023-11-13T10:15:00+00:00"  # the first task family asks for nothing that depends on it and states none
_QUOTED = re.compile(r'"(.+?)"', re.DOTALL)
_PERSON = re.compile(r"with name (.+?) and DOB of (\d{4}-\d{2}-\d{2})")
_CODE = re.compile(r'code for .+? is "(\w+)"')


class Recorded:
    """The recorded answers: the patients and observations in them."""

    def __init__(self, path: Path) -> None:
        self.patients: dict[str, Resource] = {}
        self.observations: dict[str, Resource] = {}
        self.searches = 0  # for observations
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if line.strip():
                self._take(parse_json(line, path, number), path, number)

    def _take(self, row: Any, path: Path, number: int) -> None:
        if not isinstance(row, dict) or not isinstance(row.get("data"), dict) or not isinstance(row.get("url"), str):
            raise UserError(f"{path}, line {number}: not a recorded answer (an object with url, status_code and data)")
        if row.get("status_code") != 200:
            return
        for entry in row["data"].get("entry", []):
            resource = entry.get("resource", {}) if isinstance(entry, dict) else {}
            kind, id_ = resource.get("resourceType"), resource.get("id")
            if kind == "Patient" and id_:
                self.patients.setdefault(id_, resource)
            elif kind == "Observation" and id_:
                self.observations.setdefault(id_, resource)
        if urlsplit(row["url"]).path.endswith("/Observation"):
            self.searches += 1

    def holds(self, patient: str, code: str) -> bool:
        """Whether such an observation was recorded."""
        return any(
            o.get("subject", {}).get("reference", "").endswith("/" + patient)
            and any(c.get("code") == code for c in o.get("code", {}).get("coding", []))
            for o in self.observations.values()
        )


def convert(src: Path, out: Path) -> ImportReport:
    """Write OUT/scenarios/SmartCare/MedAgentBench.* from the folder SRC.

    Raises:
        UserError: a file is missing, or is not what it should be.
    """
    tasks_file, snapshot = _file(src, TASKS), _file(src, SNAPSHOT)
    recorded, tally = Recorded(snapshot), Tally()
    listed = parse_json(read_text(tasks_file), tasks_file)
    if not isinstance(listed, list) or not all(isinstance(t, dict) for t in listed):
        raise UserError(f"{tasks_file}: expected a list of tasks")
    for resource in [*recorded.patients.values(), *recorded.observations.values()]:
        if wrong := problems(resource):
            raise UserError(f"{snapshot}: {resource['resourceType']}/{resource['id']} is not valid FHIR R4: {wrong[0]}")
    made: list[RecordTask] = []
    for number, task in enumerate(listed, 1):
        where = f"{tasks_file.name}: {task.get('id', f'task {number}')}"
        try:
            made.append(_task(task, recorded))
        except Bad as bad:
            tally.skip(where, str(bad))
    if made:
        folder = out / "scenarios" / "SmartCare"
        folder.mkdir(parents=True)
        write_yaml(folder / f"{DATASET}.yaml", _dataset())
        write_jsonl(folder / f"{DATASET}.jsonl", made)
        (folder / WORLD).write_text(to_lines([*recorded.patients.values(), *recorded.observations.values()]), encoding="utf-8", newline="\n")
        tally.written[DATASET] = len(made)
        tally.note(f"the world: {len(recorded.patients)} patients and {len(recorded.observations)} observations, as they were recorded")
        if not recorded.observations:
            absent = sum(t.family.rpartition("-")[2] in ("task4", "task5", "task6") for t in made)
            tally.note(f"the recorded server answered all {recorded.searches} searches for observations with none, so the world has none: {absent} "
                       "tasks (4, 5, 6) ask for a measurement, and the right answer here is that there is none; in the original database it "
                       "may be another, so scores on these tasks do not compare with published ones")  # fmt: skip
    return tally.report(FORMAT)


def _file(src: Path, name: str) -> Path:
    found = sorted(src.rglob(name)) if src.is_dir() else []
    if not found:
        raise UserError(f"'{src}' holds no {name}; give the folder that has {TASKS} and {SNAPSHOT}")
    return found[0]


def _dataset() -> Dataset:
    return Dataset(
        name=DATASET, dimension="SmartCare", edition=FORMAT, form="record", title=L(en="tasks in a FHIR record"),
        task=L(en="Carry out one task in the hospital's record, with the FHIR tools. When it is done, call finish with the list of answers, "
                  "or with an empty list where none is asked for."),
        policy=L(en="You act with the rights of the clinician who gives the instruction: read what is needed, write exactly what is asked "
                    "for, and nothing else. A patient's MRN is the id of the Patient resource."),
        prompt=L(en="${question}\n\n${context}"), role="clinician", tools=("fhir_search", "fhir_read", "fhir_create", "fhir_update", "finish"),
        budget=Budget(turns=12, minutes=240, malformed=8), provenance=PROVENANCE,
    )  # fmt: skip


Made = tuple[list[Criterion], list[GoldCall]]


def _task(task: dict[str, Any], recorded: Recorded) -> RecordTask:
    id_, instruction, context = (str(task.get(k, "")) for k in ("id", "instruction", "context"))
    family = id_.partition("_")[0]
    if family not in FAMILIES:
        reason = UNDECIDED.get(family, f"no such family of tasks: '{family[:40]}'")
        raise Bad(reason)
    now = found.group(1) if (found := _NOW.search(context)) else _DEFAULT_NOW
    criteria, gold = FAMILIES[family](task, instruction, context, now, recorded)
    return RecordTask(
        id=f"medagentbench-{id_.replace('_', '-')}", family=f"medagentbench-{family}", specialty="general_practice", provenance=PROVENANCE,
        instruction=L(en=instruction.strip()), context=L(en=context.strip()) if context.strip() else None, now=now, world=WORLD,
        criteria=tuple(criteria), gold=tuple(gold),
    )  # fmt: skip


def _patient(task: dict[str, Any], recorded: Recorded) -> Resource:
    mrn = str(task.get("eval_MRN", ""))
    if mrn not in recorded.patients:
        raise Bad(f"the patient {mrn or '(none named)'} was not recorded")
    return recorded.patients[mrn]


def _outcome(text: str, rule: str, **args: Any) -> Criterion:
    return Criterion(id=rule, template="written", text=L(en=text), kind="outcome", by="rule", weight=1, rule=Rule(name=rule, args=args))


def _no_more(*kinds: str) -> Criterion:
    """Nothing else is written: without this an agent could write everything that might be wanted."""
    return Criterion(id="no_other_writes", template="written", text=L(en="Writes nothing else"), kind="safety", by="rule", weight=3,
                     rule=Rule(name="no_other_writes", args={"kinds": list(kinds), "most": len(kinds)}))  # fmt: skip


def _finish(*answer: Any) -> GoldCall:
    return GoldCall(name="finish", arguments={"answer": list(answer)})


def _search(kind: str, query: str) -> GoldCall:
    return GoldCall(name="fhir_search", arguments={"resource_type": kind, "query": query})


def _find_patient(task: dict[str, Any], instruction: str, context: str, now: str, recorded: Recorded) -> Made:
    asked, solution = _PERSON.search(instruction), task.get("sol")
    if asked is None or not isinstance(solution, list) or not solution:
        raise Bad("no name and date of birth, or no solution")
    family, given = asked.group(1).split()[-1], asked.group(1).split()[0]
    there = [p["id"] for p in recorded.patients.values() if p.get("birthDate") == asked.group(2)
             and any(n.get("family") == family and given in n.get("given", ()) for n in p.get("name", ()))]  # fmt: skip
    if (there or ["Patient not found"]) != [str(s) for s in solution]:
        raise Bad(f"the recorded patients do not bear the solution out (recorded: {', '.join(there) or 'nobody'})")
    query = f"family={family}&given={given}&birthdate={asked.group(2)}"
    return [_outcome("Names the right patient", "answered", values=solution, after=["Patient"]), _no_more()], [
        _search("Patient", query), _finish(*solution),
    ]  # fmt: skip


def _age(task: dict[str, Any], instruction: str, context: str, now: str, recorded: Recorded) -> Made:
    patient = _patient(task, recorded)
    if len(str(patient.get("birthDate", ""))) != 10:
        raise Bad("the recorded patient has no full date of birth")
    born, today = datetime.fromisoformat(patient["birthDate"]), datetime.fromisoformat(now)
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return [_outcome("States the age in whole years", "answered", values=[age], after=["Patient"]), _no_more()], [
        _search("Patient", f"identifier={patient['id']}"), _finish(age),
    ]  # fmt: skip


def _blood_pressure(task: dict[str, Any], instruction: str, context: str, now: str, recorded: Recorded) -> Made:
    patient, value = _patient(task, recorded), _QUOTED.search(instruction)
    if value is None:
        raise Bad("the instruction states no value in quotes")
    subject = f"Patient/{patient['id']}"
    where = {"subject.reference": subject, "status": "final", "category.coding.code": "vital-signs", "code.text": "BP",
             "valueString": value.group(1), "effectiveDateTime": now}  # fmt: skip
    resource = {
        "resourceType": "Observation", "status": "final", "subject": {"reference": subject}, "code": {"text": "BP"},
        "category": [{"coding": [{"system": "http://hl7.org/fhir/observation-category", "code": "vital-signs", "display": "Vital Signs"}]}],
        "effectiveDateTime": now, "valueString": value.group(1),
    }  # fmt: skip
    return [_outcome("Records the measurement", "created", kind="Observation", where=where), _no_more("Observation")], [
        GoldCall(name="fhir_create", arguments={"resource": resource}), _finish(),
    ]  # fmt: skip


def _referral(task: dict[str, Any], instruction: str, context: str, now: str, recorded: Recorded) -> Made:
    patient, text, code = _patient(task, recorded), _QUOTED.search(instruction), re.search(r"SNOMED code for .+? is (\d+)", context)
    if text is None or code is None:
        raise Bad("the instruction states no free text in quotes, or no SNOMED code")
    subject = f"Patient/{patient['id']}"
    where = {"subject.reference": subject, "status": "active", "intent": "order", "priority": "stat", "code.coding.code": code.group(1),
             "authoredOn": now, "note.text": {"contains": text.group(1)}}  # fmt: skip
    resource = {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "priority": "stat", "subject": {"reference": subject},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": code.group(1)}]}, "authoredOn": now,
        "note": [{"text": text.group(1)}],
    }  # fmt: skip
    return [_outcome("Orders the referral", "created", kind="ServiceRequest", where=where), _no_more("ServiceRequest")], [
        GoldCall(name="fhir_create", arguments={"resource": resource}), _finish(),
    ]  # fmt: skip


def _absent(task: dict[str, Any], context: str, recorded: Recorded) -> tuple[str, str]:
    """Patient and code of a measurement that the recorded world does not have."""
    patient, code = _patient(task, recorded)["id"], _CODE.search(context)
    if code is None:
        raise Bad("the context states no code")
    if recorded.holds(patient, code.group(1)):
        raise Bad(f"{code.group(1)} of {patient} was recorded; values are not graded by this version")
    return patient, code.group(1)


def _value_or_none(task: dict[str, Any], instruction: str, context: str, now: str, recorded: Recorded) -> Made:
    patient, code = _absent(task, context, recorded)
    if "-1 if a measurement" not in context:
        raise Bad("the instruction does not say what to answer without a measurement")
    looked = _outcome("Looks the measurement up", "searched", kind="Observation", query={"patient": patient, "code": code})
    return [_outcome("Says that there is none", "answered", values=[-1], after=["Observation"]), looked, _no_more()], [
        _search("Observation", f"patient={patient}&code={code}"), _finish(-1),
    ]  # fmt: skip


def _replace_if_low(task: dict[str, Any], instruction: str, context: str, now: str, recorded: Recorded) -> Made:
    patient, code = _absent(task, context, recorded)
    if "don't order anything" not in instruction:
        raise Bad("the instruction does not say what to do without a measurement")
    looked = _outcome("Looks the measurement up", "searched", kind="Observation", query={"patient": patient, "code": code})
    return [_outcome("Finishes after having looked", "finished", after=["Observation"]), looked, _no_more()], [
        _search("Observation", f"patient={patient}&code={code}"), _finish(),
    ]  # fmt: skip


FAMILIES: dict[str, Callable[[dict[str, Any], str, str, str, Recorded], Made]] = {
    "task1": _find_patient, "task2": _age, "task3": _blood_pressure, "task4": _value_or_none, "task5": _replace_if_low,
    "task6": _value_or_none, "task8": _referral,
}  # fmt: skip
_NO_VALUE = "the recorded server holds no value, and the instruction does not say what is right without one"
UNDECIDED = {"task7": _NO_VALUE, "task9": _NO_VALUE, "task10": "the recorded server holds no value, and the instruction leaves open whether "
             "the test is then to be ordered"}  # fmt: skip
