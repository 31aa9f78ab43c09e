"""The oracle: a calibration agent that is given the gold and must reach the ceiling through ordinary speech and tools.

It shows that every point of a rubric can be earned by asking, examining and concluding. It is given the scenario by a
privileged channel (`context.gold`) that only bundled calibration agents have; the judge cannot know that it played.
"""

from __future__ import annotations

import json
from typing import Any

from mlb_env.agent import AgentContext
from mlb_env.catalog.play import Play
from mlb_env.judge.derive import rubric_of
from mlb_env.kit import say
from mlb_env.patient.phrases import PHRASES
from mlb_env.patient.understand import ask_for, lexicon
from mlb_env.record.world import fhir_id
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall
from mlb_env.spec.base import Lang
from mlb_env.spec.case import Fact, PatientCase
from mlb_env.spec.scenario import ChoiceItem, ExtractionItem, KeyPointItem, NormalisationItem, OpenItem


def make(context: AgentContext) -> Oracle:
    return Oracle(context.gold, context.lang)


class Oracle:
    """Plays the gold."""

    def __init__(self, play: Play, lang: Lang) -> None:
        self._play, self._lang = play, lang
        self._turns: list[Action] | None = None
        self._heard = ""

    def reset(self, briefing: Briefing) -> None:
        self._turns, self._heard = None, ""
        self._questions = list(_needed(self._play)) if self._play.case else []
        self._stage = 0
        self._asked: set[tuple[str, str | None]] = set()
        self._private = self._reason = False
        self._last: list[tuple[Fact, tuple[str, str | None]]] = []

    def act(self, observation: Observation) -> Action:
        if self._play.task is not None:
            return say("", *(ToolCall.of(call.name, **call.arguments) for call in self._play.task.gold))
        if self._play.item is not None:
            return Action(content=static_answer(self._play, self._lang))
        assert self._play.case is not None and self._play.scenario is not None
        answer = "\n".join(m.content for m in observation.messages if m.speaker == "patient")
        self._heard += "\n" + answer
        self._again(answer)
        if self._play.scenario.variant == "transcript":
            return say("", final_call(self._play, self._lang))
        return self._interactive(self._play.case, observation)

    # --- interactive ------------------------------------------------------------------------------------------------

    def _interactive(self, case: PatientCase, observation: Observation) -> Action:
        if self._stage == 0:
            self._stage = 1
            speech = self._ask(2) or lexicon().acts["open"][self._lang][0]  # a case may ask for nothing in particular
            return say(speech, *self._first_calls(case))
        if self._stage == 1:
            speech = self._ask(2)
            if speech:
                return say(speech)
            self._stage = 2
            calls = tuple(self._later_calls(case))
            speech = self._teach()
            if calls or speech:
                return say(speech, *calls)
        if self._stage == 2:
            self._stage = 3
            due = self._longest_test(case)
            speech = self._teach()
            if due or speech:
                return say(speech, *([ToolCall.of("wait", minutes=due)] if due else []))
        return say(self._summary(case), final_call(self._play, self._lang))

    def _again(self, answer: str) -> None:
        """Ask anew what the patient did not catch, did not recall, or would not say without a reason."""
        put_off = {name for name in ("misheard", "hesitated", "guarded", "too_many") for p in PHRASES[name][self._lang] if p in answer}
        if put_off and self._last:
            self._asked -= {key for _, key in self._last}
            self._questions = [fact for fact, _ in self._last] + self._questions
            self._reason = "guarded" in put_off
        self._last = []

    def _ask(self, most: int) -> str:
        """The next questions, skipping what was said already."""
        zh = self._lang == "zh"
        parts: list[str] = []
        if self._reason:
            self._reason = False
            parts, most = ["我能理解您的心情，这样问是为了您的安全。" if zh else "I understand; I ask because it helps me keep you safe."], most + 1
        while self._questions and len(parts) < most:
            fact = self._questions[0]
            conditions = {fact.disclosure.condition, *fact.disclosure.also}
            if self._was_said(fact) or (conditions <= {"chart_only", "test", "examination"}):
                self._questions.pop(0)
                continue
            if conditions & {"alone", "sensitive_question"} and not self._private:
                if parts:
                    break
                self._private = True
                acts = lexicon().acts
                return f"{acts['private'][self._lang][0]}。{acts['normalising'][self._lang][0]}。" if zh else (
                    f"{acts['private'][self._lang][0].capitalize()}. {acts['normalising'][self._lang][0].capitalize()}.")
            self._questions.pop(0)
            question = self._question(fact)
            key = (question, fact.disclosure.after)  # what opens up after another fact is asked again
            if key in self._asked:
                continue
            self._asked.add(key)
            self._last.append((fact, key))
            parts.append(question)
            if "document" in conditions and not conditions & {"direct_question", "open_question", "specific_question"}:
                break
        return ("" if zh else " ").join(parts)

    def _was_said(self, fact: Fact) -> bool:
        """Whether the patient already said it, as far as words that belong to no other fact tell."""
        assert self._play.case is not None
        own = [w for w in fact.told[self._lang] if not any(w in o for f in self._play.case.facts if f is not fact for o in f.told[self._lang])]
        return any(w in self._heard for w in own)

    def _question(self, fact: Fact) -> str:
        zh = self._lang == "zh"
        conditions = {fact.disclosure.condition, *fact.disclosure.also}
        if fact.disclosure.condition == "document" and not conditions & {"direct_question", "open_question"}:
            return lexicon().acts["show_document"][self._lang][0] + ("，" if zh else ". ") + ask_for(fact.topic, self._lang)
        if fact.topic in ("report_document", "medicine_box"):
            return lexicon().acts["show_document"][self._lang][0] + ("，" if zh else ". ") + ask_for(fact.topic, self._lang)
        return ask_for(fact.topic, self._lang)

    def _first_calls(self, case: PatientCase) -> list[ToolCall]:
        """What cannot wait: escalation, urgent acts, the identity check, the examination."""
        tools, calls = set(self._play.dataset.tools), []
        urgency = case.truth.urgency
        if "escalate" in tools and urgency and urgency.disposition_best in ("D1", "D2"):
            calls.append(ToolCall.of("escalate", disposition=urgency.disposition_best))
        if "verify_identity" in tools and case.person.identity:
            calls.append(ToolCall.of("verify_identity", name=case.person.name[self._lang], phone_last4=case.person.identity.phone_last4))
        if "propose_action" in tools:
            calls += [ToolCall.of("propose_action", act=a.act) for a in case.truth.immediate_actions
                      if a.required and a.by_role in ("clinical_assistant", "any")]  # fmt: skip
        if "search_records" in tools:
            added = self._play.scenario.chart.resources if self._play.scenario and self._play.scenario.chart else ()
            kinds = dict.fromkeys(r["resourceType"] for r in (*case.chart.resources, *added))
            calls += [ToolCall.of("search_records", resource_type=k) for k in kinds]
        if "examine" in tools:
            wanted = [e for e in case.exam if e.id in case.complaint.key_exams]
            calls += [ToolCall.of("examine", region=e.region, manoeuvre=e.manoeuvre) for e in wanted]
        if "propose_test" in tools:
            for need in case.testing.essential_sets:
                test = next(t for t in case.tests if t.id == need.any_of[0])
                calls.append(ToolCall.of("propose_test", name=test.name[self._lang], body_part="-"))
        return calls

    def _later_calls(self, case: PatientCase) -> list[ToolCall]:
        tools, calls = set(self._play.dataset.tools), []
        if "flag_discrepancy" in tools:
            added = self._play.scenario.chart if self._play.scenario else None
            for chart in (case.chart, added) if added else (case.chart,):
                kinds = {r["id"]: r["resourceType"] for r in chart.resources}
                calls += [ToolCall.of("flag_discrepancy", reference=f"{kinds[e.resource]}/{e.resource}", note=e.truth[self._lang])
                          for e in chart.known_errors if e.must_handle and e.resource in kinds]  # fmt: skip
        if "book_appointment" in tools and self._play.dataset.name == "MAGuidance" and case.truth.departments:
            right = [*case.truth.departments.best, *case.truth.departments.acceptable]
            slot = next((s for s in case.course.slots if s.department in right), None)
            urgency = case.truth.urgency
            if slot and urgency and urgency.disposition_best in ("D3", "D4", "D5"):
                calls.append(ToolCall.of("book_appointment", slot=f"{fhir_id(slot.department)}-{slot.in_min[0]}"))
        return calls

    def _longest_test(self, case: PatientCase) -> int:
        if "wait" not in self._play.dataset.tools:
            return 0
        ids = {need.any_of[0] for need in case.testing.essential_sets}
        if case.truth.urgency and case.truth.urgency.disposition_best == "D1":
            return 0
        return min(240, max((t.availability.turnaround_min for t in case.tests if t.id in ids), default=0))

    def _teach(self) -> str:
        if self._play.dataset.name != "MAKnowledge":
            return ""
        return lexicon().acts["teach_back"][self._lang][0] + ("？" if self._lang == "zh" else "?")

    def _summary(self, case: PatientCase) -> str:
        texts = [p.text[self._lang] for p in case.education.edu_points] if case.education else []
        return ("" if self._lang == "zh" else " ").join(texts) or case.mind.reason_for_visit[self._lang]


