"""`mlb patients audit` and `mlb patients train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError


def group() -> typer.Typer:
    """The commands under `mlb patients`."""
    app = typer.Typer(no_args_is_help=True, help="Look at the simulated patients: how faithful they were, and train their topic model.")
    app.command("audit")(audit)
    app.command("train")(train)
    return app


def audit(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    json_: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, with every lapse.")] = False,
) -> None:
    """How faithful the simulated patients of a run were: answers against the ledger, leaks, contradictions, persona."""
    from ..bench.store import read_header, read_trajectories
    from ..catalog.load import open_catalog
    from ..patient.audit import audit as audit_episode
    from ..patient.audit import fidelity

    header = read_header(run)
    catalog = open_catalog(header.settings.scenarios, bundled=not header.settings.scenarios)
    plays = {(p.id, name): p for name, own in catalog.plays.items() for p in own}
    audits = []
    for trajectory in read_trajectories(run):
        play = plays.get((trajectory.scenario, trajectory.dataset))
        if play is None:
            raise UserError(f"the scenario '{trajectory.scenario}' of '{run}' is not there; name its folder with MLB_CONTENT")
        if play.interactive and not trajectory.failure:
            audits.append(audit_episode(trajectory, play))
    if not audits:
        raise UserError(f"'{run}' holds no finished episode with a patient; audit a run of SmartServ or SmartCare")
    if json_:
        import json

        print(json.dumps({"run": fidelity(audits).model_dump(), "episodes": [a.model_dump() for a in audits]}, ensure_ascii=False, indent=2))
        return
    _print(header.settings.patient, audits)


def _print(patient: str, audits: list[Any]) -> None:
    from rich.table import Table

    from ..patient.audit import fidelity
    from .table import console

    out = console()
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for name in ("persona", "n", "replies", "prec.", "recall", "manner", "unparsed", "repeats", "refused", "fallb.", "lapses"):
        table.add_column(name, justify="left" if name == "persona" else "right", no_wrap=True)
    personas = sorted({a.persona for a in audits})
    for name in [*personas, "all"]:
        own = [a for a in audits if name in ("all", a.persona)]
        f = fidelity(own)
        table.add_row(name, str(f.episodes), f"{f.replies:,}", *(_share(x) for x in (f.precision, f.recall, f.adherence)), str(f.unparsed),
                      str(f.repeated), str(f.refused), str(f.fallbacks), str(sum(f.lapses.values())), style="bold" if name == "all" else "")  # fmt: skip
    out.print(f"\npatient {patient}: {len(audits)} episodes\n", style="bold")
    out.print(table)
    lapses = [(a.episode, x) for a in audits for x in a.lapses]
    for episode, lapse in lapses[:20]:
        out.print(f"\n{lapse.kind}  {episode}, turn {lapse.turn}: {lapse.why}", soft_wrap=True, markup=False)
    if len(lapses) > 20:
        out.print(f"\nand {len(lapses) - 20} more (--json lists all)")
    out.print("\nn: episodes; prec.: replies without a leak, invention, contradiction, diagnosis, broken role or language"
              "\nrecall: facts entered in the ledger of which the words hold something"
              "\nmanner: replies that keep to the persona; unparsed: questions that were not understood"
              "\nrefused: wordings of a model that the guard sent back; fallb.: replies for which the offline wording stood in", style="dim")  # fmt: skip


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def train(
    lang: Annotated[str | None, typer.Option(help="zh or en. Default: both.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the model files go. Default: the package's own folder.")] = None,
) -> None:
    """Train the topic model of the offline patient on the phrasings that come with mlb-env (needs the extra `train`)."""
    from importlib.resources import files

    from ..patient.train import train as fit
    from ..spec.base import LANGS

    if lang is not None and lang not in LANGS:
        raise UserError(f"--lang {lang}: there are {' and '.join(LANGS)}")
    folder = out or Path(str(files("mlb_env.patient"))) / "models"
    for one in LANGS:
        if lang in (None, one):
            figures = fit(one, folder)
            print(f"{one}: {figures['sentences']:.0f} sentences, {figures['topics']:.0f} topics, "
                  f"{figures['accuracy']:.3f} right in 5-fold cross-validation; wrote {folder / f'topics.{one}.npz'}")  # fmt: skip
