"""`mlb list`, `mlb show`, `mlb check`, `mlb schema`: look at the content, and check it."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from . import refusal
from .run import split

if TYPE_CHECKING:
    from rich.console import Console

    from ..catalog.load import Catalog
    from ..catalog.play import Play
    from ..spec.base import Lang
    from ..spec.case import PatientCase
    from ..spec.scenario import Dataset

Folders = Annotated[list[Path] | None, typer.Option("--scenarios", help="A folder of scenarios, in place of the bundled ones.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def _catalog(folders: list[Path] | None) -> Catalog:
    from ..catalog.load import open_catalog

    return open_catalog(folders or (), bundled=not folders)


# --- list ---------------------------------------------------------------------------------------------------------------


def list_(
    what: Annotated[str, typer.Argument(help="datasets, scenarios, cases, personas or agents.")] = "datasets",
    dimension: Annotated[list[str] | None, typer.Option(help="Only these dimensions.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only these datasets.")] = None,
    scenarios: Folders = None,
    as_json: Json = False,
) -> None:
    """List what there is."""
    lists: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "datasets": lambda: _datasets(_catalog(scenarios), dimension, dataset),
        "scenarios": lambda: _scenarios(_catalog(scenarios), dimension, dataset),
        "cases": lambda: _cases(_catalog(scenarios)),
        "personas": lambda: _personas(_catalog(scenarios)),
        "agents": _agents,
    }
    if what not in lists:
        raise UserError(f"there is no list '{what}'; there are {', '.join(lists)}")
    rows = lists[what]()
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        _table(rows)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    from .table import console

    if not rows:
        raise UserError("nothing to list")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name, value in rows[0].items():
        wide = isinstance(value, str) and name in ("title", "description", "about")
        table.add_column(name, justify="right" if isinstance(value, int) else "left", no_wrap=not wide,
                         overflow="fold" if wide else "ellipsis")  # fmt: skip
    for row in rows:
        table.add_row(*(" ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
    console().print(table)


def _datasets(catalog: Catalog, dimension: list[str] | None, dataset: list[str] | None) -> list[dict[str, Any]]:
    by_set: dict[str, list[Play]] = {}
    for play in catalog.select(dimension=split(dimension, "--dimension") or (), dataset=split(dataset, "--dataset") or ()):
        by_set.setdefault(play.dataset.name, []).append(play)
    return [
        {
            "dimension": own[0].dataset.dimension, "dataset": name, "form": own[0].dataset.form,
            "en": sum("en" in p.langs for p in own), "zh": sum("zh" in p.langs for p in own), "title": own[0].dataset.title["en"],
        }
        for name, own in by_set.items()
    ]  # fmt: skip


def _scenarios(catalog: Catalog, dimension: list[str] | None, dataset: list[str] | None) -> list[dict[str, Any]]:
    return [
        {
            "dataset": p.dataset.name, "scenario": p.id, "langs": list(p.langs), "split": p.split, "difficulty": p.difficulty,
            "specialty": p.specialty,
        }
        for p in catalog.select(dimension=split(dimension, "--dimension") or (), dataset=split(dataset, "--dataset") or ())
    ]  # fmt: skip


def _cases(catalog: Catalog) -> list[dict[str, Any]]:
    used: dict[str, list[str]] = {}
    for plays in catalog.plays.values():
        for play in plays:
            if play.case:
                used.setdefault(play.case.id, []).append(play.id)
    return [
        {
            "case": c.id, "specialty": c.specialty.code, "split": c.split, "difficulty": c.difficulty.expected,
            "scenarios": len(used.get(c.id, [])), "facts": len(c.facts), "reviewed": "yes" if c.review else "no",
        }
        for c in catalog.cases.values()
    ]  # fmt: skip


def _personas(catalog: Catalog) -> list[dict[str, Any]]:
    return [{"persona": p.id, "description": p.description["en"]} for p in catalog.personas.values()]


HABITS = {  # the fixed policies share one file
    "escalate_all": "Calibration: sends everybody to hospital by ambulance",
    "reassure_all": "Calibration: sends everybody home",
    "order_all": "Calibration: proposes every test",
    "order_none": "Calibration: proposes no test",
    "refuse_all": "Calibration: declines",
    "hedge_all": "Calibration: names twenty diseases",
    "template_record": "Calibration: writes 'denied' everywhere",
    "interrogate_all": "Calibration: asks the whole lexicon and concludes nothing",
    "form_only": "Calibration: submits the perfect form and says nothing",
    "contradict": "Calibration: asks one question, submits the perfect form and tells the patient the opposite",
    "parrot_chart": "Calibration: copies the chart",
}


def _agents() -> list[dict[str, Any]]:
    from ..agent import NAMES, PRIVILEGED
    from ..bench.plan import MODEL_AGENTS
    from ..catalog.load import content_root

    rows: list[dict[str, Any]] = []
    for name, file in NAMES.items():
        path = content_root() / "agents" / f"{file}.py"
        needs = "a model" if name in MODEL_AGENTS else "a person" if name == "human" else "the gold" if name in PRIVILEGED else ""
        about = HABITS.get(name) or _about(path)
        rows.append({"agent": name, "needs": needs, "about": about})
    return rows


def _about(path: Path) -> str:
    """The first sentence of a file's docstring, read without running the file."""
    if not path.is_file():
        return "(missing)"
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


