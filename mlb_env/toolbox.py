"""Carries out an agent's tool calls on the episode's record, examination, tests and clock.

A test that was not done and a finding that was not examined are unavailable, never normal. Rights go by role: a tool of
another role, a chart before the identity check, another person's chart are refused and logged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from . import codes
from .codes.names import library_code, normalise, same_name
from .patient.ledger import Ledger
from .patient.world import World
from .record.store import Missing, Resource, Store, owner
from .record.world import SELF, fhir_id
from .spec import forms
from .spec.action import ToolCall
from .spec.base import L, Lang, Model
from .spec.case import CourseState, Result, Test, Vitals
from .spec.jsontext import BadJson, parse_json
from .spec.scenario import Dataset
from .spec.trajectory import ToolEvent

Refused = Literal["", "role", "identity", "foreign", "malformed"]
CHART_TYPES: dict[str, tuple[str, ...]] = {  # where a chart would hold a fact, by the fact's topic
    "drug": ("MedicationStatement", "MedicationRequest", "DocumentReference"),
    "allergy": ("AllergyIntolerance",),
    "vaccination": ("Immunization",),
    "history": ("Condition", "Procedure", "DocumentReference", "Encounter", "FamilyMemberHistory"),
}


MAX_WRONG_IDENTITY = 5


@dataclass
class Done:
    """What a call came to."""

    text: str
    ok: bool = True
    refused: Refused = ""
    refs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    minutes: int = 0


@dataclass(frozen=True)
class Pending:
    due: int
    test: Test
    label: str


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


class Toolbox:
    """The tools of one episode. `minute` is set by the episode before each call."""

    def __init__(self, world: World, dataset: Dataset, store: Store, ledger: Ledger, lang: Lang) -> None:
        self._world, self._dataset, self._store, self._ledger, self._lang = world, dataset, store, ledger, lang
        self.events: list[ToolEvent] = []
        self.conclusion: dict[str, Any] | None = None
        self.acts: list[str] = []  # codes of acts done, for the course
        self._identified = dataset.role != "service_desk"
        self._wrong_identity = 0
        self._pending: list[Pending] = []
        self._state: tuple[int, tuple[Vitals, ...]] = (0, ())  # since when, and its readings
        self._labels: dict[str, str] = {}  # case id -> label shown
        self._turn = self._minute = 0

    def call(self, call: ToolCall, *, turn: int, minute: int) -> tuple[str, Done]:
        """Carry one call out. Returns the tool's name and what it came to; never raises for what an agent sent."""
        self._turn, self._minute = turn, minute
        arguments: dict[str, Any] = {}
        if call.name not in forms.FORMS or call.name not in self._dataset.tools:
            known = call.name in forms.FORMS
            listed = ", ".join(self._dataset.tools)
            done = self._error(
                f"你的角色没有工具 {call.name}；可用的工具：{listed}" if known and self._zh
                else f"没有名为 {call.name[:60]} 的工具；可用的工具：{listed}" if self._zh
                else f"your role does not have the tool {call.name}; it has: {listed}" if known
                else f"there is no tool {call.name[:60]}; there are: {listed}",
                refused="role" if known else "malformed",
            )  # fmt: skip
        else:
            form, problem = _read(call)
            if form is None:
                done = self._error(problem, refused="malformed")
            else:
                arguments = form.model_dump(mode="json")
                handler: Callable[[Any], Done] = getattr(self, f"_do_{call.name}")
                done = handler(form)
        if done.ok:
            self._show(done.refs)
        self.events.append(
            ToolEvent(
                turn=turn, minute=minute, name=call.name[:80], arguments=arguments, ok=done.ok,
                error="" if done.ok else done.text, refused=done.refused, refs=done.refs, labels=done.labels,
            )
        )  # fmt: skip
        return call.name, done

    def enter(self, state: CourseState, minute: int) -> None:
        """The patient's course moved to another state: vital signs follow it."""
        self._state = (minute, state.vitals)

    def due(self, minute: int) -> list[str]:
        """Test results that have come in by now, as notices."""
        ready = [p for p in self._pending if p.due <= minute]
        self._pending = [p for p in self._pending if p.due > minute]
        notices = []
        for pending in ready:
            self.events.append(
                ToolEvent(
                    turn=self._turn, minute=minute, name="result", arguments={"code": pending.test.code}, ok=True,
                    refs=(pending.test.id,), labels=(pending.label,),
                )
            )  # fmt: skip
            self._minute = minute
            self._show((pending.test.id,))
            notices.append(self._result(pending.test, pending.label))
        return notices

    @property
    def next_due(self) -> int | None:
        """The minute of the next result, if one is under way."""
        return min((p.due for p in self._pending), default=None)

    # --- helpers ----------------------------------------------------------------------------------------------------

    @property
    def _zh(self) -> bool:
        return self._lang == "zh"

    def _say(self, zh: str, en: str) -> str:
        return zh if self._zh else en

    def _error(self, text: str, refused: Refused = "") -> Done:
        return Done(text, ok=False, refused=refused)

    def _label(self, case_id: str, letter: str) -> str:
        if case_id not in self._labels:
            number = sum(1 for label in self._labels.values() if label.startswith(letter)) + 1
            self._labels[case_id] = f"{letter}{number}"
        return self._labels[case_id]

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

    def _do_search_records(self, form: forms.SearchRecords) -> Done:
        if refused := self._guard():
            return refused
        patient = form.patient.removeprefix("Patient/")
        if patient != SELF:
            return self._error(self._say("不能查看他人的病历。", "Another person's chart cannot be opened."), refused="foreign")
        kinds = {r.split("/")[0] for r in self._store.references()}
        found = self._store.search(form.resource_type, patient=SELF, text=form.text)
        if not found:
            has = ", ".join(sorted(kinds))
            return Done(self._say(f"没有找到。病历系统中有：{has}", f"Nothing found. The record system holds: {has}"))
        self._disclose(form.resource_type)
        refs = tuple(f"{r['resourceType']}/{r['id']}" for r in found)
        return Done(json.dumps(found[:50], ensure_ascii=False), refs=refs, labels=refs)

    def _do_read_record(self, form: forms.ReadRecord) -> Done:
        if refused := self._guard():
            return refused
        try:
            resource = self._store.read(form.reference)
        except Missing:
            return self._error(self._say(f"没有记录 {form.reference}。", f"There is no record {form.reference}."))
        if owner(resource) not in (SELF, None):
            return self._error(self._say("不能查看他人的病历。", "Another person's chart cannot be opened."), refused="foreign")
        self._disclose(resource["resourceType"])
        return Done(json.dumps(resource, ensure_ascii=False), refs=(form.reference,), labels=(form.reference,))

    def _disclose(self, resource_type: str) -> None:
        """Facts that a chart of this type tells."""
        known = codes.topics()
        for fact in self._world.case.facts:
            if "chart_only" not in (fact.disclosure.condition, *fact.disclosure.also):
                continue
            topic = known[fact.topic]
            key = "drug" if "drug" in (topic.id, topic.parent) else topic.id if topic.id in CHART_TYPES else "history"
            other = resource_type in ("Observation", "DiagnosticReport", "DocumentReference") and topic.field == "present_illness"
            if resource_type in CHART_TYPES[key] or other:
                self._ledger.disclose(fact, turn=self._turn, minute=self._minute, route="chart", condition="chart_only")

    def _show(self, refs: tuple[str, ...]) -> None:
        """Facts that these findings or results show."""
        for fact in self._world.case.facts:
            shown = set(fact.disclosure.shown_by) & set(refs)
            if shown:
                route: Literal["examination", "test"] = "test" if shown & {t.id for t in self._world.case.tests} else "examination"
                self._ledger.disclose(fact, turn=self._turn, minute=self._minute, route=route, condition=route)

    def _do_list_slots(self, form: forms.ListSlots) -> Done:
        department = codes.departments()[form.department]
        name = department.label(self._lang)
        if not department.bookable:
            return Done(self._say(f"{name}不设预约，直接前往或由医师转入。", f"{name} takes no bookings; go directly or by referral."))
        free = [s for s in self._store.search("Slot") if s["schedule"]["reference"] == f"Schedule/{fhir_id(department.id)}"]
        lines = [f"{s['id']}  {s['start']}" for s in free if s["status"] == "free"]
        if not lines:
            return Done(self._say(f"{name}近期没有号源。", f"{name} has no free slots at present."))
        return Done("\n".join(lines))

    def _do_book_appointment(self, form: forms.BookAppointment) -> Done:
        reference = "Slot/" + form.slot.removeprefix("Slot/")
        if reference not in self._store:
            return self._error(self._say(f"没有号源 {form.slot}，请先 list_slots。", f"There is no slot {form.slot}; see list_slots."))
        slot = self._store.read(reference)
        if slot["status"] != "free":
            return self._error(self._say("该号源已被占用。", "That slot is taken."))
        self._store.update(reference, {"status": "busy"}, turn=self._turn, minute=self._minute)
        made = self._store.create(
            {
                "resourceType": "Appointment", "status": "booked", "slot": [{"reference": reference}], "start": slot["start"],
                "end": slot["end"], "serviceType": slot["serviceType"], **({"description": form.reason} if form.reason else {}),
                "participant": [{"actor": {"reference": f"Patient/{SELF}"}, "status": "accepted"}],
            },
            turn=self._turn, minute=self._minute,
        )  # fmt: skip
        return Done(self._say(f"已预约：{made}，{slot['start']}", f"Booked: {made}, {slot['start']}"), refs=(made,), labels=(made,))

    def _do_escalate(self, form: forms.Escalate) -> Done:
        self.acts.append("call_120" if form.disposition == "D1" else "transfer_emergency")
        return Done(self._say("已通知急诊值班人员，请继续指导患者。", "The emergency desk has been told; go on guiding the person."))

    def _do_flag_discrepancy(self, form: forms.FlagDiscrepancy) -> Done:
        if refused := self._guard():
            return refused
        if form.reference not in self._store:
            return self._error(self._say(f"没有记录 {form.reference}。", f"There is no record {form.reference}."))
        made = self._store.create(
            {
                "resourceType": "Flag", "status": "active", "code": {"text": form.note},
                "subject": {"reference": f"Patient/{SELF}"},
                "extension": [{"url": "urn:mlb-env:about", "valueReference": {"reference": form.reference}}],
            },
            turn=self._turn, minute=self._minute,
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
            texts = [_vitals(reading, self._lang), *(e.finding[self._lang] for e in found)]
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
        case, cost = self._world.case, self._world.case.course.time_cost.test
        code = test_code(form.name, self._world)
        if code is None:
            text = f"检查目录中没有“{form.name}”，请用通用全称。", f"'{form.name}' is not in the test directory; use its full common name."
            return self._error(self._say(*text))
        if needs_body_part(code) and not form.body_part.strip():
            return self._error(self._say("影像检查须写明部位。", "Name the body part for this test."))
        made = self._order(code, form.name, form.body_part, form.reason)
        test = next((t for t in case.tests if t.code == code), None)
        if test is None or test.status == "not_available_here":
            text = "该检查在此处无法进行，结果不可用。", "This test cannot be done here; no result is available."
            return Done(self._say(*text), refs=(made,), labels=(made,), minutes=cost)
        if case.course.co_signer != "signs" and test.status != "already_done":
            text = ("申请已提交，医师未签署，结果不可用。", "Proposed; no clinician has signed it, so there is no result.")
            return Done(self._say(*text), refs=(made,), labels=(made,), minutes=cost)
        label = self._label(test.id, "R")
        wait = 0 if test.status == "already_done" else test.availability.turnaround_min
        if wait == 0:
            return Done(self._result(test, label), refs=(test.id,), labels=(label,), minutes=cost)
        self._pending.append(Pending(self._minute + wait, test, label))
        text = f"已签署，结果编号 {label}，约 {wait} 分钟后出。", f"Signed; the result ({label}) comes in about {wait} minutes."
        return Done(self._say(*text), refs=(made,), labels=(made,), minutes=cost)

    def _order(self, code: str, name: str, body_part: str, reason: str) -> str:
        resource: Resource = {
            "resourceType": "ServiceRequest", "status": "draft", "intent": "proposal",
            "code": {"coding": [{"code": code}], "text": name}, "subject": {"reference": f"Patient/{SELF}"},
        }  # fmt: skip
        if body_part:
            resource["bodySite"] = [{"text": body_part}]
        if reason:
            resource["reasonCode"] = [{"text": reason}]
        return self._store.create(resource, turn=self._turn, minute=self._minute)

    def _result(self, test: Test, label: str) -> str:
        lines = [f"{label} {test.name[self._lang]}"]
        current = max((r.t for r in test.results if r.t <= self._minute), default=0)
        lines += [_line(r, self._lang) for r in test.results if r.t == current]
        if test.report:
            lines += [test.report.findings[self._lang], test.report.impression[self._lang]]
        if test.quality != "valid":
            lines.append(self._say(f"标本/图像质量：{QUALITY[test.quality].zh}", f"quality: {QUALITY[test.quality].en}"))
        return "\n".join(lines)

    def _do_draft_prescription(self, form: forms.DraftPrescription) -> Done:
        if form.status != "draft":
            text = "只能起草（status=draft），不能生效处方。", "Only drafts (status=draft) are allowed; a clinician prescribes."
            return self._error(self._say(*text), refused="role")
        made = self._store.create(
            {
                "resourceType": "MedicationRequest", "status": "draft", "intent": "proposal",
                "medicationCodeableConcept": {"text": form.drug}, "subject": {"reference": f"Patient/{SELF}"},
                "dosageInstruction": [{"text": form.dose}], "reasonCode": [{"text": form.reason}],
            },
            turn=self._turn, minute=self._minute,
        )  # fmt: skip
        return Done(self._say(f"草稿已保存：{made}", f"Draft saved: {made}"), refs=(made,), labels=(made,))

    def _do_propose_action(self, form: forms.ProposeAction) -> Done:
        self.acts.append(form.act)
        return Done(self._say("已通知值班医师。", "The doctor on duty has been told."))

    def _do_wait(self, form: forms.Wait) -> Done:
        return Done(self._say(f"过了 {form.minutes} 分钟。", f"{form.minutes} minutes have passed."), minutes=form.minutes)

    # --- conclusions ------------------------------------------------------------------------------------------------

    def _conclude(self, form: Model) -> Done:
        self.conclusion = form.model_dump(mode="json")
        return Done(self._say("已提交。", "Submitted."))

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
        self._store.create(
            {
                "resourceType": "Composition", "status": "preliminary", "type": {"text": "outpatient note"},
                "subject": {"reference": f"Patient/{SELF}"}, "title": "outpatient note",
                "section": [{"title": key, "text": {"status": "generated", "div": _text_of(value)}}
                            for key, value in form.model_dump(mode="json").items()],
            },
            turn=self._turn, minute=self._minute,
        )  # fmt: skip
        return self._conclude(form)


QUALITY = {
    "haemolysed": L(zh="标本溶血", en="haemolysed sample"), "wrong_person": L(zh="标本身份存疑", en="identity of the sample in doubt"),
    "motion": L(zh="运动伪影", en="motion artefact"), "pending": L(zh="待审核", en="not yet verified"),
}  # fmt: skip


def _read(call: ToolCall) -> tuple[Model | None, str]:
    """The validated arguments, or one sentence on what is wrong with them."""
    try:
        data = parse_json(call.arguments) if call.arguments.strip() else {}
    except BadJson as error:
        return None, f"{call.name}: the arguments are not valid JSON ({error})"
    try:
        return forms.FORMS[call.name].model_validate(data), ""
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        return None, f"{call.name}: {place}: {first['msg'].removeprefix('Value error, ')}"


def _line(result: Result, lang: Lang) -> str:
    ref = result.ref_range
    if ref and ref.text:
        shown = ref.text
    elif ref and (ref.low is not None or ref.high is not None):
        shown = f"{'' if ref.low is None else ref.low}-{'' if ref.high is None else ref.high}"
    else:
        shown = ""
    parts = [f"{result.analyte[lang]}: {result.value} {result.unit}".rstrip(), f"[{shown}]" if shown else "", result.flag]
    return " ".join(p for p in parts if p)


def _vitals(v: Vitals, lang: Lang) -> str:
    zh = lang == "zh"
    pairs = [
        ("体温" if zh else "T", v.T, "℃"), ("脉搏" if zh else "HR", v.HR, "/min"), ("呼吸" if zh else "RR", v.RR, "/min"),
        ("血压" if zh else "BP", v.BP, "mmHg"), ("SpO2", v.SpO2, "%"), ("疼痛评分" if zh else "pain", v.pain, "/10"),
        ("血糖" if zh else "glucose", v.glucose, "mmol/L"), ("体重" if zh else "weight", v.weight, "kg"),
    ]  # fmt: skip
    text = ", ".join(f"{name} {value} {unit}" for name, value, unit in pairs if value is not None)
    tail = [v.consciousness[lang]] if v.consciousness else []
    return "; ".join([text, *tail, v.state[lang]])


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "\n".join(entry["text"] for entry in value)
