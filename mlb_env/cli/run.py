"""`mlb run`: play scenarios with an agent, and end with a table."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UserError
from ..spec.jsontext import BadJson, parse_json

if TYPE_CHECKING:
    from ..bench.plan import Plan
    from ..bench.runner import RunResult
    from ..effects import AskHuman


def split(values: Iterable[str] | None, option: str) -> tuple[str, ...] | None:
    """A list option: given repeatedly, comma separated, or both.

    Raises:
        UserError: it was given without a name: everything would be chosen, where something was meant.
    """
    if not values:
        return None
    parts = [[part.strip() for part in value.split(",") if part.strip()] for value in values]
    if not all(parts):
        raise UserError(f"{option} is given without a name; name what is meant, or leave it out for all")
    return tuple(part for own in parts for part in own)


def run(
    agent: Annotated[str | None, typer.Option(help="A name (see mlb list agents), a file.py, or module:attribute. "
                                                   "Default: interviewer, the offline baseline.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that the agent calls (agents chat, langgraph, yours).")] = None,
    base_url: Annotated[str | None, typer.Option(help="Any OpenAI-compatible endpoint, e.g. http://localhost:8000/v1.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Environment variable with the key. Default: OPENAI_API_KEY.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the agent's model. Default: the endpoint's.")] = None,
    model_max_tokens: Annotated[int | None, typer.Option(help="Longest reply of the agent's model. Default: 2048.")] = None,
    extra_body: Annotated[str | None, typer.Option(help="JSON object added to each request.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with model settings by role; flags override it.")] = None,
    dimension: Annotated[list[str] | None, typer.Option(help="Only these dimensions (repeat, or a,b).")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only these datasets (repeat, or a,b).")] = None,
    scenario: Annotated[list[str] | None, typer.Option(help="Only these scenarios (repeat, or a,b).")] = None,
    scenarios: Annotated[list[Path] | None, typer.Option(help="A folder of scenarios, in place of the bundled ones.")] = None,
    lang: Annotated[str | None, typer.Option(help="en, zh or both. Default: en where there is one.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many scenarios.")] = None,
    trials: Annotated[int | None, typer.Option(help="Repetitions of each scenario. Default: 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes every random draw. Default: 0.")] = None,
    concurrency: Annotated[int, typer.Option(help="Episodes at once; changes no result.")] = 8,
    workers: Annotated[int | None, typer.Option(help="Processes that play them. Default: 1; with --executor ray as many as the cluster has CPUs.")] = None,
    executor: Annotated[str, typer.Option(help="Where the workers are: local, or ray (a cluster).")] = "local",
    address: Annotated[str | None, typer.Option(help="With --executor ray: the cluster. Default: RAY_ADDRESS, else one on this machine.")] = None,
    requests_per_minute: Annotated[float | None, typer.Option(help="Rate limit of each endpoint; more under `limits` in --config.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="The same for tokens.")] = None,
    budget: Annotated[str | None, typer.Option(help="Where the run stops, to be resumed: tokens=N,usd=N,minutes=N.")] = None,
    price: Annotated[str | None, typer.Option(help="Of the agent's model, US dollars per million tokens: PROMPT,COMPLETION.")] = None,
    patient: Annotated[str | None, typer.Option(help="Who plays the patient: offline (rules, the default), llm:MODEL, human, "
                                                     "replay:RUN.")] = None,
    patient_base_url: Annotated[str | None, typer.Option(help="Endpoint of the patient's model; more under `patient` in --config.")] = None,
    persona: Annotated[str | None, typer.Option(help="One persona for all. Default: drawn from the scenario's.")] = None,
    judge: Annotated[str | None, typer.Option(help="rules (the default), rules+llm:MODEL (a model for what needs meaning), rules+learned, several "
                                                   "joined by +, llm:MODEL alone, or none.")] = None,
    judge_base_url: Annotated[str | None, typer.Option(help="Endpoint of the judge's models; more under `judge` in --config.")] = None,
    judge_protocol: Annotated[str | None, typer.Option(help="How models judge: rubric (JSON with evidence, the default) or mlb "
                                                            "(MLB's one-word verdicts).")] = None,
    judge_vote: Annotated[str | None, typer.Option(help="Several judges: majority (the default) or unanimous.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="A measurement of the judge: mlb judge agree --save.")] = None,
    max_turns: Annotated[int | None, typer.Option(help="Turn budget of interactive episodes, in place of theirs.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Token budget of the agent's model in one episode.")] = None,
    record_tools: Annotated[str | None, typer.Option(help="The record's tools: task (task-shaped, the default), fhir (raw), both.")] = None,
    record: Annotated[str | None, typer.Option(help="A FHIR R4 server in place of the store, for tasks in the record.")] = None,
    calls: Annotated[Path | None, typer.Option(help="A recording of model calls (.jsonl): what it holds is not asked again, the rest is added.")] = None,
    offline_strict: Annotated[bool, typer.Option("--offline-strict", help="With --calls: what the recording does not hold fails.")] = False,
    shard: Annotated[str | None, typer.Option(help="Only this part of the episodes, for several machines: 2/8; put together by mlb merge.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; must not exist. Default: runs/<agent>-NNN.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Finish this interrupted run.")] = None,
    retry_ungraded: Annotated[bool, typer.Option("--retry-ungraded", help="With --resume: replay what failed, too.")] = False,
) -> None:  # fmt: skip
    """Play scenarios with an agent; without options, the offline baseline over all bundled scenarios."""
    from ..bench.budget import Budget
    from ..bench.calls import Cassette
    from ..bench.runner import Hows, aresume, arun
    from ..bench.settings import RunSettings, judge_config, judge_flags, model_config, patient_config, read_paces

    flags = {"model": model, "base_url": base_url, "key_variable": key_variable, "temperature": temperature,
             "max_tokens": model_max_tokens, "extra_body": _json(extra_body), **_price(price)}  # fmt: skip
    given: dict[str, Any] = {
        "agent": agent, "dimension": split(dimension, "--dimension"), "dataset": split(dataset, "--dataset"),
        "scenario": split(scenario, "--scenario"),
        "scenarios": tuple(scenarios) if scenarios else None, "lang": lang, "limit": limit, "trials": trials, "seed": seed,
        "patient": patient, "persona": persona, "judge": judge, "max_turns": max_turns, "max_tokens": max_tokens,
        "record_tools": record_tools, "record": record, "shard": shard,
        "model": model_config({k: v for k, v in flags.items() if v is not None}, config),
        "judge_models": judge_config(judge, judge_flags(judge_base_url, judge_protocol), config) or None,
        "judge_vote": judge_vote,
        "patient_model": patient_config(patient, {"base_url": patient_base_url} if patient_base_url else {}, config),
    }  # fmt: skip
    given = {k: v for k, v in given.items() if v is not None}
    if calibration is not None:
        given["calibration"] = calibrated(calibration, given)
    if resume is not None and out is not None:
        raise UserError("--out and --resume exclude each other; a resumed run goes on in its own folder")
    if retry_ungraded and resume is None:
        raise UserError("--retry-ungraded goes with --resume: name the run whose ungraded episodes are played again")
    if offline_strict and calls is None:
        raise UserError("--offline-strict goes with --calls FILE: name the recording")
    cassette = Cassette(calls, strict=offline_strict) if calls is not None else None
    size = workers if workers is not None else _size(executor, address)
    how = Hows(concurrency=concurrency, workers=size, executor=_executor(executor), address=address, cassette=cassette,
               paces=read_paces(config, requests_per_minute, tokens_per_minute), budget=Budget.read(budget) if budget is not None else None)  # fmt: skip
    seen: list[Path] = []
    with _live() as (before, progress):

        def begin(plan: Plan, folder: Path) -> None:
            seen.append(folder)
            gc.freeze()  # the content stays: without this the collector walks through all of it again and again
            _announce(plan, folder, resumed=resume is not None)
            before(plan, folder)

        how["before"], how["progress"] = begin, progress
        try:
            if resume is not None:
                work = aresume(resume, given, retry_ungraded=retry_ungraded, ask=_ask, **how)
            else:
                work = arun(RunSettings.of(**given), out=out, ask=_ask, **how)
            result = asyncio.run(work)
        except KeyboardInterrupt:
            if seen:
                print(f"\nmlb: interrupted; resume with mlb run --resume {seen[0]}", file=sys.stderr)
            raise typer.Exit(130) from None
    _end(result)


def _executor(name: str) -> Literal["local", "ray"]:
    if name == "local":
        return "local"
    if name == "ray":
        return "ray"
    raise UserError(f"--executor {name}: there are local and ray")


def _size(executor: str, address: str | None) -> int:
    """How many workers, where nobody said."""
    if executor == "local":
        return 1
    from ..bench.onray import OnRay

    return OnRay(address).cpus


def _price(text: str | None) -> dict[str, float]:
    if text is None:
        return {}
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--price {text}: two numbers are expected, US dollars per million tokens of the prompt and of the reply: 0.5,1.5") from None
    return {"usd_prompt": prompt, "usd_completion": completion}


def calibrated(file: Path, given: dict[str, Any]) -> Any:
    """The measurement of the judge that is asked for."""
    from ..bench.settings import RunSettings, read_calibration
    from ..spec.base import LANGS

    models = RunSettings.of(**given).bench().models
    if not models:
        raise UserError("--calibration is of a judge of meaning; add --judge rules+llm:MODEL or rules+learned")
    langs = (given["lang"],) if given.get("lang") in LANGS else LANGS if given.get("lang") == "both" else ("en",)
    return read_calibration(file, [m.name(lang) for m in models for lang in langs])


def _end(result: RunResult) -> None:
    from .table import console, show_run

    show_run(console(), result.header, result.summary, result.folder)
    if result.ungraded:
        raise typer.Exit(1)


def _json(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        data = parse_json(text)
    except BadJson as error:
        raise UserError(f"--extra-body: not JSON ({error})") from None
    if not isinstance(data, dict):
        raise UserError("--extra-body: a JSON object is expected")
    return data


def counted(episodes: int) -> str:
    """So many episodes, in words."""
    return f"{episodes} episode{'' if episodes == 1 else 's'}"


def _announce(plan: Plan, folder: Path, *, resumed: bool) -> None:
    """What is about to happen, on stderr; for a run that calls a model, how much of it."""
    say = f"{'resuming' if resumed else 'writing to'} {folder}: {counted(len(plan.jobs))}"
    if plan.left_out:
        say += f" (left out, as they do not exist in {plan.settings.lang}: {plan.left_out} scenarios)"
    print(say, file=sys.stderr)
    model = plan.settings.model
    if plan.calls_model and model is not None:
        where = model.base_url or "the openai package's default endpoint"
        longest = f", replies of at most {model.max_tokens} tokens" if model.max_tokens else ""
        cost = "give --price to have costs counted" if model.usd_prompt is None else "costs are counted"
        print(f"estimate: at most {plan.max_calls} calls of {model.model} at {where}{longest}; {cost}", file=sys.stderr)
    if plan.settings.judge_models:
        from ..judge.estimate import of_plays

        calls = of_plays(((j.play, j.lang) for j in plan.jobs), plan.settings.bench())
        print(f"estimate: at least {calls}; the dialogues, not known yet, come on top of the tokens", file=sys.stderr)


@contextmanager
def _live() -> Iterator[tuple[Callable[[Plan, Path], None], Callable[[int, int, int], None]]]:
    """A progress display on the terminal; none where stderr is not one, or a person is playing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    shown = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), TextColumn("{task.fields[failed]}", style="red"), console=shown, transient=True, expand=True,
    )  # fmt: skip
    task = bar.add_task("episodes", total=None, rate="", failed="")

    def before(plan: Plan, folder: Path) -> None:
        if shown.is_terminal and "human" not in (plan.settings.agent, plan.settings.patient):
            bar.update(task, total=len(plan.jobs))
            bar.start()

    def progress(done: int, total: int, ungraded: int) -> None:
        if not bar.live.is_started:
            return
        speed = bar.tasks[0].speed
        bar.update(task, completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "",
                   failed=f"{ungraded} ungraded" if ungraded else "")  # fmt: skip

    try:
        yield before, progress
    finally:
        if bar.live.is_started:
            bar.stop()


def _ask(question: AskHuman) -> str:
    """Ask the person at the keyboard. Ctrl-C works while waiting, though an event loop is running."""
    if question.shown:
        print(question.shown)
    if threading.current_thread() is not threading.main_thread():
        return input(question.prompt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(question.prompt)
    finally:
        signal.signal(signal.SIGINT, before)
