"""Checks of a patient case that go beyond its schema: references, coverage, the rules of what may be defaulted.

The rules are those of the clinical design (sections 0.4, 0.5, 1.4). Each problem is one sentence that names the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized

from .. import codes
from ..spec.case import Fact, PatientCase

NOT_SPOKEN = {"chart_only", "examination", "test", "observed"}
ATTRIBUTES = ("onset", "course", "site", "quality", "severity", "timing", "trigger")  # the seven attributes (relief beside)
ALWAYS = ("energy", "sleep", "appetite", "stool", "urine", "weight_change", "past_illness", "surgery", "transfusion",
          "infection", "vaccination", "allergy", "drug", "anticoagulant", "drug_otc", "drug_herbal", "drug_topical",
          "drug_injection", "family", "ice_idea", "ice_concern", "ice_expectation", "self_harm", "overdose", "violence",
          "mood", "who_present", "prior_care", "identity")  # fmt: skip
ADULT = ("tobacco", "alcohol", "occupation")
CHILD = ("birth_history", "feeding_history", "development")
ELDER = ("function", "falls")
FERTILE = ("menstruation", "obstetric", "pregnancy", "contraceptive")


def years(case: PatientCase) -> float:
    """The person's age in years."""
    return case.person.age.value / {"day": 365.25, "month": 12, "year": 1}[case.person.age.unit]


def applies(case: PatientCase, topic: codes.Topic) -> bool:
    """Whether a topic concerns this person (female: women of 12 to 55; child: under 14; elder: 65 and over)."""
    age = years(case)
    return {
        None: True,
        "female": case.person.sex_at_birth == "female" and 12 <= age <= 55,
        "child": age < 14,
        "elder": age >= 65,
    }[topic.applies]


def check_case(case: PatientCase) -> list[str]:
    """The problems of a case, one sentence each; empty when it is complete and consistent."""
    return [*_depth(case), *_ids(case), *_facts(case), *_coverage(case), *_references(case), *_languages(case), *_lists(case)]


def _depth(case: PatientCase) -> Iterator[str]:
    """What the schema leaves open so that imported cases load, and a case of full depth must have."""
    p, t, c = case.person, case.truth, case.complaint
    single = {
        "person.sex_at_birth": p.sex_at_birth, "person.marital": p.marital, "person.occupation": p.occupation, "person.education": p.education,
        "person.residence": p.residence, "person.insurance": p.insurance, "person.capacity": p.capacity,
        "person.consent": p.consent, "person.identity": p.identity, "mind.attitude": case.mind.attitude,
        "truth.max_certainty": t.max_certainty, "truth.urgency": t.urgency, "truth.departments": t.departments,
        "truth.follow_up": t.follow_up,
    }  # fmt: skip
    for name, value in single.items():
        if value is None:
            yield f"{name}: missing"
    several: list[tuple[str, Sized, int]] = [
        ("truth.differential", t.differential, 3), ("truth.red_flags_to_tell", t.red_flags_to_tell, 2),
        ("complaint.systems", c.systems, 1), ("complaint.red_flags", c.red_flags, 3),
        ("complaint.key_history", c.key_history, 4), ("provenance.sources", case.provenance.sources, 1),
        ("course.slots", case.course.slots, 1), ("person.decoys", p.decoys, 1),
    ]  # fmt: skip
    for name, items, least in several:
        if len(items) < least:
            yield f"{name}: {len(items)} given, at least {least} are needed"
    for lang in ("zh", "en"):
        if len(getattr(case.opening, lang)) < 3:
            yield f"opening.{lang}: at least 3 wordings are needed"


def _ids(case: PatientCase) -> Iterator[str]:
    groups: dict[str, Iterable[str]] = {
        "facts": (f.id for f in case.facts), "exam": (e.id for e in case.exam), "tests": (t.id for t in case.tests),
        "truth.diagnoses": (d.id for d in case.truth.diagnoses), "record.atoms": (a.id for a in case.record.atoms),
        "medication.med_points": (m.id for m in case.medication.med_points),
    }  # fmt: skip
    for name, ids in groups.items():
        seen: set[str] = set()
        for id_ in ids:
            if id_ in seen:
                yield f"{name}: the id '{id_}' stands twice"
            seen.add(id_)


