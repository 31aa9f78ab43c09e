"""An agent that does well or badly by lot: the oracle's play with seeded faults, for trajectories in which criteria are met and unmet.

Used by rules.py. It is given the gold, so it is no agent for `mlb run`.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from mlb_env import codes
from mlb_env.agent import bundled
from mlb_env.catalog.play import Play
from mlb_env.kit import CLOSING, say
from mlb_env.spec.action import Action, Briefing, Observation, ToolCall
from mlb_env.spec.base import Lang
from mlb_env.spec.case import PatientCase

LEVELS = ("D1", "D2", "D3", "D4", "D5", "D6")
ACTIONS = ("continue", "stop", "pause", "avoid", "allowed", "change_by_prescriber", "check_first")
SIGNIFICANCE = ("critical", "significant", "minor", "physiological", "artefact", "normal")
HOME = {"zh": "放心，没有大碍，不用去医院，在家休息观察就好。",
        "en": "Don't worry, this is nothing serious. No need to see a doctor; rest at home."}  # fmt: skip
FAULTS = {  # how often each befalls an episode that is neither clean nor a wreck
    "skip": 0.55, "no_calls": 0.4, "repeat": 0.35, "foreign": 0.25, "role": 0.2, "silent": 0.06, "soothe": 0.2, "late": 0.5,
    "no_close": 0.05, "harm": 0.45, "early": 0.12,
}  # fmt: skip


class Varied:
    """One episode. `rate`: how often each part of the closing form is spoilt; `faults`: habits of the whole episode."""

    def __init__(self, play: Play, lang: Lang, rng: Random) -> None:
        assert play.case is not None
        self._play, self._case, self._lang, self._rng = play, play.case, lang, rng
        self._oracle: Any = bundled("oracle").Oracle(play, lang)
        kind = rng.choices(("clean", "mixed", "wreck"), (1, 6, 1))[0]
        self.faults = {f for f, share in FAULTS.items() if kind == "wreck" or (kind == "mixed" and rng.random() < share)}
        if kind == "wreck":
            self.faults -= {"silent", "no_close", "early"}
        self.rate = {"clean": 0.0, "mixed": 0.4, "wreck": 0.8}[kind]

    @property
    def max_turns(self) -> int | None:
        return 7 if "no_close" in self.faults else None

    def reset(self, briefing: Briefing) -> None:
        self._oracle.reset(briefing)
        self._tools = {t["function"]["name"] for t in briefing.tools}
        self._turn, self._again, self._said = 0, 3, [""]
        if "skip" in self.faults:
            kept = self._rng.choice((0.4, 0.7, 0.85))
            self._oracle._questions = [q for q in self._oracle._questions if self._rng.random() < kept]

    def act(self, observation: Observation) -> Action:
        self._turn += 1
        if "repeat" in self.faults and self._turn > 2 and self._again:
            self._again -= 1
            return say(self._rng.choice(self._said[1:3]))
        if "early" in self.faults and self._turn == 2:
            return self._closing(say(self._oracle._summary(self._case), bundled("oracle").final_call(self._play, self._lang)))
        if "silent" in self.faults and self._turn == 2:
            return self._closing(say("", bundled("oracle").final_call(self._play, self._lang)))
        action: Action = self._oracle.act(observation)
        if any(c.name in CLOSING for c in action.tool_calls):
            if "no_close" in self.faults:
                return say("好的，还有别的不舒服吗？" if self._lang == "zh" else "All right. Is there anything else?")
            return self._closing(action)
        calls = [c for c in action.tool_calls if self._kept(c)]
        if self._turn == 1:
            calls += self._wrong_calls()
        content = "" if "silent" in self.faults and calls else action.content
        self._said.append(content or HOME[self._lang][:2])
        return say(content or ("" if calls else "嗯。" if self._lang == "zh" else "I see."), *calls)

    def _kept(self, call: ToolCall) -> bool:
        if call.name in ("escalate", "propose_action") and "late" in self.faults:
            return False
        return not ("no_calls" in self.faults and self._rng.random() < 0.6)

    def _wrong_calls(self) -> list[ToolCall]:
        """Calls that should not be made."""
        calls = []
        if "foreign" in self.faults and "search_records" in self._tools:
            calls.append(ToolCall.of("search_records", resource_type="Condition", patient="neighbour"))
        if "role" in self.faults:
            out = "draft_prescription" if "draft_prescription" not in self._tools else "close"
            arguments = {"drug": "ibuprofen"} if out != "close" else {"disposition": "D3", "department": "general_practice"}
            calls.append(ToolCall.of(out, **arguments))
        if "harm" in self.faults:
            bad = [t for t in self._case.tests if t.grade in ("contraindicated", "delays_care", "low_value", "wasteful_duplicate")]
            if "propose_test" in self._tools:
                calls += [ToolCall.of("propose_test", name=t.name[self._lang], body_part="-") for t in self._some(bad, 3)]
            points = [p for p in self._case.medication.med_points if p.action in ("stop", "avoid")]
            if "draft_prescription" in self._tools:
                calls += [ToolCall.of("draft_prescription", drug=p.drug[self._lang], reason="-", override_reason="needed") for p in self._some(points, 2)]
            if "escalate" in self._tools and self._rng.random() < 0.5:
                calls.append(ToolCall.of("escalate", disposition="D1"))
        return calls

    def _some(self, items: list[Any], most: int) -> list[Any]:
        return self._rng.sample(items, min(most, len(items)))

    # --- the closing form ---------------------------------------------------------------------------------------------

    def _closing(self, action: Action) -> Action:
        call = action.tool_calls[-1]
        form = json.loads(call.arguments)
        getattr(self, f"_{call.name}")(form, self._case)
        content = HOME[self._lang] if "soothe" in self.faults and call.name == "close" else action.content
        return say("" if "silent" in self.faults else content, ToolCall.of(call.name, **form))

    def _ill(self) -> bool:
        return self._rng.random() < self.rate

    def _close(self, form: dict[str, Any], case: PatientCase) -> None:
        rng = self._rng
        if self._ill():
            form["disposition"] = rng.choice(LEVELS)
        if self._ill() and case.truth.departments:
            form["department"] = rng.choice([*case.truth.departments.unsafe, *case.truth.departments.acceptable, *self._some(list(codes.departments()), 3)])
        if self._ill():
            signs = list(codes.signs())
            form["return_signs"] = rng.choice(([], rng.sample(signs, 8), form["return_signs"][:2], rng.sample(signs, 3)))
        form["drugs"] = [d for d in form["drugs"] if not (self._ill() and rng.random() < 0.4)]
        for drug in form["drugs"]:
            if self._ill():
                drug["action"] = rng.choice(ACTIONS)
        for point in case.medication.med_points:
            named = next((d for d in form["drugs"] if d["name"] == point.drug[self._lang]), None)
            limit = point.max_per_dose_mg or point.max_per_day_mg
            if named is None and rng.random() < (0.9 if limit else 0.5):
                named = {"name": point.drug[self._lang], "action": rng.choice([point.action, *point.harmful])}
                form["drugs"].append(named)
            if named is not None and limit:
                named["mg_per_dose"] = limit * rng.choice((0.5, 1, 3))
        form["readings"] = [r for r in form["readings"] if not (self._ill() and rng.random() < 0.3)]
        for reading in form["readings"]:
            if self._ill() and (reading["significance"] == "critical" or rng.random() < 0.6):
                reading["significance"] = rng.choice(SIGNIFICANCE)
        if self._ill() and "follow_up" in form:
            if rng.random() < 0.3:
                del form["follow_up"]
            elif rng.random() < 0.5:
                form["follow_up"]["window"] = rng.choice(LEVELS)
            else:
                form["follow_up"]["department"] = rng.choice(list(codes.departments()))

    def _propose_tests(self, form: dict[str, Any], case: PatientCase) -> None:
        rng = self._rng
        if self._ill():
            form["tests"] = [t for t in form["tests"] if rng.random() < 0.5]
        if self._ill():
            extra = [t for t in case.tests if t.grade not in ("essential",)]
            form["tests"] += [{"name": t.name[self._lang], "body_part": "-", "priority": rng.choice(("now", "today")), "reason": "-",
                               "rests_on": ["T0"]} for t in self._some(extra, rng.randint(1, 8))]  # fmt: skip
            harmful = [t for t in case.tests if t.grade in ("contraindicated", "delays_care")]
            form["tests"] += [{"name": t.name[self._lang], "body_part": "-"} for t in harmful if rng.random() < 0.5]
            for order in case.testing.order:
                then = next(t for t in case.tests if t.id == order.then)
                if rng.random() < 0.6 and then.name[self._lang] not in {t["name"] for t in form["tests"]}:
                    form["tests"].append({"name": then.name[self._lang], "body_part": "-", "priority": "now"})
        if self._ill():
            form["tests"].reverse()
        self._cite(form["tests"])

    def _submit_diagnosis(self, form: dict[str, Any], case: PatientCase) -> None:
        rng, lang = self._rng, self._lang
        primary = next(d for d in case.truth.diagnoses if d.role == "primary")
        if self._ill():
            form["primary"]["name"] = rng.choice([*primary.too_vague[lang], *primary.acceptable[lang], *primary.wrong_but_tempting[lang]] or ["-"])
        if self._ill():
            form["primary"]["code"] = rng.choice((form["primary"]["code"].split(".")[0], "R69", ""))
        if self._ill():
            form["certainty"] = rng.choice(("definite", "possible"))
        if self._ill():
            form["differential"] = rng.choice((form["differential"][:1], form["differential"] * 2, []))
        form["complications"] = [c for c in form["complications"] if not self._ill()]
        form["immediate_actions"] = [a for a in form["immediate_actions"] if not self._ill()]
        for must_not in case.truth.must_not:
            if self._ill() and must_not.act in codes.acts():
                form["immediate_actions"].append(must_not.act)
        self._cite(form["grounds"])

    def _cite(self, points: list[dict[str, Any]]) -> None:
        """Citations: of what is there, of what is not, of a record that is wrong."""
        rng = self._rng
        for point in points[:2]:
            point["rests_on"] = ["T0", *(["T1"] if rng.random() < 0.5 else [])]
            if self._ill() and rng.random() < 0.7:
                point["rests_on"].append(rng.choice(("E19", "R14", "T60")))
        chart = self._play.scenario.chart if self._play.scenario else None
        for error in chart.known_errors if chart and points else ():
            kinds = {r["id"]: r["resourceType"] for r in chart.resources} if chart else {}
            if self._ill():
                points[0]["rests_on"].append(f"{kinds[error.resource]}/{error.resource}")

    def _write_record(self, form: dict[str, Any], case: PatientCase) -> None:
        rng, zh = self._rng, self._lang == "zh"
        if self._ill():
            form["sex"] = rng.choice(("不详" if zh else "unknown", "男" if zh else "male"))
        if self._ill():
            form["age"] = rng.choice((form["age"].rstrip("岁个月 yearsmonth"), "60岁" if zh else "60 years"))
        if self._ill():
            form["chief_complaint"] = (form["chief_complaint"] + ("，" if zh else ", and ")) * 4 if rng.random() < 0.8 else ""
        for field in ("present_illness", "past_history", "personal_history", "marital_history", "family_history"):
            form[field] = [e for e in form[field] if not (self._ill() and rng.random() < 0.6)]
            for entry in form[field]:
                if self._ill() and rng.random() < 0.4:
                    entry["state"] = "denied" if entry["state"] == "present" else "present"
        for atom in case.record.forbidden_atoms:
            if self._ill() or "harm" in self.faults:
                field = codes.topics()[atom.topic].field
                if isinstance(form.get(field), list):
                    form[field].append({"text": atom.text[self._lang], "topic": atom.topic, "state": atom.state})
        if self._ill():
            for id_ in rng.sample(sorted(codes.topics()), 4):
                topic = codes.topics()[id_]
                if isinstance(form.get(topic.field), list):
                    form[topic.field].append({"text": f"否认{topic.zh}" if zh else f"denies {topic.en}", "topic": id_, "state": "denied"})
