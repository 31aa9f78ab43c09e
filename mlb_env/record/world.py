"""The world of records at the start of an episode, made from a case: the person, similar persons, chart, report, slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def fhir_id(text: str) -> str:
    """A code of ours as a FHIR id, which knows no underscore."""
    return text.replace("_", "-")


def fhir_time(text: str, *, instant_: bool = False) -> str:
    """A date or local time of a case as a FHIR dateTime; as an instant, a date means its first minute."""
    if "T" not in text:
        return f"{text}T00:00:00+08:00" if instant_ else text
    return text if len(text) > 16 else f"{text}:00+08:00"


def _value(value: float | str, unit: str) -> Resource:
    if isinstance(value, str):
        return {"valueString": value}
    return {"valueQuantity": {"value": value, "unit": unit} if unit else {"value": value}}


def build(case: PatientCase, lang: Lang, added: Iterable[Mapping[str, Any]] = ()) -> dict[str, Resource]:
    """Reference -> resource: what stands in the hospital's systems before the episode. `added`: what the scenario adds to the chart."""
    resources: list[Resource] = [_patient(SELF, case.person.name[lang], case.person.birth_date, case.person.sex_at_birth)]
    resources += [_patient(d.id, d.name[lang], d.birth_date, case.person.sex_at_birth) for d in case.person.decoys]
    resources += [localise(r, lang) for r in (*case.chart.resources, *added)]
    if case.report:
        resources += _report(case, case.report, lang)
    resources += _slots(case, lang)
    resources += _hospital(lang)
    return {f"{r['resourceType']}/{r['id']}": r for r in resources}


def _patient(id_: str, name: str, birth_date: str, sex: str | None) -> Resource:
    return {"resourceType": "Patient", "id": id_, "name": [{"text": name}], "gender": sex or "unknown", "birthDate": birth_date}


def _hospital(lang: Lang) -> list[Resource]:
    zh = lang == "zh"
    return [
        {"resourceType": "Organization", "id": "hospital", "active": True, "name": "本院" if zh else "the hospital"},
        {"resourceType": "Practitioner", "id": "duty-doctor", "active": True, "name": [{"text": "值班医师" if zh else "the doctor on duty"}]},
    ]


def _report(case: PatientCase, report: Report, lang: Lang) -> list[Resource]:
    subject = {"reference": f"Patient/{SELF}"} if report.subject_matches else {"display": report.owner[lang]}
    made: list[Resource] = []
    for item in report.items:
        observation: Resource = {
            "resourceType": "Observation", "id": fhir_id(f"rep-{item.id}"), "status": "final", "code": {"text": item.name[lang]},
            "subject": subject, "effectiveDateTime": fhir_time(report.issued_at), **_value(item.value, item.unit),
        }  # fmt: skip
        if item.ref:
            observation["referenceRange"] = [{"text": item.ref}]
        if item.flag:
            observation["interpretation"] = [{"text": item.flag}]
        made.append(observation)
    for prior in report.prior:
        name = next(i.name for i in report.items if i.id == prior.item)
        made.append({
            "resourceType": "Observation", "id": fhir_id(f"prior-{prior.item}-{prior.date[:10]}"), "status": "final",
            "code": {"text": name[lang]}, "subject": subject, "effectiveDateTime": fhir_time(prior.date),
            **_value(prior.value, prior.unit),
        })  # fmt: skip
    diagnostic: Resource = {
        "resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": {"text": report.type[lang]},
        "subject": subject, "issued": fhir_time(report.issued_at, instant_=True), "performer": [{"display": report.lab[lang]}],
        "result": [{"reference": "Observation/" + fhir_id(f"rep-{item.id}")} for item in report.items],
    }  # fmt: skip
    if report.narrative:
        diagnostic["conclusion"] = f"{report.narrative.findings[lang]} {report.narrative.impression[lang]}"
    return [diagnostic, *made]


def _slots(case: PatientCase, lang: Lang) -> list[Resource]:
    made: list[Resource] = []
    for day in case.course.slots:
        label, id_ = codes.departments()[day.department].label(lang), fhir_id(day.department)
        service = [{"coding": [{"code": day.department}], "text": label}]
        made.append({
            "resourceType": "Schedule", "id": id_, "active": True, "actor": [{"display": label}],
            "serviceType": service,
        })  # fmt: skip
        for minute in day.in_min:
            made.append({
                "resourceType": "Slot", "id": f"{id_}-{minute}", "status": "free", "serviceType": service,
                "schedule": {"reference": f"Schedule/{id_}"},
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