def _needed(play: Play) -> list[Fact]:
    """The facts that the rubric's rules want out, in the order of the case, prerequisites first."""
    assert play.case is not None
    facts = {f.id: f for f in play.case.facts}
    wanted: dict[str, None] = {}
    for criterion in rubric_of(play).criteria:
        if criterion.rule and criterion.rule.name in ("facts_disclosed", "facts_missing"):
            for id_ in criterion.rule.args["facts"]:
                after = facts[id_].disclosure.after
                if after:
                    wanted[after] = None
                wanted[id_] = None
    if play.case.report and play.dataset.name == "MAReport":
        wanted[play.case.report.shown_by] = None
    hard = ("sensitive_question", "alone")
    return sorted((facts[i] for i in wanted), key=lambda f: (f.disclosure.condition in hard, f.disclosure.after is not None))


# --- gold answers -------------------------------------------------------------------------------------------------------


def static_answer(play: Play, lang: Lang) -> str:
    """The right answer of a single-step item."""
    item, dataset = play.item, play.dataset
    match item:
        case ChoiceItem():
            return ",".join(item.answer)
        case NormalisationItem():
            return item.gold[lang]
        case ExtractionItem():
            keys = {k: v[lang] for k, v in dataset.keys.items()}
            values = {k: v[lang] for k, v in dataset.values.items()}
            return json.dumps(_shown(dataset.extraction or "terms", item.gold[lang], keys, values), ensure_ascii=False)
        case OpenItem():
            return item.expect[lang] if item.expect else ""
        case KeyPointItem():
            return "\n".join(p.text[lang] for p in item.points)
    return ""


