"""The interviewer: an honest offline baseline. It asks a fixed list of questions, reads yes and no, and concludes by general rules.

It knows no case. Its knowledge is a small table of common patterns (what a first-year student would try), so that it lands
clearly between the floor and the ceiling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from mlb_env import codes
from mlb_env.agent import AgentContext
from mlb_env.kit import answer_shape, candidates, closing_tool, options, say, source_text
from mlb_env.patient.understand import ask_for, lexicon
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall
from mlb_env.spec.base import Lang

NOT = {"no", "not", "none", "never", "nothing", "dont", "havent", "hasnt", "nobody", "isnt", "wasnt", "neither", "doesnt"}
WELL = {"zh": ("正常", "挺顺", "没问题", "有劲", "都行", "好好的", "挺好", "都好"), "en": ("fine", "normal", "easily", "all right", "can hold", "full control", "feel everything")}
YES = {"zh": ("有", "是的", "对"), "en": ("yes", "yeah", "i do", "i have")}
UNSURE = {"zh": ("说不上来", "不清楚", "不太记得", "说不准", "没太听明白"), "en": ("couldn't say", "don't know", "not sure", "another way", "can't tell")}
FLAGS = ("chest_pain", "dyspnoea", "syncope", "sweating", "visual_disturbance", "headache", "limb_weakness", "drowsiness",
         "black_stool", "blood_in_stool", "fever", "incontinence", "saddle_numbness")  # fmt: skip
ALARMING = {"chest_pain", "dyspnoea", "syncope", "visual_disturbance", "limb_weakness", "drowsiness", "incontinence",
            "saddle_numbness", "black_stool", "nosebleed", "gum_bleeding"}  # fmt: skip
ASK = {
    "MAKnowledge": ("ice_idea", "ice_concern", *FLAGS[:8], "drug", "allergy", "pregnancy", "tobacco"),
    "MAGuidance": ("onset", "site", "severity", "pregnancy", *FLAGS, "past_illness", "drug", "trauma", "cancer"),
    "MAReport": ("identity", "report_document", "report_reason", "onset", "drug", "drug_herbal", "pregnancy", "menstruation", "tobacco", "past_illness", "family",
                 *FLAGS[:6]),
    "MAMedication": ("allergy", "drug", "drug_otc", "drug_herbal", "drug_topical", "pregnancy", "kidney_disease", "past_illness",
                     "alcohol", "drug_dose", "age_weight", *FLAGS[:4]),
    "MAInspection": ("onset", "site", "severity", "associated", "pregnancy", *FLAGS, "past_illness", "drug", "allergy"),
    "MADiagnosis": ("onset", "site", "severity", "associated", "pregnancy", *FLAGS, "past_illness", "drug", "drug_herbal", "allergy"),
    "MARecord": ("onset", "course", "site", "quality", "severity", "timing", "trigger", "relief", "prior_care", "energy", "sleep",
                 "appetite", "stool", "urine", "weight_change", "fever", "chest_pain", "dyspnoea", "nausea", "vomiting",
                 "past_illness", "hypertension", "diabetes", "surgery", "transfusion", "infection", "vaccination", "allergy", "drug",
                 "drug_otc", "drug_herbal", "drug_topical", "tobacco", "alcohol", "occupation", "travel_exposure", "marriage",
                 "menstruation", "obstetric", "pregnancy", "birth_history", "feeding_history", "development", "family"),
}  # fmt: skip
# A complaint, as words in the opening -> what a beginner would think, do and warn of: diagnosis, department, disposition when
# nothing alarming is found, tests, warning signs.
PATTERNS: tuple[tuple[tuple[str, ...], dict[str, str], str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (("拉肚子", "腹泻", "拉稀", "diarrh", "loose stool", "watery"), {"zh": "急性胃肠炎", "en": "Acute gastroenteritis"}, "paediatrics", "D6",
     (), ("little_urine", "refuses_fluids", "bloody_stool", "persistent_vomiting")),
    (("腰", "low back", "lower back", "back pain"), {"zh": "非特异性腰痛", "en": "Non-specific low back pain"}, "orthopaedics", "D5", (),
     ("leg_weakness", "bladder_bowel_loss", "saddle_anaesthesia")),
    (("体检", "check-up", "checkup", "nodule", "结节"), {"zh": "甲状腺结节", "en": "Thyroid nodule"}, "endocrinology", "D5", ("tsh",),
     ("neck_lump_growing", "hoarse_voice", "weight_loss")),
    (("鼻血", "流鼻血", "鼻出血", "鼻子", "nosebleed", "nose bleed", "bleeding"), {"zh": "鼻出血", "en": "Epistaxis"}, "otolaryngology", "D4",
     ("cbc", "inr"), ("bleeding_not_stopping", "black_stool_sign", "fainting")),
    (("头痛", "头疼", "headache"), {"zh": "偏头痛", "en": "Migraine"}, "neurology", "D4", ("cbc", "head_ct"),
     ("severe_headache", "visual_change", "confusion")),
    (("胃", "上腹", "心口", "stomach", "epigastr", "tummy"), {"zh": "急性胃炎", "en": "Acute gastritis"}, "gastroenterology", "D4",
     ("ecg", "cbc", "abdominal_ultrasound"), ("chest_pain_sign", "vomiting_blood", "black_stool_sign")),
)  # fmt: skip
# What one more finding makes of a first thought: (first thought, heard) -> diagnosis, department, disposition, acts.
SECOND_THOUGHTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], dict[str, str], str, str, tuple[str, ...]], ...] = (
    ("Migraine", ("pregnancy",), (), {"zh": "子痫前期", "en": "Pre-eclampsia"}, "obstetric_emergency", "D2",
     ("transfer_obstetrics", "call_senior")),
    ("Acute gastritis", ("sweating", "dyspnoea", "syncope"), (), {"zh": "急性冠脉综合征", "en": "Acute coronary syndrome"}, "emergency", "D1",
     ("activate_chest_pain_centre", "call_senior")),
    ("Epistaxis", (), ("华法林", "warfarin"), {"zh": "华法林抗凝过度", "en": "Warfarin over-anticoagulation"}, "haematology", "D3",
     ("repeat_inr",)),
)  # fmt: skip
# What more a student would ask about a first thought, and the drugs of which one is told to beware with it.
MORE: dict[str, tuple[str, ...]] = {
    "Acute gastroenteritis": ("intake", "wet_nappies", "crying_tears", "playfulness", "blood_in_stool", "bilious_vomiting"),
    "Non-specific low back pain": ("saddle_numbness", "incontinence", "urinary_retention", "night_pain", "trauma", "weight_change"),
    "Thyroid nodule": ("neck_swelling", "hoarseness", "dysphagia", "weight_change", "blood_in_stool"),
    "Epistaxis": ("black_stool", "haematuria", "trauma", "falls", "anticoagulant"),
    "Migraine": ("visual_disturbance", "abdominal_pain", "fetal_movement", "hand_face_swelling", "vaginal_bleeding", "seizure"),
    "Acute gastritis": ("dizziness", "sweating", "dyspnoea", "black_stool", "anticoagulant"),
}
ELSE = ({"zh": "待查", "en": "Undetermined"}, "general_practice", "D4", ("cbc",), ("fever_high", "not_improving"))
# What one is told of common drugs: name -> when it matters (a topic or a first thought), action then, action else.
DRUGS: tuple[tuple[tuple[str, str], str, str, str], ...] = (
    (("华法林", "warfarin"), "", "", "check_first"), (("丹参", "danshen"), "Warfarin over-anticoagulation", "stop", "check_first"),
    (("布洛芬", "ibuprofen"), "pregnancy", "avoid", "check_first"), (("对乙酰氨基酚", "paracetamol"), "", "", "allowed"),
    (("二甲双胍", "metformin"), "", "", "check_first"), (("硝酸甘油", "nitroglycerin"), "Acute coronary syndrome", "avoid", "check_first"),
    (("阿司匹林", "aspirin"), "", "", "check_first"), (("头孢", "cefaclor"), "Acute gastroenteritis", "avoid", "check_first"),
    (("口服补液盐", "oral rehydration salts"), "", "", "allowed"), (("洛哌丁胺", "loperamide"), "Acute gastroenteritis", "avoid", "check_first"),
    (("优甲乐", "levothyroxine"), "drug_prescribed", "continue", "avoid"), (("生物素", "biotin"), "", "", "pause"),
    (("缬沙坦", "valsartan"), "pregnancy", "avoid", "continue"), (("氨氯地平", "amlodipine"), "", "", "continue"),
)  # fmt: skip
MAYBE = {"zh": ("据我所知", "印象里", "好像", "记不", "想不起"), "en": ("that i know", "i don't think", "i'm aware", "remember")}


def make(context: AgentContext) -> Interviewer:
    return Interviewer(context.lang)


class Interviewer:
    def __init__(self, lang: Lang) -> None:
        self._lang = lang

    def reset(self, briefing: Briefing) -> None:
        self._briefing = briefing
        self._tools = {t["function"]["name"] for t in briefing.tools}
        self._plan = list(ASK.get(briefing.dataset, ASK["MAGuidance"]))
        self._answers: dict[str, str] = {}  # topic -> present / denied / unknown
        self._texts: dict[str, str] = {}
        self._pending: list[str] = []
        self._opening = self._all = ""
        self._acts: tuple[str, ...] = ()
        self._turn = self._checks = 0

    def act(self, observation: Observation) -> Action:
        tool = closing_tool(self._briefing)
        if tool is None:
            return Action(content=self._static(observation))
        self._listen(observation)
        self._turn += 1
        if self._turn == 1:
            self._opening = " ".join(m.content for m in observation.messages if m.speaker in ("patient", "scene"))
        if self._turn in (1, 3) and self._briefing.dataset in ("MAKnowledge", "MAGuidance", "MAReport"):  # the complaint brings questions of its own, asked first
            extra = [t for t in MORE.get(self._first_thought()[0]["en"], ()) if t not in self._answers]
            self._plan = [*self._plan[:2], *extra, *(t for t in self._plan[2:] if t not in extra)]
        urgent = self._turn >= 3 and bool(self._alarms()) and "escalate" in self._tools
        out_of_time = self._turn >= self._briefing.max_turns - 1 - 2 * (self._briefing.dataset == "MAKnowledge")
        if self._plan and not out_of_time and not urgent:
            # one question a turn keeps question and answer together; two while time is short
            room = self._briefing.max_turns - 2 - self._turn
            size = 2 if len(self._plan) > room else 1
            self._pending, self._plan = self._plan[:size], self._plan[size:]
            return say(" ".join(self._question(t) for t in self._pending), *self._look())
        if not urgent and not out_of_time and self._checks < 2 and self._briefing.dataset == "MAKnowledge":
            self._checks += 1
            return say(self._closing_words() + lexicon().acts["teach_back"][self._lang][0])
        return say(self._closing_words(), self._form(tool))

    def _question(self, topic: str) -> str:
        show = lexicon().acts["show_document"][self._lang][0] + ("，" if self._lang == "zh" else ": ")
        return (show if topic == "report_document" else "") + ask_for(topic, self._lang)

    # --- listening --------------------------------------------------------------------------------------------------

    def _listen(self, observation: Observation) -> None:
        said = " ".join(m.content for m in observation.messages if m.speaker == "patient")
        self._all += " " + said
        for topic in self._pending:
            self._answers[topic] = self._read(topic, said)
            self._texts[topic] = said
        self._pending = []

    def _read(self, topic: str, said: str) -> str:
        """present, denied or unknown: by denying and by well-being words, clause by clause. Crude, and wrong at times.

        What would alarm counts as present only where the answer names it or says yes.
        """
        lowered = said.lower()
        if any(u in lowered for u in (*UNSURE[self._lang], *MAYBE[self._lang])):
            return "unknown"
        clauses = [c.strip() for c in re.split(r"[，。；！？,.;!?]", lowered) if c.strip()]
        if any(self._denies(c) for c in clauses[:2]):
            return "denied"
        if topic not in ALARMING:
            return "present"
        cues = getattr(lexicon().topics[topic], self._lang)
        named = any(w.lower() in c or c.startswith(YES[self._lang]) for c in clauses for w in cues)
        return "present" if named else "unknown"

    def _denies(self, clause: str) -> bool:
        if any(w in clause for w in WELL[self._lang]):
            return True
        if self._lang == "zh":
            return "没" in clause or clause.startswith(("不", "无", "从不")) or "不" in clause[:4]
        return bool(set(clause.replace("'", "").split()) & NOT)

    def _alarms(self) -> list[str]:
        return [t for t, state in self._answers.items() if state == "present" and t in ALARMING]

    def _look(self) -> list[ToolCall]:
        """Chart and a basic examination, once."""
        if self._turn != 2:
            return []
        calls = []
        if "propose_test" in self._tools:
            calls += [ToolCall.of("propose_test", name=t, body_part="-") for t in self._pattern()[3]]
        if "examine" in self._tools:
            calls += [ToolCall.of("examine", region=r) for r in ("vitals", "heart", "lungs", "abdomen", "neurological")]
        if "search_records" in self._tools and "verify_identity" not in self._tools:
            calls += [ToolCall.of("search_records", resource_type=k) for k in ("Condition", "MedicationStatement")]
        return calls

    # --- concluding -------------------------------------------------------------------------------------------------

    def _pattern(self) -> tuple[dict[str, str], str, str, tuple[str, ...], tuple[str, ...]]:
        diagnosis, department, calm, tests, signs = self._first_thought()
        for first, topics, words, better, where, how_fast, acts in SECOND_THOUGHTS:
            found = any(self._answers.get(t) == "present" for t in topics) or any(w in self._all.lower() for w in words)
            if diagnosis["en"] == first and found:
                self._acts = acts
                return better, where, how_fast, tests, signs
        return diagnosis, department, calm, tests, signs

    def _first_thought(self) -> tuple[dict[str, str], str, str, tuple[str, ...], tuple[str, ...]]:
        for text in (self._opening.lower(), self._all.lower()):
            for words, *rest in PATTERNS:
                if any(w in text for w in words):
                    return tuple(rest)  # type: ignore[return-value]
        return ELSE

    def _closing_words(self) -> str:
        return "谢谢您的回答，我把建议整理如下。" if self._lang == "zh" else "Thank you; this is what I suggest."

    def _form(self, tool: str) -> ToolCall:
        diagnosis, department, calm, tests, signs = self._pattern()
        alarms = self._alarms()
        if tool == "propose_tests":
            return ToolCall.of(tool, tests=[{"name": t, "body_part": "-", "rests_on": ["T0"]} for t in tests])
        if tool == "submit_diagnosis":
            return ToolCall.of(tool, primary={"name": diagnosis[self._lang]}, certainty="probable",
                               grounds=[{"text": self._opening[:200], "rests_on": ["T0"]}], immediate_actions=self._acts)  # fmt: skip
        if tool == "write_record":
            return ToolCall.of(tool, **self._note())
        sure = calm in ("D1", "D2", "D3")
        disposition = calm if sure else "D2" if alarms else calm
        return ToolCall.of(
            tool, disposition=disposition, department=department if sure or not alarms else "emergency", return_signs=list(signs),
            drugs=list(self._drugs()),
            follow_up={"department": department, "window": disposition}, readings=self._readings(),
        )  # fmt: skip

    def _drugs(self) -> Iterable[dict[str, str]]:
        """What is said of each common drug that was heard of, or that goes with the first thought."""
        heard, thought = self._all.lower(), {self._pattern()[0]["en"], self._first_thought()[0]["en"]}
        thought |= {t for t, state in self._answers.items() if state == "present"}
        for (zh, en), when, then, otherwise in DRUGS:
            if (zh in heard if self._lang == "zh" else en in heard) or (when and when in thought):
                yield {"name": zh if self._lang == "zh" else en, "action": then if when in thought else otherwise}

    def _readings(self) -> list[dict[str, str]]:
        """Flagged lines of a report table that was shown: significant where far outside the range, else minor."""
        rows = [[c.strip() for c in line.strip("|").split("|")] for line in self._all.splitlines() if line.startswith("|")]
        return [{"item": r[0], "significance": weigh(r[1], r[3], r[4])} for r in rows if len(r) == 5 and r[4] in ("H", "L", "HH", "LL", "A")]

    def _note(self) -> dict[str, Any]:
        zh = self._lang == "zh"
        note: dict[str, Any] = {"sex": "不详" if zh else "unknown", "age": "不详" if zh else "unknown", "chief_complaint": self._all.strip()[:20],
                                "present_illness": [], "past_history": [], "personal_history": [], "marital_history": [],
                                "family_history": []}  # fmt: skip
        for topic, state in self._answers.items():
            field = codes.topics()[topic].field
            if isinstance(note.get(field), list) and state != "unknown":
                note[field].append({"text": self._texts[topic][:200] or "-", "topic": topic, "state": state})
        return note

    # --- single-step items ------------------------------------------------------------------------------------------

    def _static(self, observation: Observation) -> str:
        if letters := options(observation):
            question = observation.text.split("\nA.")[0]
            return max(letters, key=lambda k: overlap(letters[k], question))
        if lines := candidates(observation):
            phrase = observation.text.splitlines()[0]
            return max(lines, key=lambda line: overlap(line, phrase))
        shape = answer_shape(observation)
        if shape is None:
            return "请遵守法律法规与医学伦理，建议咨询专业人员。" if self._lang == "zh" else "Please follow the law and medical ethics and ask a professional."
        text = source_text(observation)
        found = [w for w in symptom_words(self._lang) if w in text]
        longest = [w for w in dict.fromkeys(found) if not any(w != o and w in o for o in found)]
        if isinstance(shape, list):
            keys = list(shape[0])
            return json.dumps([{keys[0]: w, keys[1]: "", keys[2]: [], keys[3]: []} for w in longest], ensure_ascii=False)
        return json.dumps({k: (longest if not v and k in ("症状", "symptoms", "症状和体征", "symptom_or_sign") else []) for k, v in shape.items()},
                          ensure_ascii=False)  # fmt: skip


@lru_cache(maxsize=2)
def symptom_words(lang: Lang) -> tuple[str, ...]:
    """The lexicon's words for symptoms."""
    return tuple(w for t, cues in lexicon().topics.items() if codes.topics()[t].group == "symptom" for w in getattr(cues, lang))


def weigh(value: str, ref: str, flag: str) -> str:
    """How much a flagged value seems to matter: by its distance from a range such as 3.5-5.5."""
    bounds = re.match(r"([\d.]+)-([\d.]+)", ref)
    if flag in ("HH", "LL") or not bounds:
        return "significant"
    low, high, number = float(bounds[1]), float(bounds[2]), float(value)
    return "significant" if number > 1.3 * high or number < 0.8 * low else "minor"


def overlap(a: str, b: str) -> float:
    """Share of the character pairs of `a` that occur in `b`."""
    pairs = {a[i : i + 2] for i in range(len(a) - 1)}
    return len(pairs & {b[i : i + 2] for i in range(len(b) - 1)}) / max(1, len(pairs))
