"""The rules beside people's labels: what is counted, what is left out, what is refused; the run and the packets for blind labelling."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from mlb_env.bench.agreerules import agree_rules
from mlb_env.bench.review import open_run
from mlb_env.bench.settings import RunSettings
from mlb_env.bench.store import read_judgements
from mlb_env.errors import UserError
from mlb_env.judge.labels import ReviewLabel
from tests.run_kit import call

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
OPPOSITE = {"met": "unmet", "unmet": "met"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlb_env.bench.runner import arun

    folder = tmp_path_factory.mktemp("rules") / "run"
    asyncio.run(arun(RunSettings.of(agent="reassure_all", scenario=["maguidance-p01", "maguidance-p06", "mamedication-p06"], lang="en"), out=folder))
    return folder


def by_the_rules(run: Path) -> list[ReviewLabel]:
    """A label on every criterion that a rule decides, as the rules see it."""
    criteria = open_run(run).criteria
    return [ReviewLabel(episode=j.episode, dataset=j.dataset, criterion=v.criterion, annotator="a1", label=v.verdict)  # type: ignore[arg-type]
            for j in read_judgements(run) for v in j.verdicts if criteria[j.dataset, j.episode][v.criterion].by == "rule"]  # fmt: skip


def write(path: Path, labels: list[ReviewLabel]) -> Path:
    path.write_text("".join(label.model_dump_json() + "\n" for label in labels), encoding="utf-8")
    return path


def changed(labels: list[ReviewLabel], **fields: object) -> list[ReviewLabel]:
    return [label.model_copy(update=fields) for label in labels]


def test_labels_as_the_rules_see_it_agree_and_opposite_ones_do_not(run: Path, tmp_path: Path) -> None:
    labels = by_the_rules(run)
    n = Counter(label.label for label in labels)
    same = agree_rules(write(tmp_path / "same.jsonl", labels), run)
    assert same.items == len(same.pairs) == n["met"] + n["unmet"] and same.not_applicable == (n["not_applicable"], 0, 0)
    assert same.figures["F1"].value == same.figures["kappa"].value == 1 and n["not_applicable"] and n["met"] and n["unmet"]
    other = [label.model_copy(update={"label": OPPOSITE.get(label.label, label.label)}) for label in labels]
    assert agree_rules(write(tmp_path / "other.jsonl", other), run).figures["accuracy"].value == 0


def test_not_applicable_is_counted_apart(run: Path, tmp_path: Path) -> None:
    labels = by_the_rules(run)
    n = Counter(label.label for label in labels)
    swapped = [label.model_copy(update={"label": "met" if label.label == "not_applicable" else "not_applicable"}) for label in labels]
    found = agree_rules(write(tmp_path / "l.jsonl", swapped), run)
    assert found.not_applicable == (0, n["not_applicable"], n["met"] + n["unmet"]) and not found.pairs
    assert found.items == sum(found.undecided.values()) == n["not_applicable"] and found.coverage == 0


def test_what_people_differ_on_is_left_out_and_said_and_counts_for_their_own_agreement(run: Path, tmp_path: Path) -> None:
    labels = [label for label in by_the_rules(run) if label.label != "not_applicable"]
    second = changed(labels, annotator="a2")
    second[0] = second[0].model_copy(update={"label": OPPOSITE[second[0].label]})
    found = agree_rules(write(tmp_path / "l.jsonl", labels + second), run)
    assert found.items == len(labels) - 1 and found.undecided == {"people differ": 1} and found.people is not None and 0 < found.people < 1
    third = changed(labels, annotator="a3")
    assert agree_rules(write(tmp_path / "l.jsonl", labels + second + third), run).items == len(labels)
    skipped = changed(second, label="skip")
    assert agree_rules(write(tmp_path / "l.jsonl", labels + skipped), run).items == len(labels)


def test_the_halves_are_of_whole_episodes_and_make_up_the_whole(run: Path, tmp_path: Path) -> None:
    labels = by_the_rules(run)
    assert all(len({label.part for label in labels if label.episode == name}) == 1 for name in {label.episode for label in labels})
    file = write(tmp_path / "l.jsonl", labels)
    parts = {label.part for label in labels}
    assert sum(agree_rules(file, run, part).items for part in parts) == agree_rules(file, run).items
    with pytest.raises(UserError, match="has no labels in the part 'both'; there are tune and held"):
        agree_rules(file, run, "both")


def test_the_command_prints_the_figures_and_refuses_in_one_sentence(run: Path, tmp_path: Path) -> None:
    labels = by_the_rules(run)
    file = write(tmp_path / "l.jsonl", labels)
    done = call("judge", "agree", file, "--run", run, "--judge", "rules", cwd=tmp_path)
    assert done.returncode == 0 and "balanced F1" in done.stdout and "not applicable: " in done.stdout and "tokens" not in done.stdout
    meaning = next(c.id for c in next(iter(open_run(run).criteria.values())).values() if c.by == "meaning")
    of_meaning = write(tmp_path / "m.jsonl", changed(labels[:1], criterion=meaning, label="met"))
    foreign = write(tmp_path / "f.jsonl", changed(labels[:1], episode="x"))
    for more, says in (
        ((file, "--judge", "rules"), "give labels of"),
        ((file, "--judge", "rules", "--run", run, "--save", "j.json"), "--save: a calibration is of judges of meaning"),
        ((of_meaning, "--judge", "rules", "--run", run), "no label on a criterion that a rule decides"),
        ((foreign, "--judge", "rules", "--run", run), "which the run does not hold"),
        ((file, "--judge", "rules", "--run", run, "--part", "x"), "in the part 'x'"),
        ((file, "--judge", "rules+llm:m", "--run", run), "or rules alone"),
    ):
        done = call("judge", "agree", *more, cwd=tmp_path)
        assert done.returncode == 2 and says in " ".join(done.stderr.split()) and "Traceback" not in done.stderr, more


# --- the benchmark ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import importlib

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("rules")


@pytest.mark.checkout
def test_the_sample_is_large_and_balanced_and_the_packets_hold_no_verdict(bench: ModuleType, tmp_path: Path) -> None:
    drawn = bench.drawn()
    verdicts = Counter(v.verdict for found in drawn.values() for _, _, v in found)
    assert len(drawn) >= 40 and sum(verdicts.values()) >= 320 and min(verdicts["met"], verdicts["unmet"]) >= 0.4 * sum(verdicts.values())
    assert all(c.by == "rule" for found in drawn.values() for _, c, _ in found)
    bench.packets(tmp_path / "packets")
    for number, found in drawn.items():
        text = (tmp_path / "packets" / f"{number}.txt").read_text(encoding="utf-8")
        listed = text.partition(" CRITERIA: ")[2].splitlines()[1:]
        assert listed == [f"{number} | {c.id} | {c.kind} | {c.text[t.lang]}" for t, c, _ in found]
    assert {line.split(" | ")[2].strip() for line in (tmp_path / "packets" / "sheet.txt").read_text(encoding="utf-8").splitlines()} == {""}


@pytest.mark.checkout
def test_filled_sheets_become_labels_and_broken_ones_are_refused(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LABELS", tmp_path / "labels.jsonl")
    rows = [f"{n} | {c.id} | {v.verdict} | sure | very" for n, found in bench.drawn().items() for _, c, v in found]
    sheet = tmp_path / "sheet.txt"
    sheet.write_text("# by hand\n" + "\n".join(rows), encoding="utf-8")
    bench.labels([f"a1={sheet}", f"a2={sheet}"])
    written = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(written) == 2 * len(rows) and {w["annotator"] for w in written} == {"a1", "a2"} and written[0]["note"] == "sure | very"
    found = agree_rules(tmp_path / "labels.jsonl", bench.RUN)
    assert found.people == 1 and found.items + found.not_applicable[0] == len(rows)  # type: ignore[index]
    for broken in (rows[:-1], [*rows, rows[0]], [*rows[:-1], rows[-1].replace("| sure", "| perhaps").replace("met |", "maybe |")]):
        sheet.write_text("\n".join(broken), encoding="utf-8")
        with pytest.raises(SystemExit, match=r"sheet\.txt"):
            bench.labels([f"a1={sheet}"])
