"""Training examples for a judge from labelled records: what the judge of meaning is asked, and the answer that people's labels imply.

The messages are those of `ModelJudge`, word for word, and the answer is one that `reply.py` reads: a model trained on them serves as
`llm:MODEL`. The verdict is the answer's first field, then come the turns that show it; people label neither confidence nor reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..catalog.read import read_jsonl
from ..effects import ModelSettings
from ..errors import ContentError, UserError
from ..spec.base import Lang, Model
from ..spec.rubric import Kind
from .labels import Item, Labelled
from .meaning import ModelJudge, agent_turns, checked, fingerprint
from .reply import Ruling, read
from .window import windows

Split = Literal["train", "validation"]
Source = Literal["none", "named", "all"]
VALIDATION = 0.05  # as in MLB's recipe


class ChatMessage(Model):
    role: Literal["system", "user", "assistant"]
    content: str


class Example(Model):
    """One line of a training file: one criterion on one window.

    `label`: of this window. `turns`: those in which the agent did something. `evidence`: the answer names no turn, turns that somebody named,
    or all turns of the agent because nobody named any. `prompt`: fingerprint of the judge's prompt.
    """

    dialogue: str
    criterion: str
    template: str
    kind: Kind
    lang: Lang
    label: Literal["met", "unmet"]
    window: int = Field(ge=0)
    turns: tuple[int, ...]
    evidence: Source
    split: Split
    prompt: str
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _answered(self) -> Self:
        *asked, answer = self.messages
        if answer.role != "assistant" or any(m.role == "assistant" for m in asked):
            raise ValueError("the messages are not a question with one answer at their end")
        found = checked(read(answer.content), self.turns, self.kind)
        if not isinstance(found, Ruling):
            raise ValueError(f"the judge could not read the answer: {found.why}")
        if found.verdict != self.label:
            raise ValueError(f"the answer says {found.verdict}, the label {self.label}")
        return self


@dataclass(frozen=True)
class Built:
    """The examples. `undecidable`: windows left out, since nobody named the turns that decide and the label is about more than the window."""

    examples: tuple[Example, ...]
    undecidable: int = 0


def build(labelled: Sequence[Labelled], *, validation: float = VALIDATION, seed: int = 0) -> Built:
    """The examples of labelled records, in their order; whole dialogues go to the validation split.

    Args:
        validation: the share of dialogues of each language that are kept for validation, at least one; 0: none.

    Raises:
        UserError: a record stands twice, or there is nothing to keep apart.
    """
    twice = [i for i, n in Counter(d.id for d in labelled).items() if n > 1]
    if twice:
        raise UserError(f"the dialogue '{twice[0]}' stands twice in the labels; it could be trained on and validated on at once")
    kept = _kept(labelled, validation, seed)
    if validation and not kept:
        raise UserError("there are too few dialogues to keep one of a language apart for validation; give more, or --validation 0")
    judge = ModelJudge(ModelSettings(model="sft"))  # the model's name is in no message
    made: list[Example] = []
    undecidable = 0
    for dialogue in labelled:
        turns = agent_turns(dialogue.lines)
        texts = windows(dialogue.lines)
        parts = [{turn for turn, line in dialogue.lines if line in own} for own in (set(t.split("\n")) for t in texts)]
        for item in dialogue.items:
            for number, (text, part) in enumerate(zip(texts, parts, strict=True)):
                decided = _answer(item, turns & part, turns, alone=len(texts) == 1)
                if decided is None:
                    undecidable += 1
                    continue
                label, evidence, source = decided
                answer = json.dumps({"verdict": label, "evidence": evidence})
                asked = [ChatMessage.model_validate(m) for m in judge.messages(item.criterion, text, dialogue.lang)]
                made.append(Example(
                    dialogue=dialogue.id, criterion=item.criterion.id, template=item.criterion.template, kind=item.criterion.kind, lang=dialogue.lang,
                    label=label, window=number, turns=tuple(sorted(turns)), evidence=source, split="validation" if dialogue.id in kept else "train",
                    prompt=fingerprint(dialogue.lang), messages=(*asked, ChatMessage(role="assistant", content=answer)),
                ))  # fmt: skip
    return Built(tuple(made), undecidable)


def _kept(labelled: Sequence[Labelled], share: float, seed: int) -> set[str]:
    """The dialogues of the validation split: of each language, so that none goes unmeasured."""
    kept: set[str] = set()
    for lang in sorted({d.lang for d in labelled}):
        own = sorted(d.id for d in labelled if d.lang == lang)
        number = min(len(own) - 1, max(1, round(share * len(own)))) if share else 0
        kept |= set(Random(f"{seed}/sft/{lang}").sample(own, number))
    return kept


def _answer(
    item: Item, here: Collection[int], turns: Collection[int], *, alone: bool
) -> tuple[Literal["met", "unmet"], list[int], Source] | None:  # fmt: skip
    """The label of one window with its evidence; None where it cannot be told from the label of the whole record.

    As the judge is asked for it, evidence goes with what happened; something that did not happen has none.
    """
    safety = item.criterion.kind == "safety"
    happened = item.met is not safety
    named = sorted({t for t in item.evidence if t in turns})
    if happened and not named:
        if not alone or not here:
            return None
        return ("unmet" if safety else "met"), sorted(here), "all"
    shown = [t for t in named if t in here] if happened else []
    if shown:
        return ("unmet" if safety else "met"), shown, "named"
    return ("met" if safety else "unmet"), [], "none"


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write a training file.

    Raises:
        FileExistsError: it is there already.
        OSError: it cannot be written.
    """
    with path.open("x", encoding="utf-8", newline="\n") as stream:
        try:
            stream.writelines(json.dumps(e.model_dump(mode="json"), ensure_ascii=False) + "\n" for e in examples)
            stream.flush()
        except OSError:
            path.unlink()  # half a training file would pass for a whole one
            raise


def read_examples(path: Path) -> list[Example]:
    """A training file, for training with the prompt of today.

    Raises:
        ContentError: broken, empty, without anything to train on, with a dialogue on both sides, or made with another prompt.
    """
    found = read_jsonl(path, Example)
    trained, kept = ({e.dialogue for e in found if e.split == split} for split in ("train", "validation"))
    if not trained:
        raise ContentError("holds no example to train on", path=str(path))
    if both := sorted(trained & kept):
        raise ContentError(f"the dialogue '{both[0]}' is in both splits; build the file again with: mlb judge sft data", path=str(path))
    if any(e.prompt != fingerprint(e.lang) for e in found):
        raise ContentError("was made with another version of the judge's prompt; build it again with: mlb judge sft data", path=str(path))
    return found