# --- show ---------------------------------------------------------------------------------------------------------------


def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A scenario, dataset, case or persona.")],
    gold: Annotated[bool, typer.Option("--gold", help="Show the answer key and the rubric, too.")] = False,
    lang: Annotated[str, typer.Option(help="en or zh.")] = "en",
    scenarios: Folders = None,
    as_json: Json = False,
) -> None:
    """Show one scenario, dataset, case or persona."""
    import difflib

    from .table import console

    if lang not in ("en", "zh"):
        raise UserError(f"--lang: en or zh, not {lang}")
    chosen: Lang = "zh" if lang == "zh" else "en"
    catalog, out = _catalog(scenarios), console()
    plays = [p for own in catalog.plays.values() for p in own if p.id == id_]
    found: Any = (plays[0].item or plays[0].scenario) if plays else (
        catalog.datasets.get(id_) or catalog.cases.get(id_) or catalog.personas.get(id_)
    )  # fmt: skip
    if found is None:
        known = [*catalog.datasets, *catalog.cases, *catalog.personas, *(p.id for own in catalog.plays.values() for p in own)]
        near = difflib.get_close_matches(id_, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `mlb list scenarios` and `mlb list cases`"
        raise UserError(f"there is no scenario, dataset, case or persona '{id_}'; {hint}")
    if as_json:
        if not gold and (plays or id_ in catalog.cases):
            raise UserError("--json shows the whole file, with the answer key; add --gold")
        print(json.dumps(found.model_dump(mode="json", by_alias=True, exclude_none=True), ensure_ascii=False, indent=2))
    elif plays:
        for play in plays:
            _show_play(out, play, chosen, gold)
    elif id_ in catalog.datasets:
        _show_dataset(out, catalog.datasets[id_], len(catalog.plays[id_]), chosen)
    elif id_ in catalog.cases:
        _show_case(out, catalog.cases[id_], chosen, gold)
    else:
        persona = catalog.personas[id_]
        _field(out, persona.id, f"{persona.label[chosen]}: {persona.description[chosen]}")


def _field(out: Console, name: str, value: object) -> None:
    from rich.padding import Padding
    from rich.text import Text

    out.print(Text(name, style="bold"))
    out.print(Padding(Text(str(value)), (0, 0, 1, 2), expand=False))


def _show_dataset(out: Console, dataset: Dataset, n: int, lang: Lang) -> None:
    _field(out, f"{dataset.dimension} / {dataset.name}", f"{dataset.title[lang]} · {dataset.form} · {n} scenarios · "
                                                         f"edition {dataset.edition}")  # fmt: skip
    _field(out, "task", dataset.task[lang])
    if dataset.policy:
        _field(out, "policy", dataset.policy[lang])
    if dataset.prompt:
        _field(out, "prompt", dataset.prompt[lang])
    if dataset.tools:
        _field(out, "tools", ", ".join(dataset.tools))
    if dataset.marks:
        _field(out, "marks", "\n".join(f"{m.id} ({m.kind}): {m.text[lang]}" for m in dataset.marks))
    if dataset.mlb:
        _field(out, "in MLB", ", ".join(f"{k} {v}" for k, v in dataset.mlb.items()))


def _show_play(out: Console, play: Play, lang: Lang, gold: bool) -> None:
    from ..judge.derive import rubric_of
    from ..prompts import briefing, item_prompt

    lang = lang if lang in play.langs else play.langs[0]
    _field(out, play.id, f"{play.dataset.dimension} / {play.dataset.name} · {', '.join(play.langs)} · {play.specialty} · "
                         f"{play.difficulty} · {play.split} · family {play.family}")  # fmt: skip
    brief = briefing(play, lang, play.budget.turns if play.steps else 1)
    _field(out, "task", brief.task)
    if play.steps:
        _field(out, "policy", brief.policy)
    if play.item is not None:
        _field(out, "prompt", item_prompt(play, lang))
    if play.case is not None and play.scenario is not None:
        _field(out, "patient", f"{play.case.id} ({play.scenario.variant}); personas: {', '.join(play.scenario.personas)}")
        _field(out, "what can be seen", play.case.observed[lang])
        _field(out, "opening", play.case.opening[lang][0])
    if play.steps:
        _field(out, "tools", ", ".join(play.dataset.tools))
        _field(out, "budget", f"{play.budget.turns} turns, {play.budget.minutes} minutes")
    if not gold:
        out.print("The answer key and the rubric: add --gold", style="dim")
        return
    if play.item is not None:
        shared = {"id", "family", "split", "specialty", "difficulty", "provenance", "review", "question", "options", "text",
                  "phrase", "candidates", "category", "form", "instruction", "context", "criteria"}  # fmt: skip
        key = play.item.model_dump(mode="json", exclude=shared, exclude_none=True)
        _field(out, "answer key", json.dumps(key, ensure_ascii=False, indent=2))
    lines = []
    for c in rubric_of(play).criteria:
        gate = f" {c.gate}" if c.gate else ""
        lines.append(f"{c.id} [{c.kind} {c.weight:g}{gate}, by {c.by}] {c.text[lang]}")
    _field(out, "rubric", "\n".join(lines))


def _show_case(out: Console, case: PatientCase, lang: Lang, gold: bool) -> None:
    review = f"{len(case.review)} reviews" if case.review else "not reviewed by a clinician"
    _field(out, case.id, f"version {case.version} · {case.specialty.name[lang]} · {case.difficulty.expected} · {case.split} · {review}")
    _field(out, "setting", f"{case.setting.place[lang]} ({case.setting.date_time})")
    _field(out, "what can be seen", case.observed[lang])
    _field(out, "opening", "\n".join(case.opening[lang]))
    _field(out, "suits", ", ".join(case.suits))
    if not gold:
        out.print("The truth of the case: add --gold (everything: --gold --json)", style="dim")
        return
    _field(out, case.title[lang], case.summary[lang])
    _field(out, "diagnoses", "\n".join(f"{d.role}: {d.name[lang]}" for d in case.truth.diagnoses))
    if case.truth.urgency:
        _field(out, "disposition", case.truth.urgency.disposition_best)
    _field(out, "facts", "\n".join(f"{f.id} [{f.topic}, {f.disclosure.condition}] {f.truth[lang]}" for f in case.facts))


# --- check --------------------------------------------------------------------------------------------------------------


def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; none: the bundled content.")] = None,
) -> None:
    """Check content. Exit 1: problems; 2: files that cannot be used at all."""
    from ..bench.audit import audit

    found = audit(tuple(paths or ()))
    for line in found.problems:
        print(line)
    for line in found.notes:
        print(f"note: {line}")
    counted = ", ".join(f"{n} {kind}" for kind, n in found.counts.items()) or "nothing usable"
    for line in found.broken:
        print(f"mlb: {line}", file=sys.stderr)
    if found.broken:
        raise typer.Exit(2)
    if found.problems:
        print(f"problems: {len(found.problems)}; checked: {counted}")
        raise typer.Exit(1)
    print(f"OK: {counted}")


