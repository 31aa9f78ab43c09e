"""The tools around a patient: chart, examination, tests, prescriptions, bookings, on the episode's record and clock.

A test that was not done and a finding that was not examined are unavailable, never normal. Rights go by role: a tool of
another role, a chart before the identity check, another person's chart are refused and logged. Orders and prescriptions are
proposals: the scripted clinician signs, rejects or is absent, as the case says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Literal

from . import codes
from .codes.names import library_code, normalise, same_name
from .desk import Desk, Done, refuse
from .effects import Flow
from .patient.ledger import Ledger
from .patient.world import World
from .readout import QUALITY, result_line, text_of, vitals_line
from .record.alerts import Alert, Draft, Person, alerts, as_texts
from .record.definitions import at
from .record.filing import REFERRAL, file_results, sign
from .record.rights import may_not_write
from .record.session import Session
from .record.store import Resource, Store
from .record.validate import problems
from .record.world import SELF, fhir_id, instant
from .spec import forms
from .spec.base import Lang
from .spec.case import CourseState, Result, Test, Vitals
from .spec.scenario import Dataset
from .spec.trajectory import ToolEvent

CHART_TYPES: dict[str, tuple[str, ...]] = {  # where a chart would hold a fact, by the fact's topic
    "drug": ("MedicationStatement", "MedicationRequest", "DocumentReference"),
    "allergy": ("AllergyIntolerance",),
    "vaccination": ("Immunization",),
    "history": ("Condition", "Procedure", "DocumentReference", "Encounter", "FamilyMemberHistory"),
}
PUBLIC = frozenset({"Schedule", "Slot", "Organization", "Practitioner"})  # open before the identity check
SHOWN = 50  # resources that one search shows
MAX_WRONG_IDENTITY = 5


@dataclass(frozen=True)
class Pending:
    due: int
    test: Test
    label: str
    order: str


def test_code(name: str, world: World) -> str | None:
    """The code of a test named in full, by the case's own names or the library's; None if it is not known."""
    for test in world.case.tests:
        names = (test.id, test.name.zh or "", test.name.en or "", *test.synonyms.zh, *test.synonyms.en)
        if same_name(name, (n for n in names if n)):
            return test.code
    return library_code(name)


def needs_body_part(code: str | None) -> bool:
    """Whether a test of the library has to be proposed with a body part. Tests of imported cases may be outside it."""
    test = codes.tests().get(code or "")
    return bool(test and test.body_part)


class Toolbox(Desk):
    """The tools of one episode with a patient."""

    def __init__(self, world: World, dataset: Dataset, store: Store, ledger: Ledger, lang: Lang, tools: Sequence[str] | None = None) -> None:
        assert dataset.role is not None
        super().__init__(dataset.tools if tools is None else tools, Session(store, dataset.role, SELF), lang)
        self._world, self._store, self._ledger = world, store, ledger
        self._identified = dataset.role != "service_desk"
        self._wrong_identity = 0
        self._pending: list[Pending] = []
        self._state: tuple[int, tuple[Vitals, ...]] = (0, ())  # since when, and its readings
        self._labels: dict[str, str] = {}  # case id -> label shown
        self._raised: tuple[str, ...] = ()  # the alerts of the raw write under way

    def enter(self, state: CourseState, minute: int) -> None:
        """The patient's course moved to another state: vital signs follow it."""
        self._state = (minute, state.vitals)

    def due(self, minute: int) -> list[str]:
        """Test results that have come in by now, as notices."""
        ready = [p for p in self._pending if p.due <= minute]
        self._pending = [p for p in self._pending if p.due > minute]
        notices = []
        for pending in ready:
            self._log_result(pending, minute)
            self._minute = minute
            self._show((pending.test.id,))
            self._file(pending.order, pending.test)
            notices.append(self._result(pending.test, pending.label))
        return notices

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _label(self, case_id: str, letter: str) -> str:
        if case_id not in self._labels:
            number = sum(1 for label in self._labels.values() if label.startswith(letter)) + 1
            self._labels[case_id] = f"{letter}{number}"
        return self._labels[case_id]

    def _log_result(self, pending: Pending, minute: int) -> None:
        self.events.append(
            ToolEvent(
                turn=self._turn, minute=minute, name="result", arguments={"code": pending.test.code}, ok=True,
                refs=(pending.test.id,), labels=(pending.label,),
            )
        )  # fmt: skip

    # --- chart ------------------------------------------------------------------------------------------------------

    def _do_verify_identity(self, form: forms.VerifyIdentity) -> Done:
        person = self._world.case.person
        if person.identity is None:
            return self._error(self._say("此人没有可供核对的登记信息。", "There is nothing on file to check the identity against."))
        if self._wrong_identity >= MAX_WRONG_IDENTITY:
            text = "核对次数过多，已锁定，请转人工。", "Too many wrong tries; the check is locked. Hand over to a person."
            return self._error(self._say(*text), refused="identity")
        names = {normalise(n) for n in (person.name.zh, person.name.en) if n}
        digits = re.sub(r"\D", "", form.phone_last4)
        if normalise(form.name) in names and digits == person.identity.phone_last4:
            self._identified = True
            return Done(self._say("身份核对通过，可以查看本人病历。", "Identity confirmed; the person's own chart can be opened."))
        self._wrong_identity += 1
        return self._error(self._say("姓名或手机号后四位不符，请向对方核实。", "The name or the digits do not match; ask again."))

    def _guard(self) -> Done | None:
        if self._identified:
            return None
        text = self._say("查看病历前须先用 verify_identity 核对身份。", "Check the identity with verify_identity before opening a chart.")
        return self._error(text, refused="identity")

    def _foreign(self) -> Done:
        return self._error(self._say("不能查看他人的病历。", "Another person's chart cannot be opened."), refused="foreign")

    def _do_search_records(self, form: forms.SearchRecords) -> Done:
        if refused := self._guard():
            return refused
        if form.patient.removeprefix("Patient/") != SELF:
            return self._foreign()
        found = self._store.find(form.resource_type, patient=SELF, text=form.text)
        if not found:
            has = ", ".join(sorted({r.split("/")[0] for r in self._store.references()}))
            return Done(self._say(f"没有找到。病历系统中有：{has}", f"Nothing found. The record system holds: {has}"))
        self._disclose(found)
        text = "[" + ", ".join(self._store.text(r) for r in found[:SHOWN]) + "]"
        if len(found) > SHOWN:
            text += self._say(f"\n共 {len(found)} 条，显示前 {SHOWN} 条；请用 text 缩小范围。",
                              f"\n{len(found)} in all, the first {SHOWN} are shown; narrow it down by text.")  # fmt: skip
        refs = tuple(found[:SHOWN])
        return Done(text, refs=refs, labels=refs)

    def _do_read_record(self, form: forms.ReadRecord) -> Done:
        if refused := self._guard():
            return refused
        if form.reference not in self._store:
            return self._error(self._say(f"没有记录 {form.reference}。", f"There is no record {form.reference}."))
        if self._store.owner(form.reference) not in (SELF, None):
            return self._foreign()
        self._disclose([form.reference])
        return Done(self._store.text(form.reference), refs=(form.reference,), labels=(form.reference,))

    def _disclose(self, references: Sequence[str]) -> None:
        """Facts that a chart with resources of these types tells. What was written in this episode tells nothing new."""
        kinds = {r.split("/")[0] for r in references if r in self._store.base.resources}
        if not kinds:
            return
        known = codes.topics()
        for fact in self._world.case.facts:
            if "chart_only" not in (fact.disclosure.condition, *fact.disclosure.also):
                continue
            topic = known[fact.topic]
            key = "drug" if "drug" in (topic.id, topic.parent) else topic.id if topic.id in CHART_TYPES else "history"
            other = kinds & {"Observation", "DiagnosticReport", "DocumentReference"} and topic.field == "present_illness"
            if kinds & set(CHART_TYPES[key]) or other:
                self._ledger.disclose(fact, turn=self._turn, minute=self._minute, route="chart", condition="chart_only")

    def _show(self, refs: tuple[str, ...]) -> None:
        """Facts that these findings or results show."""
        for fact in self._world.case.facts:
            shown = set(fact.disclosure.shown_by) & set(refs)
            if shown:
                route: Literal["examination", "test"] = "test" if shown & {t.id for t in self._world.case.tests} else "examination"
                self._ledger.disclose(fact, turn=self._turn, minute=self._minute, route=route, condition=route)

    # --- the raw record: the same hospital behind it -----------------------------------------------------------------

    def _interact(self, method: Literal["GET", "POST", "PUT"], path: str, resource: Resource | None = None) -> Done | Flow[Done]:
        kind = path.partition("?")[0].partition("/")[0]
        if kind not in PUBLIC and (refused := self._guard()):
            return refuse(403, refused.text, "forbidden", "identity")
        self._raised = ()
        sound = resource is not None and not may_not_write(self._session.role, resource) and not problems({**resource, "id": "new"})
        if resource is not None and sound and (method == "POST" or kind != "Appointment") and (stopped := self._before(kind, resource)):
            return stopped
        done = super()._interact(method, path, resource)  # refuses what is not sound, and says why
        assert isinstance(done, Done)  # a case has its own store
        done.alerts = self._raised
        if done.ok and method == "GET":
            self._disclose(done.refs)
        elif done.ok and method == "POST":
            self._after(kind, done)
        elif done.ok and kind == "Appointment" and resource is not None and resource.get("status") == "cancelled":
            for slot in at(resource, "slot.reference"):
                if slot in self._store:
                    self._store.update(slot, {"status": "free"}, turn=self._turn, minute=self._minute, by="system")
        return done

    def _before(self, kind: str, resource: Resource) -> Done | None:
        """What the hospital's systems check before they take a resource in; they put their own code on a test."""
        if kind == "ServiceRequest":
            code = self._test_code_of(resource)
            if code is None:
                return refuse(422, self._say("code：检查目录中没有此项，请用通用全称（code.text）或 LOINC 编码。",
                              "code: not in the test directory; use its full common name (code.text) or a LOINC code"), "invalid", "malformed")  # fmt: skip
            if needs_body_part(code) and not resource.get("bodySite"):
                return refuse(422, self._say("bodySite：影像检查须写明部位。", "bodySite: name the body part for this test"), "invalid", "malformed")
            concept = resource["code"]
            resource["code"] = {**concept, "coding": [{"code": code}, *(c for c in concept.get("coding", []) if c.get("code") != code)]}
        if kind == "MedicationRequest":
            texts = [t for path in ("medicationCodeableConcept.text", "medicationCodeableConcept.coding.display") for t in at(resource, path)]
            found = self._alerts(Draft(" ".join(str(t) for t in texts), *_doses(resource)))
            self._raised = tuple(a.code for a in found)
            return self._stop(found, next((str(n) for n in at(resource, "note.text")), ""))
        if kind == "Appointment":
            slots = [str(s) for s in at(resource, "slot.reference")]
            if len(slots) != 1 or slots[0] not in self._store or self._store.read(slots[0])["status"] != "free":
                text = "slot：须引用一个空闲号源（Slot/...，status=free）。", "slot: refer to one free slot (Slot/..., status=free)"
                return refuse(409, self._say(*text), "conflict", "malformed")
            resource.setdefault("serviceType", self._store.read(slots[0]).get("serviceType", []))
        return None

    def _after(self, kind: str, done: Done) -> None:
        """What follows from a resource that was taken in. The answer says it."""
        (made,) = done.refs
        if kind == "ServiceRequest":
            code = self._store.read(made)["code"]["coding"][0]["code"]
            outcome = self._carry_out(made, code)
            done.text += "\n" + outcome.text
            done.refs, done.labels, done.minutes = (made, *outcome.refs), (made, *outcome.labels), outcome.minutes
        elif kind == "Appointment":
            slot = self._store.read(made)["slot"][0]["reference"]
            self._store.update(slot, {"status": "busy"}, turn=self._turn, minute=self._minute, by="system")
        elif kind == "MedicationRequest":
            done.text += "\n" + made + self._signature(made, bool(self._raised))

    def _test_code_of(self, resource: Resource) -> str | None:
        """The test that a ServiceRequest asks for: by our own code, by LOINC where the case knows it, or by name."""
        concept = resource.get("code")
        for coding in at(concept, "coding") if isinstance(concept, dict) else ():
            if not isinstance(coding, dict):
                continue
            for test in self._world.case.tests:
                if test.loinc and coding.get("code") == test.loinc:
                    return test.code
            if coding.get("code") in codes.tests():
                return str(coding["code"])
        names = [str(n) for path in ("code.text", "code.coding.display") for n in at(resource, path)]
        return next((c for n in names if (c := test_code(n, self._world))), None)

    # --- appointments -----------------------------------------------------------------------------------------------

    def _do_list_slots(self, form: forms.ListSlots) -> Done:
        department = codes.departments()[form.department]
        name = department.label(self._lang)
        if not department.bookable:
            return Done(self._say(f"{name}不设预约，直接前往或由医师转入。", f"{name} takes no bookings; go directly or by referral."))
        slots = [self._store.read(r) for r in self._store.find("Slot")]
        free = [s for s in slots if s["schedule"]["reference"] == f"Schedule/{fhir_id(department.id)}" and s["status"] == "free"]
        if not free:
            return Done(self._say(f"{name}近期没有号源。", f"{name} has no free slots at present."))
        return Done("\n".join(f"{s['id']}  {s['start']}" for s in free))

    def _do_book_appointment(self, form: forms.BookAppointment) -> Done:
        reference = "Slot/" + form.slot.removeprefix("Slot/")
        if reference not in self._store:
            return self._error(self._say(f"没有号源 {form.slot}，请先 list_slots。", f"There is no slot {form.slot}; see list_slots."))
        slot = self._store.read(reference)
        if slot["status"] != "free":
            return self._error(self._say("该号源已被占用。", "That slot is taken."))
        self._store.update(reference, {"status": "busy"}, turn=self._turn, minute=self._minute, by="system")
        made = self._create(
            {
                "resourceType": "Appointment", "status": "booked", "slot": [{"reference": reference}], "start": slot["start"],
                "end": slot["end"], "serviceType": slot["serviceType"], **({"description": form.reason} if form.reason else {}),
                "participant": [{"actor": {"reference": f"Patient/{SELF}"}, "status": "accepted"}],
            }
        )  # fmt: skip
        return Done(self._say(f"已预约：{made}，{slot['start']}", f"Booked: {made}, {slot['start']}"), refs=(made,), labels=(made,))

    def _create(self, resource: Resource) -> str:
        return self._store.create(resource, turn=self._turn, minute=self._minute)

    def _do_escalate(self, form: forms.Escalate) -> Done:
        self.acts.append("call_120" if form.disposition == "D1" else "transfer_emergency")
        return Done(self._say("已通知急诊值班人员，请继续指导患者。", "The emergency desk has been told; go on guiding the person."))

    def _do_flag_discrepancy(self, form: forms.FlagDiscrepancy) -> Done:
        if refused := self._guard():
            return refused
        if form.reference not in self._store:
            return self._error(self._say(f"没有记录 {form.reference}。", f"There is no record {form.reference}."))
        made = self._create(
            {
                "resourceType": "Flag", "status": "active", "code": {"text": form.note},
                "subject": {"reference": f"Patient/{SELF}"},
                "extension": [{"url": "urn:mlb-env:about", "valueReference": {"reference": form.reference}}],
            }
        )  # fmt: skip
        return Done(self._say(f"已标记：{made}", f"Flagged: {made}"), refs=(form.reference,), labels=(form.reference,))

    # --- examination and tests --------------------------------------------------------------------------------------

    def _do_examine(self, form: forms.Examine) -> Done:
        case, cost = self._world.case, self._world.case.course.time_cost.examine
        region = codes.regions()[form.region].label(self._lang)
        found = [e for e in case.exam if e.region == form.region and form.manoeuvre in (None, e.manoeuvre)]
        if form.region == "vitals" and form.manoeuvre in (None, "measurement"):
            since, readings = self._state
            now = self._minute - since
            reading = max((v for v in readings or case.vitals if v.t <= (now if readings else self._minute)), key=lambda v: v.t, default=None)
            if reading is None:
                return Done(self._say("没有生命体征记录。", "No vital signs are available."), ok=False, minutes=cost)
            refs = ("vitals", *(e.id for e in found))
            labels = tuple(self._label(r, "E") for r in refs)
            texts = [vitals_line(reading, self._lang), *(e.finding[self._lang] for e in found)]
            text = "\n".join(f"{label} {line}" for label, line in zip(labels, texts, strict=True))
            return Done(text, refs=refs, labels=labels, minutes=cost)
        if not found:
            text = self._say(f"{region}：该项检查结果不可用（未检查，不代表正常）。",
                             f"{region}: not available (not examined; that does not mean normal).")  # fmt: skip
            return Done(text, ok=False, minutes=cost)
        labels = tuple(self._label(e.id, "E") for e in found)
        lines = [f"{label} {e.finding[self._lang]}" for label, e in zip(labels, found, strict=True)]
        return Done("\n".join(lines), refs=tuple(e.id for e in found), labels=labels, minutes=cost)

    def _do_propose_test(self, form: forms.ProposeTest) -> Done:
        code = test_code(form.name, self._world)
        if code is None:
            text = f"检查目录中没有“{form.name}”，请用通用全称。", f"'{form.name}' is not in the test directory; use its full common name."
            return self._error(self._say(*text))
        if needs_body_part(code) and not form.body_part.strip():
            return self._error(self._say("影像检查须写明部位。", "Name the body part for this test."))
        made = self._order(code, form.name, form.body_part, form.reason)
        return self._carry_out(made, code)

    def _carry_out(self, order: str, code: str) -> Done:
        """What comes of a proposed test: signed or not, done here or not, its result at once or later."""
        case, cost = self._world.case, self._world.case.course.time_cost.test
        test = next((t for t in case.tests if t.code == code), None)
        if test is None or test.status == "not_available_here":
            text = "该检查在此处无法进行，结果不可用。", "This test cannot be done here; no result is available."
            return Done(self._say(*text), refs=(order,), labels=(order,), minutes=cost)
        done_before = test.status == "already_done"
        if not sign(self._store, order, "signs" if done_before else case.course.co_signer, turn=self._turn, minute=self._minute):
            text = "申请已提交，医师未签署，结果不可用。", "Proposed; no clinician has signed it, so there is no result."
            if case.course.co_signer == "rejects":
                text = "医师退回了该申请，结果不可用。", "The clinician rejected this proposal, so there is no result."
            return Done(self._say(*text), refs=(order,), labels=(order,), minutes=cost)
        label = self._label(test.id, "R")
        wait = 0 if done_before else test.availability.turnaround_min
        if wait == 0:
            self._file(order, test)
            return Done(self._result(test, label), refs=(test.id,), labels=(label,), minutes=cost)
        self._pending.append(Pending(self._minute + wait, test, label, order))
        notice = self._say(f"已签署，结果编号 {label}，约 {wait} 分钟后出。", f"Signed; the result ({label}) comes in about {wait} minutes.")
        return Done(notice, refs=(order,), labels=(order,), minutes=cost)

    def _file(self, order: str, test: Test) -> None:
        """The results become resources of the record."""
        file_results(self._store, order, test, self._current(test), self._lang, instant(self._world.case, self._minute),
                     turn=self._turn, minute=self._minute)  # fmt: skip

    def _current(self, test: Test) -> list[Result]:
        """The results of a test as they are now."""
        current = max((r.t for r in test.results if r.t <= self._minute), default=0)
        return [r for r in test.results if r.t == current]

    def _order(self, code: str, name: str, body_part: str, reason: str) -> str:
        resource: Resource = {
            "resourceType": "ServiceRequest", "status": "draft", "intent": "proposal",
            "code": {"coding": [{"code": code}], "text": name}, "subject": {"reference": f"Patient/{SELF}"},
        }  # fmt: skip
        if body_part:
            resource["bodySite"] = [{"text": body_part}]
        if reason:
            resource["reasonCode"] = [{"text": reason}]
        return self._create(resource)

    def _result(self, test: Test, label: str) -> str:
        lines = [f"{label} {test.name[self._lang]}"]
        lines += [result_line(r, self._lang) for r in self._current(test)]
        if test.report:
            lines += [test.report.findings[self._lang], test.report.impression[self._lang]]
        if test.quality != "valid":
            lines.append(self._say(f"标本/图像质量：{QUALITY[test.quality].zh}", f"quality: {QUALITY[test.quality].en}"))
        return "\n".join(lines)

    def _do_draft_prescription(self, form: forms.DraftPrescription) -> Done:
        if form.status != "draft":
            text = "只能起草（status=draft），不能生效处方。", "Only drafts (status=draft) are allowed; a clinician prescribes."
            return self._error(self._say(*text), refused="role")
        found = self._alerts(Draft(form.drug, form.mg_per_dose, form.mg_per_day))
        if stopped := self._stop(found, form.override_reason):
            return stopped
        resource: Resource = {
            "resourceType": "MedicationRequest", "status": "draft", "intent": "proposal",
            "medicationCodeableConcept": {"text": form.drug}, "subject": {"reference": f"Patient/{SELF}"},
        }  # fmt: skip
        if form.dose.strip() or form.mg_per_dose:
            dose: Resource = {"text": form.dose} if form.dose.strip() else {}
            if form.mg_per_dose:
                dose["doseAndRate"] = [{"doseQuantity": {"value": form.mg_per_dose, "unit": "mg"}}]
            resource["dosageInstruction"] = [dose]
        if form.reason.strip():
            resource["reasonCode"] = [{"text": form.reason}]
        if form.override_reason.strip():
            resource["note"] = [{"text": form.override_reason}]
        made = self._create(resource)
        saved = self._say(f"草稿已保存：{made}", f"Draft saved: {made}") + self._signature(made, bool(found))
        return Done(saved, refs=(made,), labels=(made,), alerts=tuple(a.code for a in found))

    def _alerts(self, draft: Draft) -> list[Alert]:
        """What the prescribing software says to a draft."""
        case = self._world.case
        weight = next((v.weight for v in case.vitals if v.weight is not None), None)
        now = datetime.fromisoformat(instant(case, self._minute)).timestamp()
        person = Person(SELF, case.person.sex_at_birth, case.person.birth_date, weight, now)
        return alerts(draft, self._store, person, self._lang)

    def _stop(self, found: list[Alert], override: str) -> Done | None:
        """Hard alerts stop a draft; soft ones do without a reason."""
        hard = [a for a in found if a.severity == "hard"]
        if not hard and (not found or override.strip()):
            return None
        head = self._say("处方未保存，硬性拦截：", "Not saved; the software does not let this through:") if hard else self._say(
            "处方未保存；如仍需使用，请在 override_reason（FHIR：note）中说明理由：",
            "Not saved; if it is still needed, give a reason in override_reason (FHIR: note):")  # fmt: skip
        text = head + "\n" + json.dumps(as_texts(found), ensure_ascii=False)
        return Done(text, ok=False, refused="alert", alerts=tuple(a.code for a in found))

    def _signature(self, order: str, alerted: bool = False) -> str:
        """The scripted clinician's decision on a proposal; one with alerts is left for a real decision."""
        decision = "absent" if alerted else self._world.case.course.co_signer
        sign(self._store, order, decision, turn=self._turn, minute=self._minute)
        return {
            "signs": self._say("；医师已签署。", "; a clinician has signed it."),
            "rejects": self._say("；医师已退回。", "; the clinician has rejected it."),
            "absent": self._say("；待医师审核。", "; it waits for a clinician."),
        }[decision]

    def _do_refer(self, form: forms.Refer) -> Done:
        label = codes.departments()[form.department].label(self._lang)
        made = self._create(
            {
                "resourceType": "ServiceRequest", "status": "draft", "intent": "proposal", "priority": form.urgency,
                "category": [{"coding": [{"code": REFERRAL}]}], "code": {"coding": [{"code": form.department}], "text": label},
                "subject": {"reference": f"Patient/{SELF}"}, "reasonCode": [{"text": form.reason}],
            }
        )  # fmt: skip
        text = self._say(f"转诊申请已提交：{made}（{label}）", f"Referral proposed: {made} ({label})") + self._signature(made)
        return Done(text, refs=(made,), labels=(made,))

    def _do_propose_action(self, form: forms.ProposeAction) -> Done:
        self.acts.append(form.act)
        return Done(self._say("已通知值班医师。", "The doctor on duty has been told."))

    def _do_wait(self, form: forms.Wait) -> Done:
        return Done(self._say(f"过了 {form.minutes} 分钟。", f"{form.minutes} minutes have passed."), minutes=form.minutes)

    # --- conclusions ------------------------------------------------------------------------------------------------

    def _do_close(self, form: forms.Close) -> Done:
        return self._conclude(form)

    def _do_propose_tests(self, form: forms.ProposeTests) -> Done:
        for test in form.tests:
            if needs_body_part(test_code(test.name, self._world)) and not test.body_part.strip():
                return self._error(self._say(f"“{test.name}”须写明部位。", f"Name the body part for '{test.name}'."))
        for test in form.tests:
            self._order(test_code(test.name, self._world) or "unlisted", test.name, test.body_part, test.reason)
        return self._conclude(form)

    def _do_submit_diagnosis(self, form: forms.SubmitDiagnosis) -> Done:
        return self._conclude(form)

    def _do_write_record(self, form: forms.WriteRecord) -> Done:
        self._create(
            {
                "resourceType": "Composition", "status": "preliminary", "type": {"text": "outpatient note"},
                "subject": {"reference": f"Patient/{SELF}"}, "title": "outpatient note", "author": [{"display": "scribe"}],
                "date": instant(self._world.case, self._minute),
                "section": [{"title": key, "text": {"status": "generated", "div": _division(text_of(value))}}
                            for key, value in form.model_dump(mode="json").items() if value],
            }
        )  # fmt: skip
        return self._conclude(form)


def _doses(resource: Resource) -> tuple[float | None, float | None]:
    """mg a dose and mg a day of a MedicationRequest, where it states them in mg or g with a frequency."""
    for instruction in resource.get("dosageInstruction", []):
        for quantity in at(instruction, "doseAndRate.doseQuantity"):
            factor = {"mg": 1.0, "g": 1000.0}.get(str(quantity.get("unit") or quantity.get("code")))
            value = quantity.get("value")
            if factor is None or not isinstance(value, int | float):
                continue
            repeat = instruction.get("timing", {}).get("repeat", {})
            times, period, unit = repeat.get("frequency"), repeat.get("period"), repeat.get("periodUnit")
            days = {"h": 1 / 24, "d": 1.0, "wk": 7.0}.get(str(unit))
            daily = value * factor * times / (period * days) if times and period and days else None
            return value * factor, daily
    return None, None


def _division(text: str) -> str:
    """XHTML of a section's text, as FHIR wants it."""
    lines = "<br/>".join(escape(line) for line in text.splitlines())
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'
