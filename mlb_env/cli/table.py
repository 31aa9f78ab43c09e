"""How a run's figures look in a terminal: 80 columns are enough, wider ones are used; piped, it is plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bench.store import RunHeader
from ..bench.summary import Group, HarmRate, Summary, TriageRate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..bench.stats import Interval
    from ..judge.triage import Direction

HARMS = {"S4": "death, permanent loss", "S3": "hospital stay", "S2": "temporary harm", "S1": "discomfort, cost"}
_PLOT = (12, 40)  # fewest and most columns of the plot


def console() -> Console:
    """The console of results: stdout, without guesses about what a text means."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(value: Interval | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value[0]:.{digits}f} – {value[1]:.{digits}f}"


def span(values: Sequence[int]) -> str:
    """One number, or from which to which."""
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} – {max(values)}"


def percent(value: float) -> str:
    """A share; what is not quite all is never shown as 100 %."""
    shown = round(100 * value)
    return f"{99 if shown == 100 and value < 1 else 1 if shown == 0 and value > 0 else shown} %"


def show_run(out: Console, header: RunHeader, summary: Summary, folder: Path) -> None:
    """The whole report of one run."""
    out.print()
    out.print(headline(header), style="bold")
    out.print()
    out.print(scores(summary, out.width))
    if summary.harms:
        out.print()
        out.print(harms(summary.harms))
    if summary.triage:
        out.print()
        out.print(triage(summary.triage))
    out.print()
    for line in notes(header, summary, folder):
        out.print(line, soft_wrap=line.startswith("  "))
    out.print(f"files   {folder}", soft_wrap=True)
    out.print(f"next    mlb replay {folder}", soft_wrap=True)


def headline(header: RunHeader) -> str:
    """Who played what, in one line."""
    s = header.settings
    parts = [agent_label(header), f"{header.episodes} episode{'' if header.episodes == 1 else 's'}", s.lang or "en", f"seed {s.seed}"]
    if s.trials > 1:
        parts.append(f"{s.trials} trials")
    parts += [f"patient {s.patient}", f"judge {s.judge}"]
    if header.edition != "ours":
        parts.append(f"edition {header.edition}")
    return " · ".join(parts)


def agent_label(header: RunHeader) -> str:
    name = header.settings.agent
    name = Path(name).name if name.endswith(".py") else name
    return f"{name} ({header.settings.model.model})" if header.settings.model else name


def scores(summary: Summary, width: int) -> Table:
    """Dimensions, their datasets, and the whole."""
    lenient = any(g.score_lenient is not None for g in summary.datasets.values())
    ungraded = summary.overall.ungraded > 0
    names = [*summary.dimensions, *(f"  {d}" for d in summary.datasets), "overall", *(["all items alike"] if summary.micro else [])]
    used = max(map(len, names)) + 6 + 7 + (9 if lenient else 0) + 15 + 8 + (10 if ungraded else 0) + 2
    plot = min(_PLOT[1], width - used)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("n", justify="right", min_width=4)
    table.add_column("score", justify="right", min_width=6)
    if lenient:
        table.add_column("lenient", justify="right", style="dim")
    table.add_column("95 % interval", justify="right", min_width=13)
    if plot >= _PLOT[0]:
        table.add_column(f"0{'1':>{plot - 1}}", min_width=plot, no_wrap=True)
    table.add_column("judged", justify="right")
    if ungraded:
        table.add_column("ungraded", justify="right")

    def add(name: str, group: Group, style: str) -> None:
        cells: list[str | Text] = [name, str(group.n), number(group.score)]
        if lenient:
            cells.append(number(group.score_lenient) if group.score_lenient is not None else "")
        cells.append(interval(group.ci95))
        if plot >= _PLOT[0]:
            cells.append(strip(group, plot))
        cells.append(percent(group.criteria_judged))
        if ungraded:
            cells.append(Text(str(group.ungraded), style="bold red") if group.ungraded else "0")
        table.add_row(*cells, style=style)

    for dimension, group in summary.dimensions.items():
        add(dimension, group, "bold")
        for dataset in _of(summary, dimension):
            add(f"  {dataset}", summary.datasets[dataset], "")
    table.add_section()
    table.add_row()
    add("overall", summary.overall, "bold")
    if summary.micro is not None:
        add("all items alike", summary.micro, "dim")
    return table


