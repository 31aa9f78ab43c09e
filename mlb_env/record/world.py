"""The world of records at the start of an episode, made from a case: the person, similar persons, chart, report, slots."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from .. import codes
from ..spec.base import Lang
from ..spec.case import PatientCase, Report
from .store import Resource

SELF = "self"


def localise(value: Any, lang: Lang) -> Any:
    """A copy of plain data in which each mapping {zh, en} is replaced by its text in `lang`."""
    if isinstance(value, Mapping):
        if value and set(value) <= {"zh", "en"}:
            return value.get(lang) or next(iter(value.values()))
        return {key: localise(item, lang) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [localise(item, lang) for item in value]
    return value


def instant(case: PatientCase, minute: int) -> str:
    """The FHIR instant of an episode minute (mainland China, UTC+8)."""
    start = datetime.fromisoformat(case.setting.date_time)
    return (start + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:00+08:00")


def build(case: PatientCase, lang: Lang) -> dict[str, Resource]:
    """Reference -> resource: what stands in the hospital's systems before the episode."""
    resources: list[Resource] = [_patient(SELF, case.person.name[lang], case.person.birth_date, case.person.sex_at_birth)]
    resources += [_patient(d.id, d.name[lang], d.birth_date, case.person.sex_at_birth) for d in case.person.decoys]
    resources += [localise(r, lang) for r in case.chart.resources]
    if case.report:
        resources += _report(case, case.report, lang)
    resources += _slots(case, lang)
    return {f"{r['resourceType']}/{r['id']}": r for r in resources}


def _patient(id_: str, name: str, birth_date: str, sex: str) -> Resource:
    return {"resourceType": "Patient", "id": id_, "name": [{"text": name}], "gender": sex, "birthDate": birth_date}


def _report(case: PatientCase, report: Report, lang: Lang) -> list[Resource]:
    subject = {"reference": f"Patient/{SELF}"} if report.subject_matches else {"display": report.owner[lang]}
    made: list[Resource] = []
    for item in report.items:
        observation: Resource = {
            "resourceType": "Observation", "id": f"rep-{item.id}", "status": "final", "code": {"text": item.name[lang]},
            "subject": subject, "effectiveDateTime": report.issued_at,
        }  # fmt: skip
        if isinstance(item.value, str):
            observation["valueString"] = item.value
        else:
            observation["valueQuantity"] = {"value": item.value, "unit": item.unit}
        if item.ref:
            observation["referenceRange"] = [{"text": item.ref}]
        if item.flag:
            observation["interpretation"] = [{"text": item.flag}]
        made.append(observation)
    for prior in report.prior:
        name = next(i.name for i in report.items if i.id == prior.item)
        observation = {
            "resourceType": "Observation", "id": f"prior-{prior.item}-{prior.date}", "status": "final",
            "code": {"text": name[lang]}, "subject": subject, "effectiveDateTime": prior.date,
        }  # fmt: skip
        if isinstance(prior.value, str):
            observation["valueString"] = prior.value
        else:
            observation["valueQuantity"] = {"value": prior.value, "unit": prior.unit}
        made.append(observation)
    diagnostic: Resource = {
        "resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": {"text": report.type[lang]},
        "subject": subject, "issued": report.issued_at, "performer": [{"display": report.lab[lang]}],
        "result": [{"reference": f"Observation/rep-{item.id}"} for item in report.items],
    }  # fmt: skip
    if report.narrative:
        diagnostic["conclusion"] = f"{report.narrative.findings[lang]} {report.narrative.impression[lang]}"
    return [diagnostic, *made]


def _slots(case: PatientCase, lang: Lang) -> list[Resource]:
    made: list[Resource] = []
    for day in case.course.slots:
        label = codes.departments()[day.department].label(lang)
        made.append({
            "resourceType": "Schedule", "id": day.department, "active": True, "actor": [{"display": label}],
            "serviceType": [{"coding": [{"code": day.department}], "text": label}],
        })  # fmt: skip
        for minute in day.in_min:
            made.append({
                "resourceType": "Slot", "id": f"{day.department}-{minute}", "status": "free",
                "schedule": {"reference": f"Schedule/{day.department}"},
                "start": instant(case, minute), "end": instant(case, minute + 15),
            })  # fmt: skip
    return made


def report_table(case: PatientCase, report: Report, lang: Lang) -> str:
    """The report as the patient shows it: a Markdown table. It shows whose report it is, as printed."""
    zh = lang == "zh"
    head = f"{report.type[lang]} · {report.owner[lang]} · {report.issued_at} · {report.lab[lang]}"
    rows = ["| 项目 | 结果 | 单位 | 参考范围 | 提示 |" if zh else "| item | value | unit | reference | flag |", "|---|---|---|---|---|"]
    rows += [f"| {i.name[lang]} | {i.value} | {i.unit} | {i.ref} | {i.flag} |" for i in report.items]
    text = head + "\n" + "\n".join(rows)
    if report.narrative:
        text += f"\n{report.narrative.findings[lang]}\n{report.narrative.impression[lang]}"
    if report.prior:
        names = {i.id: i.name[lang] for i in report.items}
        text += "\n" + ("既往结果：" if zh else "Earlier results: ") + "; ".join(
            f"{names[p.item]} {p.date} {p.value} {p.unit}".strip() for p in report.prior
        )
    return text