def _shown(form: str, gold: Any, keys: dict[str, str], values: dict[str, str]) -> Any:
    if form == "entities":
        return {keys[k]: v for k, v in gold.items()}
    if form == "terms":
        return {keys["terms"]: gold}
    if form == "relations":
        return {keys["relations"]: [{keys["relation"]: values[g["relation"]], keys["head"]: g["head"], keys["tail"]: g["tail"]}
                                    for g in gold]}  # fmt: skip
    return [{keys["subject"]: g["subject"], keys["status"]: values.get(g["status"], ""), keys["descriptors"]: g["descriptors"],
             keys["sites"]: g["sites"]} for g in gold]  # fmt: skip


def final_call(play: Play, lang: Lang) -> ToolCall:
    """The perfect closing form."""
    assert play.case is not None
    form = {"MAInspection": _tests, "MADiagnosis": _diagnosis, "MARecord": _record}.get(play.dataset.name, _close)
    return form(play.case, lang)


def _close(case: PatientCase, lang: Lang) -> ToolCall:
    truth = case.truth
    assert truth.urgency and truth.departments
    arguments: dict[str, Any] = {
        "disposition": truth.urgency.disposition_best, "department": truth.departments.best[0],
        "return_signs": list(truth.red_flags_to_tell),
        "drugs": [{"name": m.drug[lang], "action": m.action} for m in case.medication.med_points if m.required],
        "readings": [{"item": i.name[lang], "significance": i.significance} for i in case.report.items] if case.report else [],
        "points": [p.text[lang] for p in case.education.edu_points] if case.education else [],
    }  # fmt: skip
    if truth.follow_up:
        arguments["follow_up"] = {"department": truth.follow_up.departments[0], "window": truth.follow_up.window[0],
                                  "what": truth.follow_up.what[lang]}  # fmt: skip
    return ToolCall.of("close", **arguments)