def by_group(groups: Sequence[tuple[str, dict[str, Group]]], by: str) -> Table:
    """The values of one grouping, such as the specialties, in one or more runs: (label, value -> figures)."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(by, no_wrap=True)
    table.add_column("n", justify="right")
    for label, _ in groups:
        table.add_column("score" if len(groups) == 1 else label, justify="right", overflow="fold")
        table.add_column("95 % interval", justify="right", no_wrap=True)
    if len(groups) == 1:
        table.add_column("judged", justify="right")
        table.add_column("families", justify="right")
    for value in dict.fromkeys(v for _, own in groups for v in own):
        found = [own.get(value) for _, own in groups]
        cells = [value, span([g.n for g in found if g])]
        for group in found:
            cells += [number(group.score), interval(group.ci95, 2)] if group else ["–", "–"]
        if len(found) == 1 and found[0]:
            cells += [percent(found[0].criteria_judged), str(found[0].clusters)]
        table.add_row(*cells)
    return table


def _of(summary: Summary, dimension: str) -> list[str]:
    """The datasets of a dimension. Both maps stand in scenario order, so the numbers of episodes tell where one ends."""
    names, place = list(summary.datasets), 0
    for name, group in summary.dimensions.items():
        own, left = [], group.n
        while left > 0:
            own.append(names[place])
            left -= summary.datasets[names[place]].n
            place += 1
        if name == dimension:
            return own
    return []


def strip(group: Group, width: int) -> Text:
    """The score and its interval on a line from 0 to 1."""
    if group.score is None:
        return Text("·" * width, style="dim")
    line = Text()
    at = round(group.score * (width - 1))
    low, high = (round(v * (width - 1)) for v in group.ci95) if group.ci95 else (at, at)
    colour = "green" if group.score >= 0.8 else "yellow" if group.score >= 0.4 else "red"
    for i in range(width):
        if i == at:
            line.append("●", style=f"bold {colour}")
        elif low <= i <= high:
            line.append("━", style=colour)
        else:
            line.append("·", style="dim")
    return line


def harms(rates: dict[str, HarmRate]) -> Table:
    """Harms by grade: how many, and in how many of the episodes that held the opportunity."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("harm", no_wrap=True)
    for name in ("count", "acts", "omissions", "episodes", "per 100", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for grade, rate in rates.items():
        style = "bold red" if rate.count and grade in ("S4", "S3") else ""
        table.add_row(f"{grade} {HARMS[grade]}", str(rate.count), str(rate.acts), str(rate.omissions),
                      f"{rate.harmed} of {rate.episodes}", number(rate.per_100, 1), interval(rate.ci95, 1), style=style)  # fmt: skip
    return table


def triage(rates: Mapping[Direction, TriageRate]) -> Table:
    """Under- and over-triage: in how many of the episodes that held the opportunity."""
    words = {"under": "under: too calm or too late", "over": "over: two or more steps"}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("triage", no_wrap=True)
    for name in ("episodes", "per 100", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for direction, rate in rates.items():
        table.add_row(words[direction], f"{rate.erred} of {rate.episodes}", number(rate.per_100, 1), interval(rate.ci95, 1))
    return table


def _trust(header: RunHeader) -> list[str]:
    """How far the judges of meaning may be believed."""
    settings = header.settings
    if not settings.meaning:
        return []
    lines = []
    names, measured = ", ".join(settings.meaning), settings.calibration
    if measured is None:
        lines.append(f"UNCALIBRATED: meaning was judged by {names}, whose agreement with people was not given (mlb judge agree LABELS --judge ... "
                     "--save FILE, then --calibration FILE); do not quote these scores as results.")  # fmt: skip
    elif not measured.passes():
        lines.append(f"UNCALIBRATED: on {measured.items} labels {names} agreed with people at kappa {number(measured.kappa)} (coverage "
                     f"{percent(measured.coverage)}); asked are 100 labels, coverage 90 %, kappa 0.6 and surely above 0.4.")  # fmt: skip
    else:
        lines.append(f"Meaning was judged by {names}: kappa {number(measured.kappa)} with people on {measured.items} labels.")
    if len(settings.meaning) == 1:
        lines.append("Serious gates (S3, S4) that need meaning were left open: they take two judges that agree.")
    if settings.model and any(family(m.model) == family(settings.model.model) for m in settings.judge_models):
        lines.append("The judge and the model under test are of one family: it may favour its like.")
    return lines


def family(model: str) -> str:
    """The first word of a model's name, without its vendor: qwen of Qwen/Qwen3-8B."""
    return re.split(r"[^a-z]", model.rpartition("/")[2].lower(), maxsplit=1)[0]


def notes(header: RunHeader, summary: Summary, folder: Path) -> list[str]:
    """What the figures do not say by themselves."""
    lines = []
    unscored = [n for n, g in summary.datasets.items() if g.score is None and g.ungraded < g.n]
    if header.settings.judge == "none":
        lines.append(f"Nothing was judged (--judge none); judge the saved episodes with: mlb grade {folder} --write")
    elif unscored:
        lines.append(f"No score offline, because a judge for meaning is needed: {', '.join(unscored)}.")
    lines += _trust(header)
    if any(g.ci95 and g.ci95[0] == g.ci95[1] for g in summary.datasets.values()):
        lines.append("An interval of width 0 says that all families scored alike, not that the score is certain.")
    if summary.detectable is not None:
        lines.append(f"Power: two runs of this size show true differences of overall from about {summary.detectable:.2f} on (80 % power, two-sided 5 %, "
                     f"{summary.overall.clusters} families, unpaired); mlb compare pairs the items and says its own.")  # fmt: skip
    if summary.coverage < 1:
        lines.append(f"Coverage {percent(summary.coverage)}: {summary.overall.ungraded} of {summary.overall.n} episodes have no "
                     "score because something failed:")  # fmt: skip
        lines += [f"  {count} × {reason}" for reason, count in list(summary.failures.items())[:5]]
        if len(summary.failures) > 5:
            lines.append(f"  and {len(summary.failures) - 5} more reasons; see verdicts.jsonl")
        lines.append(f"  play them again with: mlb run --resume {folder} --retry-ungraded")
    if summary.patients:
        p = summary.patients
        extra = "".join(f" · {n} {what}" for n, what in ((p.refused, "wordings sent back"), (p.fallbacks, "fallbacks"), (p.doubts, "doubted")) if n)
        lines.append(f"Patients: {p.replies:,} replies, {p.facts:,} facts told, {p.unparsed:,} questions not understood, {p.repeated:,} asked "
                     f"again{extra}; mlb patients audit {folder}")  # fmt: skip
    if summary.trials > 1:
        for what, values in (("pass@k", summary.overall.pass_at_k), ("pass^k", summary.overall.pass_hat_k)):
            if values:
                lines.append(f"{what} (score ≥ {summary.success_threshold}): "
                             + ", ".join(f"k={k} {v:.3f}" for k, v in values.items()))  # fmt: skip
    for role, spent in summary.usage.items():
        cost = "cost unknown" if spent.cost is None else f"US$ {spent.cost:.2f}"
        lines.append(f"{role}: {spent.calls} model calls, {spent.prompt_tokens} + {spent.completion_tokens} tokens, {cost}")
    return lines
