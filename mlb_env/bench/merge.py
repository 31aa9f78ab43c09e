"""Puts the shards of a run together: the folder that a run in one piece would have written, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from ..errors import UserError
from ..spec.rubric import Judgement
from ..spec.trajectory import Trajectory
from .store import Kept, RunHeader, RunStore, read_header, read_judgements, read_trajectories
from .summary import Summary


def merged(shards: Sequence[Path], out: Path) -> Summary:
    """Write the whole run to the new folder `out`.

    Raises:
        UserError: not shards of one run, one missing or twice, one unfinished; `out` exists already.
        RunError: the disk cannot be written.
    """
    headers = [read_header(folder) for folder in shards]
    of = headers[0].settings.part[1]
    by_part: dict[int, Path] = {}
    for folder, header in zip(shards, headers, strict=True):
        which, parts = header.settings.part
        if header.settings.shard is None:
            raise UserError(f"'{folder}' is no shard: it was run without --shard")
        if parts != of or _ground(header) != _ground(headers[0]):
            raise UserError(f"'{folder}' and '{shards[0]}' are not shards of one run: settings, content, agent or versions differ")
        if which in by_part:
            raise UserError(f"'{folder}' and '{by_part[which]}' are the same shard, {header.settings.shard}")
        by_part[which] = folder
    if missing := [f"{i}/{of}" for i in range(1, of + 1) if i not in by_part]:
        raise UserError(f"{len(missing)} of {of} shards are missing: {', '.join(missing[:10])}")
    settings = headers[0].settings.model_copy(update={"shard": None})
    content = {name: digest for i in range(1, of + 1) for name, digest in headers[shards.index(by_part[i])].content.items()}
    names = [t.dataset for t, _ in _whole(by_part, of)]
    header = headers[0].model_copy(update={"settings": settings, "episodes": len(names), "content": {n: content[n] for n in dict.fromkeys(names)}})
    store = RunStore.create(out, header)
    try:
        order = []
        for trajectory, judgement in _whole(by_part, of):
            store.add(Kept.of(trajectory, judgement))
            order.append(trajectory.episode)
        return store.finish(order)
    finally:
        store.close()


def _whole(by_part: dict[int, Path], of: int) -> Iterator[tuple[Trajectory, Judgement]]:
    """All episodes in order, a few at a time in memory: shard i holds the episodes i, i + n, i + 2n ... of the whole."""
    played = [zip(read_trajectories(by_part[i]), read_judgements(by_part[i]), strict=True) for i in range(1, of + 1)]
    for row in zip_longest(*played):
        yield from (pair for pair in row if pair is not None)


def _ground(header: RunHeader) -> RunHeader:
    """What shards of one run have in common. Which datasets a shard has any episode of depends on the shard."""
    return header.model_copy(update={"settings": header.settings.model_copy(update={"shard": None}), "episodes": 0, "content": {}})
