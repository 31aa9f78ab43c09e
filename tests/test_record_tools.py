"""The record's tools in an episode: raw FHIR with the same hospital behind it, orders and their signatures, alerts, the state graded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.judge.grade import grade
from mlb_env.record.alerts import ckd_epi, knowledge, named_in
from mlb_env.record.end import end_of, start_of
from mlb_env.record.validate import problems
from mlb_env.spec.action import Action, ToolCall
from mlb_env.spec.trajectory import Trajectory


def started(plays: list[Play], id_: str, **keywords: Any) -> Episode:
    episode = Episode(next(p for p in plays if p.id == id_), lang=keywords.pop("lang", "en"), **{"record_tools": "both", **keywords})
    episode.reset()
    return episode


def do(episode: Episode, tool: str, **arguments: Any) -> str:
    """The text of one call's answer."""
    observation = episode.step(Action(tool_calls=(ToolCall.of(tool, **arguments),)))
    return next(m.content for m in observation.messages if m.speaker == "tool")


def ended(episode: Episode) -> Trajectory:
    if not episode.over:
        episode.stop("max_tokens")
    return episode.trajectory()


def request(kind: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": kind, "status": "draft", "intent": "proposal", "subject": {"reference": "Patient/self"}, **more}


# --- the shape of the tools ---------------------------------------------------------------------------------------------


def test_the_records_tools_come_task_shaped_raw_or_both(interactive: list[Play]) -> None:
    def names(shape: str) -> set[str]:
        return {t["function"]["name"] for t in started(interactive, "madiagnosis-p01", record_tools=shape).briefing.tools}

    raw = {"fhir_search", "fhir_read", "fhir_create", "fhir_update"}
    task = names("task")
    assert not raw & task and names("both") == task | raw
    assert names("fhir") == (task - {"search_records", "read_record", "propose_test", "draft_prescription", "refer", "flag_discrepancy"}) | raw


def test_reading_by_raw_fhir_tells_the_same_facts_as_the_task_shaped_tool(interactive: list[Play]) -> None:
    by_task, by_raw = started(interactive, "madiagnosis-p04"), started(interactive, "madiagnosis-p04")
    do(by_task, "search_records", resource_type="MedicationStatement")
    do(by_raw, "fhir_search", resource_type="MedicationStatement", query="patient=self")
    facts = [[e.fact for e in ended(e).ledger if e.turn == 1] for e in (by_task, by_raw)]
    assert facts[0] == facts[1]


def test_raw_reading_needs_the_identity_check_too_and_public_things_do_not(interactive: list[Play]) -> None:
    episode = started(interactive, "maguidance-p01")
    assert "verify_identity" in do(episode, "fhir_search", resource_type="Condition", query="patient=self")
    assert json.loads(do(episode, "fhir_search", resource_type="Slot", query="status=free&_count=1"))["resourceType"] == "Bundle"
    refused = [e.refused for e in ended(episode).tools]
    assert refused == ["identity", ""]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False, allow_infinity=False, width=16) | st.text(max_size=8)
    | st.sampled_from(["Patient/self", "draft", "proposal", "warfarin", "mg", "Slot/x", "cancelled", "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["coding", "code", "text", "reference", "display", "value", "unit", "timing", "repeat", "doseQuantity", "doseAndRate", "x"]), inner,
        max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = ["status", "intent", "subject", "code", "medicationCodeableConcept", "dosageInstruction", "note", "slot", "participant", "start", "end", "bodySite",
          "id", "reasonCode", "section", "extension"]  # fmt: skip


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["ServiceRequest", "MedicationRequest", "Appointment", "Flag", "Task", "Composition", "Nothing", ""]),
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8), tool=st.sampled_from(["fhir_create", "fhir_update"]),
)  # fmt: skip
def test_no_resource_that_an_agent_can_send_breaks_the_environment(interactive: list[Play], kind: str, fields: dict[str, Any], tool: str) -> None:
    episode = started(interactive, "madiagnosis-p04")
    base = request(kind) if kind in ("ServiceRequest", "MedicationRequest") else {"resourceType": kind}
    answer = do(episode, tool, resource={**base, **fields})
    assert answer and len(ended(episode).tools) == 1


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.text(max_size=12) | st.sampled_from(["Observation", "Patient", "Slot"]), query=st.text(max_size=40))
def test_no_search_that_an_agent_can_send_breaks_the_environment(interactive: list[Play], kind: str, query: str) -> None:
    episode = started(interactive, "madiagnosis-p04")
    do(episode, "fhir_search", resource_type=kind, query=query)
    do(episode, "fhir_read", reference=kind + "/" + query)
    assert len(ended(episode).tools) == 2


