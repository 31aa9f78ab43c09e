"""The record of a scenario at the start, and as an episode left it: the base with the trajectory's changes on it."""

from __future__ import annotations

from ..catalog.play import Play
from ..errors import UserError
from ..spec.base import Lang
from ..spec.trajectory import Trajectory
from .bundles import world_of
from .store import Base, Store
from .world import build


def base_of(play: Play, lang: Lang) -> Base:
    """What stands in the record before an episode; shared by all episodes of the play.

    Raises:
        UserError: the scenario has no record.
        ContentError: the world's file is missing or broken.
    """
    key = f"record:{lang}"
    if key not in play.memo:
        if play.task is not None:
            play.memo[key] = world_of(play, play.task)
        elif play.case is not None and play.scenario is not None:
            added = play.scenario.chart.resources if play.scenario.chart else ()
            play.memo[key] = Base(build(play.case, lang, added))
        else:
            raise UserError(f"the scenario '{play.id}' has no record; it is a single question")
    made: Base = play.memo[key]
    return made


def start_of(play: Play, lang: Lang) -> Store:
    """A fresh copy of the record; the errors of `base_of`."""
    return Store(base_of(play, lang))


def end_of(store: Store, trajectory: Trajectory) -> Store:
    """The store with the changes of a trajectory on it."""
    for change in trajectory.record_changes:
        store.overlay[change.reference] = change.after
    return store
