"""One playable scenario: a dataset's task, with an item, or with a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..spec.base import Lang
from ..spec.case import PatientCase
from ..spec.persona import Persona
from ..spec.scenario import Budget, Dataset, InteractiveScenario, Item, RecordTask


@dataclass(frozen=True)
class Play:
    """Everything needed to play and to judge one scenario. Either `item`, or `scenario` and `case`.

    `content_hash`: of the dataset's files and the case. `world`: the file of resources of a record task. `memo`: where upper layers keep what they compiled of it.
    """

    dataset: Dataset
    item: Item | None = None
    scenario: InteractiveScenario | None = None
    case: PatientCase | None = None
    personas: dict[str, Persona] = field(default_factory=dict)
    content_hash: str = ""
    world: Path | None = None
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def id(self) -> str:
        one = self.item or self.scenario
        assert one is not None
        return one.id

    @property
    def interactive(self) -> bool:
        """A scenario with a patient."""
        return self.scenario is not None

    @property
    def task(self) -> RecordTask | None:
        """The task in the record, if it is one."""
        return self.item if isinstance(self.item, RecordTask) else None

    @property
    def steps(self) -> bool:
        """Whether an episode has more than one step."""
        return self.scenario is not None or self.task is not None

    @property
    def langs(self) -> tuple[Lang, ...]:
        """The languages it can be played in."""
        if self.item is not None:
            return self.item.langs
        assert self.case is not None
        return self.case.title.langs

    @property
    def family(self) -> str:
        """The unit of clustering: the case's family, or the item's."""
        return self.case.family if self.case else self.item.family if self.item else ""

    @property
    def split(self) -> str:
        return self.case.split if self.case else self.item.split if self.item else ""

    @property
    def specialty(self) -> str:
        return self.case.specialty.code if self.case else self.item.specialty if self.item else ""

    @property
    def difficulty(self) -> str:
        if self.scenario and self.scenario.difficulty:
            return self.scenario.difficulty
        return self.case.difficulty.expected if self.case else self.item.difficulty if self.item else ""

    @property
    def budget(self) -> Budget:
        return (self.scenario.budget if self.scenario else None) or self.dataset.budget
