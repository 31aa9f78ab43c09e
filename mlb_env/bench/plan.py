"""From settings to a plan: which episodes, in which order, played by which agent. Every mistake of the user's shows here,
before anything is written or paid for."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random

from ..agent import NAMES, PRIVILEGED, Agent, AgentContext, AgentFactory, load_agent
from ..catalog.load import Catalog, content_root, open_catalog
from ..catalog.play import Play
from ..effects import AskHuman, Edge, Effect, ModelSettings, Reply
from ..errors import MlbError, UserError
from ..llm.pace import Paces
from ..patient.worded import Casting, cast_patient
from ..spec.base import Lang
from ..spec.trajectory import Trajectory
from .settings import RunSettings
from .store import AgentSource, RunHeader, read_header, read_trajectories

MODEL_AGENTS = ("chat", "langgraph")  # bundled agents that call a model
Ask = Callable[[AskHuman], str]


@dataclass(frozen=True)
class Job:
    """One episode to be played."""

    play: Play
    lang: Lang
    trial: int

    @property
    def name(self) -> str:
        """As `Episode.name`."""
        return f"{self.play.id}.{self.lang}.{self.trial}"


@dataclass(frozen=True)
class Plan:
    """What a run will do. `left_out`: scenarios that do not exist in the language asked for."""

    settings: RunSettings
    jobs: tuple[Job, ...]
    header: RunHeader
    factory: AgentFactory
    calls_model: bool
    left_out: int
    recorded: dict[str, Trajectory] = field(default_factory=dict)  # of the patient replay:<run>, by episode

    @property
    def max_calls(self) -> int:
        """The most calls of the agent's model: one for each turn."""
        return sum((self.settings.max_turns or job.play.budget.turns) if job.play.steps else 1 for job in self.jobs)

    def agent(self, job: Job, edge: Edge) -> Agent:
        """A fresh agent for one episode. Only the bundled calibration agents are given the gold."""
        settings = self.settings
        privileged = settings.agent in PRIVILEGED and settings.agent in NAMES
        return self.factory(
            AgentContext(
                name=settings.agent, lang=job.lang, rng=Random(f"{settings.seed}/{job.name}/agent"),
                model=self.model, edge=edge, gold=job.play if privileged else None,
            )
        )  # fmt: skip

    def casting(self, job: Job) -> Casting:
        """Who plays the patient of one episode."""
        settings = self.settings
        model = settings.patient_model.settings() if settings.patient_model else None
        return cast_patient(settings.patient, model, self.recorded.get(job.name))

    @property
    def model(self) -> ModelSettings | None:
        return self.settings.model.settings() if self.settings.model else None


def make_plan(
    settings: RunSettings, *, factory: AgentFactory | None = None, catalog: Catalog | None = None, edge: Edge | None = None
) -> Plan:
    """The plan of a run.

    Args:
        factory: makes the agents, in place of loading `settings.agent`.
        catalog: the content, in place of loading it.
        edge: what the agents are handed; tried out once, so that an agent which cannot start is told here.

    Raises:
        UserError: an unknown name, no scenario, editions mixed, an agent that cannot be made, a missing model or key.
    """
    loaded = factory or load_agent(settings.agent, content=content_root())
    calls_model = _check_model(settings, loaded)
    if catalog is None:
        catalog = open_catalog(settings.scenarios, bundled=not settings.scenarios)
    jobs, left_out = _jobs(settings, catalog)
    header = RunHeader(
        versions=versions(), settings=settings, agent=_source(settings.agent, loaded, factory is not None),
        edition=_edition(jobs), content={name: catalog.hashes[name] for name in _datasets(jobs)}, episodes=len(jobs),
    )  # fmt: skip
    _no_secret(header)
    if settings.judge_models:
        from ..llm.endpoint import ModelEdge

        for config in settings.judge_models:
            ModelEdge.check(config.settings())
    if settings.record is not None and (own := next((j for j in jobs if j.play.task is None), None)):
        raise UserError(f"--record is for tasks in the record (mlb import medagentbench); {own.play.dataset.name} brings its own records; choose "
                        "with --dataset or --scenarios")  # fmt: skip
    plan = Plan(settings=settings, jobs=jobs, header=header, factory=loaded, calls_model=calls_model, left_out=left_out,
                recorded=_recorded(settings, jobs))  # fmt: skip
    _try_out(plan, edge or LateEdge())
    return plan


