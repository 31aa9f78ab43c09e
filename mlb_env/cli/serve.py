"""`mlb serve`: an episode's record as a FHIR endpoint on loopback."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from . import refusal

if TYPE_CHECKING:
    from ..episode import Episode
    from ..record.session import Session

MAX_TURNS = 10_000  # requests; each is a turn of a served episode
NO_CLOCK = "2026-01-01T00:00:00+08:00"  # the date of a statement about a file, which has no clock


def group() -> typer.Typer:
    """The commands under `mlb serve`."""
    app = typer.Typer(no_args_is_help=True, help="Serve an episode's record as FHIR; serve a mock model.")
    app.callback()(lambda: None)
    app.command("fhir")(fhir)
    app.command("mock")(mock)
    return app


def fhir(
    scenario: Annotated[str | None, typer.Argument(help="The scenario whose record is served; see mlb list scenarios.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Where the id stands in several datasets.")] = None,
    scenarios: Annotated[list[Path] | None, typer.Option(help="A folder of scenarios, in place of the bundled ones.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Serve this FHIR R4 Bundle (or .ndjson) instead of a scenario's record.")] = None,
    lang: Annotated[str | None, typer.Option(help="en or zh. Default: en where there is one.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes every random draw.")] = 0,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8103,
    save: Annotated[Path | None, typer.Option(help="Write the trajectory here when the episode is over.")] = None,
) -> None:
    """Serve FHIR R4 on 127.0.0.1 until the episode is over, or Ctrl-C."""
    from ..bench.plan import package_version
    from ..serve.capability import statement
    from ..serve.fhir import ChartBackend, EpisodeBackend, serve
    from .table import console

    if (scenario is None) == (bundle is None):
        raise UserError("mlb serve fhir serves one thing: a SCENARIO, or --bundle FILE")
    if save is not None and (bundle is not None or save.exists()):
        raise UserError("--save goes with a SCENARIO" if bundle is not None else f"'{save}' is there already; name a new file for --save")
    episode = _episode(scenario, dataset, scenarios or [], lang, seed) if scenario is not None else None
    over = threading.Event()
    backend = EpisodeBackend(episode, lambda _: over.set()) if episode else ChartBackend(_chart(bundle))
    try:
        server = serve(backend, statement(episode.now if episode else NO_CLOCK, package_version()), port=port)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); name another with --port, or 0 for a free one") from None
    with server:
        say = functools.partial(console().print, markup=False, highlight=False, soft_wrap=True)
        if episode:
            say("\n\n".join(m.content for m in episode.messages))
            say(f"\nthe patient and every other tool: POST {server.url}/$step; the end of a record task: POST {server.url}/$finish")
        say(f"FHIR R4 at {server.url}; stop with Ctrl-C")
        try:
            while not over.wait(0.2):
                pass
        except KeyboardInterrupt:
            if episode and not episode.over:
                episode.fail("stopped from the keyboard")
    if episode:
        _conclude(episode, save)


def mock(
    latency: Annotated[float, typer.Option(help="Seconds before each answer.", min=0)] = 0.2,
    jitter: Annotated[float, typer.Option(help="Seconds by which it is more or less.", min=0)] = 0.0,
    turns: Annotated[int, typer.Option(help="How often it speaks before it concludes.", min=1)] = 6,
    faults: Annotated[str, typer.Option(help="Shares of requests: 429, 500, drop, garbage, cut, empty (429=0.05,drop=0.01).")] = "",
    seed: Annotated[int, typer.Option(help="Fixes answers and faults.")] = 0,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8104,
) -> None:
    """Serve a mock model on 127.0.0.1 until Ctrl-C: OpenAI's wire format, seeded answers that mean nothing, faults on demand."""
    from ..serve.mock import MockServer, MockSettings, read_faults

    settings = MockSettings(latency, jitter, turns, seed, read_faults(faults))
    try:
        with MockServer(settings, port) as server:
            print(f"mock model at {server.url}; stop with Ctrl-C", flush=True)
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                count = server.counters
                print(f"\n{count.requests} requests, at most {count.most} at once, {count.faults} answered with a fault")
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); name another with --port, or 0 for a free one") from None


def _episode(scenario: str, dataset: str | None, scenarios: list[Path], lang: str | None, seed: int) -> Episode:
    """The episode to be served: every tool is open, and each request is a turn."""
    from ..api import load
    from ..episode import Episode
    from ..spec.base import LANGS

    play = load(scenario, dataset=dataset, scenarios=scenarios)
    if not play.steps:
        raise UserError(f"the scenario '{scenario}' has no record; see mlb list scenarios --dimension SmartCare")
    wanted = lang or ("en" if "en" in play.langs else play.langs[0])
    if wanted not in LANGS:
        raise UserError(f"--lang {wanted}: there are en and zh")
    episode = Episode(play, lang=wanted, seed=seed, max_turns=MAX_TURNS, record_tools="both")
    episode.reset()
    return episode


def _chart(bundle: Path | None) -> Session:
    from ..record.bundles import read_resources
    from ..record.session import Session
    from ..record.store import Base, Store

    assert bundle is not None
    return Session(Store(Base.of(read_resources(bundle))))


def _conclude(episode: Episode, save: Path | None) -> None:
    """Judge the episode that is over, say so, and keep its trajectory."""
    from ..judge.grade import grade

    trajectory = episode.trajectory()
    score = grade(trajectory, episode.play).score
    print(f"over: {trajectory.stop_reason}, {len(trajectory.record_changes)} changes to the record, "
          + (f"score {score.value:.3f}" if score.value is not None else f"no score ({score.ungraded or 'nothing could be judged'})"))  # fmt: skip
    if save is not None:
        try:
            save.write_text(trajectory.model_dump_json() + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            raise refusal(f"'{save}'", error) from None
        print(f"trajectory {save}")
