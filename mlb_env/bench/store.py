"""The run folder: what is in it, how it is written so that nothing finished is ever lost, and how it is read.

    run.json            settings, versions, content hashes; written once, and locked while somebody writes to the folder
    journal.jsonl       while running: one finished episode a line, in order of completion
    trajectories.jsonl  when finished: one episode a line, in scenario order
    verdicts.jsonl      the same for the judgements
    summary.json        the figures
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..catalog.read import say
from ..errors import RunError, UserError
from ..spec.base import Model
from ..spec.rubric import Judgement
from ..spec.trajectory import Trajectory
from .settings import RunSettings
from .summary import Group, Row, Summary, groups_of, summarise

M = TypeVar("M", bound=BaseModel)
RUN, JOURNAL, TRAJECTORIES, VERDICTS, SUMMARY = (
    "run.json", "journal.jsonl", "trajectories.jsonl", "verdicts.jsonl", "summary.json",
)  # fmt: skip
_SYNC_S = 3.0  # how often the journal is forced to the disk; a killed process loses nothing, a power cut at most this
_HEAD, _MIDDLE = '{"trajectory":', ',"judgement":'
_DECODER = json.JSONDecoder()


class AgentSource(Model):
    """Which agent played: as it was named, its file, and the file's hash."""

    name: str
    file: str | None = None
    sha256: str | None = None


class RunHeader(Model):
    """run.json. `content`: dataset -> hash of its files and cases. `episodes`: how many the finished run has."""

    format: int = 1
    versions: dict[str, str]
    settings: RunSettings
    agent: AgentSource
    edition: str
    content: dict[str, str]
    episodes: int


@dataclass(frozen=True)
class Kept:
    """A finished episode as it is kept: its journal line, of which `head` bytes come before the end of the trajectory, and its row."""

    line: bytes
    head: int
    row: Row

    @classmethod
    def of(cls, trajectory: Trajectory, judgement: Judgement) -> Kept:
        """
        Raises:
            ValueError, TypeError, RecursionError: it cannot be written as JSON.
        """
        head = f"{_HEAD}{trajectory.model_dump_json()}".encode()
        line = head + f"{_MIDDLE}{judgement.model_dump_json()}}}\n".encode()
        return cls(line, len(head), Row.of(trajectory, judgement))


