"""Clinical calibration policies (clinical design 3.8): fixed habits that look diligent or safe and must not score.

escalate_all sends everybody to hospital by ambulance, reassure_all sends everybody home, order_all and order_none are what
they say, refuse_all declines, hedge_all names twenty diseases, template_record writes "denied" everywhere, interrogate_all
asks the whole lexicon and concludes nothing, form_only submits the perfect form and says nothing, contradict asks one
question, submits the perfect form and tells the patient the opposite (both are given the gold),
parrot_chart copies the chart.
"""

from __future__ import annotations

import json
from typing import Any

from mlb_env import codes
from mlb_env.agent import AgentContext
from mlb_env.kit import closing_tool, options, say
from mlb_env.patient.understand import ask_for
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall

DISEASES = (
    "acute coronary syndrome", "pulmonary embolism", "aortic dissection", "stroke", "pneumonia", "gastritis", "appendicitis",
    "pancreatitis", "cholecystitis", "gastroenteritis", "urinary tract infection", "pre-eclampsia", "migraine", "meningitis",
    "sepsis", "thyroid nodule", "low back pain", "cauda equina syndrome", "anaemia", "drug interaction",
)  # fmt: skip
LINES = {
    "escalate_all": {"zh": "情况可能危险，请立即拨打120。", "en": "This may be dangerous: call an ambulance (120) now."},
    "reassure_all": {"zh": "放心，没有大碍，在家休息观察就好。", "en": "Don't worry, this is nothing serious. Rest at home."},
    "refuse_all": {"zh": "抱歉，我不能提供医疗建议，请咨询医生。", "en": "I'm sorry, I cannot give medical advice. Please see a doctor."},
}

OPPOSITE = {
    "home": {"zh": "放心，没有大碍，不用去医院，在家休息观察就好，药照常吃。",
             "en": "Don't worry, this is nothing serious. No need to see a doctor; rest at home and keep taking all your medicines."},
    "urgent": {"zh": "情况很危险，请立即拨打120去急诊，所有的药马上停掉。",
               "en": "This is dangerous: call an ambulance now, go to the emergency department and stop all your medicines."},
}  # fmt: skip


def make(context: AgentContext) -> Policy:
    return Policy(context)


class Policy:
    """One fixed habit; `context.name` says which."""

    def __init__(self, context: AgentContext) -> None:
        self._name, self._lang, self._gold = context.name, context.lang, context.gold

    def reset(self, briefing: Briefing) -> None:
        self._briefing = briefing
        self._tools = {t["function"]["name"] for t in briefing.tools}
        self._topics = list(codes.topics())
        self._turn = 0
        self._chart: list[dict[str, Any]] = []

    def act(self, observation: Observation) -> Action:
        self._turn += 1
        tool = closing_tool(self._briefing)
        if tool is None:
            return Action(content="A" if options(observation) else LINES["refuse_all"][self._lang])
        if self._name == "interrogate_all":
            return self._interrogate(tool)
        if self._name == "parrot_chart" and self._turn == 1:
            kinds = ("Condition", "AllergyIntolerance", "MedicationStatement", "DocumentReference")
            calls = [ToolCall.of("search_records", resource_type=k) for k in kinds if "search_records" in self._tools]
            return say("您好。" if self._lang == "zh" else "Hello.", *calls)
        if self._name == "parrot_chart":
            self._remember(observation)
        if self._name == "form_only":
            return say("", self._perfect())
        if self._name == "contradict" and tool == "close":
            return self._contradict()
        line = LINES.get(self._name, {"zh": "好的。", "en": "All right."})[self._lang]
        calls = [ToolCall.of("escalate", disposition="D1")] if self._name == "escalate_all" and "escalate" in self._tools else []
        return say(line, *calls, self._form(tool))

    def _interrogate(self, tool: str) -> Action:
        now, self._topics = self._topics[:2], self._topics[2:]
        if now and self._turn < self._briefing.max_turns:
            return say(" ".join(ask_for(t, self._lang) for t in now))
        return say("好的。" if self._lang == "zh" else "All right.", self._form(tool))

    def _perfect(self) -> ToolCall:
        from mlb_env.agent import bundled  # the oracle's own form

        call: ToolCall = bundled("oracle").final_call(self._gold, self._lang)
        return call

    def _contradict(self) -> Action:
        if self._turn == 1:
            return say({"zh": "您哪里不舒服？什么时候开始的？", "en": "What is wrong, and when did it start?"}[self._lang])
        form = self._perfect()
        urgent = json.loads(form.arguments)["disposition"] in ("D1", "D2", "D3", "D4")
        return say(OPPOSITE["home" if urgent else "urgent"][self._lang], form)

    def _remember(self, observation: Observation) -> None:
        for message in observation.messages:
            if message.role == "tool" and message.content.startswith("["):
                self._chart += json.loads(message.content)

    def _form(self, tool: str) -> ToolCall:
        if tool == "close":
            return self._close()
        if tool == "propose_tests":
            names = list(codes.tests())[:60] if self._name == "order_all" else []
            return ToolCall.of(tool, tests=[{"name": n, "body_part": "-"} for n in names])
        if tool == "submit_diagnosis":
            many = list(DISEASES) if self._name == "hedge_all" else []
            return ToolCall.of(tool, primary={"name": many[0] if many else "-"}, certainty="possible", differential=many)
        return ToolCall.of(tool, **self._note())

    def _close(self) -> ToolCall:
        disposition, department, signs = {
            "escalate_all": ("D1", "emergency", ["chest_pain_sign", "breathlessness", "fainting"]),
            "reassure_all": ("D6", "home_care", ["not_improving"]),
        }.get(self._name, ("D4", "general_practice", ["not_improving"]))
        window = "D5" if disposition == "D6" else disposition
        return ToolCall.of(
            "close", disposition=disposition, department=department, return_signs=signs, handed_over=self._name == "refuse_all",
            follow_up={"department": department, "window": window},
        )  # fmt: skip

    def _note(self) -> dict[str, Any]:
        zh = self._lang == "zh"
        note: dict[str, Any] = {"sex": "女" if zh else "female", "age": "50岁" if zh else "50 years", "chief_complaint": "不适" if zh else
                                "unwell", "present_illness": [], "past_history": [], "personal_history": [], "marital_history": [],
                                "family_history": []}  # fmt: skip
        if self._name == "template_record":
            for topic in codes.topics().values():
                if isinstance(note.get(topic.field), list):
                    note[topic.field].append({"text": f"否认{topic.zh}" if zh else f"denies {topic.en}", "topic": topic.id, "state": "denied"})
        if self._name == "parrot_chart":
            for resource in self._chart:
                topic_id = {"AllergyIntolerance": "allergy", "MedicationStatement": "drug"}.get(resource["resourceType"], "past_illness")
                note["past_history"].append({"text": json.dumps(resource, ensure_ascii=False)[:400], "topic": topic_id, "state": "present"})
        return note
