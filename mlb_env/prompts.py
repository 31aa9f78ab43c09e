"""What an agent is told: the briefing, and the prompt of a static item. Nothing here depends on the truth."""

from __future__ import annotations

from string import Template

from .catalog.play import Play
from .spec.action import Briefing
from .spec.base import Lang
from .spec.scenario import ChoiceItem, ExtractionItem, KeyPointItem, NormalisationItem, OpenItem, RecordTask
from .tools import DISPOSITIONS, RecordTools, definition, names_of


def briefing(play: Play, lang: Lang, max_turns: int, record_tools: RecordTools = "task") -> Briefing:
    """The task, the role's policy and the tools of a scenario."""
    dataset = play.dataset
    task = dataset.task[lang]
    if play.scenario and play.scenario.task_note:
        task += "\n" + play.scenario.task_note[lang]
    policy = dataset.policy[lang] if dataset.policy else ""
    if dataset.role == "service_desk":
        policy += "\n" + (f"处置等级：{DISPOSITIONS.zh}" if lang == "zh" else f"Dispositions: {DISPOSITIONS.en}")
    return Briefing(
        task=task, policy=policy, tools=tuple(definition(name, lang) for name in names_of(dataset.tools, record_tools)), lang=lang,
        dimension=dataset.dimension, dataset=dataset.name, max_turns=max_turns,
    )  # fmt: skip


def lettered(options: tuple[str, ...]) -> str:
    """Options with their letters, one a line."""
    return "\n".join(f"{chr(65 + i)}. {text}" for i, text in enumerate(options))


def item_prompt(play: Play, lang: Lang) -> str:
    """The prompt of a static item."""
    item, prompt = play.item, play.dataset.prompt
    assert item is not None
    slots: dict[str, str] = {}
    match item:
        case ChoiceItem():
            slots = {"question": item.question[lang], "options": lettered(item.options[lang])}
        case OpenItem() | KeyPointItem():
            slots = {"question": item.question[lang]}
        case ExtractionItem():
            slots = {"text": item.text[lang], "question": item.text[lang]}
        case RecordTask():
            slots = {"question": item.instruction[lang], "context": item.context[lang] if item.context else ""}
        case NormalisationItem():
            lines = "\n".join(item.candidates[lang])
            slots = {"phrase": item.phrase[lang], "candidates": lines, "question": item.phrase[lang], "options": lines}
    return Template(prompt[lang] if prompt else "${question}").safe_substitute(slots)
