"""What a run may use up of tokens, money and time. Where a budget is spent the run stops cleanly and can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import RunStops, UserError

UNITS = ("tokens", "usd", "minutes")


class BudgetSpent(RunStops):
    """No further model call is begun, as a budget is spent. The calls under way are kept."""


@dataclass
class Budget:
    """`tokens` and `usd` (US dollars) of the whole run, what was spent before a resume included; `minutes` from now on. None: as many as it takes."""

    tokens: float | None = None
    usd: float | None = None
    minutes: float | None = None
    clock: Callable[[], float] = time.monotonic
    spent_tokens: int = 0
    spent_usd: float = 0.0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    @classmethod
    def read(cls, text: str) -> Budget:
        """From "usd=5,minutes=60".

        Raises:
            UserError: an unknown unit, no number above 0.
        """
        found: dict[str, float] = {}
        for part in (p.strip() for p in text.split(",") if p.strip()):
            name, _, amount = (x.strip() for x in part.partition("="))
            try:
                number = float(amount)
            except ValueError:
                number = 0.0
            if name not in UNITS or not 0 < number < float("inf") or name in found:
                raise UserError(f"--budget {text}: '{part}' is no limit; give tokens=N, usd=N, minutes=N, each once, joined by commas")
            found[name] = number
        if not found:
            raise UserError("--budget is given without a limit; give tokens=N, usd=N, minutes=N, joined by commas")
        return cls(tokens=found.get("tokens"), usd=found.get("usd"), minutes=found.get("minutes"))

    def add(self, tokens: int, usd: float | None) -> None:
        """One call more."""
        self.spent_tokens += tokens
        self.spent_usd += usd or 0.0

    def gone(self) -> str:
        """Which budget is spent, in words; empty while none is."""
        if self.tokens is not None and self.spent_tokens >= self.tokens:
            return f"the budget of {self.tokens:,.0f} tokens is spent ({self.spent_tokens:,})"
        if self.usd is not None and self.spent_usd >= self.usd:
            return f"the budget of US$ {self.usd:g} is spent (US$ {self.spent_usd:.4f})"
        if self.minutes is not None and self.clock() - self._began >= 60 * self.minutes:
            return f"the budget of {self.minutes:g} minutes is spent"
        return ""
