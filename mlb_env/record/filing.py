"""What the hospital's systems and the scripted clinician write: signatures under orders, and results as FHIR resources."""

from __future__ import annotations

from collections.abc import Sequence

from ..spec.base import Lang
from ..spec.case import Result, Test
from .store import Resource, Store

CLINICIAN = "Practitioner/duty-doctor"
REFERRAL = "referral"  # category code of our own ServiceRequests that are not tests


def sign(store: Store, order: str, decision: str, *, turn: int, minute: int) -> bool:
    """The scripted clinician's decision on an agent's proposal. Returns whether it is signed.

    Args:
        decision: `signs`, `rejects` or `absent`.
    """
    if decision == "signs":
        store.update(order, {"status": "active", "intent": "order", "requester": {"reference": CLINICIAN}}, turn=turn, minute=minute, by="clinician")
    elif decision == "rejects":
        revoked = "revoked" if order.startswith("ServiceRequest/") else "cancelled"
        store.update(order, {"status": revoked}, turn=turn, minute=minute, by="clinician")
    return decision == "signs"


def file_results(store: Store, order: str, test: Test, results: Sequence[Result], lang: Lang, when: str, *, turn: int, minute: int) -> str:
    """Write a test's results as Observations under a DiagnosticReport, and complete the order. Returns the report's reference."""
    subject, based_on = {"reference": "Patient/self"}, [{"reference": order}]
    coding = [{"code": test.code}, *([{"system": "http://loinc.org", "code": test.loinc}] if test.loinc else [])]
    made = [
        store.create(_observation(r, lang, subject, based_on, test.done_at or when), turn=turn, minute=minute, by="system") for r in results
    ]
    report: Resource = {
        "resourceType": "DiagnosticReport", "status": "preliminary" if test.quality == "pending" else "final",
        "code": {"coding": coding, "text": test.name[lang]}, "subject": subject, "basedOn": based_on, "issued": when,
    }  # fmt: skip
    if made:
        report["result"] = [{"reference": reference} for reference in made]
    if test.report:
        report["conclusion"] = f"{test.report.findings[lang]} {test.report.impression[lang]}"
    reference = store.create(report, turn=turn, minute=minute, by="system")
    store.update(order, {"status": "completed"}, turn=turn, minute=minute, by="system")
    return reference


def _observation(result: Result, lang: Lang, subject: Resource, based_on: list[Resource], when: str) -> Resource:
    observation: Resource = {
        "resourceType": "Observation", "status": "final", "code": {"text": result.analyte[lang]}, "subject": subject, "basedOn": based_on,
        "effectiveDateTime": when if len(when) != 16 else f"{when}:00+08:00",
    }  # fmt: skip
    if isinstance(result.value, int | float):
        observation["valueQuantity"] = {"value": result.value, **({"unit": result.unit} if result.unit else {})}
    else:
        observation["valueString"] = f"{result.value} {result.unit}".strip()
    limits = result.ref_range
    if limits and (limits.low is not None or limits.high is not None):
        observation["referenceRange"] = [
            {k: {"value": v, **({"unit": result.unit} if result.unit else {})} for k, v in (("low", limits.low), ("high", limits.high)) if v is not None}
        ]
    elif limits and limits.text:
        observation["referenceRange"] = [{"text": limits.text}]
    if result.flag:
        system = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
        observation["interpretation"] = [{"coding": [{"system": system, "code": result.flag}]}]
    return observation
