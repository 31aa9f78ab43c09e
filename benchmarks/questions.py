"""The question bench: does the offline patient tell the facts that a question asks for, and no others?

    python benchmarks/questions.py [--part held|tune|all] [--misses]

864 questions (432 Chinese, 432 English; a third worded hard, 90 in each language that match nothing) over the six bundled cases were
written by authors who had not seen the lexicon, and split by a seeded coin before anyone tuned: `tune` may be looked at, `held` never
is. Each question is asked first thing in a fresh episode, with the patient alone and reassured and with nothing volunteered.

precision: told facts that are right or allowed beside; recall: right facts that are told; specificity: questions that match nothing
and bring out no fact.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mlb_env.catalog.load import open_catalog
from mlb_env.patient.ledger import Ledger
from mlb_env.patient.mind import Mind
from mlb_env.patient.offline import conveyed
from mlb_env.patient.world import World
from mlb_env.spec.base import LANGS, L, Lang
from mlb_env.spec.persona import Persona

FOLDER = Path(__file__).parent / "questions"
LISTENER = Persona(id="listener", label=L(zh="听者", en="listener"), description=L(zh="只答所问", en="Answers what is asked"),
                   volunteers=False, max_answers=6, filler_rate=0)  # fmt: skip


@dataclass
class Count:
    """Sums over questions."""

    told: int = 0
    fine: int = 0
    right: int = 0
    wanted: int = 0
    silent: int = 0
    nothing: int = 0

    def add(self, said: set[str], facts: set[str], ok: set[str]) -> None:
        self.told += len(said)
        self.fine += len(said & (facts | ok))
        self.right += len(said & facts)
        self.wanted += len(facts)
        self.nothing += not facts
        self.silent += not facts and not said

    @property
    def precision(self) -> float:
        return self.fine / self.told if self.told else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.wanted if self.wanted else 1.0

    @property
    def specificity(self) -> float:
        return self.silent / self.nothing if self.nothing else 1.0


def questions(lang: Lang, part: str) -> Iterator[dict[str, object]]:
    """The questions of one language and part."""
    for line in (FOLDER / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        if part in ("all", question["part"]):
            yield question


def told(world: World, lang: Lang, say: str) -> set[str]:
    """The facts that the patient tells when this is said first."""
    ledger = Ledger()
    mind = Mind(world, LISTENER, lang, Random(0), ledger)
    mind.open()
    mind.reassure()
    before = {e.fact for e in ledger.entries}
    parts = mind.answer(say, turn=1, minute=2)
    return set(conveyed(parts)) | ({e.fact for e in ledger.entries} - before)


def measure(lang: Lang, part: str, misses: bool = False) -> dict[str, Count]:
    """Counts by style (plain, hard, none) and for `all`."""
    worlds = {p.case.id: World(p.case) for p in open_catalog().select() if p.case}
    counts: dict[str, Count] = {}
    for question in questions(lang, part):
        said = told(worlds[str(question["case"])], lang, str(question["say"]))
        facts, ok = set(_ids(question["facts"])), set(_ids(question["ok"]))
        for key in (str(question["style"]), "all"):
            counts.setdefault(key, Count()).add(said, facts, ok)
        if misses and (facts - said or said - facts - ok):
            print(f"{question['id']} {question['say']}\n    missed {sorted(facts - said)}  wrong {sorted(said - facts - ok)}")
    return counts


def _ids(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(v) for v in value]


def main() -> None:
    parser = argparse.ArgumentParser(description="The question bench of the offline patient.")
    parser.add_argument("--part", choices=("held", "tune", "all"), default="held")
    parser.add_argument("--misses", action="store_true", help="list what went wrong; not with the part set aside")
    given = parser.parse_args()
    if given.misses and given.part != "tune":
        parser.error("--misses only with --part tune: whoever has read the part set aside cannot measure on it any more")
    print(f"{'':10}{'precision':>10}{'recall':>8}{'specificity':>12}   ({given.part})")
    for lang in LANGS:
        counts = measure(lang, given.part, given.misses)
        for style in ("plain", "hard", "none", "all"):
            c = counts[style]
            figures = f"{'':>10}{'':>8}{c.specificity:>12.3f}" if style == "none" else f"{c.precision:>10.3f}{c.recall:>8.3f}"
            print(f"{lang} {style:7}{figures}" + (f"{c.specificity:>12.3f}" if style == "all" else ""))


if __name__ == "__main__":
    main()