def _facts(case: PatientCase) -> Iterator[str]:
    if len(case.facts) < 24:
        yield f"facts: {len(case.facts)} facts, at least 24 are needed"
    known = codes.topics()
    ids = {f.id for f in case.facts}
    for i, fact in enumerate(case.facts):
        where = f"facts.{i} ({fact.id})"
        if fact.topic not in known:
            yield f"{where}.topic: unknown topic '{fact.topic}' (see mlb_env/codes/topics.yaml)"
        routes = {fact.disclosure.condition, *fact.disclosure.also}
        if routes - NOT_SPOKEN - {"unknown_to_patient"}:
            for lang in ("zh", "en"):
                if len(getattr(fact.told, lang)) < 3:
                    yield f"{where}.told.{lang}: at least 3 wordings are needed"
        if fact.told_status in ("vague", "mistaken", "withheld") and fact.correct_by and not fact.corrected:
            yield f"{where}.corrected: needed where told differs from truth and correct_by is given"
        if fact.disclosure.condition == "evolves" and fact.disclosure.at_min is None and not _entered(case, fact):
            yield f"{where}.disclosure.at_min: needed for 'evolves' (or name the fact in a course state)"
        if routes & {"examination", "test"} and not fact.disclosure.shown_by:
            yield f"{where}.disclosure.shown_by: name the findings or tests that show it"
        if fact.disclosure.after and fact.disclosure.after not in ids:
            yield f"{where}.disclosure.after: no fact '{fact.disclosure.after}'"
        hard = {"specific_question", "sensitive_question", "alone"}
        if fact.weight.safety == "key" and fact.disclosure.condition in hard and len(routes) < 2:
            yield f"{where}.disclosure.also: a safety-key fact needs at least two routes"


def _entered(case: PatientCase, fact: Fact) -> bool:
    return any(fact.id in state.facts for state in case.course.states)


def _coverage(case: PatientCase) -> Iterator[str]:
    have = {f.topic for f in case.facts}
    age = years(case)
    need = [*ATTRIBUTES, *ALWAYS]
    need += ADULT if age >= 14 else CHILD
    need += ELDER if age >= 65 else ()
    need += FERTILE if case.person.sex_at_birth == "female" and 12 <= age <= 55 else ()
    for needed in dict.fromkeys(need):
        if needed not in have:
            yield f"facts: no fact on '{needed}'"
    for topic in codes.topics().values():
        if topic.group == "symptom" and topic.system in case.complaint.systems and topic.id not in have and applies(case, topic):
            yield f"facts: the symptom '{topic.id}' is in a system of the complaint ('{topic.system}') and must be written"
    absent = {f.topic for f in case.facts if f.polarity == "absent"}
    for flag in case.complaint.red_flags:
        if flag not in have:
            yield f"complaint.red_flags: no fact on the red flag '{flag}'"
    symptoms = {t.id for t in codes.topics().values() if t.group == "symptom"}
    if len(absent & symptoms) < 5:
        yield f"facts: {len(absent & symptoms)} pertinent negatives, at least 5 are needed"
    if age < 14 and case.person.weight_kg is None:
        yield "person.weight_kg: obligatory under 14 years"


def _references(case: PatientCase) -> Iterator[str]:
    facts, exams = {f.id for f in case.facts}, {e.id for e in case.exam}
    tests, meds = {t.id for t in case.tests}, {m.id for m in case.medication.med_points}
    any_ = facts | exams | tests
    t, m = case.truth, case.medication
    places: list[tuple[str, Iterable[str], set[str]]] = [
        ("complaint.key_history", case.complaint.key_history, facts),
        ("facts.disclosure.shown_by", (x for f in case.facts for x in f.disclosure.shown_by), exams | tests),
        ("complaint.key_exams", case.complaint.key_exams, exams),
        ("mind.beliefs.fact", (b.fact for b in case.mind.beliefs), facts),
        ("testing.essential_sets", (x for s in case.testing.essential_sets for x in s.any_of), tests),
        ("testing.order", (x for o in case.testing.order for x in (o.first, o.then)), tests),
        ("truth.diagnoses.grounds", (g.ref for d in t.diagnoses for g in d.grounds), any_),
        ("truth.differential", (x for d in t.differential for x in (*d.supports, *d.against)), any_),
        ("truth.urgency.triggers", t.urgency.triggers if t.urgency else (), facts),
        ("truth.must_not.foreseeable_from", (x for n in t.must_not for x in n.foreseeable_from), any_),
        ("medication.must_elicit", m.must_elicit, facts),
        ("medication.hidden_drugs", m.hidden_drugs, facts),
        ("medication.do_not_stop_abruptly", m.do_not_stop_abruptly, meds),
        ("medication.interactions", (x for i in m.interactions for x in (i.a, i.b)), meds),
        ("record.atoms.fact_ids", (x for a in case.record.atoms for x in a.fact_ids), any_),
        ("record.transcript.facts", (x for u in case.record.transcript for x in u.facts), facts),
        ("facts.replaces", (x for f in case.facts for x in f.replaces), facts),
        ("course.states.facts", (x for s in case.course.states for x in s.facts), facts),
    ]
    if case.report:
        items = {i.id for i in case.report.items}
        places += [
            ("report.context_facts", case.report.context_facts, facts),
            ("report.shown_by", [case.report.shown_by], facts),
            ("report.prior.item", (p.item for p in case.report.prior), items),
        ]
    if case.education and case.education.misconception:
        places.append(("education.misconception", [case.education.misconception], {b.id for b in case.mind.beliefs}))
    for where, refs, known in places:
        for ref in refs:
            if ref not in known:
                yield f"{where}: nothing here has the id '{ref}'"


