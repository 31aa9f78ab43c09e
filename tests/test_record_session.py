"""Sessions at the record: FHIR REST interactions, rights by role, nothing by halves, an OperationOutcome for whatever is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlb_env.record.rights import Role
from mlb_env.record.session import Answer, Session
from mlb_env.record.store import Base, Store

OBSERVATION = {
    "resourceType": "Observation", "status": "final", "code": {"text": "BP"}, "subject": {"reference": "Patient/self"}, "valueString": "118/77 mmHg",
}  # fmt: skip
DRAFT = {
    "resourceType": "MedicationRequest", "status": "draft", "intent": "proposal", "subject": {"reference": "Patient/self"},
    "medicationCodeableConcept": {"text": "amlodipine"},
}  # fmt: skip


def session(role: Role = "clinician", patient: str | None = "self") -> Session:
    return Session(
        Store(
            Base.of(
                [
                    {"resourceType": "Patient", "id": "self", "name": [{"text": "Shen Guifen"}]},
                    {"resourceType": "Patient", "id": "other", "name": [{"text": "Shen Guifang"}]},
                    {**OBSERVATION, "id": "mine"},
                    {**OBSERVATION, "id": "theirs", "subject": {"reference": "Patient/other"}},
                    {"resourceType": "Slot", "id": "s1", "status": "free", "schedule": {"reference": "Schedule/x"},
                     "start": "2026-06-01T08:00:00+08:00", "end": "2026-06-01T08:15:00+08:00"},
                ]
            )
        ),
        role, patient,
    )  # fmt: skip


def says(answer: Answer, status: int, text: str) -> None:
    body = json.loads(answer.body)
    assert answer.status == status and body["resourceType"] == "OperationOutcome", answer
    assert text in answer.problem, answer.problem


def test_create_read_update_delete() -> None:
    desk = session()
    made = desk.handle("POST", "Observation", json.dumps(OBSERVATION))
    assert made.status == 201
    resource = json.loads(made.body)
    path = f"Observation/{resource['id']}"
    assert json.loads(desk.handle("GET", path).body) == resource
    changed = desk.handle("PUT", path, json.dumps({**resource, "valueString": "120/80 mmHg"}))
    assert changed.status == 200 and json.loads(changed.body)["meta"]["versionId"] == "2"
    assert desk.handle("DELETE", path).status == 204
    says(desk.handle("GET", path), 404, f"there is no {path}")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "Observation", "{", 400, "not JSON"),
        ("POST", "Observation", "[]", 400, "JSON object"),
        ("POST", "Observation", "", 400, "not JSON"),
        ("POST", "Observation", "[" * 100_000, 400, "not JSON"),
        ("POST", "Observation", " " * 10_000_001, 400, "characters"),
        ("POST", "Observation", json.dumps(DRAFT), 400, "the address says Observation"),
        ("POST", "Observation", json.dumps({**OBSERVATION, "status": "done"}), 422, "is not one of"),
        ("POST", "Observation", json.dumps({**OBSERVATION, "subject": {"reference": "Patient/ghost"}}), 422, "there is no Patient/ghost"),
        ("POST", "Observation", json.dumps({**OBSERVATION, "colour": 1}), 422, "colour"),
        ("PUT", "Observation/mine", json.dumps({**OBSERVATION, "id": "x"}), 400, "the address says mine"),
        ("PUT", "Observation/none", json.dumps(OBSERVATION), 404, "create it by POST"),
        ("DELETE", "Observation/none", "", 404, "there is no Observation/none"),
        ("GET", "observation", "", 404, "is not Type, or Type/id"),
        ("GET", "Spaceship", "", 404, "does not hold Spaceship"),
        ("GET", "Observation/../etc", "", 404, "is not an id"),
        ("GET", "Observation?colour=red", "", 400, "no search parameter"),
        ("PATCH", "Observation/mine", "{}", 405, "not possible"),
        ("POST", "", "{}", 400, "batch or transaction"),
    ],
)
def test_what_is_wrong_is_an_operation_outcome_and_the_record_is_as_it_was(method: str, path: str, body: str, status: int, text: str) -> None:
    desk = session()
    says(desk.handle(method, path, body), status, text)
    assert not desk.store.changes


def entry(method: str, url: str, resource: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"request": {"method": method, "url": url}, **({"resource": resource} if resource else {})}


def bundle(kind: str, *entries: dict[str, Any]) -> str:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})


def test_a_transaction_is_all_or_nothing_and_a_batch_is_not() -> None:
    good, bad = entry("POST", "Observation", OBSERVATION), entry("POST", "Observation", {**OBSERVATION, "status": "x"})
    desk = session()
    says(desk.handle("POST", "", bundle("transaction", good, bad)), 422, "entry 2: ")
    assert not desk.store.changes and not list(desk.store.overlay)
    answer = json.loads(desk.handle("POST", "", bundle("batch", good, bad, entry("GET", "Patient/self"))).body)
    assert [e["response"]["status"] for e in answer["entry"]] == ["201", "422", "200"] and len(desk.store.changes) == 1
    assert answer["entry"][1]["response"]["outcome"]["resourceType"] == "OperationOutcome"


# --- rights -------------------------------------------------------------------------------------------------------------

ROLES: list[Role] = ["service_desk", "clinical_assistant", "scribe"]


@pytest.mark.parametrize("role", ROLES)
def test_another_persons_chart_is_closed_whichever_way_it_is_tried(role: Role) -> None:
    desk = session(role)
    for path in ("Patient/other", "Observation/theirs", "Observation?patient=other", "Observation?subject=Patient/other", "Patient?_id=other",
                 "Patient/other/$everything", "Observation?patient=self,other"):  # fmt: skip
        answer = desk.handle("GET", path)
        assert (answer.status, answer.refused) == (403, "foreign"), path
    assert [json.loads(desk.handle("GET", p).body)["total"] for p in ("Observation", "Patient?name=Shen", "Patient/self/$everything")] == [1, 1, 2]
    assert json.loads(desk.handle("GET", "Slot?status=free").body)["total"] == 1


@pytest.mark.parametrize(
    ("role", "resource", "allowed"),
    [
        ("service_desk", DRAFT, False),
        ("service_desk", OBSERVATION, False),
        ("clinical_assistant", DRAFT, True),
        ("clinical_assistant", {**DRAFT, "status": "active"}, False),
        ("clinical_assistant", {**DRAFT, "intent": "order"}, False),
        ("clinical_assistant", OBSERVATION, False),
        ("scribe", DRAFT, False),
        ("clinician", {**DRAFT, "status": "active", "intent": "order"}, True),
    ],
)
def test_agents_propose_and_draft_and_nobody_but_a_clinician_signs(role: Role, resource: dict[str, Any], allowed: bool) -> None:
    desk = session(role)
    answer = desk.handle("POST", str(resource["resourceType"]), json.dumps(resource))
    assert (answer.status, answer.refused) == ((201, "") if allowed else (403, "role"))
    assert bool(desk.store.changes) is allowed


def test_nothing_is_written_about_another_person_and_nothing_deleted() -> None:
    desk = session("clinical_assistant")
    answer = desk.handle("POST", "MedicationRequest", json.dumps({**DRAFT, "subject": {"reference": "Patient/other"}}))
    assert (answer.status, answer.refused) == (403, "foreign")
    assert desk.handle("DELETE", "Observation/mine").refused == "role" and not desk.store.changes
