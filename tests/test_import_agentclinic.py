"""Import of AgentClinic's OSCE cases as patient cases with MADiagnosis scenarios."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlb_env.catalog.load import Catalog, open_catalog
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.errors import UserError
from mlb_env.importers import ImportReport, import_content
from mlb_env.importers.agentclinic import variants
from mlb_env.importers.osce_facts import facts_of, sentences
from mlb_env.importers.osce_findings import Found, examination
from mlb_env.importers.osce_findings import tests as read_tests
from mlb_env.importers.osce_tables import manoeuvre, regions
from mlb_env.importers.osce_tables import test_code as code_of
from mlb_env.judge.derive import rubric_of
from mlb_env.patient.understand import Matcher
from mlb_env.spec.action import Action, ToolCall
from mlb_env.spec.base import LL

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "agentclinic"
CUES = Matcher({
    "fever": LL(en=("fever",)), "cough": LL(en=("cough",)), "rash": LL(en=("rash",)), "tobacco": LL(en=("smoke",)),
    "onset": LL(en=("since",)), "hypertension": LL(en=("hypertension",)), "family": LL(en=("mother",)), "act:open": LL(en=("well",)),
})  # fmt: skip
NEVER = re.compile(r"(?!)")

CASE: dict[str, Any] = {
    "Objective_for_Doctor": "Assess a man with a cough.",
    "Patient_Actor": {
        "Demographics": "40-year-old man",
        "History": "I have had a cough since Monday. Dr. Lee said it might be whooping cough. No fever at all.",
        "Symptoms": {"Primary_Symptom": "Cough in fits", "Secondary_Symptoms": ["Vomiting after the fits", "Runny nose"]},
        "Past_Medical_History": "Hypertension.",
        "Social_History": {"Smoking": "Ten a day", "Occupation": "Not specified"},
        "Review_of_Systems": "Denies chest pain.",
        "Hobbies": "Chess",
    },
    "Physical_Examination_Findings": {
        "Vital_Signs": {"Temperature": "99.5°F (37.5°C)", "Blood_Pressure": "124/80 mmHg", "Heart_Rate": "88 bpm",
                        "Respiratory_Rate": "Slightly raised", "Oxygen_Saturation": "97% on room air"},
        "Respiratory_Examination": {"Auscultation": "Clear", "Percussion": "Not performed"},
        "General_Examination": {"Skin": "No rash"},
        "Oddities": {"Smell": "None"},
    },
    "Test_Results": {
        "Complete_Blood_Count": {"WBC": "18,000 /μL", "Hemoglobin": "14 g/dL"},
        "Imaging": {"Chest_X-ray": {"Findings": "Normal"}, "CT": "Not indicated"},
        "Blood_Work": {"Creatinine": "0.9 mg/dL", "Platelets": "250,000 /μL"},
        "Nasopharyngeal_PCR": {"Bordetella": "Positive"},
    },
    "Correct_Diagnosis": "Whooping cough (pertussis)",
}  # fmt: skip


def write(path: Path, *cases: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"OSCE_Examination": c} if isinstance(c, dict) and "Patient_Actor" in c else c) for c in cases]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(CASE) | parts


def actor(**parts: Any) -> dict[str, Any]:
    return changed(Patient_Actor=copy.deepcopy(CASE["Patient_Actor"]) | parts)


def run(src: Path) -> tuple[ImportReport, Catalog]:
    out = src.parent / "out"
    report = import_content("agentclinic", src, out)
    return report, open_catalog([out], bundled=False)


def play_of(tmp_path: Path, case: dict[str, Any] | None = None) -> Play:
    _, catalog = run(write(tmp_path / "agentclinic_demo.jsonl", case or CASE))
    return catalog.plays["MADiagnosis"][0]


# --- the case -----------------------------------------------------------------------------------------------------------


def test_a_case_becomes_a_patient_and_a_madiagnosis_scenario(tmp_path: Path) -> None:
    report, catalog = run(write(tmp_path / "agentclinic_demo.jsonl", CASE))
    assert report.written == {"MADiagnosis": 1} and report.skipped == ()
    dataset, play = catalog.datasets["MADiagnosis"], catalog.plays["MADiagnosis"][0]
    assert (dataset.edition, dataset.form, dataset.role) == ("agentclinic", "interactive", "clinical_assistant")
    case = play.case
    assert case is not None and play.langs == ("en",)
    assert case.id == "agentclinic-demo-001" and case.provenance.licence == "MIT"
    assert (case.person.age.value, case.person.age.unit, case.person.sex_at_birth) == (40, "year", "male")
    assert case.person.birth_date == "1984-01-01" and case.setting.jurisdiction == "US"
    assert "Cough in fits" in case.opening["en"][0]
    primary = case.truth.diagnoses[0]
    assert (primary.name.en, primary.acceptable.en) == ("Whooping cough (pertussis)", ("Whooping cough", "pertussis"))
    assert {t.grade for t in case.tests} == {"optional"}


def test_the_diagnosis_never_stands_in_a_fact(tmp_path: Path) -> None:
    report, catalog = run(write(tmp_path / "agentclinic_demo.jsonl", CASE))
    case = catalog.plays["MADiagnosis"][0].case
    assert case is not None
    assert not [f.id for f in case.facts if "whooping" in str(f.truth.en).lower()]
    assert "sentences left out because they name the diagnosis: 1" in report.notes


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    report, _ = run(write(tmp_path / "agentclinic_demo.jsonl", CASE))
    notes = " | ".join(report.notes)
    assert "parts of the patient that were not imported ('Hobbies'): 1" in notes
    assert "not done, not given or pending: 3" in notes  # occupation, percussion, CT
    assert "findings whose region is not known (put under the general appearance): 1" in notes
    assert "tests outside the test library (they keep a code of their own): 1" in notes


def test_it_can_be_played_and_its_rubric_derived(tmp_path: Path) -> None:
    play = play_of(tmp_path)
    assert rubric_of(play).criteria
    episode = Episode(play, lang="en", seed=0)
    assert "Cough in fits" in episode.reset().text
    calls = (
        ToolCall.of("examine", region="vitals"), ToolCall.of("examine", region="lungs"),
        ToolCall.of("propose_test", name="Nasopharyngeal PCR"), ToolCall.of("propose_test", name="CBC"),
    )  # fmt: skip
    seen = episode.step(Action(tool_calls=calls)).text
    assert "37.5" in seen and "124/80" in seen and "Respiratory Rate: Slightly raised" in seen and "Auscultation: Clear" in seen
    seen = episode.step(Action(tool_calls=(ToolCall.of("wait", minutes=60),))).text
    assert "Bordetella: Positive" in seen and "WBC: 18,000" in seen and "Platelets: 250,000" in seen
    end = ToolCall.of("submit_diagnosis", primary={"name": "Pertussis"}, certainty="probable")
    episode.step(Action(content="I think it is pertussis.", tool_calls=(end,)))
    assert episode.terminated


@pytest.mark.parametrize(
    ("text", "age", "born"),
    [
        ("8-month-old boy", (8, "month"), "2023-05-01"), ("1-month-old girl", (1, "month"), "2023-12-01"),
        ("3-week-old boy", (21, "day"), "2023-12-11"), ("5-day-old male newborn", (5, "day"), "2023-12-27"),
        ("Newborn, 3050-g male, six hours post delivery", (0, "day"), "2024-01-01"), ("70-year-old woman", (70, "year"), "1954-01-01"),
    ],
)  # fmt: skip
def test_ages(tmp_path: Path, text: str, age: tuple[int, str], born: str) -> None:
    case = play_of(tmp_path, actor(Demographics=text)).case
    assert case is not None
    assert ((case.person.age.value, case.person.age.unit), case.person.birth_date) == (age, born)
    assert (case.person.informant.kind == "parent") == (age[1] != "year")


def test_pregnancy_and_a_sex_that_is_not_stated(tmp_path: Path) -> None:
    pregnant = actor(Demographics="35-year-old primigravid woman at 12 weeks' gestation")
    unstated = actor(Demographics="3-year-old child") | {"Objective_for_Doctor": "Assess a child brought by a woman."}
    report, catalog = run(write(tmp_path / "agentclinic_demo.jsonl", pregnant, unstated))
    first, second = (p.case for p in catalog.plays["MADiagnosis"])
    assert first is not None and second is not None
    assert (first.person.pregnant.status, first.person.pregnant.weeks) == ("yes", 12)
    assert second.person.sex_at_birth is None
    assert any(note.startswith("agentclinic-demo-002: the source does not state the sex") for note in report.notes)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Chronic lymphocytic leukemia (CLL)", ("Chronic lymphocytic leukemia", "CLL")),
        ("Gout", ("Gout",)),
        ("C. difficile colitis", ("C. difficile colitis",)),
    ],
)
def test_simple_variants_of_a_diagnosis(name: str, wanted: tuple[str, ...]) -> None:
    assert variants(name) == wanted


# --- facts --------------------------------------------------------------------------------------------------------------


def told(**parts: Any) -> list[tuple[str, str, str, str]]:
    facts = facts_of({"Symptoms": {"Primary_Symptom": "A rash"}} | parts, CUES, NEVER).facts
    return [(f.topic, f.polarity, f.disclosure.condition, str(f.truth.en)) for f in facts]


def test_each_sentence_is_a_fact_under_every_topic_it_names() -> None:
    assert told(History="Fever and cough since Monday. It got worse.")[1:] == [
        ("fever", "present", "open_question", "Fever and cough since Monday."),
        ("cough", "present", "direct_question", "Fever and cough since Monday."),
        ("course", "present", "open_question", "It got worse."),
    ]


def test_negation_reaches_to_the_end_of_its_clause() -> None:
    polarity = {t: p for t, p, _, _ in told(Review_of_Systems="Denies fever or cough but has a mother who will smoke.")}
    assert (polarity["fever"], polarity["cough"], polarity["tobacco"]) == ("absent", "absent", "present")


def test_the_primary_symptom_opens_and_the_sections_have_their_own_topics() -> None:
    assert told(Past_Medical_History="Gout.", Current_Medications=["Aspirin"], Family_History="Nothing known.") == [
        ("rash", "present", "opening", "A rash."),
        ("past_illness", "present", "direct_question", "Gout."),
        ("drug", "present", "direct_question", "Aspirin."),
        ("family", "present", "direct_question", "Nothing known."),
    ]


def test_topics_that_do_not_concern_the_person_or_the_history_are_not_used() -> None:
    cues = Matcher({"development": LL(en=("develop",)), "report_document": LL(en=("report",))})
    actor_ = {"History": "I report that it began to develop."}
    assert [f.topic for f in facts_of(actor_, cues, NEVER).facts] == ["course"]
    assert [f.topic for f in facts_of(actor_, cues, NEVER, frozenset({None, "child"})).facts] == ["development"]


def test_secondary_symptoms_without_a_topic_are_associated_ones() -> None:
    assert facts_of({"Symptoms": {"Secondary_Symptoms": ["Odd taste", "Blue toes"]}}, CUES, NEVER).facts[1].topic == "associated"


def test_without_a_primary_symptom_the_history_opens() -> None:
    made = facts_of({"Symptoms": {}, "History": "I cough. It hurts."}, CUES, NEVER)
    assert made.complaint == "I cough"
    assert [f.disclosure.condition for f in made.facts] == ["opening", "open_question"]


def test_sentences_are_cut_at_full_stops_only() -> None:
    assert sentences("Weight fell by 5.4 kg. He smokes") == ["Weight fell by 5.4 kg.", "He smokes."]


# --- findings and tests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (("Abdominal_Examination", "Palpation"), (("abdomen",), "palpation")),
        (("Cardiopulmonary_Examination", "Heart"), (("heart",), "inspection")),
        (("Cardiopulmonary_Examination",), (("heart", "lungs"), "inspection")),
        (("General_Examination", "Skin"), (("skin",), "inspection")),
        (("General_Appearance",), (("general",), "inspection")),
        (("Neurological_Examination", "Reflexes"), (("neurological", "reflexes"), "tendon_reflex")),
        (("Musculoskeletal_Examination", "Range_of_Motion", "Right_Leg"), (("joints", "lower_limbs"), "range_of_motion")),
        (("Mental_Status_Examination", "Mood"), (("mental_state",), "consciousness")),
        (("Oddities", "Smell"), ((), "inspection")),
    ],
)
def test_regions_and_manoeuvres(path: tuple[str, ...], wanted: tuple[tuple[str, ...], str]) -> None:
    assert (regions(path), manoeuvre(path)) == wanted


def test_vital_signs_are_numbers_and_the_rest_is_text() -> None:
    found = Found()
    signs = {"Temperature": "98.6°F", "Blood_Pressure": "Normal for age", "Pulse": "120 bpm (fast)", "Respirations": "20/min"}
    examination({"Vital_Signs": signs | {"Weight": "45 kg (99 lbs)", "Glucose": "Not performed"}}, found)
    read = found.vitals
    assert read is not None and found.exam == [] and found.empty == 1
    assert (read.T, read.BP, read.HR, read.RR, read.weight) == (37.0, None, 120, 20, 45.0)
    assert "Blood Pressure: Normal for age; Pulse: 120 bpm (fast)" in str(read.state.en)


def test_findings_know_whether_they_are_normal() -> None:
    found = Found()
    examination({"Lung_Examination": {"Auscultation": "Clear to auscultation", "Percussion": "Dull at the base"}}, found)
    assert [(e.finding.en, e.normal) for e in found.exam] == [
        ("Auscultation: Clear to auscultation", True), ("Percussion: Dull at the base", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Complete Blood Count", "cbc"), ("CBC", "cbc"), ("Hemoglobin", "cbc"), ("Serum Creatinine", "renal_function"),
        ("Chest X-Ray", "chest_xray"), ("Thyroid Function Tests", "tsh"), ("Brain MRI", "head_mri"), ("Barium Enema", None),
    ],
)  # fmt: skip
def test_names_of_tests(name: str, code: str | None) -> None:
    assert code_of(name) == code


def test_results_are_grouped_by_test_and_groups_are_opened() -> None:
    found = Found()
    read_tests(
        {
            "Blood_Work": {"WBC": "9", "Sodium": "140", "Complete_Blood_Count": {"Platelets": "200"}},
            "Imaging": {"Pelvic_X-ray": {"Findings": "No fracture"}},
            "Biopsy": {"Lymph_Node": {"Findings": "CD20 positive"}},
            "Trend": {"Values": ["1", "2"]},
        },
        found,
    )
    made = {t.code: (t.name.en, [(r.analyte.en, r.value) for r in t.results]) for t in found.tests}
    assert made == {
        "cbc": ("complete blood count", [("WBC", "9"), ("Platelets", "200")]),
        "electrolytes": ("electrolytes", [("Sodium", "140")]),
        "pelvic_x_ray": ("Pelvic X-ray", [("Findings", "No fracture")]),
        "biopsy": ("Biopsy", [("Lymph Node, Findings", "CD20 positive")]),
        "trend": ("Trend", [("Values", "1; 2")]),
    }
    assert found.unlisted == 3


# --- what cannot be imported --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"question": "an image case"}, "is not an OSCE case"),
        ([1], "is not an OSCE case"),
        (changed(Correct_Diagnosis=" "), "'Correct_Diagnosis' is empty"),
        (changed(Test_Results="none"), "'Test_Results' is missing or of another kind"),
        (actor(Demographics="a man"), "no age is given"),
        (actor(History="", Symptoms={}, Past_Medical_History="", Social_History="", Review_of_Systems=""), "nothing to say"),
        (CASE, "is the same as an earlier case"),
    ],
)
def test_a_case_that_cannot_be_imported_is_reported(tmp_path: Path, bad: Any, reason: str) -> None:
    report, _ = run(write(tmp_path / "agentclinic_demo.jsonl", CASE, bad))
    assert report.written == {"MADiagnosis": 1}
    assert [s.where for s in report.skipped] == ["agentclinic_demo.jsonl, line 2"]
    assert reason in report.skipped[0].reason


def test_a_broken_line_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "agentclinic_demo.jsonl", CASE)
    path.write_text(path.read_text(encoding="utf-8") + '{"OSCE_Examination": \n' + '{"a": "\\ud800"}\n', encoding="utf-8")
    report, _ = run(path)
    assert "broken JSON" in report.skipped[0].reason and "line 2" in report.skipped[0].where
    assert "cannot be used" in report.skipped[1].reason


def test_a_folder_of_files_and_a_folder_without(tmp_path: Path) -> None:
    write(tmp_path / "src" / "agentclinic_a.jsonl", CASE)
    write(tmp_path / "src" / "agentclinic_b.jsonl", actor(Demographics="41-year-old man"))
    _, catalog = run(tmp_path / "src")
    assert sorted(p.id for p in catalog.plays["MADiagnosis"]) == ["agentclinic-a-001", "agentclinic-b-001"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty' holds no cases; expected agentclinic_\*\.jsonl"):
        import_content("agentclinic", tmp_path / "empty", tmp_path / "other")


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    src = write(tmp_path / "agentclinic_demo.jsonl", CASE)

    def tree(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        import_content("agentclinic", src, root)
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    first = tree("one")
    assert first == tree("two")
    assert sorted(first) == [
        "patients/agentclinic/agentclinic-demo-001.yaml",
        "scenarios/SmartCare/MADiagnosis.yaml",
        "scenarios/SmartCare/MADiagnosis/agentclinic-demo-001.yaml",
    ]


@pytest.mark.skipif(not DATA.is_dir(), reason="AgentClinic's cases are not beside the project (../shared/data/agentclinic)")
def test_all_public_cases_are_imported(tmp_path: Path) -> None:
    lines = [line for p in sorted(DATA.glob("agentclinic_*.jsonl")) for line in p.read_text(encoding="utf-8").splitlines() if line]
    report = import_content("agentclinic", DATA, tmp_path / "out")
    catalog = open_catalog([tmp_path / "out"], bundled=False)
    assert report.skipped == ()
    assert report.written == {"MADiagnosis": len(lines)} and len(catalog.cases) >= len(lines)
    for play in catalog.plays["MADiagnosis"]:
        assert play.case is not None and play.case.facts and rubric_of(play).criteria
        for name in variants(str(play.case.truth.diagnoses[0].name.en))[:1]:
            assert not [f for f in play.case.facts if re.search(rf"\b{re.escape(name)}\b", str(f.told.en), re.IGNORECASE)]