def _recorded(settings: RunSettings, jobs: tuple[Job, ...]) -> dict[str, Trajectory]:
    """The episodes that the patient replays. An episode that was not recorded is a mistake: its patient would be another one."""
    if settings.patient_model is not None:
        from ..llm.endpoint import ModelEdge

        ModelEdge.check(settings.patient_model.settings())
    if not settings.patient.startswith("replay:"):
        return {}
    folder = Path(settings.patient.partition(":")[2])
    read_header(folder)
    found = {t.episode: t for t in read_trajectories(folder)}
    missing = [j.name for j in jobs if j.play.interactive and j.name not in found]
    if missing:
        raise UserError(f"--patient replay: '{folder}' holds no episode {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
                        + "; choose what it holds with --scenario, --lang and --trials")  # fmt: skip
    return found


# --- the scenarios ------------------------------------------------------------------------------------------------------


def _jobs(settings: RunSettings, catalog: Catalog) -> tuple[tuple[Job, ...], int]:
    plays = catalog.select(dimension=settings.dimension, dataset=settings.dataset, scenario=settings.scenario)
    if not plays:
        raise UserError("no scenario matches; see `mlb list scenarios`")
    if settings.persona is not None and settings.persona not in catalog.personas:
        known = ", ".join(catalog.personas) or "none"
        raise UserError(f"--persona {settings.persona}: there is no such persona (there are: {known})")
    chosen = [(play, langs) for play in plays if (langs := _langs(play, settings))]
    if not chosen:
        raise UserError(f"--lang {settings.lang}: none of the {len(plays)} scenarios chosen exists in it")
    if settings.persona is not None:
        fits = catalog.personas[settings.persona].informants
        strangers = [p.id for p, _ in chosen if p.case and fits and p.case.person.informant.kind not in fits]
        if strangers:
            raise UserError(f"--persona {settings.persona} fits only who speaks as {' or '.join(fits)}; it does not fit {strangers[0]}; "
                            "choose scenarios with --scenario")  # fmt: skip
    left_out = len(plays) - len(chosen)
    jobs = tuple(
        Job(play, lang, trial) for play, langs in chosen[: settings.limit] for lang in langs for trial in range(settings.trials)
    )
    which, of = settings.part
    if of > len(jobs):
        raise UserError(f"--shard {settings.shard}: there are {len(jobs)} episodes, so at most {len(jobs)} parts")
    seen: dict[str, str] = {}
    for job in jobs:
        other = seen.setdefault(job.name, job.play.dataset.name)
        if other != job.play.dataset.name:
            raise UserError(f"the scenario id '{job.play.id}' stands in {other} and in {job.play.dataset.name}; rename one")
    return jobs[which - 1 :: of], left_out


def _langs(play: Play, settings: RunSettings) -> tuple[Lang, ...]:
    if settings.lang == "both":
        return play.langs
    if settings.lang is None:
        return ("en",) if "en" in play.langs else play.langs[:1]
    return (settings.lang,) if settings.lang in play.langs else ()


def _datasets(jobs: tuple[Job, ...]) -> list[str]:
    return list(dict.fromkeys(job.play.dataset.name for job in jobs))


def _edition(jobs: tuple[Job, ...]) -> str:
    editions = {job.play.dataset.edition: job.play.dataset.name for job in jobs}
    if len(editions) > 1:
        listed = ", ".join(f"{edition} ({name})" for edition, name in sorted(editions.items()))
        raise UserError(f"the scenarios chosen are of several editions: {listed}; editions are never pooled in one score: "
                        "choose with --dataset or --scenarios")  # fmt: skip
    return next(iter(editions))


# --- the agent ----------------------------------------------------------------------------------------------------------


