"""A run: its episodes are handed out to whoever plays them (`crew.py`), many at once, and each is kept when it ends.

What is written does not depend on who played, how many were played at once, or in which order they ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from ..agent import AgentFactory
from ..catalog.load import Catalog
from ..errors import RunError, UserError
from ..llm.pace import Paces
from ..spec.rubric import Judgement
from ..spec.trajectory import Trajectory
from .budget import Budget, BudgetSpent
from .calls import Call, CallLog, Calls, Cassette, discard, gathered
from .crew import Here, Process, Worker, WorkerLost
from .episodes import lost
from .plan import Ask, Job, LateEdge, Plan, make_plan, other_ground
from .settings import RunSettings, check_prices, option
from .station import Order
from .store import Kept, RunHeader, RunStore, next_folder, read_header, read_judgements, read_trajectories
from .summary import Summary

log = logging.getLogger("mlb_env.run")
CONCURRENCY = 8
STARTS = 3  # a worker that came to nothing so often, while the others did not get on either, is not begun again
LOSSES = 2  # an episode whose worker died so often is played alone
Progress = Callable[[int, int, int], None]  # episodes done, in all, ungraded so far


class Hows(TypedDict, total=False):
    """The fields of `How`."""

    concurrency: int
    workers: int
    executor: Literal["local", "ray"]
    address: str | None
    paces: Paces
    budget: Budget | None
    cassette: Cassette | None
    before: Callable[[Plan, Path], None] | None
    progress: Progress | None


@dataclass(frozen=True)
class How:
    """How a run is carried out; none of it changes what is written.

    `concurrency`: episodes at once, at least 1. `workers`: processes that play them. `executor`: processes of this machine, or of a Ray
    cluster at `address` (None: the one that Ray finds, else one of its own on this machine). `paces`: rate limits of the endpoints. `budget`:
    where the run stops. `cassette`: recorded model calls, looked up by what is asked. `before`: told the plan and the folder before the
    first episode. `progress`: told after each episode how many are done, in all, ungraded so far.
    """

    concurrency: int = CONCURRENCY
    workers: int = 1
    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    paces: Paces = field(default_factory=Paces)
    budget: Budget | None = None
    cassette: Cassette | None = None
    before: Callable[[Plan, Path], None] | None = None
    progress: Progress | None = None

    def checked(self, factory: AgentFactory | None) -> How:
        """Itself.

        Raises:
            UserError: it cannot be done so.
        """
        if self.concurrency < 1:
            raise UserError(f"--concurrency: must be at least 1, not {self.concurrency}")
        if self.workers < 1:
            raise UserError(f"--workers: must be at least 1, not {self.workers}")
        if self.executor == "local" and self.address is not None:
            raise UserError("--address is of a Ray cluster; add --executor ray")
        if self.workers > 1 or self.executor == "ray":
            if factory is not None:
                raise UserError("workers load the agent by its name; give a file.py or module:attribute in place of a factory, or one worker")
            if self.cassette is not None:
                raise UserError("--calls: a recording is written by one process; leave out --workers and --executor")
        return self

    def affordable(self, plan: Plan) -> None:
        """
        Raises:
            UserError: a budget in dollars, but a model whose price is not known.
        """
        if self.budget is not None and self.budget.usd is not None:
            check_prices(plan.settings)


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and its figures. The episodes are read from the folder."""

    folder: Path
    header: RunHeader
    summary: Summary

    @property
    def ungraded(self) -> int:
        """Episodes that a failure left without a score."""
        return self.summary.overall.ungraded

    def trajectories(self) -> Iterator[Trajectory]:
        """The episodes in scenario order."""
        return read_trajectories(self.folder)

    def judgements(self) -> Iterator[Judgement]:
        """Their judgements, in the same order."""
        return read_judgements(self.folder)


# --- a run --------------------------------------------------------------------------------------------------------------


