"""`mlb record`: charts from and to files of FHIR R4 resources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import refusal


def group() -> typer.Typer:
    """The commands under `mlb record`."""
    app = typer.Typer(no_args_is_help=True, help="Charts from and to FHIR R4 files.")
    app.callback()(lambda: None)
    app.command("check")(check)
    app.command("import")(import_)
    app.command("export")(export)
    return app


def check(file: Annotated[Path, typer.Argument(help="A FHIR R4 Bundle, one resource, or .ndjson.")]) -> None:
    """Validate FHIR R4 resources: structure, and the required value sets."""
    from ..record.bundles import read_resources
    from ..record.validate import problems

    found = read_resources(file, validated=False)
    wrong = 0
    for resource in found:
        for problem in problems(resource):
            wrong += 1
            print(f"{resource['resourceType']}/{resource['id']}: {problem}")
    print(f"{len(found)} resources, {wrong} problems")
    if wrong:
        raise typer.Exit(1)


def import_(
    file: Annotated[Path, typer.Argument(help="A FHIR R4 Bundle with one patient (Synthea's, for example), or .ndjson.")],
    out: Annotated[Path, typer.Option("--out", help="The .ndjson file to write, for `chart: {file: ...}` of a case.")],
) -> None:
    """Turn a person's FHIR R4 Bundle into the chart of a case: the person becomes Patient/self."""
    from ..record.bundles import as_chart, read_resources, to_lines

    chart = as_chart(read_resources(file), file)
    _write(out, to_lines(chart))
    print(f"{len(chart)} resources written to {out}")
    print(f"next: chart: {{file: {out.name}}} in the case file beside it")


def export(
    scenario: Annotated[str, typer.Argument(help="The scenario whose record is written.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write: .json a Bundle, .ndjson one resource a line.")],
    dataset: Annotated[str | None, typer.Option(help="Where the id stands in several datasets.")] = None,
    scenarios: Annotated[list[Path] | None, typer.Option(help="A folder of scenarios, in place of the bundled ones.")] = None,
    lang: Annotated[str | None, typer.Option(help="en or zh. Default: en where there is one.")] = None,
    run: Annotated[Path | None, typer.Option(help="A run folder: the record as the episode in it left it.")] = None,
    trial: Annotated[int, typer.Option(help="With --run: which repetition.", min=0)] = 0,
) -> None:
    """Write a scenario's record as a FHIR R4 Bundle: at the start, or as an episode of a run left it."""
    from ..api import load
    from ..bench.store import read_trajectories
    from ..record.bundles import collection, to_lines
    from ..record.end import end_of, start_of
    from ..spec.base import LANGS

    play = load(scenario, dataset=dataset, scenarios=scenarios or [])
    wanted = lang or ("en" if "en" in play.langs else play.langs[0])
    if wanted not in LANGS:
        raise UserError(f"--lang {wanted}: there are en and zh")
    store = start_of(play, wanted)
    if run is not None:
        name = f"{play.id}.{wanted}.{trial}"
        trajectory = next((t for t in read_trajectories(run) if t.episode == name and t.dataset == play.dataset.name), None)
        if trajectory is None:
            raise UserError(f"the run '{run}' holds no episode {name}")
        store = end_of(store, trajectory)
    resources = [store.read(reference) for reference in store.references()]
    if out.suffix == ".ndjson":
        _write(out, to_lines(resources))
    else:
        import json

        _write(out, json.dumps(collection(resources), ensure_ascii=False, indent=1) + "\n")
    print(f"{len(resources)} resources written to {out}")


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise UserError(f"'{path}' is there already; name a new file")
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise refusal(f"'{path}'", error) from None