# --- orders -------------------------------------------------------------------------------------------------------------


def test_a_raw_order_is_signed_and_its_result_is_filed_after_its_delay(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p01")
    test = next(t for t in episode.play.case.tests if t.code == "troponin")  # type: ignore[union-attr]
    answer = do(episode, "fhir_create", resource=request("ServiceRequest", code={"text": "hs-cTn"}))
    order = json.loads(answer.partition("\n")[0])
    reference = f"ServiceRequest/{order['id']}"
    assert "R1" in answer and str(test.results[0].value) not in answer
    assert json.loads(do(episode, "fhir_read", reference=reference))["status"] == "active"
    assert json.loads(do(episode, "fhir_search", resource_type="DiagnosticReport", query=f"based-on={reference}"))["total"] == 0
    do(episode, "wait", minutes=test.availability.turnaround_min)
    page = json.loads(do(episode, "fhir_search", resource_type="DiagnosticReport", query=f"based-on={reference}&_include=DiagnosticReport:result"))
    assert page["total"] == 1
    values = [e["resource"]["valueQuantity"]["value"] for e in page["entry"] if e["resource"]["resourceType"] == "Observation"]
    assert test.results[0].value in values
    assert json.loads(do(episode, "fhir_read", reference=reference))["status"] == "completed"
    authors = {c.reference.partition("/")[0]: c.by for c in ended(episode).record_changes if c.operation == "create"}
    assert authors == {"ServiceRequest": "agent", "Observation": "system", "DiagnosticReport": "system"}


@pytest.mark.parametrize(("decision", "status"), [("rejects", "revoked"), ("absent", "draft")])
def test_without_a_signature_there_is_no_result(interactive: list[Play], decision: str, status: str) -> None:
    play = next(p for p in interactive if p.id == "madiagnosis-p01")
    assert play.case is not None
    case = play.case.model_copy(update={"course": play.case.course.model_copy(update={"co_signer": decision})})
    episode = Episode(Play(dataset=play.dataset, scenario=play.scenario, case=case, personas=play.personas), lang="en", record_tools="both")
    episode.reset()
    assert "no result" in do(episode, "propose_test", name="hs-cTn")
    do(episode, "wait", minutes=200)
    assert json.loads(do(episode, "fhir_search", resource_type="DiagnosticReport", query="patient=self&status=final"))["total"] == sum(
        r["resourceType"] == "DiagnosticReport" for r in case.chart.resources)  # fmt: skip
    assert json.loads(do(episode, "fhir_search", resource_type="ServiceRequest", query="patient=self"))["entry"][0]["resource"]["status"] == status


def test_an_order_for_what_does_not_exist_says_so_and_writes_nothing(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p01")
    outcome = json.loads(do(episode, "fhir_create", resource=request("ServiceRequest", code={"text": "flux capacitor scan"})))
    assert outcome["resourceType"] == "OperationOutcome" and "directory" in outcome["issue"][0]["diagnostics"]
    assert not ended(episode).record_changes


def test_a_slot_is_booked_once(interactive: list[Play]) -> None:
    episode = started(interactive, "maguidance-p05")
    person = episode.play.case.person  # type: ignore[union-attr]
    do(episode, "verify_identity", name=person.name["en"], phone_last4=person.identity.phone_last4)  # type: ignore[union-attr]
    slot = json.loads(do(episode, "fhir_search", resource_type="Slot", query="status=free&_count=1"))["entry"][0]["resource"]
    appointment = {
        "resourceType": "Appointment", "status": "booked", "slot": [{"reference": f"Slot/{slot['id']}"}], "start": slot["start"], "end": slot["end"],
        "participant": [{"actor": {"reference": "Patient/self"}, "status": "accepted"}],
    }  # fmt: skip
    assert json.loads(do(episode, "fhir_create", resource=appointment))["resourceType"] == "Appointment"
    assert "free slot" in do(episode, "fhir_create", resource=appointment)
    assert json.loads(do(episode, "fhir_read", reference=f"Slot/{slot['id']}"))["status"] == "busy"


def test_a_referral_is_a_proposal_and_counts_as_no_test(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p06")
    assert "Referral proposed" in do(episode, "refer", department="orthopaedics", reason="back pain with leg weakness", urgency="urgent")
    trajectory = ended(episode)
    (made,) = [c for c in trajectory.record_changes if c.operation == "create"]
    assert made.after and made.after["intent"] == "proposal" and made.after["reasonCode"] and made.after["priority"] == "urgent"
    verdicts = {v.criterion: v for v in grade(trajectory, episode.play).verdicts}
    assert all(v.verdict != "unmet" for c, v in verdicts.items() if c.startswith("D8"))


def test_everything_that_an_episode_leaves_in_the_record_is_valid_fhir(interactive: list[Play]) -> None:
    """Whatever the hospital, the clinician and the oracle wrote, in each interactive scenario and language."""
    from tests.conftest import play_one

    for play in interactive:
        for lang in play.langs:
            trajectory, _ = play_one("oracle", play, lang)
            store = end_of(start_of(play, lang), trajectory)
            for reference in store.references():
                assert not problems(store.read(reference), store.__contains__), (play.id, lang, reference, problems(store.read(reference)))


# --- the prescribing software -------------------------------------------------------------------------------------------


def drafts(episode: Episode) -> int:
    return sum(c.reference.startswith("MedicationRequest/") and c.operation == "create" for c in ended(episode).record_changes)


def test_an_interaction_with_what_the_chart_lists_has_to_be_answered_with_a_reason(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p04")  # takes warfarin
    answer = do(episode, "draft_prescription", drug="fluconazole", dose="150 mg once", reason="thrush")
    assert "override_reason" in answer and "interaction" in answer
    assert "Draft saved" in do(episode, "draft_prescription", drug="fluconazole", dose="150 mg once", override_reason="no other choice; INR in 3 days")
    events = ended(episode).tools
    assert [e.refused for e in events] == ["alert", ""] and all(e.alerts == ("soft interaction fluconazole",) for e in events)
    assert drafts(episode) == 1


def test_a_hard_alert_cannot_be_argued_away_by_either_tool(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p02")  # pregnant
    for reason in ("", "I insist"):
        assert "does not let this through" in do(episode, "draft_prescription", drug="warfarin", override_reason=reason)
    raw = request("MedicationRequest", medicationCodeableConcept={"text": "warfarin"}, note=[{"text": "I insist"}])
    assert "does not let this through" in do(episode, "fhir_create", resource=raw)
    assert drafts(episode) == 0 and {e.refused for e in episode.trajectory().tools} == {"alert"}


def test_a_dose_over_the_limit_is_seen_in_numbers_only(interactive: list[Play]) -> None:
    drug = next(d for d in knowledge().drugs if d.id == "paracetamol")
    assert drug.adult_max_mg_per_dose is not None
    episode = started(interactive, "madiagnosis-p06")
    most = drug.adult_max_mg_per_dose
    assert "limit" in do(episode, "draft_prescription", drug="paracetamol", mg_per_dose=most * 1.5)
    assert "does not let" in do(episode, "draft_prescription", drug="paracetamol", mg_per_dose=most * 5)
    assert "Draft saved" in do(episode, "draft_prescription", drug="paracetamol", mg_per_dose=most)


def test_neither_alerts_nor_signatures_are_got_round_by_an_update(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p02")  # pregnant
    answer = do(episode, "fhir_create", resource=request("MedicationRequest", medicationCodeableConcept={"text": "paracetamol"}))
    made = json.loads(answer.partition("\n")[0])
    changed = {**request("MedicationRequest", medicationCodeableConcept={"text": "warfarin"}), "id": made["id"]}
    assert "does not let this through" in do(episode, "fhir_update", resource=changed)
    assert "no longer a proposal" in do(episode, "fhir_update", resource={**changed, "medicationCodeableConcept": {"text": "vitamin C"}})
    assert json.loads(do(episode, "fhir_read", reference=f"MedicationRequest/{made['id']}"))["status"] == "active", "the clinician signed it"


def test_a_cancelled_appointment_gives_its_slot_back(interactive: list[Play]) -> None:
    episode = started(interactive, "maguidance-p05")
    person = episode.play.case.person  # type: ignore[union-attr]
    do(episode, "verify_identity", name=person.name["en"], phone_last4=person.identity.phone_last4)  # type: ignore[union-attr]
    slot = json.loads(do(episode, "fhir_search", resource_type="Slot", query="status=free&_count=1"))["entry"][0]["resource"]["id"]
    do(episode, "book_appointment", slot=slot)
    appointment = json.loads(do(episode, "fhir_search", resource_type="Appointment", query="patient=self"))["entry"][0]["resource"]
    do(episode, "fhir_update", resource={**appointment, "status": "cancelled"})
    assert json.loads(do(episode, "fhir_read", reference=f"Slot/{slot}"))["status"] == "free"


def test_no_role_activates_a_prescription_and_trying_is_harm(interactive: list[Play]) -> None:
    episode = started(interactive, "madiagnosis-p06")
    do(episode, "fhir_create", resource=request("MedicationRequest", medicationCodeableConcept={"text": "ibuprofen"}) | {"status": "active"})
    judgement = grade(ended(episode), episode.play)
    assert any(h.grade == "S2" for h in judgement.score.harms) and not episode.trajectory().record_changes


def test_the_desk_that_serves_patients_cannot_prescribe_and_is_graded_for_trying(interactive: list[Play]) -> None:
    episode = started(interactive, "mamedication-p04")
    person = episode.play.case.person  # type: ignore[union-attr]
    do(episode, "verify_identity", name=person.name["en"], phone_last4=person.identity.phone_last4)  # type: ignore[union-attr]
    answer = json.loads(do(episode, "fhir_create", resource=request("MedicationRequest", medicationCodeableConcept={"text": "vitamin K"})))
    assert "does not write MedicationRequest" in answer["issue"][0]["diagnostics"]
    assert any(h.criterion.startswith("X") for h in grade(ended(episode), episode.play).score.harms)


def test_the_estimated_gfr_is_that_of_the_published_equation() -> None:
    """Worked values of CKD-EPI 2021 (National Kidney Foundation's calculator): 1.0 mg/dL, 50 years."""
    assert round(ckd_epi(88.42, 50, "male")) == 92 and round(ckd_epi(88.42, 50, "female")) == 69


def test_the_table_is_whole() -> None:
    book = knowledge()
    known = {d.id for d in book.drugs} | {c for d in book.drugs for c in d.classes}
    assert len(book.drugs) >= 50 and len({d.id for d in book.drugs}) == len(book.drugs)
    names = [n.casefold() for d in book.drugs for n in (*d.zh, *d.en)]
    assert len(names) == len(set(names))
    for rule in book.allergies:
        assert {rule.group, rule.with_} <= known | {w.group for w in book.allergen_words}
    for pair in book.interactions:
        assert {pair.a, pair.b} <= known
    for entry in (*book.drugs, *book.allergies, *book.interactions):
        assert set(entry.sources) <= book.sources.keys()


def test_drug_names_are_found_as_whole_names() -> None:
    assert named_in("Warfarin sodium 3 mg") == ["warfarin"] and named_in("华法林钠片") == ["warfarin"]
    assert named_in("warfarinoid") == [] and named_in("") == []
    assert named_in("penicillin", groups=True) and not named_in("a penicillinase", groups=True)
