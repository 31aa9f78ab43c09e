"""Agreement with people: the figures against published examples, labelled sets read rightly, a judge measured over the wire."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlb_env.bench.agree import agree, calibration
from mlb_env.bench.settings import RunSettings, read_calibration
from mlb_env.effects import ModelSettings
from mlb_env.errors import UserError
from mlb_env.judge.agreement import FIGURES, Pair, ac1, among_people, estimates, kappa, table
from mlb_env.judge.labels import LabelledDialogue, read_labels
from mlb_env.judge.meaning import ModelJudge
from mlb_env.llm.endpoint import ModelEdge
from tests.openai_server import Behaviour, OpenAIServer, Request, text

KQA = Path(__file__).resolve().parents[2] / "shared" / "data" / "k-qa" / "NLI_medical_annotator.csv"


def pairs(a: int, b: int, c: int, d: int) -> list[Pair]:
    cells = [(True, True)] * a + [(False, True)] * b + [(True, False)] * c + [(False, False)] * d
    return [Pair(str(i // 7), people, judge) for i, (people, judge) in enumerate(cells)]


# --- published examples -------------------------------------------------------------------------------------------------


def test_cohens_kappa_of_the_textbook_table() -> None:
    """20 yes-yes, 5 and 10 disagreements, 15 no-no: observed 0.70, expected 0.50, kappa 0.40."""
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)


def test_gwets_paradox_table() -> None:
    """Gwet 2008: 118 yes-yes, 5 and 2 disagreements, 0 no-no of 125: kappa is about 0 although 94 % agree, AC1 0.94."""
    assert kappa(118, 5, 2, 0) == pytest.approx(-0.0234, abs=1e-3) and ac1(118, 5, 2, 0) == pytest.approx(0.9408, abs=1e-3)


def test_krippendorffs_binary_example() -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section A: 10 units, Meg and Owen, alpha = 0.095."""
    meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = estimates([Pair(str(i), bool(o), bool(m)) for i, (m, o) in enumerate(zip(meg, owen, strict=True))])
    assert found["alpha"].value == pytest.approx(0.095, abs=5e-4)


def test_mlbs_figures_are_consistent_with_one_another() -> None:
    """arXiv 2601.06193: accuracy 92.1 %, F1 94.4 %, kappa 0.813; with 70 % of the labels positive one table has all three."""
    figures = {name: figure(666, 45, 34, 255) for name, figure in FIGURES.items()}
    assert figures["accuracy"] == pytest.approx(0.921, abs=1e-3) and figures["F1"] == pytest.approx(0.944, abs=1e-3)
    assert figures["kappa"] == pytest.approx(0.813, abs=5e-3)


def test_the_figures_are_those_of_scikit_learn_and_krippendorff() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    made = pairs(31, 7, 12, 50)
    people, judge = [p.people for p in made], [p.judge for p in made]
    found = {name: e.value for name, e in estimates(made).items()}
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(people, judge)) and found["F1"] == pytest.approx(metrics.f1_score(people, judge))
    assert found["balanced F1"] == pytest.approx(metrics.f1_score(people, judge, average="macro"))
    assert found["specificity"] == pytest.approx(metrics.recall_score(people, judge, pos_label=False))
    try:
        import krippendorff
    except ImportError:
        return
    data = [[int(x) for x in people], [int(x) for x in judge]]
    assert found["alpha"] == pytest.approx(krippendorff.alpha(data, level_of_measurement="nominal"))


def test_what_cannot_be_computed_is_none_and_intervals_need_groups() -> None:
    assert kappa(0, 0, 0, 0) is None and kappa(5, 0, 0, 0) is None and estimates([])["accuracy"].value is None
    one = estimates([Pair("only", True, True), Pair("only", False, True)])
    assert one["accuracy"].value == 0.5 and one["accuracy"].low is None
    many = estimates(pairs(40, 5, 5, 50))["kappa"]
    assert many.low is not None and many.high is not None and many.value is not None and many.low < many.value < many.high


def test_items_of_one_group_move_together() -> None:
    """Ten copies of the same ten items tell no more than the ten: the interval stays as wide."""
    base = [Pair(str(i), i % 2 == 0, i % 3 == 0) for i in range(12)]
    wide, again = estimates(base)["accuracy"], estimates(base * 10)["accuracy"]
    assert (wide.low, wide.high) == (again.low, again.high)


def test_people_among_themselves() -> None:
    assert among_people([[True, False, True], [True, False, True]]) == 1.0
    assert among_people([[True, None], [None, False]]) is None


# --- labelled sets ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not KQA.is_file(), reason="shared/data is not beside this checkout")
def test_the_physicians_labels_of_kqa() -> None:
    found = read_labels(KQA)
    criteria = [c for d in found for c in d.criteria]
    assert len(criteria) == 106 and sum(c.label == "met" for c in criteria) == 41
    columns = [[c.annotators[f"physician {i}"] == "met" for c in criteria] for i in range(3)]
    people = among_people(columns)
    assert people is not None and 0.65 < people < 0.8