class RunStore:
    """A run folder that is being written. Made by `create` or `reopen`; one process at a time."""

    def __init__(self, folder: Path, header: RunHeader) -> None:
        self.folder, self.header = folder, header
        self.damaged = 0  # journal lines that could not be read; their episodes are played again
        self._rows: dict[str, Row] = {}
        self.ungraded = 0
        self._places: dict[str, tuple[int, int, int]] = {}  # episode -> offset in the journal, end of its trajectory, length
        self._lock = _lock(folder)
        self._synced = 0.0
        self._journal: IO[bytes] | None = None

    # --- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, header: RunHeader) -> RunStore:
        """A new run folder.

        Raises:
            UserError: the folder exists already, even empty, or cannot be made.
        """
        _make_folder(folder, header)
        store = cls(folder, header)
        store._open_journal()
        return store

    @classmethod
    def reopen(cls, folder: Path, *, drop_ungraded: bool = False) -> RunStore:
        """An unfinished run, with its finished episodes; or a finished one (only worth it to drop what stayed ungraded).

        Raises:
            UserError: not a run folder; another process writes to it.
        """
        store = cls(folder, read_header(folder))
        try:
            with _writing(folder):
                store._recover(drop_ungraded)
        except BaseException:
            store._lock.close()
            raise
        return store

    def _recover(self, drop_ungraded: bool) -> None:
        """Take over what is in the journal, or in the finished files; rewrite the journal where it has to lose lines."""
        journal = self.folder / JOURNAL
        if journal.exists():
            lines = _read_lines(journal)
        elif (self.folder / TRAJECTORIES).exists():
            _need_verdicts(self.folder)
            lines = _joined(self.folder)
        else:
            lines = iter(())
        kept: list[Kept] = []
        for line in lines:
            found = _kept_of(line)
            if found is None:
                self.damaged += 1
            elif found.row.episode not in self._rows and not (drop_ungraded and found.row.score.ungraded):
                self._rows[found.row.episode] = found.row
                self.ungraded += bool(found.row.score.ungraded)
                kept.append(found)
        if self.finished and not journal.exists():
            return
        if not journal.exists() or journal.stat().st_size != sum(len(k.line) for k in kept):
            _replace(journal, [k.line.decode() for k in kept])
        offset = 0
        for one in kept:
            self._places[one.row.episode] = (offset, one.head, len(one.line))
            offset += len(one.line)
        self._open_journal()

    def _open_journal(self) -> None:
        with _writing(self.folder):
            self._journal = (self.folder / JOURNAL).open("ab")

    # --- writing ----------------------------------------------------------------------------------------------------

    @property
    def done(self) -> set[str]:
        """The names of the episodes that are kept."""
        return set(self._rows)

    @property
    def count(self) -> int:
        """How many are kept."""
        return len(self._rows)

    @property
    def finished(self) -> bool:
        return len(self._rows) == self.header.episodes

    def add(self, kept: Kept) -> None:
        """Keep one finished episode.

        Raises:
            RunError: the disk is full, or cannot be written.
        """
        assert self._journal is not None
        with _writing(self.folder):
            offset = self._journal.tell()
            self._journal.write(kept.line)
            self._journal.flush()
            if time.monotonic() - self._synced > _SYNC_S:
                os.fsync(self._journal.fileno())
                self._synced = time.monotonic()
        self._places[kept.row.episode] = (offset, kept.head, len(kept.line))
        self._rows[kept.row.episode] = kept.row
        self.ungraded += bool(kept.row.score.ungraded)

    def finish(self, order: Sequence[str]) -> Summary:
        """Write the finished files in the order given, and remove the journal.

        Raises:
            RunError: the disk is full, or cannot be written; the journal is still there.
        """
        summary = summarise([self._rows[name] for name in order], trials=self.header.settings.trials)
        if self._journal is None:
            if not (self.folder / SUMMARY).is_file():
                with _writing(self.folder):
                    write_summary(self.folder, summary)
            return summary
        with _writing(self.folder):
            os.fsync(self._journal.fileno())
            with (self.folder / JOURNAL).open("rb") as journal:

                def parts(judged: bool) -> Iterator[str]:
                    for name in order:
                        offset, head, length = self._places[name]
                        begin, end = (head + len(_MIDDLE), length - len("}\n")) if judged else (len(_HEAD), head)
                        journal.seek(offset + begin)
                        yield journal.read(end - begin).decode() + "\n"

                _replace(self.folder / TRAJECTORIES, parts(False))
                _replace(self.folder / VERDICTS, parts(True))
            write_summary(self.folder, summary)
            self._journal.close()
            self._journal = None
            (self.folder / JOURNAL).unlink()
        return summary

    def close(self) -> None:
        """Let the folder go. What was added is on the disk."""
        try:
            if self._journal is not None:
                with _writing(self.folder):
                    os.fsync(self._journal.fileno())
                    self._journal.close()
        finally:
            self._lock.close()


# --- reading ------------------------------------------------------------------------------------------------------------


def read_header(folder: Path) -> RunHeader:
    """run.json of a run folder.

    Raises:
        UserError: the folder does not exist, is not a run, or its run.json is broken.
    """
    try:
        names = {p.name for p in folder.iterdir()}
    except FileNotFoundError:
        raise UserError(f"'{folder}' is not a run folder: no such folder") from None
    except NotADirectoryError:
        raise UserError(f"'{folder}' is not a run folder: it is a file") from None
    except OSError as error:
        raise UserError(f"'{folder}' is not a run folder: it cannot be read ({error.strerror})") from None
    if not names - {RUN + ".tmp"}:
        raise UserError(f"'{folder}' is empty: no run was begun in it; remove it and start the run anew")
    if RUN not in names:
        raise UserError(f"'{folder}' is not a run folder: it holds no {RUN}; give the --out of an `mlb run`")
    return read_json(folder / RUN, RunHeader)