def _tests(case: PatientCase, lang: Lang) -> ToolCall:
    tests = {t.id: t for t in case.tests}
    chosen = list(dict.fromkeys(need.any_of[0] for need in case.testing.essential_sets))
    first = {o.then: o.first for o in case.testing.order}
    for test in list(chosen):
        if test in first and first[test] not in chosen:
            chosen.insert(0, first[test])
    before = {o.first for o in case.testing.order}
    chosen.sort(key=lambda t: t not in before)
    return ToolCall.of("propose_tests", tests=[
        {"name": tests[t].name[lang], "body_part": tests[t].body_part[lang] if tests[t].body_part else "-", "priority": "now",  # type: ignore[index]
         "reason": tests[t].why[lang], "rests_on": ["T0"]} for t in chosen],
        none_reason=case.testing.no_further_why[lang] if case.testing.no_further_why else "")  # fmt: skip


def _diagnosis(case: PatientCase, lang: Lang) -> ToolCall:
    truth = case.truth
    primary = next(d for d in truth.diagnoses if d.role == "primary")
    code = next((c.code for c in primary.codes if c.system == "WHO ICD-10"), "")
    order = sorted(truth.differential, key=lambda d: not d.must_not_miss)
    return ToolCall.of(
        "submit_diagnosis", primary={"name": primary.name[lang], "code": code}, certainty=truth.max_certainty or primary.certainty,
        complications=[d.name[lang] for d in truth.diagnoses if d.must_name and d.role != "primary"],
        differential=[d.name[lang] for d in order[:5]],
        grounds=[{"text": case.summary[lang], "rests_on": ["T0"]}],
        immediate_actions=[a.act for a in truth.immediate_actions if a.required and a.by_role in ("clinical_assistant", "any")],
    )  # fmt: skip


def _record(case: PatientCase, lang: Lang) -> ToolCall:
    unit = {"year": ("岁", " years"), "month": ("个月", " months"), "day": ("天", " days")}[case.person.age.unit]
    chief = next((a.text[lang] for a in case.record.atoms if a.field == "chief_complaint"), case.mind.reason_for_visit[lang])
    note: dict[str, Any] = {
        "sex": {"female": ("女", "female"), "male": ("男", "male"), None: ("不详", "unknown")}[case.person.sex_at_birth][lang == "en"],
        "age": f"{case.person.age.value}{unit[lang == 'en']}", "chief_complaint": chief[:24] if lang == "zh" else chief,
        "present_illness": [], "past_history": [], "personal_history": [], "marital_history": [], "family_history": [],
    }  # fmt: skip
    for atom in case.record.atoms:
        if atom.field in note and isinstance(note[atom.field], list) and atom.required:
            note[atom.field].append({"text": atom.text[lang], "topic": atom.topic, "state": atom.state})
    return ToolCall.of("write_record", **note)
