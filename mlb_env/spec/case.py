"""The patient case: everything that is true about one synthetic person (clinical design, section 1).

No behaviour lives here. The patient simulator, the record system, the rubric templates and the checks read these models.
Ids are the same in both languages. Codes (topics, tests, departments, signs, acts) are defined in `mlb_env/codes/`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import LL, Difficulty, Id, L, Model, Provenance, Review, Split

Disposition = Literal["D1", "D2", "D3", "D4", "D5", "D6"]
HarmGrade = Literal["S1", "S2", "S3", "S4"]
Dataset7 = Literal["MAKnowledge", "MAGuidance", "MAReport", "MAMedication", "MAInspection", "MADiagnosis", "MARecord"]
Condition = Literal[
    "opening", "volunteered_when_topic_near", "open_question", "direct_question", "specific_question", "sensitive_question",
    "alone", "document", "observed", "chart_only", "examination", "test", "evolves", "unknown_to_patient",
]  # fmt: skip
Weight3 = Literal["none", "supports", "key", "against"]


# --- head ---------------------------------------------------------------------------------------------------------------


class Specialty(Model):
    code: Id  # of codes/departments.yaml
    system: str = "mlb-env-64 (2026-11)"
    name: L


class Setting(Model):
    jurisdiction: str = "CN"
    site_level: Literal["community", "county", "tertiary"]
    channel: Literal["text", "phone", "in_person"]
    place: L
    date_time: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$")  # the episode's zero; no wall clock anywhere
    season: str
    epidemic: L | None = None


class ExpectedDifficulty(Model):
    expected: Difficulty
    reason: str


class Trap(Model):
    id: Id
    kind: Literal[
        "mislead", "anchor", "lookalike", "wrong_belief", "omission", "stale_chart", "wrong_person", "tempting_test",
        "duplicate_drug", "injection", "third_party", "normal_result",
    ]  # fmt: skip
    text: L


class Exclusion(Model):
    dataset: Dataset7
    reason: str


# --- person -------------------------------------------------------------------------------------------------------------


class Age(Model):
    value: int = Field(ge=0, le=120)
    unit: Literal["day", "month", "year"]


class Pregnancy(Model):
    status: Literal["yes", "no", "not_applicable", "unknown"]
    weeks: int | None = None
    evidence: str = ""


class Informant(Model):
    """Who speaks to the agent. `present` lists others in the room; `may_leave` says whether they can be asked to."""

    kind: Literal["self", "parent", "spouse", "adult_child", "carer", "bystander"]
    relation: L
    reliability: Literal["good", "fair", "poor"]
    present: tuple[L, ...] = ()
    may_leave: bool = True
    conflict: L | None = None


class Consent(Model):
    minor: bool
    guardian: L | None = None
    proxy_allowed: bool


class Identity(Model):
    """Synthetic digits for the identity check of the service desk."""

    phone_last4: str = Field(pattern=r"^\d{4}$")
    card_last4: str = Field(pattern=r"^\d{4}$")


class Decoy(Model):
    """Another person in the record world with a similar name."""

    id: Id
    name: L
    birth_date: str
    note: L


class Person(Model):
    name: L
    sex_at_birth: Literal["female", "male"] | None = None
    gender: str | None = None
    age: Age
    birth_date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    pregnant: Pregnancy
    lactating: bool = False
    weight_kg: float | None = None
    height_cm: float | None = None
    marital: L | None = None
    occupation: L | None = None
    education: L | None = None
    residence: L | None = None
    native_place: L | None = None
    insurance: L | None = None
    language_variety: L | None = None
    hearing_vision: L | None = None
    cognition: L | None = None
    capacity: L | None = None
    informant: Informant
    consent: Consent | None = None
    identity: Identity | None = None
    decoys: tuple[Decoy, ...] = ()


# --- mind ---------------------------------------------------------------------------------------------------------------


class Belief(Model):
    """`fact` is the fact by which the patient states the belief (topic `ice_idea`)."""

    id: Id
    fact: Id
    text: L
    truth: Literal["correct", "wrong", "half"]
    harm_if_uncorrected: HarmGrade | None = None
    correction: L
    evidence: str


class Attitude(Model):
    to_doctor: L
    to_tests: L
    to_drugs: L
    to_cost: L


class PatientQuestion(Model):
    """A question that the patient asks by themself; `when`: after that many agent turns (1 = after the first)."""

    id: Id
    when: int = Field(ge=1)
    text: L


class Mind(Model):
    reason_for_visit: L
    hidden_reason: L | None = None
    beliefs: tuple[Belief, ...] = ()
    health_literacy: Literal["low", "medium", "high"] = "medium"
    attitude: Attitude | None = None
    practical_limits: tuple[L, ...] = ()
    questions_patient_asks: tuple[PatientQuestion, ...] = ()
    persona_allowed: tuple[Id, ...] = ()
    persona_default: Id = "plain"


# --- facts --------------------------------------------------------------------------------------------------------------


class Disclosure(Model):
    """By which condition a fact comes out. `also`: further routes. `at_min`: episode minute, for `evolves`.

    `after`: another fact that must be out first. `shown_by`: ids of the examination findings or tests that show it, for
    `examination` and `test`.
    """

    condition: Condition
    also: tuple[Condition, ...] = ()
    after: Id | None = None
    at_min: int | None = Field(default=None, ge=0)
    shown_by: tuple[Id, ...] = ()


class Time(Model):
    """When, in minutes before the start of the episode (negative: after it)."""

    started_min_ago: int | None = None
    ended_min_ago: int | None = None
    note: L | None = None


class Value(Model):
    number: float
    unit: str
    code: str | None = None


class FactWeight(Model):
    diagnosis: Weight3 = "none"
    safety: Weight3 = "none"
    record: Weight3 = "none"


class Fact(Model):
    """One atomic fact. `truth` is what is so; `told` is what the speaker says (at least 3 wordings in each language).

    `told` is spoken language in the voice of the informant, complete sentences that answer a question about `topic`.
    `corrected`: what the speaker says once the right probe of `correct_by` came (only where told differs from truth).
    """

    id: Id
    topic: Id  # of codes/topics.yaml
    polarity: Literal["present", "absent", "unknown"]
    truth: L
    told: LL = LL()
    told_status: Literal["accurate", "vague", "mistaken", "withheld"] = "accurate"
    correct_by: tuple[Literal["question", "document", "chart", "photo"], ...] = ()
    corrected: LL | None = None
    disclosure: Disclosure
    time: Time | None = None
    value: Value | None = None
    known_to: tuple[Literal["patient", "informant", "chart", "nobody"], ...] = ("patient",)
    reveals_dx: bool = False
    weight: FactWeight = FactWeight()
    askable: LL = LL()
    follow_up: LL | None = None
    replaces: tuple[Id, ...] = ()  # facts that no longer hold, and are no longer told, once this one is out


# --- examination and tests ----------------------------------------------------------------------------------------------


class Vitals(Model):
    t: int = Field(ge=0)  # episode minute from which this reading holds
    T: float | None = None  # degrees Celsius
    HR: int | None = None  # per min
    RR: int | None = None  # per min
    BP: str | None = Field(default=None, pattern=r"^\d{2,3}/\d{2,3}$")  # mmHg
    SpO2: int | None = None  # per cent, room air unless the state says otherwise
    pain: int | None = Field(default=None, ge=0, le=10)
    consciousness: L | None = None  # AVPU or GCS
    glucose: float | None = None  # mmol/L, capillary
    weight: float | None = None  # kg
    state: L


class ExamFinding(Model):
    """One finding of one manoeuvre; not listed = not examined, unavailable. Codes of codes/exams.yaml."""

    id: Id
    region: Id
    manoeuvre: Id
    finding: L
    normal: bool
    visible: bool = False  # can be seen without touching
    needs: tuple[Literal["consent", "chaperone", "equipment"], ...] = ()
    weight: Weight3 = "none"
    risk: L | None = None


class RefRange(Model):
    low: float | None = None
    high: float | None = None
    text: str = ""
    applies_to: str = ""


class Result(Model):
    """One analyte; `t`: minutes after the start. `value` is a number or a short text ('negative')."""

    t: int = 0
    analyte: L
    value: float | str
    unit: str = ""
    ref_range: RefRange | None = None
    flag: Literal["", "H", "L", "HH", "LL", "A"] = ""
    critical: bool = False


class Narrative(Model):
    findings: L
    impression: L


class Availability(Model):
    site_level: Literal["community", "county", "tertiary"] = "county"
    hours: str = "24h"
    turnaround_min: int = Field(ge=0)


class Test(Model):
    """A test and what it would show. `code` of codes/tests.yaml. `grade` judges proposing it in this case."""

    id: Id
    code: Id
    name: L
    loinc: str | None = None
    body_part: L | None = None
    contrast: bool = False
    specimen: L | None = None
    synonyms: LL = LL()
    availability: Availability
    status: Literal["exists", "already_done", "not_available_here"] = "exists"
    done_at: str | None = None
    results: tuple[Result, ...] = ()
    report: Narrative | None = None
    quality: Literal["valid", "haemolysed", "wrong_person", "motion", "pending"] = "valid"
    grade: Literal["essential", "appropriate", "optional", "low_value", "wasteful_duplicate", "contraindicated", "delays_care"]
    harm_grade: HarmGrade | None = None  # of proposing it, for contraindicated and delays_care
    why: L
    radiation: bool = False
    invasiveness: int = Field(default=0, ge=0, le=4)
    cost_band: Literal["low", "medium", "high"] = "low"


class TestSet(Model):
    """An essential need that any one of several tests meets. `harm_if_missing`: gate of a missed emergency."""

    id: Id
    any_of: tuple[Id, ...] = Field(min_length=1)  # test ids of this case
    why: L
    harm_if_missing: HarmGrade | None = None


class TestOrder(Model):
    """A clinically real order between two tests of the case. `harm_if_broken`: gate, if any."""

    first: Id
    then: Id
    kind: Literal["before", "only_if"] = "before"
    why: L
    harm_if_broken: HarmGrade | None = None


class Testing(Model):
    essential_sets: tuple[TestSet, ...] = ()
    order: tuple[TestOrder, ...] = ()
    no_further_test: bool = False
    no_further_why: L | None = None


# --- record before the visit --------------------------------------------------------------------------------------------


class ChartError(Model):
    resource: Id
    kind: Literal["stale", "wrong_person", "duplicate", "contradicted_by_patient", "unit"]
    truth: L
    must_handle: bool


class Chart(Model):
    """FHIR R4 resources as mappings. Wherever a text stands, a mapping {zh, en} may stand; it is resolved per language.

    `Patient` resources of the person and the decoys are made by the engine. References: `Patient/self` is the person.
    `file`: a file of further resources beside the case's (`mlb record import` makes it). `injected_text`: ids of resources whose text holds instructions for the agent.
    """

    file: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+\.ndjson$")
    resources: tuple[dict[str, Any], ...] = ()
    known_errors: tuple[ChartError, ...] = ()
    injected_text: tuple[Id, ...] = ()


# --- truth --------------------------------------------------------------------------------------------------------------


class Code(Model):
    system: str  # e.g. "WHO ICD-10"
    version: str
    code: str


class Ground(Model):
    """A fact, exam finding or test that speaks for or against a diagnosis."""

    ref: Id
    direction: Literal["for", "against"]
    strength: Literal["key", "supports"]


class Diagnosis(Model):
    id: Id
    role: Literal["primary", "complication", "comorbid", "incidental", "ruled_out"]
    name: L
    codes: tuple[Code, ...] = ()
    certainty: Literal["definite", "probable", "possible"]
    acceptable: LL = LL()  # other full names
    too_vague: LL = LL()  # half the points
    wrong_but_tempting: LL = LL()
    grounds: tuple[Ground, ...] = ()
    must_name: bool = False  # for complications and comorbidities that change care


class Differential(Model):
    id: Id
    name: L
    acceptable: LL = LL()
    must_not_miss: bool
    supports: tuple[Id, ...] = ()  # refs for
    against: tuple[Id, ...] = ()
    discriminator: L


class OnsiteLevel(Model):
    system: str
    level: str


class Urgency(Model):
    """`unsafe` are under-triaged dispositions. What is in neither list is over-triage and judged by distance."""

    disposition_best: Disposition
    acceptable: tuple[Disposition, ...] = Field(min_length=1)
    unsafe: tuple[Disposition, ...] = ()
    onsite_level: OnsiteLevel | None = None
    time_limit_min: int | None = None
    tell_within_turns: int | None = None  # agent turns after the first trigger is out, for D1/D2
    triggers: tuple[Id, ...] = ()  # facts that make the emergency foreseeable
    reasons: tuple[L, ...] = ()


class Departments(Model):
    """Codes of codes/departments.yaml. `wrong` and `unsafe` are named for the author's clarity and the checks."""

    best: tuple[Id, ...] = Field(min_length=1)
    acceptable: tuple[Id, ...] = ()
    wrong: tuple[Id, ...] = ()
    unsafe: tuple[Id, ...] = ()
    notifiable: bool = False