def _lists(case: PatientCase) -> Iterator[str]:
    t = case.truth
    sets: list[tuple[str, Iterable[str], Iterable[str]]] = [
        ("tests.code", (x.code for x in case.tests), codes.tests()),
        ("exam.region", (e.region for e in case.exam), codes.regions()),
        ("exam.manoeuvre", (e.manoeuvre for e in case.exam), codes.manoeuvres()),
        ("truth.departments", (x for d in [t.departments] if d for x in (*d.best, *d.acceptable, *d.wrong, *d.unsafe)),
         codes.departments()),
        ("truth.follow_up", t.follow_up.departments if t.follow_up else (), codes.departments()),
        ("truth.red_flags_to_tell", t.red_flags_to_tell, codes.signs()),
        ("truth.immediate_actions.act", (a.act for a in t.immediate_actions), codes.acts()),
        ("truth.must_not.act", (a.act for a in t.must_not), codes.acts()),
        ("record.atoms.topic", [*(a.topic for a in case.record.atoms), *(a.topic for a in case.record.forbidden_atoms)],
         {*codes.topics(), "sex", "age", "chief_complaint"}),
        ("complaint.red_flags", case.complaint.red_flags, codes.topics()),
        ("complaint.systems", case.complaint.systems, {x.system for x in codes.topics().values() if x.system}),
        ("specialty.code", [case.specialty.code], codes.departments()),
        ("course.slots.department", (s.department for s in case.course.slots), codes.departments()),
    ]  # fmt: skip
    for where, used, known in sets:
        allowed = set(known)
        for code in dict.fromkeys(used):
            if code not in allowed:
                yield f"{where}: unknown code '{code}' (see mlb_env/codes)"
    u = t.urgency
    if u and u.disposition_best not in u.acceptable:
        yield "truth.urgency.acceptable: must contain disposition_best"
    if u and set(u.acceptable) & set(u.unsafe):
        yield "truth.urgency.unsafe: a disposition is both acceptable and unsafe"
    if not any(d.role == "primary" for d in t.diagnoses):
        yield "truth.diagnoses: no diagnosis with the role 'primary'"
    if case.testing.no_further_test and case.testing.essential_sets:
        yield "testing.essential_sets: must be empty where no_further_test is true"
    if not case.testing.no_further_test and not case.testing.essential_sets:
        yield "testing.essential_sets: needed unless no_further_test is true"
    bad = sum(x.grade in ("low_value", "wasteful_duplicate", "contraindicated", "delays_care") for x in case.tests)
    if bad < 4:
        yield f"tests: {bad} tests that should not be proposed, at least 4 are needed (else ordering everything pays)"


def _languages(case: PatientCase) -> Iterator[str]:
    def walk(value: object, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            if value and set(value) <= {"zh", "en"}:
                for lang in ("zh", "en"):
                    other = value.get("en" if lang == "zh" else "zh")
                    if other and not value.get(lang):
                        yield f"{path}.{lang}: missing (the other language is there)"
            else:
                for key, item in value.items():
                    yield from walk(item, f"{path}.{key}" if path else key)
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                yield from walk(item, f"{path}.{i}")

    yield from walk(case.model_dump(), "")