@pytest.mark.checkout
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_our_own_set_is_balanced_and_has_every_kind_in_hard_forms(lang: str) -> None:
    found = read_labels(Path(__file__).resolve().parents[1] / "benchmarks" / "judging" / f"{lang}.jsonl")
    criteria = [c for d in found for c in d.criteria]
    assert len(found) >= 20 and len(criteria) >= 150 and 0.4 < sum(c.label == "met" for c in criteria) / len(criteria) < 0.6
    assert {d.part for d in found} == {"tune", "held"} and {d.lang for d in found} == {lang}
    for kind in {c.id for c in criteria}:
        own = [c for c in criteria if c.id == kind]
        assert sum(c.label == "met" and c.form == "paraphrase" for c in own) >= 3, kind
        assert sum(c.label == "unmet" and c.form not in ("plain", "paraphrase") for c in own) >= 3, kind
    for dialogue in found:
        turns = {t.turn for t in dialogue.turns if t.speaker == "agent"}
        assert all(set(c.evidence) <= turns for c in dialogue.criteria)


def line(**change: Any) -> str:
    made: dict[str, Any] = {
        "id": "d1", "lang": "en", "turns": [{"turn": 0, "speaker": "patient", "text": "Hello"}, {"turn": 1, "speaker": "agent", "text": "Stop it: it bleeds."}],
        "criteria": [{"id": "why", "text": "Says why: bleeding", "label": "met", "evidence": [1]}, {"id": "neutral", "text": "No blame", "label": "met"}],
    }  # fmt: skip
    return json.dumps({**made, **change}) + "\n"


@pytest.mark.parametrize(("content", "says"), [
    ("", "no labels"), (line() + line(), "stands twice"), (line(lang="fr"), "lang"), (line(turns=[]), "turns"), ("{\n", "JSON"),
    (line(criteria=[{"id": "x", "text": "y", "label": "yes"}]), "label"), (line(colour=1), "colour"),
])  # fmt: skip
def test_a_broken_set_is_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        read_labels(file)


def test_another_csv_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match="not K-QA's"):
        read_labels(file)


# --- measuring ----------------------------------------------------------------------------------------------------------


def labelled(n: int) -> list[LabelledDialogue]:
    """n dialogues, in every other one of which the agent gave the reason."""
    return [
        LabelledDialogue.model_validate({
            "id": f"d{i}", "lang": "en", "turns": [{"turn": 0, "speaker": "patient", "text": "Hello"},
                                                  {"turn": 1, "speaker": "agent", "text": "It bleeds." if i % 2 else "Just do it."}],
            "criteria": [{"id": "why", "text": "Gives the reason", "label": "met" if i % 2 else "unmet"}],
        })
        for i in range(n)
    ]  # fmt: skip


def reader(request: Request) -> Behaviour:
    """A judge that reads: met where the agent said the reason."""
    met = "It bleeds" in request.body["messages"][-1]["content"]
    return text(json.dumps({"verdict": "met" if met else "unmet", "evidence": [1] if met else []}))


def measured(server: OpenAIServer, n: int = 12, **more: Any) -> Any:
    async def work() -> Any:
        edge = ModelEdge()
        try:
            return await agree([d.labelled() for d in labelled(n)], [ModelJudge(ModelSettings(model="m", base_url=server.url, retries=0))], edge, **more)
        finally:
            await edge.aclose()

    return asyncio.run(work())


def test_a_judge_that_reads_agrees_and_one_that_always_says_yes_does_not() -> None:
    with OpenAIServer(forever=reader) as server:
        right = measured(server, repeat=2)
    assert right.figures["kappa"].value == 1.0 and right.coverage == 1.0 and right.repeats == 1.0 and right.usage.calls == 24
    with OpenAIServer(forever=lambda _: text('{"verdict": "met", "evidence": [1]}')) as server:
        yes = measured(server)
    assert yes.figures["kappa"].value == 0.0 and yes.figures["recall"].value == 1.0 and yes.base_rate == 0.5


def test_what_is_not_decided_lowers_the_coverage_and_no_figure() -> None:
    def half(request: Request) -> Behaviour:
        return text("I cannot say.") if "Just do it" in request.body["messages"][1]["content"] else reader(request)

    with OpenAIServer(forever=half) as server:
        found = measured(server)
    assert found.coverage == 0.5 and table(found.pairs) == (6, 0, 0, 0) and sum(found.undecided.values()) == 6