def _check_model(settings: RunSettings, factory: AgentFactory) -> bool:
    """Whether the agent calls a model; refuses what would measure another thing than the user believes."""
    needs = settings.agent in MODEL_AGENTS or bool(getattr(factory, "needs_model", False))
    if needs and settings.model is None:
        raise UserError(f"agent '{settings.agent}' needs a model: give --model NAME (and --base-url for another endpoint)")
    if settings.model is not None and settings.agent in NAMES and not needs:
        raise UserError(f"agent '{settings.agent}' calls no model, but --model {settings.model.model} was given; "
                        f"add --agent chat, or leave the model out")  # fmt: skip
    if settings.model is not None:
        from ..llm.endpoint import ModelEdge

        ModelEdge.check(settings.model.settings())
    return settings.model is not None


def _try_out(plan: Plan, edge: Edge) -> None:
    """Make one agent: what is wrong with all of them is said once, before the run."""
    name = plan.settings.agent
    try:
        agent = plan.agent(plan.jobs[0], edge)
    except MlbError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's file does
        raise UserError(f"agent '{name}' cannot be made: {describe(error)}") from error
    for method in ("reset", "act"):
        if not callable(getattr(agent, method, None)):
            raise UserError(f"agent '{name}': what its factory returns ({type(agent).__name__}) has no method '{method}'")


def describe(error: BaseException) -> str:
    """An exception of foreign code in one line, with the place it came from."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno})" if frame is not None else ""
    message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"


def _source(name: str, factory: AgentFactory, handed_in: bool) -> AgentSource:
    file: str | None
    if not handed_in and name in NAMES:
        path = content_root() / "agents" / f"{NAMES[name]}.py"
        return AgentSource(name=name, file=f"agents/{path.name}", sha256=_hash(path))
    if not handed_in and name.endswith(".py"):
        file = name
    else:
        module = sys.modules.get(getattr(factory, "__module__", "") or "")
        try:
            file = inspect.getsourcefile(module) if module else None
        except TypeError:  # made at a prompt, or built in
            file = None
    found = Path(file) if file else None
    return AgentSource(name=name, file=file, sha256=_hash(found) if found and found.is_file() else None)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _no_secret(header: RunHeader) -> None:
    """The key must not get into run.json, whatever option somebody put it in."""
    model = header.settings.model
    secret = os.environ.get(model.key_variable, "") if model else ""
    if len(secret) >= 8 and model and secret in model.model_dump_json():
        raise UserError(f"the model settings hold the value of {model.key_variable}, which would be written to run.json; "
                        "leave the key in the environment variable only")  # fmt: skip


# --- versions -----------------------------------------------------------------------------------------------------------


def package_version() -> str:
    """The version of mlb-env, installed or as a checkout."""
    try:
        return version("mlb-env")
    except PackageNotFoundError:
        project = tomllib.loads((content_root() / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])


def versions() -> dict[str, str]:
    return {"mlb-env": package_version(), "python": platform.python_version(), "numpy": version("numpy"),
            "pydantic": version("pydantic")}  # fmt: skip


def other_ground(then: RunHeader, now: RunHeader) -> str:
    """What is not as it was where the run was begun, in words; empty where all is: episodes played on other ground must not come together in
    one score."""
    if then.versions["mlb-env"] != now.versions["mlb-env"]:
        return f"mlb-env is at version {now.versions['mlb-env']} now, the run was begun with {then.versions['mlb-env']}"
    if then.content != now.content:
        changed = sorted(n for n in {*then.content, *now.content} if then.content.get(n) != now.content.get(n))
        return f"the content of {', '.join(changed)} has changed since the run was begun"
    if then.agent.sha256 != now.agent.sha256:
        return f"the agent's file {now.agent.file or now.agent.name} has changed since the run was begun"
    return ""


# --- the edge -----------------------------------------------------------------------------------------------------------


class LateEdge:
    """The edge of a run: the model edge, imported when the first effect asks for it. An offline run never does."""

    def __init__(self, ask: Ask | None = None, paces: Paces | None = None) -> None:
        self._ask, self._paces = ask, paces
        self._edge: Edge | None = None

    def _made(self) -> Edge:
        if self._edge is None:
            from ..llm.endpoint import ModelEdge

            self._edge = ModelEdge(ask=self._ask, paces=self._paces)
        return self._edge

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        return self._made().perform(effects)

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        return await self._made().aperform(effects)

    async def aclose(self) -> None:
        close = getattr(self._edge, "aclose", None)
        if close is not None:
            await close()
