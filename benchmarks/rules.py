"""The rules against people who have not seen the code: trajectories of all sorts, packets to label blind, the labels.

    python benchmarks/rules.py make                                   # plays benchmarks/rules/run anew (labels belong to one run!)
    python benchmarks/rules.py packets OUT                            # one text file an episode, and the sheet to fill in
    python benchmarks/rules.py labels a1=SHEET a2=SHEET               # filled sheets -> benchmarks/rules/labels.jsonl
    mlb judge agree benchmarks/rules/labels.jsonl --run benchmarks/rules/run --judge rules --part held

A packet has the case, the whole record of the episode and some of the criteria that a rule decides, without any verdict. Verdicts are
used for one thing: about as many that are met as unmet are drawn of each template. What labellers read besides is rules/GUIDE.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from rules_agent import Varied

from mlb_env.agent import AgentContext, load_agent
from mlb_env.bench.plan import versions
from mlb_env.bench.review import open_run
from mlb_env.bench.settings import RunSettings
from mlb_env.bench.store import AgentSource, Kept, RunHeader, RunStore, read_judgements
from mlb_env.catalog.load import content_root, open_catalog
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.judge.grade import grade
from mlb_env.judge.labels import ReviewLabel
from mlb_env.spec.base import LANGS, Lang
from mlb_env.spec.rubric import Criterion, Verdict
from mlb_env.spec.trajectory import Trajectory

HERE = Path(__file__).resolve().parent / "rules"
RUN, LABELS, DRAWN = HERE / "run", HERE / "labels.jsonl", HERE / "drawn.txt"
SEED = 20261177  # of 60 tried, the one with most templates both met and unmet
PER_DATASET = 7  # scenarios; every one is played in one of the languages
OTHERS = ("random", "dumper", "form_only", "contradict")  # bundled agents, one episode each
EACH = 8  # criteria of an episode that are labelled
Row = tuple[Trajectory, Criterion, Verdict]


# --- make ---------------------------------------------------------------------------------------------------------------


def jobs() -> list[tuple[Play, Lang, str]]:
    """What is played: scenario, language, agent."""
    rng = Random(SEED)
    by_dataset: dict[str, list[Play]] = defaultdict(list)
    for play in open_catalog().select(dimension=["SmartServ", "SmartCare"]):
        by_dataset[play.dataset.name].append(play)
    made: list[tuple[Play, Lang, str]] = []
    for plays in by_dataset.values():
        chosen = sorted(rng.sample(plays, min(PER_DATASET, len(plays))), key=lambda p: p.id)
        made += [(p, LANGS[(len(made) + i) % len(LANGS)], "varied") for i, p in enumerate(chosen)]
    for name, place in zip(OTHERS, (3, 10, 19, 26), strict=True):
        play, lang, _ = made[place]
        made[place] = (play, lang, name)
    return made


def play_one(play: Play, lang: Lang, agent: str) -> Trajectory:
    rng = Random(f"{SEED}/{play.id}/{lang}/{agent}")
    player: Any = Varied(play, lang, rng) if agent == "varied" else load_agent(agent, content=content_root())(
        AgentContext(agent, lang, rng, gold=play))  # fmt: skip
    episode = Episode(play, lang=lang, seed=SEED, max_turns=getattr(player, "max_turns", None))
    observation = episode.reset()
    player.reset(episode.briefing)
    while not episode.over:
        observation = episode.step(player.act(observation))
    return episode.trajectory()


def make() -> None:
    """Play the run anew."""
    if RUN.exists():
        shutil.rmtree(RUN)
    HERE.mkdir(exist_ok=True)
    todo, catalog = jobs(), open_catalog()
    header = RunHeader(
        versions=versions(), settings=RunSettings.of(agent="varied", dimension=("SmartServ", "SmartCare"), lang="both", seed=SEED),
        agent=AgentSource(name="varied"), edition="ours", content={p.dataset.name: catalog.hashes[p.dataset.name] for p, _, _ in todo},
        episodes=len(todo),
    )  # fmt: skip
    store = RunStore.create(RUN, header)
    try:
        order = []
        for play, lang, agent in todo:
            trajectory = play_one(play, lang, agent)
            store.add(Kept.of(trajectory, grade(trajectory, play)))
            order.append(trajectory.episode)
        store.finish(order)
    finally:
        store.close()
    lines = [f"{n} | {t.dataset} | {t.episode} | {c.id}" for n, found in enumerate(draw().values(), 1) for t, c, _ in found]
    DRAWN.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, criterion, verdict in rows():
        counts[criterion.template][verdict.verdict] += 1
    total = sum(counts.values(), Counter[str]())
    print(f"{len(order)} episodes; of the criteria that a rule decides: " + ", ".join(f"{n} {v}" for v, n in total.most_common()))
    for template, found in sorted(counts.items()):
        print(f"  {template:<10} " + ", ".join(f"{n} {v}" for v, n in found.most_common()))


def rows() -> Iterator[Row]:
    """Every criterion of the run that a rule decides."""
    opened = open_run(RUN)
    for judgement in read_judgements(RUN):
        key = (judgement.dataset, judgement.episode)
        verdicts = {v.criterion: v for v in judgement.verdicts}
        yield from ((opened.trajectories[key], c, verdicts[c.id]) for c in opened.criteria[key].values() if c.by == "rule")


# --- packets ------------------------------------------------------------------------------------------------------------


def drawn() -> dict[str, list[Row]]:
    """Number of the packet -> the criteria that are labelled, as they were drawn when the run was made."""
    known = {(t.dataset, t.episode, c.id): (t, c, v) for t, c, v in rows()}
    chosen: dict[str, list[Row]] = defaultdict(list)
    for line in DRAWN.read_text(encoding="utf-8").splitlines():
        number, dataset, episode, criterion = line.split(" | ")
        chosen[number].append(known[dataset, episode, criterion])
    return chosen


def draw() -> dict[str, list[Row]]:
    """Episode -> the criteria that are labelled: rare pairs of template and verdict first, in an order by lot."""
    rng = Random(f"{SEED}/draw")
    everything = list(rows())
    rng.shuffle(everything)
    taken: Counter[tuple[str, str]] = Counter()
    chosen: dict[str, list[Row]] = {row[0].episode: [] for row in rows()}
    most = Counter({"not_applicable": 40, "met": 10_000, "unmet": 10_000})
    while everything:
        open_ = [r for r in everything if len(chosen[r[0].episode]) < EACH and most[r[2].verdict] > 0]
        if not open_:
            break
        row = min(open_, key=lambda r: (taken[r[1].template, r[2].verdict] + (4 if r[2].verdict == "not_applicable" else 0), len(chosen[r[0].episode])))
        everything.remove(row)
        taken[row[1].template, row[2].verdict] += 1
        most[row[2].verdict] -= 1
        chosen[row[0].episode].append(row)
    for found in chosen.values():
        rng.shuffle(found)
    return chosen


def packets(out: Path) -> None:
    """Write the packets and the empty sheet."""
    from rules_packet import packet

    out.mkdir(parents=True, exist_ok=True)
    plays = {(p.dataset.name, p.id): p for p in open_catalog().select(dimension=["SmartServ", "SmartCare"])}
    sheet, counts = [], Counter[str]()
    for number, found in drawn().items():
        trajectory = found[0][0]
        text = packet(int(number), trajectory, plays[trajectory.dataset, trajectory.scenario], [c for _, c, _ in found])
        (out / f"{number}.txt").write_text(text, encoding="utf-8", newline="\n")
        sheet += [f"{number} | {c.id} |  | " for _, c, _ in found]
        counts.update(v.verdict for _, _, v in found)
    (out / "sheet.txt").write_text("\n".join(sheet) + "\n", encoding="utf-8", newline="\n")
    shutil.copy(HERE / "GUIDE.md", out / "GUIDE.md")
    print(f"{number} packets, {len(sheet)} criteria in {out}; by the rules " + ", ".join(f"{n} {v}" for v, n in counts.most_common()))


# --- labels -------------------------------------------------------------------------------------------------------------


def read_sheet(path: Path, annotator: str) -> list[ReviewLabel]:
    """The labels of a filled sheet.

    Raises:
        SystemExit: a line that is no label of a packet, twice, or missing.
    """
    asked = {(n, c.id): t for n, found in drawn().items() for t, c, _ in found}
    labels: dict[tuple[str, str], ReviewLabel] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [p.strip() for p in line.split("|", 3)] + [""] * 3
        key, label, note = (parts[0].removesuffix(".txt"), parts[1]), parts[2].lower(), parts[3]
        if key not in asked or key in labels or label not in ("met", "unmet", "not_applicable", "skip"):
            sys.exit(f"{path}, line {number}: not a label of a packet, or a second one: {line[:120]}")
        trajectory = asked[key]
        labels[key] = ReviewLabel(episode=trajectory.episode, dataset=trajectory.dataset, criterion=key[1], annotator=annotator,
                                  label=label, note=note)  # fmt: skip
    if missing := [key for key in asked if key not in labels]:
        sys.exit(f"{path}: {len(missing)} criteria have no label, the first is {missing[0][1]} of packet {missing[0][0]}")
    return [labels[key] for key in asked]


def labels(sheets: list[str]) -> None:
    """Write labels.jsonl from the sheets, given as annotator=file."""
    made = [label for sheet in sheets for label in read_sheet(Path(sheet.partition("=")[2]), sheet.partition("=")[0])]
    LABELS.write_text("".join(label.model_dump_json() + "\n" for label in made), encoding="utf-8", newline="\n")
    print(f"{len(made)} labels in {LABELS.relative_to(Path.cwd()) if LABELS.is_relative_to(Path.cwd()) else LABELS}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the rules against blind labels.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make")
    commands.add_parser("packets").add_argument("out", type=Path)
    commands.add_parser("labels").add_argument("sheets", nargs="+", metavar="ANNOTATOR=FILE")
    given = parser.parse_args()
    if given.command == "make":
        make()
    elif given.command == "packets":
        packets(given.out)
    else:
        labels(given.sheets)


if __name__ == "__main__":
    main()