def test_a_measurement_is_of_one_judge_and_one_prompt(tmp_path: Path) -> None:
    labels = tmp_path / "l.jsonl"
    labels.write_text("".join(d.model_dump_json() + "\n" for d in labelled(120)), encoding="utf-8")
    with OpenAIServer(forever=reader) as server:
        found = calibration(measured(server, 120), labels)
    assert found.passes() and not found.model_copy(update={"kappa": 0.5}).passes() and not found.model_copy(update={"items": 50}).passes()
    file = tmp_path / "c.json"
    file.write_text(found.model_dump_json(), encoding="utf-8")
    name = ModelJudge(ModelSettings(model="m")).name("en")
    assert read_calibration(file, [name]) == found
    with pytest.raises(UserError, match="not of llm:other"):
        read_calibration(file, [ModelJudge(ModelSettings(model="other")).name("en")])
    assert RunSettings.of(judge="rules+llm:m", calibration=found).calibration == found


def test_the_command_prints_the_figures_and_saves_them(tmp_path: Path) -> None:
    labels, saved = tmp_path / "l.jsonl", tmp_path / "c.json"
    labels.write_text("".join(d.model_dump_json() + "\n" for d in labelled(10)), encoding="utf-8")

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "mlb_env", "judge", "agree", str(labels), *more], capture_output=True, text=True, check=False,
                              timeout=60)  # fmt: skip

    with OpenAIServer(forever=reader) as server:
        done = command("--judge", "llm:m", "--judge-base-url", server.url, "--save", str(saved))
    assert done.returncode == 0 and "kappa" in done.stdout and "1.000" in done.stdout and "10 calls" in done.stdout, done.stderr
    assert json.loads(saved.read_text(encoding="utf-8"))["kappa"] == 1.0
    for arguments, says in ((["--judge", "rules"], "the run with --run"), (["--judge", "rules+llm:m"], "for judges of meaning"), (["--judge", "llm:m", "--part", "tune"], "nothing in the part"),
                            (["--judge", "llm:m", "--save", str(saved)], "is there already")):  # fmt: skip
        done = command(*arguments)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


# --- review by people ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlb_env.bench.runner import arun

    folder = tmp_path_factory.mktemp("review") / "run"
    asyncio.run(arun(RunSettings.of(agent="oracle", scenario=["maguidance-p06", "mamedication-p06"], lang="en"), out=folder))
    return folder


def review(run: Path, out: Path, annotator: str, typed: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlb_env", "judge", "review", str(run), "--annotator", annotator, "--out", str(out), *more]
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=60)


def test_a_review_is_blind_resumable_and_asks_everybody_the_same(reviewed: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    first = review(reviewed, out, "a1", "m\nx\nu\nq\n", "--sample", "6")
    assert first.returncode == 0 and "6 criteria, 0 labelled by a1, 6 to go" in first.stdout and "please type one of the letters" in first.stdout
    assert "2 labels written" in first.stdout and "T1" in first.stdout and "oracle" not in first.stdout and "rules" not in first.stdout
    second = review(reviewed, out, "a1", "m\n" * 4, "--sample", "6")
    assert "2 labelled by a1, 4 to go" in second.stdout and "all done" in second.stdout
    other = review(reviewed, out, "b2", "u\n" * 6, "--sample", "6")
    assert "0 labelled by b2, 6 to go" in other.stdout
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    keys = [[(r["episode"], r["criterion"]) for r in written if r["annotator"] == who] for who in ("a1", "b2")]
    assert keys[0] == keys[1] and [r["label"] for r in written[:2]] == ["met", "unmet"] and len(written) == 12


def test_the_end_of_the_input_keeps_what_was_labelled(reviewed: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    done = review(reviewed, out, "a1", "m\nm\n")
    assert done.returncode == 0 and "2 labels written" in done.stdout and "Traceback" not in done.stderr
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2


def test_a_judge_is_measured_on_a_review_and_people_on_one_another(reviewed: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    for who, typed in (("a1", "m\n" * 8), ("b2", "m\n" * 6 + "u\n" * 2), ("c3", "m\n" * 8)):
        assert review(reviewed, out, who, typed, "--sample", "8").returncode == 0

    def met(request: Request) -> Behaviour:
        safety = "safety" in request.body["messages"][-1]["content"].split("\n")[0]
        return text(json.dumps({"verdict": "met", "evidence": [] if safety else [1]}))

    with OpenAIServer(forever=met) as a, OpenAIServer(forever=met):
        done = subprocess.run(
            [sys.executable, "-m", "mlb_env", "judge", "agree", str(out), "--run", str(reviewed), "--judge", "llm:m+llm:n", "--judge-base-url", a.url],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0 and "8 labelled criteria, 8 decided" in done.stdout and "people among themselves" in done.stdout, done.stderr


def test_a_review_of_another_run_is_refused(reviewed: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    out.write_text(json.dumps({"episode": "x", "dataset": "MAGuidance", "criterion": "X5", "annotator": "a", "label": "met"}) + "\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "mlb_env", "judge", "agree", str(out), "--run", str(reviewed), "--judge", "llm:m"], capture_output=True,
                          text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 2 and "which the run does not hold" in done.stderr