def read_summary(folder: Path) -> Summary:
    """summary.json of a finished run.

    Raises:
        UserError: not a run, or not finished.
    """
    read_header(folder)
    if not (folder / SUMMARY).is_file():
        raise _unfinished(folder)
    return read_json(folder / SUMMARY, Summary)


def read_trajectories(folder: Path) -> Iterator[Trajectory]:
    """The episodes of a finished run, in scenario order.

    Raises:
        UserError: not finished; a line that cannot be read.
    """
    read_summary(folder)
    return _models(folder / TRAJECTORIES, Trajectory)


def read_played(folder: Path) -> Iterator[Trajectory]:
    """As `read_trajectories`, also where summary.json or verdicts.jsonl of the finished run are lost.

    Raises:
        UserError: not finished; a line that cannot be read.
    """
    if not (folder / TRAJECTORIES).is_file() or (folder / JOURNAL).exists():
        read_header(folder)
        raise _unfinished(folder)
    return _models(folder / TRAJECTORIES, Trajectory)


def read_rows(folder: Path) -> Iterator[Row]:
    """What the summary needs of each episode of a finished run, in scenario order.

    Raises:
        UserError: not finished; a line that cannot be read; verdicts of other episodes.
    """
    for trajectory, judgement in zip_longest(read_trajectories(folder), read_judgements(folder)):
        if trajectory is None or judgement is None or trajectory.episode != judgement.episode:
            raise UserError(f"'{folder}/{VERDICTS}' is not of the episodes that were played; `mlb grade {folder} --write` makes it again")
        yield Row.of(trajectory, judgement)


def read_groups(folder: Path, summary: Summary) -> dict[str, dict[str, Group]]:
    """`Summary.groups`, counted from the episodes where the summary is of an older version and has none.

    Raises:
        UserError: as `read_rows`.
    """
    return summary.groups or groups_of(list(read_rows(folder)), trials=summary.trials)


def has_judgements(folder: Path) -> bool:
    """Whether verdicts.jsonl is there."""
    return (folder / VERDICTS).is_file()


def read_judgements(folder: Path) -> Iterator[Judgement]:
    """The judgements of a finished run, in scenario order.

    Raises:
        UserError: not finished; a line that cannot be read.
    """
    read_summary(folder)
    return read_verdicts(folder)


def read_verdicts(folder: Path) -> Iterator[Judgement]:
    """As `read_judgements`, also where summary.json is lost.

    Raises:
        UserError: there are none; a line that cannot be read.
    """
    _need_verdicts(folder)
    return _models(folder / VERDICTS, Judgement)


def _need_verdicts(folder: Path) -> None:
    if not has_judgements(folder):
        raise UserError(f"the run in '{folder}' has lost its {VERDICTS}; `mlb grade {folder} --write` makes it again")


def _unfinished(folder: Path) -> UserError:
    return UserError(f"the run in '{folder}' is not finished; finish it with `mlb run --resume {folder}`")