class ImmediateAction(Model):
    """`act`: code of codes/acts.yaml; `deadline_min`: episode minutes."""

    act: Id
    text: L
    deadline_min: int | None = None
    by_role: Literal["service_desk", "clinical_assistant", "patient", "any"] = "any"
    required: bool = True


class MustNot(Model):
    act: Id
    text: L
    harm_grade: HarmGrade
    foreseeable_from: tuple[Id, ...] = ()  # facts, exams, tests


class FollowUp(Model):
    """Who (department code), by when (disposition window) and what."""

    departments: tuple[Id, ...] = Field(min_length=1)
    window: tuple[Disposition, ...] = Field(min_length=1)
    what: L


class ReportingDuty(Model):
    what: L
    legal_source: str
    date: str


class Truth(Model):
    diagnoses: tuple[Diagnosis, ...] = Field(min_length=1)
    differential: tuple[Differential, ...] = Field(default=(), max_length=6)
    undifferentiated: bool = False
    max_certainty: Literal["definite", "probable", "possible"] | None = None
    urgency: Urgency | None = None
    departments: Departments | None = None
    immediate_actions: tuple[ImmediateAction, ...] = ()
    must_not: tuple[MustNot, ...] = ()
    red_flags_to_tell: tuple[Id, ...] = Field(default=(), max_length=6)  # codes of codes/signs.yaml
    follow_up: FollowUp | None = None
    reporting_duties: tuple[ReportingDuty, ...] = ()


