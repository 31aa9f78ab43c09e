"""`mlb import medagentbench`: tasks in the record on a world rebuilt from recorded answers; what is missing is reported, never invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlb_env.catalog.load import open_catalog
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.errors import UserError
from mlb_env.importers import import_content
from mlb_env.judge.grade import grade
from mlb_env.spec.action import Action, ToolCall
from mlb_env.spec.rubric import Judgement
from tests.conftest import play_one

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "medagentbench"
NOW = "It's 2023-11-13T10:15:00+00:00 now."


def person(id_: str, family: str, given: str, birth_date: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, "identifier": [{"value": id_}], "birthDate": birth_date, "name": [{"family": family, "given": [given]}]}


def answer(url: str, *resources: dict[str, Any]) -> dict[str, Any]:
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(resources), "entry": [{"resource": r} for r in resources]}
    return {"url": f"http://localhost:8080/fhir/{url}", "status_code": 200, "data": bundle}


TASKS = [
    {"id": "task1_1", "instruction": "What's the MRN of the patient with name Ann Reed and DOB of 1950-01-02?", "context": "", "sol": ["S1"], "eval_MRN": "S1"},
    {"id": "task1_2", "instruction": "What's the MRN of the patient with name No One and DOB of 1950-01-02?", "context": "", "sol": ["Patient not found"]},
    {"id": "task1_3", "instruction": "What's the MRN of the patient with name Bo Hill and DOB of 1960-05-06?", "context": "", "sol": ["S9"], "eval_MRN": "S9"},
    {"id": "task2_1", "instruction": "What's the age of the patient with MRN of S2?", "context": NOW, "eval_MRN": "S2"},
    {"id": "task3_1", "instruction": 'The blood pressure for patient with MRN of S1 is "118/77 mmHg". Record it.', "context": NOW, "eval_MRN": "S1"},
    {"id": "task4_1", "instruction": "Most recent magnesium of S1?", "eval_MRN": "S1",
     "context": f'{NOW} The code for magnesium is "MG". It should be -1 if a measurement within last 24 hours is not available.'},
    {"id": "task4_2", "instruction": "Most recent magnesium of S2?", "eval_MRN": "S2",
     "context": f'{NOW} The code for magnesium is "MG". It should be -1 if a measurement within last 24 hours is not available.'},
    {"id": "task5_1", "instruction": "Check S1's magnesium. If none was recorded, don't order anything.", "eval_MRN": "S1",
     "context": f'{NOW} The code for magnesium is "MG".'},
    {"id": "task7_1", "instruction": "Most recent CBG of S1?", "context": NOW, "eval_MRN": "S1"},
    {"id": "task8_1", "instruction": 'Order a referral for S2. Specify "Situation: knee injury."', "eval_MRN": "S2",
     "context": f"{NOW} The SNOMED code for orthopedic surgery referral is 306181000000106."},
    {"id": "task11_1", "instruction": "?", "context": "", "eval_MRN": "S1"},
    {"id": "task2_2", "instruction": "What's the age of S7?", "context": NOW, "eval_MRN": "S7"},
]  # fmt: skip
MAGNESIUM = {"resourceType": "Observation", "id": "m2", "status": "final", "subject": {"reference": "Patient/S2"},
             "code": {"coding": [{"code": "MG"}]}, "effectiveDateTime": "2023-11-13T08:00:00+00:00", "valueQuantity": {"value": 1.7}}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("medagentbench")
    (folder / "test_data_v2.json").write_text(json.dumps(TASKS), encoding="utf-8")
    rows = [
        answer("Patient?_count=500", person("S1", "Reed", "Ann", "1950-01-02"), person("S2", "Hill", "Bo", "1960-11-14")),
        answer("Observation?patient=S2&code=MG", MAGNESIUM), answer("Observation?patient=S1&code=MG"),
        {"url": "http://localhost:8080/fhir/Patient/none", "status_code": 404, "data": {"resourceType": "OperationOutcome", "issue": []}},
    ]  # fmt: skip
    (folder / "fhir_snapshot.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def plays(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Play]:
    out = tmp_path_factory.mktemp("imported") / "mab"
    import_content("medagentbench", source, out)
    return open_catalog([out], bundled=False).select()


def test_what_the_recorded_world_decides_is_taken_over_and_the_rest_named_with_its_reason(source: Path, tmp_path: Path) -> None:
    report = import_content("medagentbench", source, tmp_path / "out")
    assert report.written == {"MedAgentBench": 7}
    reasons = {s.where.rpartition(" ")[2]: s.reason for s in report.skipped}
    assert set(reasons) == {"task1_3", "task4_2", "task7_1", "task11_1", "task2_2"}
    assert "do not bear the solution out (recorded: nobody)" in reasons["task1_3"] and "was recorded" in reasons["task4_2"]
    assert "no such family" in reasons["task11_1"] and "S7" in reasons["task2_2"]


def test_the_oracle_reaches_the_ceiling_and_neither_silence_nor_claims_earn_anything(plays: list[Play]) -> None:
    for play in plays:
        scores = [play_one(agent, play, "en")[1].score.value for agent in ("oracle", "null", "claimer", "random", "stuffer")]
        assert scores == [1.0, 0.0, 0.0, 0.0, 0.0], (play.id, scores)


def judged(play: Play, *calls: ToolCall) -> Judgement:
    episode = Episode(play, lang="en")
    episode.reset()
    episode.step(Action(tool_calls=calls))
    if not episode.over:
        episode.stop("max_tokens")
    return grade(episode.trajectory(), play)


def gold(play: Play) -> list[ToolCall]:
    assert play.task is not None
    return [ToolCall.of(c.name, **c.arguments) for c in play.task.gold]


def find(plays: list[Play], name: str) -> Play:
    return next(p for p in plays if p.id.endswith(name))


def test_only_the_written_resource_counts_and_only_that_one(plays: list[Play]) -> None:
    play = find(plays, "task3-1")
    create, finish = gold(play)
    resource = json.loads(create.arguments)["resource"]
    assert judged(play, create, finish).score.value == 1.0
    for change in ({"valueString": "119/77 mmHg"}, {"subject": {"reference": "Patient/S2"}}, {"effectiveDateTime": "2023-11-13T10:16:00+00:00"},
                   {"status": "preliminary"}):  # fmt: skip
        assert judged(play, ToolCall.of("fhir_create", resource={**resource, **change}), finish).score.value == 0.0, change
    same_instant = {**resource, "effectiveDateTime": "2023-11-13T18:15:00+08:00"}
    assert judged(play, ToolCall.of("fhir_create", resource=same_instant), finish).score.value == 1.0
    assert judged(play, create, create, finish).score.value == 0.0, "written twice"
    note = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/S1"}}
    assert judged(play, create, ToolCall.of("fhir_create", resource=note), finish).score.value == 0.0, "something else was written"
    invalid = ToolCall.of("fhir_create", resource={**resource, "status": "done"})
    assert judged(play, invalid, finish).score.value == 0.0 and judged(play, invalid, create, finish).score.value == 1.0


def test_an_answer_without_a_look_is_a_guess(plays: list[Play]) -> None:
    for name in ("task4-1", "task5-1", "task2-1"):
        play = find(plays, name)
        look, finish = gold(play)
        assert judged(play, finish).score.value == 0.0 and judged(play, look, finish).score.value == 1.0


def test_a_note_in_the_wrong_shape_is_answered_with_what_to_mend(plays: list[Play]) -> None:
    """The published function list describes `note` as an object; FHIR wants a list."""
    play = find(plays, "task8-1")
    create, _ = gold(play)
    resource = {**json.loads(create.arguments)["resource"], "note": {"text": "Situation: knee injury."}}
    episode = Episode(play, lang="en")
    episode.reset()
    seen = episode.step(Action(tool_calls=(ToolCall.of("fhir_create", resource=resource),)))
    assert "note" in seen.text and "OperationOutcome" in seen.text and not episode.over


def test_the_imported_world_is_not_shared_between_episodes(plays: list[Play]) -> None:
    play = find(plays, "task3-1")
    judged(play, *gold(play))
    episode = Episode(play, lang="en")
    episode.reset()
    seen = episode.step(Action(tool_calls=(ToolCall.of("fhir_search", resource_type="Observation", query="patient=S1"),)))
    assert '"total":0' in seen.text


@pytest.mark.parametrize(("name", "content", "says"), [
    ("test_data_v2.json", "{}", "list of tasks"), ("test_data_v2.json", "[", "JSON"), ("fhir_snapshot.jsonl", "[]\n", "not a recorded answer"),
    ("fhir_snapshot.jsonl", json.dumps(answer("Patient", {**person("S1", "R", "A", "1950-01-02"), "gender": "lady"})) + "\n", "not valid FHIR R4"),
])  # fmt: skip
def test_a_broken_source_is_one_sentence(source: Path, tmp_path: Path, name: str, content: str, says: str) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        import_content("medagentbench", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data is not beside this checkout")
def test_most_of_the_published_tasks_run_with_the_oracle_at_one_and_the_others_at_zero(tmp_path: Path) -> None:
    report = import_content("medagentbench", SHARED, tmp_path / "mab")
    assert report.written["MedAgentBench"] >= (report.written["MedAgentBench"] + len(report.skipped)) / 2
    for play in open_catalog([tmp_path / "mab"], bundled=False).select():
        for agent, score in (("oracle", 1.0), ("null", 0.0), ("claimer", 0.0)):
            assert play_one(agent, play, "en")[1].score.value == score, (play.id, agent)