async def arun(
    settings: RunSettings, *, out: Path | None = None, factory: AgentFactory | None = None, catalog: Catalog | None = None,
    ask: Ask | None = None, **hows: Unpack[Hows],
) -> RunResult:  # fmt: skip
    """Play a run from the start, into a new folder.

    Args:
        out: the run folder, which must not exist; None: the next `runs/<agent>-NNN`.
        factory: makes the agents, in place of loading `settings.agent`.
        catalog: the content, in place of loading it.
        ask: answers questions to the person at the keyboard (agent `human`).
        hows: the fields of `How`.

    Raises:
        UserError: what is asked for cannot be done; nothing was written then.
        RunError: the disk failed, or a budget is spent; the folder can be resumed.
    """
    how = How(**hows).checked(factory)
    edge = LateEdge(ask, how.paces)
    plan = make_plan(settings, factory=factory, catalog=catalog, edge=edge)
    how.affordable(plan)
    folder = out or next_folder(settings.agent)
    store = RunStore.create(folder, plan.header)
    return await _play_all(plan, store, edge, how)


async def aresume(
    folder: Path, given: dict[str, Any] | None = None, *, retry_ungraded: bool = False, factory: AgentFactory | None = None,
    catalog: Catalog | None = None, ask: Ask | None = None, **hows: Unpack[Hows],
) -> RunResult:  # fmt: skip
    """Finish a run that was interrupted: only what is missing is played, and model calls that were answered are not made again. It ends
    with the bytes of an unbroken run.

    Args:
        folder: the run folder.
        given: settings that the user named again; they must be those of the run.
        retry_ungraded: play also the episodes again that a failure left ungraded.
        hows: the fields of `How`.

    Raises:
        UserError: not a run, other settings, content or agent changed since, another process is writing.
        RunError: the disk failed, or a budget is spent.
    """
    how = How(**hows).checked(factory)
    header = read_header(folder)
    _same_settings(folder, header.settings, given or {})
    edge = LateEdge(ask, how.paces)
    plan = make_plan(header.settings, factory=factory, catalog=catalog, edge=edge)
    _same_ground(folder, header, plan.header)
    how.affordable(plan)
    store = RunStore.reopen(folder, drop_ungraded=retry_ungraded)
    return await _play_all(plan, store, edge, how)


def _same_settings(folder: Path, settings: RunSettings, given: dict[str, Any]) -> None:
    wanted = RunSettings.of(**given)
    for name in given:
        now, then = getattr(wanted, name), getattr(settings, name)
        if now != then:
            raise UserError(f"{option(name)} was given as {_shown(now)}, but the run in '{folder}' has {_shown(then)}; "
                            "leave it out to resume, or start a new run")  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)


def _same_ground(folder: Path, then: RunHeader, now: RunHeader) -> None:
    if problem := other_ground(then, now):
        raise UserError(f"'{folder}' cannot be resumed: {problem}; start a new run")


async def _play_all(plan: Plan, store: RunStore, edge: LateEdge, how: How) -> RunResult:
    journal: CallLog | None = None
    try:
        if how.before is not None:
            how.before(plan, store.folder)
        done, journal = store.done, gathered(store.folder)
        calls = Calls.open(journal, done, how.cassette, how.budget)
        if not getattr(plan.factory, "resumes_inside", True):
            _start_over(calls, [job.name for job in plan.jobs])
        if done and how.progress is not None:
            how.progress(len(done), len(plan.jobs), store.ungraded)
        pile = Pile([job for job in plan.jobs if job.name not in done])
        crew = _crew(plan, store.folder, calls, edge, how, len(pile.jobs))
        await _play_pile(pile, crew, plan, store, calls, how.progress)
        if calls.halted and store.count < len(plan.jobs):
            raise BudgetSpent(f"{calls.halted}; {store.count} of {len(plan.jobs)} episodes are done, go on with mlb run --resume {store.folder} "
                              "and a larger --budget, or none")  # fmt: skip
        summary = store.finish([job.name for job in plan.jobs])
        journal.close()
        discard(store.folder)
    finally:
        if journal is not None:
            journal.close()
        if how.cassette is not None:
            how.cassette.log.close()
        store.close()
        await edge.aclose()
    return RunResult(store.folder, store.header, summary)


