"""`mlb replay`: what happened in a run, as an overview of its episodes, or one episode as a dialogue in the terminal."""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from ..errors import ContentError, MlbError, UserError
from ..spec.base import L, Model
from ..spec.jsontext import parse_json
from ..spec.rubric import Judgement
from ..spec.trajectory import Trajectory
from .dialogue import Screen, clean, conclusion, header, show_turn, show_verdicts, turns, width_of

COLUMNS_PER_SECOND = 30.0  # a comfortable reading pace; a Chinese character takes two columns
LONGEST_PAUSE_S = 12.0
M = TypeVar("M", bound=Model)


# --- reading a run folder -----------------------------------------------------------------------------------------------


class JournalLine(Model):
    """One finished episode in the journal of a run that is still going on (or was cut off)."""

    trajectory: Trajectory
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Episode:
    """One episode of a run: its place in the run (from 1), what happened, and the verdicts if it was judged."""

    number: int
    trajectory: Trajectory
    judgement: Judgement | None

    @property
    def score(self) -> float | None:
        return self.judgement.score.value if self.judgement else None


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds for a reader. `scenarios`: folders that were played in place of the bundled content."""

    path: Path
    episodes: tuple[Episode, ...]
    scenarios: tuple[str, ...]
    running: bool


def read_run(path: Path) -> RunFolder:
    """Read a run folder: trajectories.jsonl joined with verdicts.jsonl, then the journal of a run that has not ended.

    Raises:
        UserError: not a run folder, no episode in it, a line that cannot be read (named by file and line).
    """
    if not path.is_dir():
        what = "is a file; give the run folder it stands in" if path.exists() else "does not exist; give the folder of a run"
        raise UserError(f"'{path}' {what} (mlb run prints it)")
    finished, verdicts, journal = path / "trajectories.jsonl", path / "verdicts.jsonl", path / "journal.jsonl"
    if not finished.is_file() and not journal.is_file():
        raise UserError(f"'{path}' is not a run folder: it holds no trajectories.jsonl and no journal.jsonl")
    played: dict[str, tuple[Trajectory, Judgement | None]] = {}
    if finished.is_file():
        judged = {j.episode: j for _, j in _lines(verdicts, Judgement)} if verdicts.is_file() else {}
        for number, t in _lines(finished, Trajectory):
            if t.episode in played:
                raise ContentError(f"the episode '{clean(t.episode)}' stands twice", path=str(finished), line=number)
            played[t.episode] = (t, judged.get(t.episode))
    if journal.is_file():
        for _, entry in _lines(journal, JournalLine, torn=True):
            played[entry.trajectory.episode] = (entry.trajectory, entry.judgement)
    if not played:
        state = "no episode has finished yet" if journal.is_file() else "trajectories.jsonl is empty"
        raise UserError(f"there is nothing to replay in '{path}': {state}")
    episodes = tuple(Episode(i, t, j) for i, (t, j) in enumerate(played.values(), 1))
    return RunFolder(path, episodes, _scenario_folders(path / "run.json"), journal.is_file())


def _lines(path: Path, kind: type[M], *, torn: bool = False) -> Iterator[tuple[int, M]]:
    """The lines of a JSONL file with their numbers. `torn`: a last line without its end is left out (it is being written)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ContentError(f"cannot be read ({error.strerror})", path=str(path)) from None
    rows = data.split(b"\n")
    last = rows.pop()  # what stands after the last line end
    if last.strip() and not torn:
        rows.append(last)
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        try:
            yield number, kind.model_validate_json(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or None
            what = {"JournalLine": "line of the journal"}.get(kind.__name__, kind.__name__.lower())
            problem = f"not a {what} of this version of mlb-env ({clean(first['msg'])})"
            raise ContentError(problem, path=str(path), line=number, field=clean(field) if field else None) from None


def _scenario_folders(path: Path) -> tuple[str, ...]:
    """The folders named by the settings in run.json; none where there is no run.json."""
    if not path.is_file():
        return ()
    try:
        data: Any = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContentError(f"cannot be read as JSON ({error})", path=str(path)) from None
    settings = data.get("settings") if isinstance(data, dict) else None
    folders = settings.get("scenarios") if isinstance(settings, dict) else None
    if isinstance(folders, str):
        return (folders,)
    return tuple(str(f) for f in folders) if isinstance(folders, list) else ()


def find(run: RunFolder, wanted: str, among: tuple[Episode, ...]) -> Episode:
    """The episode of a name, of a number in the overview, or of the beginning of a name where only one begins so.

    Raises:
        UserError: there is none, or more than one.
    """
    names = {e.trajectory.episode: e for e in among}
    if wanted in names:
        return names[wanted]
    numbered = [e for e in among if str(e.number) == wanted.removeprefix("#")]
    begins = [e for name, e in names.items() if wanted and name.startswith(wanted)]
    found = numbered or begins
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(clean(e.trajectory.episode) for e in found[:6]) + (", ..." if len(found) > 6 else "")
        raise UserError(f"'{wanted}' begins the names of {len(found)} episodes: {listed}; give one in full, or its number")
    close = difflib.get_close_matches(wanted, names, n=3)
    hint = f"did you mean {', '.join(clean(c) for c in close)}?" if close else f"`mlb replay {run.path}` lists all"
    raise UserError(f"there is no episode '{wanted}' in '{run.path}'; {hint}")


def criterion_texts(run: RunFolder, trajectory: Trajectory) -> tuple[dict[str, L], str]:
    """The texts of the criteria by id, from the content that was played, and a remark where they are missing or may differ."""
    from ..catalog.load import open_catalog
    from ..judge.derive import rubric_of

    try:
        catalog = open_catalog(run.scenarios, bundled=not run.scenarios)
        play = next((p for p in catalog.plays.get(trajectory.dataset, []) if p.id == trajectory.scenario), None)
    except MlbError as error:
        return {}, f"criteria are shown by id only: {error}"
    if play is None:
        return {}, f"criteria are shown by id only: the scenario '{trajectory.scenario}' is not in the content found here"
    texts = {c.id: c.text for c in rubric_of(play).criteria}
    if play.content_hash != trajectory.content_hash:
        return texts, "the content has changed since this episode was played; the texts of the criteria are today's"
    return texts, ""


# --- showing ------------------------------------------------------------------------------------------------------------


def show_overview(screen: Screen, run: RunFolder, episodes: tuple[Episode, ...]) -> None:
    """The table of episodes, by dataset, and how to open one."""
    heads = ["#", "episode", "ended", "turns", "judged", "score", "harms"]
    rows: list[list[str]] = []
    group = ""
    for e in episodes:
        t = e.trajectory
        title = f"{t.dimension} / {t.dataset}"
        if title != group and not screen.plain:
            rows.append([title])
        group = title
        harms = " ".join(h.grade for h in e.judgement.score.harms) if e.judgement else ""
        judged = f"{e.judgement.score.criteria_judged:.0%}" if e.judgement and e.judgement.verdicts else "-"
        row = [str(e.number), t.episode, t.stop_reason, str(t.turns), judged, _score(e), harms or "-"]
        rows.append([*row[:2], t.dataset, *row[2:]] if screen.plain else row)
    if screen.plain:
        heads.insert(2, "dataset")
    screen.columns(heads, rows, right=frozenset(heads.index(h) for h in ("#", "turns", "judged", "score")), flex=1)
    screen.line()
    part = f"{len(episodes)} of " if len(episodes) < len(run.episodes) else ""
    shown = f"{part}{len(run.episodes)} episode{'' if len(run.episodes) == 1 else 's'}"
    if run.running:
        shown += "; the run has not ended, these are the episodes finished so far"
    screen.line(f"{shown}. Score `-`: nothing could be judged without a judge for meaning; `!`: ungraded, something failed.", "dim")
    example = episodes[0].number
    screen.line(f"Open one by number or name: mlb replay {run.path} {example}   (--lowest: the lowest score)", "dim")


def _score(episode: Episode) -> str:
    if episode.judgement is None or episode.judgement.score.ungraded:
        return "!" if episode.trajectory.failure or episode.judgement else "-"
    return "-" if episode.score is None else f"{episode.score:.3f}"


def show_episode(screen: Screen, run: RunFolder, episode: Episode, *, full: bool, with_verdicts: bool, step: bool) -> None:
    """One episode from its head to its score. With `step`, waits for Enter between turns; q ends."""
    t = episode.trajectory
    screen.head(header(t))
    shown = list(turns(t, full=full))
    for turn in shown:
        show_turn(screen, turn)
        if step and turn is not shown[-1] and not _go_on(screen):
            return
    if entries := conclusion(t):
        screen.rule("conclusion", f"minute {t.minutes}")
        for entry in entries:
            screen.entry(entry, "end")
    if not with_verdicts:
        return
    if step and not _go_on(screen):
        return
    if episode.judgement is None or not (episode.judgement.verdicts or episode.judgement.score.ungraded):
        screen.rule("verdicts")
        screen.line("This episode has not been judged.")
        return
    texts, remark = criterion_texts(run, t)
    show_verdicts(screen, episode.judgement, texts, t.lang)
    if remark:
        screen.line(remark, "dim italic")


def _go_on(screen: Screen) -> bool:
    """Wait for Enter. False: the reader wants to stop (q, or the end of the input)."""
    prompt = "Enter: next turn · q: quit "
    print(prompt, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)
    elif answer:
        screen.erase_line()
    return bool(answer) and answer.strip().lower() not in ("q", "quit")


def pauser(speed: float) -> Any:
    """A pause after each text, proportional to its length; `speed` 2 is twice as fast as reading pace."""

    def pause(text: str) -> None:
        time.sleep(min(LONGEST_PAUSE_S, width_of(text) / COLUMNS_PER_SECOND) / speed)

    return pause


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """A reader that closes the pipe (`| head`) ends the output quietly."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own last flush does not complain


# --- the command --------------------------------------------------------------------------------------------------------


def replay(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `mlb run` writes it.", show_default=False)],
    episode: Annotated[
        str | None, typer.Argument(metavar="EPISODE", help="Its name, or its number in the overview.", show_default=False)
    ] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", metavar="ID", help="Only episodes of this scenario.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Only episodes of this dataset.")] = None,
    worst: Annotated[int | None, typer.Option("--worst", metavar="N", min=1, help="List the N lowest scores.")] = None,
    lowest: Annotated[bool, typer.Option("--lowest", help="Open the episode with the lowest score.")] = False,
    step: Annotated[bool, typer.Option("--step", help="Wait for Enter between turns (q quits).")] = False,
    speed: Annotated[
        float | None, typer.Option("--speed", metavar="X", help="Play with pauses; 1 is reading pace, 2 twice as fast.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long texts and tool results in full.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain text (also when the output is piped).")] = False,
    no_verdicts: Annotated[bool, typer.Option("--no-verdicts", help="Leave out verdicts and score.")] = False,
) -> None:
    """Read what happened in a run: an overview of its episodes, or one episode as a dialogue with its verdicts."""
    if (worst is not None) + lowest + (episode is not None) > 1:
        raise UserError("--worst lists episodes, --lowest opens one, and so does EPISODE; give only one of the three")
    if step and speed is not None:
        raise UserError("--step waits for Enter and --speed plays by itself; give only one of them")
    if speed is not None and not (math.isfinite(speed) and speed > 0):
        raise UserError(f"--speed {speed} is not possible; give a number above 0, for example 2")
    found = read_run(run)
    chosen = tuple(
        e for e in found.episodes if scenario in (None, e.trajectory.scenario) and dataset in (None, e.trajectory.dataset)
    )
    if not chosen:
        wanted = " and ".join(f"{k} '{v}'" for k, v in (("scenario", scenario), ("dataset", dataset)) if v is not None)
        raise UserError(f"'{run}' holds no episode of {wanted}; `mlb replay {run}` lists what it holds")
    screen = Screen(plain=True if plain else None, after=pauser(speed) if speed is not None else None)
    with reader_may_leave():
        if episode is not None or lowest:
            one = find(found, episode, chosen) if episode is not None else _by_score(run, chosen)[0]
            show_episode(screen, found, one, full=full, with_verdicts=not no_verdicts, step=step)
        else:
            show_overview(screen, found, chosen if worst is None else tuple(_by_score(run, chosen)[:worst]))


def _by_score(run: Path, episodes: tuple[Episode, ...]) -> list[Episode]:
    """The scored episodes, lowest first; where scores are equal, the one with more harms first."""
    scored = [(e.score, -len(e.judgement.score.harms), e.number, e) for e in episodes if e.judgement and e.score is not None]
    if not scored:
        raise UserError(f"no episode of '{run}' has a score among those chosen; leave out --worst and --lowest")
    return [row[-1] for row in sorted(scored, key=lambda row: row[:3])]
