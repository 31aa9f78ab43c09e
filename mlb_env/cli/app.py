"""Puts the commands together."""

from __future__ import annotations

from typing import Annotated

import typer


def build() -> typer.Typer:
    """The app with all its commands."""
    from .content import check, list_, schema, show
    from .export import export
    from .importing import import_
    from .judging import group as judge
    from .leaderboard import leaderboard
    from .patients import group as patients
    from .play import play
    from .record import group as record
    from .replay import replay
    from .results import compare, grade, merge, report
    from .run import run
    from .serve import group as serve

    app = typer.Typer(
        name="mlb", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
        help="Benchmark medical language-model agents in multi-turn clinical episodes.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_top)
    for name, function in (
        ("run", run), ("replay", replay), ("play", play), ("list", list_), ("show", show), ("check", check),
        ("schema", schema), ("grade", grade), ("merge", merge), ("report", report), ("leaderboard", leaderboard),
        ("compare", compare), ("export", export), ("import", import_),
    ):  # fmt: skip
        app.command(name)(function)
    app.add_typer(patients(), name="patients")
    app.add_typer(judge(), name="judge")
    app.add_typer(record(), name="record")
    app.add_typer(serve(), name="serve")
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from ..bench.plan import package_version

        print(f"mlb-env {package_version()}")
        raise typer.Exit


def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Benchmark medical language-model agents in multi-turn clinical episodes. Start with: mlb run"""