def _crew(plan: Plan, folder: Path, calls: Calls, edge: LateEdge, how: How, jobs: int) -> list[Worker]:
    """Who plays."""
    settings, size = plan.settings, how.workers
    if "human" in (settings.agent, settings.patient):  # there is one keyboard
        return [Here(plan, calls, edge, 1)]
    if size == 1 and how.executor == "local":
        return [Here(plan, calls, edge, max(1, min(how.concurrency, jobs)))]
    crew: list[Worker] = []

    def tell(call: Call) -> None:
        going = not calls.halted
        if how.executor == "ray":  # on a cluster nobody else writes it down
            calls.add(call)
        else:
            calls.count(call)
        calls.remember(call)  # for whoever plays its episode again, should this worker be lost
        if going and calls.halted:
            for worker in crew:
                worker.halt(calls.halted)

    share = Order(settings, plan.header, how.paces.shared(size), max(1, -(-how.concurrency // size)))
    if how.executor == "ray":
        from .onray import OnRay

        cluster = OnRay(how.address)
        crew += [cluster.worker(share, tell) for _ in range(size)]
    else:
        ahead = min(16, jobs // (8 * size))
        crew += [Process(share, folder, tell, ahead) for _ in range(min(size, max(1, jobs)))]
    return crew


# --- handing out ---------------------------------------------------------------------------------------------------------


class Pile:
    """The episodes that are still to be played. One that came back lost is handed out again. `out`: how many are being played."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = deque(jobs)
        self.lost: Counter[str] = Counter()
        self.out = 0
        self._changed = asyncio.Event()

    async def take(self) -> Job | None:
        """The next one, waiting while one that is out may come back; None when all are done."""
        while not self.jobs and self.out:
            self._changed.clear()
            await self._changed.wait()
        if not self.jobs:
            return None
        self.out += 1
        return self.jobs.popleft()

    def settle(self, lost: Job | None = None) -> None:
        """One that was out is done, or lost."""
        self.out -= 1
        if lost is not None:
            self.lost[lost.name] += 1
            self.jobs.appendleft(lost)
        self._changed.set()


async def _play_pile(pile: Pile, crew: Sequence[Worker], plan: Plan, store: RunStore, calls: Calls, progress: Progress | None) -> None:
    """Play all of it, or until the calls are halted."""

    def halted() -> bool:
        if not calls.halted:
            calls.halted = calls.budget.gone()
        if calls.halted:
            for worker in crew:
                worker.halt(calls.halted)
        return bool(calls.halted)

    async def alone(worker: Worker, job: Job, recorded: Sequence[Call]) -> Kept:
        try:
            await worker.start()
            return await worker.play(job, recorded)
        except WorkerLost:
            return lost(plan, job, "the process that played it died, also when it played nothing else")
        finally:
            await worker.close()

    async def slot(worker: Worker) -> None:
        while not halted() and (job := await pile.take()) is not None:
            recorded = tuple(calls.recorded.get(job.name, {}).values())
            try:
                if pile.lost[job.name] < LOSSES:
                    store.add(await worker.play(job, recorded))
                else:
                    store.add(await alone(worker.spare(), job, recorded))
            except (WorkerLost, asyncio.CancelledError):  # cancelled where another episode of this worker was told first
                pile.settle(job)
                raise
            except BudgetSpent:
                pile.settle()
                return
            calls.forget(job.name)
            pile.settle()
            if progress is not None:
                progress(store.count, len(plan.jobs), store.ungraded)
            await asyncio.sleep(0)  # an offline episode never waits: let the others and Ctrl-C in

    async def employ(worker: Worker) -> None:
        for_nothing = 0
        while True:
            before = store.count
            try:
                await worker.start()
                async with asyncio.TaskGroup() as slots:
                    for _ in range(worker.slots):
                        slots.create_task(slot(worker))
                return
            except* WorkerLost:
                log.warning("a worker was lost; its episodes are played again")
            for_nothing = for_nothing + 1 if store.count == before else 0
            if for_nothing > STARTS:
                raise RunError("the workers die before they have played anything; what they said last stands above, and the run can be resumed")

    members = {asyncio.create_task(employ(worker)) for worker in crew}
    waited = set(members)
    try:
        while waited and (pile.out or len(waited) == len(members)):  # one that is done while nothing is out means that all is
            done, waited = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for member in done:
                member.result()
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        for member in members:
            member.cancel()
        await asyncio.gather(*members, return_exceptions=True)
        for worker in crew:
            await worker.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single error in a group."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _start_over(calls: Calls, episodes: Sequence[str]) -> None:
    """Episodes of an agent that does not resume inside begin anew; how many calls that costs is said."""
    anew = {name: n for name in episodes if (n := calls.forget(name))}
    if anew:
        log.warning("%d episodes begin anew, as their agent does not resume inside an episode: %d calls are made again", len(anew), sum(anew.values()))