# --- schema -------------------------------------------------------------------------------------------------------------


def schema(
    name: Annotated[str | None, typer.Argument(help="case, scenario, dataset, items, personas, rubric, trajectory or verdict.")]
    = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write <name>.schema.json files into this folder.")] = None,
) -> None:  # fmt: skip
    """JSON Schemas of the content and result files, for editors."""
    made = _schemas()
    if name is not None and name not in made:
        raise UserError(f"there is no schema '{name}'; there are {', '.join(made)}")
    wanted = [name] if name else list(made)
    texts = {n: json.dumps(made[n], ensure_ascii=False, indent=2) + "\n" for n in wanted}
    if out is None:
        print(texts[name] if name else "\n".join(made), end="" if name else "\n")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for n, text in texts.items():
            (out / f"{n}.schema.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise refusal(f"--out {out}:", error) from None
    print(f"{len(texts)} schemas in {out}")


def _schemas() -> dict[str, dict[str, Any]]:
    from pydantic import TypeAdapter

    from ..spec.case import PatientCase
    from ..spec.persona import Personas
    from ..spec.rubric import Judgement, Rubric
    from ..spec.scenario import Dataset, InteractiveScenario, Item
    from ..spec.trajectory import Trajectory

    items: TypeAdapter[Any] = TypeAdapter(Item)
    made = {
        "case": PatientCase.model_json_schema(), "scenario": InteractiveScenario.model_json_schema(),
        "dataset": Dataset.model_json_schema(), "items": items.json_schema(), "personas": Personas.model_json_schema(),
        "rubric": Rubric.model_json_schema(), "trajectory": Trajectory.model_json_schema(),
        "verdict": Judgement.model_json_schema(),
    }  # fmt: skip
    head = "https://json-schema.org/draft/2020-12/schema"
    return {name: {"$schema": head, "title": f"mlb-env {name}"} | body for name, body in made.items()}