# --- medication, education, report, record ------------------------------------------------------------------------------


DrugAction = Literal["continue", "stop", "pause", "avoid", "allowed", "change_by_prescriber", "check_first"]


class MedPoint(Model):
    """What is to be done with one drug. `acceptable`: other right actions; `harmful`: actions that do harm."""

    id: Id
    drug: L
    names: LL = LL()  # brands, synonyms, lay names
    ingredient: str
    atc: str | None = None
    action: DrugAction
    acceptable: tuple[DrugAction, ...] = ()
    harmful: tuple[DrugAction, ...] = ()
    harm_grade: HarmGrade | None = None
    max_per_day_mg: float | None = None
    max_per_dose_mg: float | None = None
    required: bool = True  # whether a good conclusion has to name it
    why: L
    source: str


class Interaction(Model):
    a: Id  # med point ids
    b: Id
    effect: L
    severity: Literal["minor", "moderate", "major", "contraindicated"]
    response: L


class Medication(Model):
    med_points: tuple[MedPoint, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    must_elicit: tuple[Id, ...] = ()  # fact ids
    hidden_drugs: tuple[Id, ...] = ()  # fact ids of drugs that come out on a specific question only
    do_not_stop_abruptly: tuple[Id, ...] = ()  # med point ids
    patient_question: L | None = None
    wrong_self_plan: L | None = None


class EduPoint(Model):
    id: Id
    text: L
    priority: Literal["must", "should"]
    kind: Literal["explain", "correct", "act", "limit", "safety_net", "lifestyle", "vaccine"]


class TeachBack(Model):
    """`right_answer`/`wrong_answer`: what the patient says when asked to repeat; the wrong one comes first."""

    right_answer: L
    wrong_answer: L


class Education(Model):
    topic: L
    edu_points: tuple[EduPoint, ...] = Field(min_length=3)
    misconception: Id | None = None  # belief id
    replacement: L | None = None
    teach_back: TeachBack
    uncertainty: L
    reading_level: str


Significance = Literal["critical", "significant", "minor", "physiological", "artefact", "normal"]


class ReportItem(Model):
    id: Id
    name: L
    value: float | str
    unit: str = ""
    ref: str = ""
    flag: Literal["", "H", "L", "HH", "LL", "A"] = ""
    true_meaning: L
    significance: Significance
    acceptable: tuple[Significance, ...] = ()


class PriorItem(Model):
    item: Id
    date: str
    value: float | str
    unit: str = ""


class Report(Model):
    """A report that the patient wants explained. `shown_by`: the fact by which the patient shows it."""

    owner: L
    subject_matches: bool
    type: L
    issued_at: str
    lab: L
    shown_by: Id
    items: tuple[ReportItem, ...] = Field(min_length=1)
    narrative: Narrative | None = None
    prior: tuple[PriorItem, ...] = ()
    context_facts: tuple[Id, ...] = ()  # facts that change the reading and have to be asked for
    patient_reading: L
    key_message: L
    must_not_say: tuple[L, ...] = ()


RecordField = Literal["sex", "age", "chief_complaint", "present_illness", "past_history", "personal_history",
                      "marital_history", "family_history"]  # fmt: skip
AtomState = Literal["present", "denied", "unknown", "not_applicable"]


class Atom(Model):
    """One statement of the reference record: in `field`, about `topic`, with the state the facts give it."""

    id: Id
    field: RecordField
    topic: Id
    state: AtomState
    text: L
    fact_ids: tuple[Id, ...] = ()
    required: bool = True
    source: Literal["said", "chart", "exam", "test"] = "said"


class ForbiddenAtom(Model):
    """A plausible invention. It counts where no fact of the ledger supports it."""

    id: Id
    topic: Id
    state: AtomState
    text: L
    harm_grade: HarmGrade


class ReferenceRecord(Model):
    atoms: tuple[Atom, ...] = ()
    forbidden_atoms: tuple[ForbiddenAtom, ...] = ()
    transcript: tuple[Utterance, ...] = ()  # for the fixed-transcript variant; both languages say the same


class Utterance(Model):
    """One line of a fixed transcript. `facts`: what a patient's line discloses."""

    speaker: Literal["doctor", "patient"]
    text: L
    facts: tuple[Id, ...] = ()


# --- course and world ---------------------------------------------------------------------------------------------------


class Transition(Model):
    """`when`: `time` (at_min reached), `act` (the agent did it), `no_act_by` (at_min reached without the act)."""

    source: Id
    target: Id
    when: Literal["time", "act", "no_act_by"]
    at_min: int | None = None
    act: Id | None = None  # code of codes/acts.yaml


class CourseState(Model):
    """A state of the course. `talk`: what is seen on entering (not for the first state). `facts`: what then comes out (evolves), said by
    the person. `vitals`: the readings in this state, `t` counted from entering; none: the case's own readings go on."""

    id: Id
    talk: L
    facts: tuple[Id, ...] = ()
    vitals: tuple[Vitals, ...] = ()


class TimeCost(Model):
    """Episode minutes that an act takes."""

    turn: int = 2
    examine: int = 3
    test: int = 1


class SlotDay(Model):
    """Free appointments of one department, as minutes from the start of the episode."""

    department: Id
    in_min: tuple[int, ...]


class Course(Model):
    states: tuple[CourseState, ...] = ()
    transitions: tuple[Transition, ...] = ()
    time_cost: TimeCost = TimeCost()
    slots: tuple[SlotDay, ...] = ()
    co_signer: Literal["signs", "rejects", "absent"] = "signs"


class Complaint(Model):
    """What the coverage check needs: the body systems of the complaint and its red flags (symptom topics)."""

    systems: tuple[Id, ...] = ()
    red_flags: tuple[Id, ...] = ()
    key_history: tuple[Id, ...] = ()  # fact ids that a good history obtains before tests or diagnosis
    key_exams: tuple[Id, ...] = ()  # exam ids


class PatientCase(Model):
    """A patient case of schema `case/1`.

    The schema asks only for what a simulator cannot do without, so that imported cases load; `mlb check` asks for all that a
    case of full depth has (catalog/check.py). Rubric templates skip what a case does not hold.
    """

    id: Id
    schema_: Literal["case/1"] = Field(alias="schema")
    version: str
    changelog: tuple[str, ...]
    title: L
    summary: L
    family: Id
    split: Split
    specialty: Specialty
    setting: Setting
    difficulty: ExpectedDifficulty
    traps: tuple[Trap, ...]
    suits: tuple[Dataset7, ...]
    excludes: tuple[Exclusion, ...] = ()
    provenance: Provenance
    review: tuple[Review, ...]
    valid_until: str
    canary: str
    person: Person
    mind: Mind
    complaint: Complaint
    opening: LL  # what the person says first, at least 3 wordings
    observed: L  # what can be noticed at once over the channel
    facts: tuple[Fact, ...]
    vitals: tuple[Vitals, ...] = ()
    exam: tuple[ExamFinding, ...] = ()
    tests: tuple[Test, ...] = ()
    testing: Testing = Testing()
    chart: Chart = Chart()
    truth: Truth
    medication: Medication = Medication()
    education: Education | None = None
    report: Report | None = None
    record: ReferenceRecord = ReferenceRecord()
    course: Course = Course()
    locale_notes: tuple[L, ...] = ()
