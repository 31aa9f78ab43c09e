"""Doctors' turns of a public dialogue set: are questions on general history topics parsed to the right topic?

    python benchmarks/doctor_turns.py --source DIALOGUES.jsonl

The dialogues (AI Hospital, `dialog_history_gpt4.jsonl`; simulated by language models, not spoken by real doctors) are not part of this
project. `questions/doctor_turns.zh.jsonl` holds labels for 220 questions and 60 sentences that ask nothing, by place and hash of the sentence,
without its text; one reader labelled them, blind to the lexicon and the model, and they are in no training data.

right: a question all of whose topics were found, and none beside them but neighbours the reader allowed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlb_env import codes
from mlb_env.patient.understand import hear, matcher

LABELS = Path(__file__).parent / "questions" / "doctor_turns.zh.jsonl"
_END = re.compile(r"[^。？！?!\n]*(?:[。？！?!]+[”’」）)]*|\n|$)")


@dataclass(frozen=True)
class Figures:
    """Questions: parsed with all their topics (`found`), and with nothing else beside (`right`); others: silent."""

    questions: int
    found: int
    right: int
    others: int
    silent: int


def sentences(turn: str) -> list[str]:
    """A turn cut as the labels count: after 。？！ and at line ends."""
    parts = (m.group(0).strip() for m in _END.finditer(turn))
    return [p for p in parts if re.search(r"\w", p)]


def labelled(source: Path) -> Iterator[tuple[str, set[str], set[str]]]:
    """(sentence, topics it asks for, topics allowed beside)."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    for entry in map(json.loads, LABELS.read_text(encoding="utf-8").splitlines()):
        line, turn, place = (int(x) for x in entry["source"].split("/"))
        sentence = sentences(rows[line]["dialog_history"][turn]["content"])[place]
        if hashlib.sha256(sentence.encode()).hexdigest()[:16] != entry["sha256"]:
            sys.exit(f"{source}: line {line + 1} is not the sentence that was labelled; this is another version of the file")
        yield sentence, set(entry["topics"]), set(entry["ok"])


def measure(source: Path, known: frozenset[str] = frozenset()) -> Figures:
    """The figures over all labelled sentences; `known`: topics on which the patient has facts."""
    cues, book = matcher(), codes.topics()
    questions = found = right = others = silent = 0
    for sentence, topics, ok in labelled(source):
        heard = hear(sentence, cues, known)
        asked = {t for t in (*heard.asks, *heard.about) if not t.startswith("fact:")}
        if not topics:
            others += 1
            silent += not asked
            continue
        questions += 1
        near = {book[t].parent for t in topics} | {c.id for c in book.values() if c.parent in topics}
        complete = topics <= asked
        found += complete
        right += complete and asked <= topics | ok | near
    return Figures(questions, found, right, others, silent)


def main() -> None:
    parser = argparse.ArgumentParser(description="Doctors' turns against the offline patient's understanding.")
    parser.add_argument("--source", type=Path, required=True)
    given = parser.parse_args()
    if not given.source.is_file():
        parser.error(f"{given.source}: no such file")
    f = measure(given.source)
    print(f"{f.questions} questions: all topics found {f.found / f.questions:.3f}, and nothing beside {f.right / f.questions:.3f}")
    print(f"{f.others} sentences that ask nothing: silent {f.silent / f.others:.3f}")


if __name__ == "__main__":
    main()