def read_json(path: Path, model: type[M]) -> M:
    """One model from a JSON file of a run folder.

    Raises:
        UserError: not readable, or not what was expected.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise UserError(f"{path}: {say(error)[0]}; the file is damaged, or of another version of mlb-env") from None


def _models(path: Path, model: type[M]) -> Iterator[M]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield model.model_validate_json(line)
                except ValidationError as error:
                    raise UserError(f"{path}, line {number}: {say(error)[0]}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def split_line(line: str) -> tuple[str, str]:
    """A journal line as the very text of its trajectory and of its judgement.

    Raises:
        ValueError: it is not a journal line.
    """
    if not line.startswith(_HEAD):
        raise ValueError("not a journal line")
    _, end = _DECODER.raw_decode(line, len(_HEAD))
    if not line.startswith(_MIDDLE, end) or not line.endswith("}\n"):
        raise ValueError("not a journal line")
    return line[len(_HEAD) : end], line[end + len(_MIDDLE) : -2]


def _kept_of(line: bytes) -> Kept | None:
    """The episode of a journal line; None where the line is torn or damaged."""
    try:
        trajectory, judgement = split_line(line.decode())
        row = Row.of(Trajectory.model_validate_json(trajectory), Judgement.model_validate_json(judgement))
    except (ValueError, RecursionError):  # ValidationError and UnicodeDecodeError are ValueErrors
        return None
    return Kept(line, len(_HEAD) + len(trajectory.encode()), row)


def _read_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _joined(folder: Path) -> Iterator[bytes]:
    """The journal lines that a finished run came from."""
    with (folder / TRAJECTORIES).open("rb") as trajectories, (folder / VERDICTS).open("rb") as verdicts:
        for trajectory, judgement in zip_longest(trajectories, verdicts, fillvalue=b""):
            yield _HEAD.encode() + trajectory.rstrip(b"\n") + _MIDDLE.encode() + judgement.rstrip(b"\n") + b"}\n"


# --- files --------------------------------------------------------------------------------------------------------------


def _make_folder(folder: Path, header: RunHeader) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        if error.errno == errno.EEXIST and folder.exists():
            raise UserError(
                f"'{folder}' exists already; give another --out, or --resume it if it is an unfinished run"
            ) from None
        raise UserError(f"the run folder '{folder}' cannot be made ({error.strerror})") from None
    with _writing(folder):
        _write_header(folder, header)


def _write_header(folder: Path, header: RunHeader) -> None:
    _replace(folder / RUN, [json.dumps(header.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"])


def write_summary(folder: Path, summary: Summary) -> None:
    """Write summary.json, whole or not at all."""
    _replace(folder / SUMMARY, [json.dumps(summary.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"])


def rewrite_judgements(folder: Path, judgements: Sequence[Judgement], summary: Summary, header: RunHeader) -> None:
    """Replace verdicts.jsonl and summary.json of a finished run; run.json only where the judge is another one now.

    Raises:
        UserError: another process writes to the folder.
        RunError: the disk cannot be written.
    """
    lock = _lock(folder)
    try:
        with _writing(folder):
            _replace(folder / VERDICTS, (j.model_dump_json() + "\n" for j in judgements))
            write_summary(folder, summary)
            if header != read_header(folder):
                _write_header(folder, header)
    finally:
        lock.close()


def copy_run(source: Path, folder: Path, header: RunHeader, judgements: Sequence[Judgement], summary: Summary) -> None:
    """A new finished run folder with the trajectories of another and judgements of its own.

    Raises:
        UserError: the folder exists already.
        RunError: the disk cannot be written.
    """
    _make_folder(folder, header)
    with _writing(folder):
        shutil.copyfile(source / TRAJECTORIES, folder / TRAJECTORIES)
        _replace(folder / VERDICTS, (j.model_dump_json() + "\n" for j in judgements))
        write_summary(folder, summary)


def next_folder(agent: str, base: Path = Path("runs")) -> Path:
    """The next free `runs/<agent>-NNN`."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(agent).stem if agent.endswith(".py") else agent).strip("-.") or "agent"
    taken = [int(m.group(1)) for p in base.glob(f"{slug}-*") if (m := re.fullmatch(re.escape(slug) + r"-(\d+)", p.name))]
    return base / f"{slug}-{max(taken, default=0) + 1:03d}"


def _replace(path: Path, lines: Iterable[str]) -> None:
    """Write a file beside its place, then move it there: readers see the old one or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            for line in lines:
                file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _lock(folder: Path) -> IO[Any]:
    """Hold the folder until the file that is returned is closed, or the process ends, however it ends."""
    try:
        file = (folder / RUN).open("r+b")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"another process is writing to '{folder}'; wait for it, or stop it") from None
    except OSError as error:
        raise UserError(f"'{folder}' cannot be locked for writing ({error.strerror})") from None
    return file


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns a failing disk into one sentence."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"'{folder}' cannot be written ({error.strerror}); every finished episode is kept: make room, "
            f"then `mlb run --resume {folder}`"
        ) from error
