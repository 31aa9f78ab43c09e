"""How a dialogue looks in a terminal: the shared rendering of `mlb replay` and `mlb play`.

A trajectory becomes `Entry`s (who, what); a `Screen` shows them, in colour with a gutter, or as plain text in which every
line bears its place and kind (`T03 patient     | ...`), stable and easy to grep. What stands in a trajectory is data: no
markup in it is interpreted, and control characters are shown as visible signs, so that it cannot drive the terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from .. import codes
from ..judge.score import DECIDED, PROCESS_SHARE
from ..spec.action import Message, ToolCall
from ..spec.base import L, Lang
from ..spec.forms import CLOSING
from ..spec.jsontext import BadJson, parse_json
from ..spec.rubric import Judgement, Kind, Verdict
from ..spec.trajectory import RecordChange, ToolEvent, Trajectory

WIDEST = 120  # lines longer than this are hard to read
GUTTER = 14
LIMITS: dict[str, tuple[int, int]] = {"tool": (12, 800), "call": (12, 600), "record": (6, 400)}  # kind -> lines, characters
DEFAULT_LIMIT = (60, 4000)
STYLES = {
    "task": "blue", "scene": "magenta", "patient": "green", "agent": "cyan", "call": "yellow", "tool": "yellow", "system": "red",
    "learned": "green", "unanswered": "red", "event": "magenta", "record": "blue", "conclusion": "cyan", "failure": "red",
    "met": "green", "unmet": "red", "ungraded": "red", "harm": "red", "score": "bold",
}  # fmt: skip
QUIET = frozenset({"task", "tool", "learned", "unanswered", "event", "record", "n/a", "not_judged", "note"})
MARKS = {"met": "✓", "unmet": "✗", "not_applicable": "–", "not_judged": "?", "ungraded": "!"}

_BIDI = "\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c"
_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ud800-\udfff]")
_CLUSTER = re.compile(
    "(?:[\U0001f1e6-\U0001f1ff]{2}|.)(?:[\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]|\u200d.)*", re.DOTALL
)
_NOT_FIRST = frozenset("，。、；：？！）】》」』”’…,.;:?!)]}%")
_NOT_LAST = frozenset("（【《「『“‘([{")


# --- text ---------------------------------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """Text that cannot drive a terminal: control, escape and direction characters become visible signs."""
    return _CONTROL.sub(_visible, text.replace("\r\n", "\n").replace("\t", "    "))


def _visible(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures: ␛ for escape
    return "␡" if code == 0x7F else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def width_of(text: str) -> int:
    """Columns that a text takes in a terminal: Chinese characters and emoji take two."""
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text filled with spaces to `width` columns."""
    space = " " * max(0, width - width_of(text))
    return space + text if right else text + space


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns. Breaks at spaces and between Chinese characters, never before closing or
    after opening punctuation; a word longer than a line is cut. An indented line stays indented where it goes on."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        body = paragraph.lstrip(" ")
        indent = min(len(paragraph) - len(body), width // 3)
        lines += [(" " * indent + row).rstrip() for row in _wrap_paragraph(body, max(2, width - indent))]
    return lines


def _wrap_paragraph(text: str, width: int) -> list[str]:
    lines, line, used = [], "", 0
    for token in _tokens(text):
        size = width_of(token)
        if used + size > width and (token.isspace() or line.strip()):
            lines.append(line.rstrip())
            line, used = "", 0
            if token.isspace():
                continue
        while size > width - used:
            head = _head(token, width - used)
            lines.append(line + head)
            token, line, used = token[len(head) :], "", 0
            size = width_of(token)
        line, used = line + token, used + size
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _tokens(text: str) -> Iterator[str]:
    """Pieces that are not to be broken: runs of spaces, words, single wide characters with the punctuation that goes with them."""
    held = ""
    wide_before = False
    for cluster in _CLUSTER.findall(text):
        wide = width_of(cluster) > 1
        blank = cluster.isspace()
        if held:
            joined = blank == held[-1].isspace() and not ((wide or wide_before) and not blank)
            glued = not blank and not held[-1].isspace() and (cluster[0] in _NOT_FIRST or held[-1] in _NOT_LAST)
            if not (joined or glued):
                yield held
                held = ""
        held, wide_before = held + cluster, wide
    if held:
        yield held


def _head(token: str, room: int) -> str:
    """The part of a token that fits into `room` columns, at least one character."""
    head, used = "", 0
    for cluster in _CLUSTER.findall(token):
        size = width_of(cluster)
        if head and used + size > room:
            break
        head, used = head + cluster, used + size
    return head


def shorten(text: str, lines: int, characters: int) -> tuple[str, int]:
    """The beginning of a text, and how many characters were cut."""
    kept = "\n".join(text.split("\n")[:lines])[:characters]
    return (kept, len(text) - len(kept)) if len(kept) < len(text) else (text, 0)


def pretty(value: Any, indent: int = 0) -> list[str]:
    """A JSON value as indented lines, empty values left out of objects."""
    space = "  " * indent
    if isinstance(value, dict):
        made: list[str] = []
        for key, inner in value.items():
            if inner in (None, "", [], {}):
                continue
            if isinstance(inner, dict | list):
                made += [f"{space}{key}:", *pretty(inner, indent + 1)]
            else:
                made += _scalar(f"{space}{key}: ", inner)
        return made or [f"{space}(empty)"]
    if isinstance(value, list):
        made = []
        for inner in value:
            rows = pretty(inner, indent + 1) if isinstance(inner, dict | list) else _scalar(space + "  ", inner)
            made += [f"{space}- {rows[0].strip()}", *rows[1:]]
        return made or [f"{space}(none)"]
    return _scalar(space, value)


def _scalar(lead: str, value: Any) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    first, *rest = text.split("\n")
    return [lead + first, *(" " * len(lead) + r for r in rest)]


def compact(value: Any, characters: int) -> str:
    """A JSON value on one line, cut with a note how much is missing."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\n", "⏎")
    return text if len(text) <= characters else f"{text[:characters]}… (+{len(text) - characters} characters)"


# --- entries ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One thing to show. `kind`: who or what; `text`: what; `note`: a remark of ours about it."""

    kind: str
    text: str
    note: str = ""


def cut(kind: str, text: str, full: bool, note: str = "") -> Entry:
    """An entry, shortened to the limit of its kind with a note how much was cut."""
    if full:
        return Entry(kind, text, note)
    kept, missing = shorten(text, *LIMITS.get(kind, DEFAULT_LIMIT))
    said = f"… {missing:,} more characters (--full shows all)" if missing else ""
    return Entry(kind, kept, "; ".join(n for n in (note, said) if n))


def header(trajectory: Trajectory) -> list[tuple[str, str]]:
    """The head of a replay: name and value."""
    t = trajectory
    rows = [
        ("episode", t.episode),
        ("scenario", f"{t.scenario} ({t.difficulty}, {t.specialty}, family {t.family}, {t.split})"),
        ("dataset", f"{t.dimension} / {t.dataset}, edition {t.edition}"),
        ("language", t.lang),
    ]
    if t.case:
        rows.append(("case", f"{t.case} {t.case_version}"))
    if t.persona:
        rows.append(("persona", t.persona))
    rows.append(("seed", f"{t.seed}, trial {t.trial}"))
    rows.append(("clock", f"{t.turns} turns, {t.minutes} minutes, {t.malformed} malformed actions"))
    for role, usage in t.usage.items():
        cost = f", {usage.cost:.4f} USD" if usage.cost is not None else ""
        counts = f"{usage.calls} calls, {usage.prompt_tokens} prompt and {usage.completion_tokens} completion tokens"
        rows.append((f"usage {role}", counts + cost))
    rows.append(("ended", t.stop_reason + (f": {t.failure}" if t.failure else "")))
    return rows


@dataclass(frozen=True)
class Turn:
    """What one turn shows. `minute`: the episode clock at its start."""

    number: int
    minute: int
    entries: tuple[Entry, ...]


def turns(trajectory: Trajectory, *, full: bool) -> Iterator[Turn]:
    """The turns of an episode in order; turn 0 is what stands before the agent's first action."""
    numbers = {m.turn for m in trajectory.messages} | {e.turn for e in trajectory.ledger} | set(range(trajectory.turns + 1))
    for number in sorted(numbers):
        messages = [m for m in trajectory.messages if m.turn == number]
        said = list(_said(messages, [e for e in trajectory.tools if e.turn == number], full))
        entries = (*said, *_learned(trajectory, number), *_beside(trajectory, number), *_changes(trajectory, number, full))
        yield Turn(number, messages[0].minute if messages else 0, entries)


def _said(messages: list[Message], events: list[ToolEvent], full: bool) -> Iterator[Entry]:
    """Speech, tool calls with their results beside them, notices."""
    calls: dict[str, ToolCall] = {}
    done = iter([e for e in events if e.name != "result"])  # `result`: a test's result that came in by itself
    for message in messages:
        if message.role == "assistant":
            calls |= {c.id: c for c in message.tool_calls}
            if message.content.strip() or not message.tool_calls:
                yield cut("agent", message.content or "(nothing)", full)
        elif message.role == "tool":
            call = calls.pop(message.tool_call_id or "", None)
            event = next(done, None)
            if call is not None and call.name in CLOSING and event is not None and event.ok and not full:
                yield Entry("call", call.name, "the form stands under conclusion")
            elif call is not None:
                yield _call(call, full)
            yield cut("tool", message.content, full, _outcome(event))
        else:
            yield cut(message.speaker, message.content, full)
    for call in calls.values():
        yield _call(call, full, "not carried out")


def _call(call: ToolCall, full: bool, note: str = "") -> Entry:
    try:
        arguments = parse_json(call.arguments)
    except BadJson:
        return cut("call", f"{call.name} {call.arguments}", full, "; ".join(n for n in ("arguments are not valid JSON", note) if n))
    if not isinstance(arguments, dict):
        return cut("call", f"{call.name} {call.arguments}", full, note)
    lines = [f"{key}={value if full and isinstance(value, str) else compact(value, 10**6 if full else 160)}"
             for key, value in arguments.items()]  # fmt: skip
    short = sum(len(line) + 1 for line in lines) <= 100
    return cut("call", " ".join([call.name, *lines]) if short else "\n  ".join([call.name, *lines]), full, note)


def _outcome(event: ToolEvent | None) -> str:
    if event is None or event.ok:
        return ""
    return f"refused: {event.refused}" if event.refused else "no result"


def _topic(topic: str, lang: Lang) -> str:
    known = codes.topics().get(topic)
    return f"{topic}, {known.label(lang)}" if known else topic


def _learned(trajectory: Trajectory, turn: int) -> Iterator[Entry]:
    for entry in trajectory.ledger:
        if entry.turn == turn:
            how = f"by {entry.route}, {entry.condition}" + (f", as {entry.told}" if entry.told != "truth" else "")
            yield Entry("learned", f"{entry.fact} ({_topic(entry.topic, trajectory.lang)}) {how}")


def _beside(trajectory: Trajectory, turn: int) -> Iterator[Entry]:
    """Questions that no new fact answered, and what else the patient did."""
    for answer in trajectory.answers:
        if answer.turn == turn:
            yield Entry("unanswered", f"{answer.kind}: {_topic(answer.topic, trajectory.lang) if answer.topic else '-'}")
    for event in trajectory.patient_events:
        if event.turn == turn:
            yield Entry("event", f"{event.kind}" + (f": {event.id}" if event.id else ""))


def _changes(trajectory: Trajectory, turn: int, full: bool) -> Iterator[Entry]:
    for change in trajectory.record_changes:
        if change.turn == turn:
            by = "" if change.by == "agent" else f" (by the {change.by})"
            yield cut("record", f"{change.operation} {change.reference}{by}{_difference(change)}", full)


def _difference(change: RecordChange) -> str:
    before, after = change.before or {}, change.after or {}
    keys = [k for k in {**before, **after} if before.get(k) != after.get(k) and k not in ("resourceType", "id")]
    shown = []
    for key in keys:
        old, new = compact(before.get(key), 80), compact(after.get(key), 160)
        shown.append(f"{key}: {new}" if key not in before else f"{key}: {old} → {new if key in after else '(gone)'}")
    return "".join(f"\n  {line}" for line in shown)


def conclusion(trajectory: Trajectory) -> list[Entry]:
    """The closing form, or why there is none."""
    if trajectory.failure:
        return [Entry("failure", f"the episode failed and stays without a score: {trajectory.failure}")]
    if trajectory.conclusion is None:
        alone = trajectory.stop_reason == "concluded"  # a single-step item: the answer stands in turn 1
        return [] if alone else [Entry("failure", f"no conclusion: the episode ended with {trajectory.stop_reason}")]
    return [Entry("conclusion", "\n".join(pretty(trajectory.conclusion)))]


# --- verdicts -----------------------------------------------------------------------------------------------------------

_MEANING = {
    "outcome": "what was reached; earns weight",
    "process": "how it was reached; earns weight",
    "safety": "harm; earns nothing, unmet subtracts and may cap the score",
}


def verdicts(judgement: Judgement, texts: Mapping[str, L], lang: Lang) -> Iterator[tuple[str, list[Entry]]]:
    """The verdicts in groups (heading, entries): outcome, process, safety, marks beside the score."""
    kinds: tuple[Kind, ...] = ("outcome", "process", "safety")
    failure = judgement.score.ungraded  # said once, with the score
    for kind in kinds:
        found = [v for v in judgement.verdicts if v.kind == kind and not v.reported_only]
        if found:
            yield f"{kind} ({_MEANING[kind]})", [_verdict(v, texts, lang, failure) for v in found]
    beside = [v for v in judgement.verdicts if v.reported_only]
    if beside:
        yield "reported beside the score (not counted)", [_verdict(v, texts, lang, failure) for v in beside]


def _verdict(v: Verdict, texts: Mapping[str, L], lang: Lang, failure: str) -> Entry:
    kind = "n/a" if v.verdict == "not_applicable" else v.verdict
    partial = f", share {v.share:.2f}" if v.verdict in DECIDED and v.share not in (0.0, 1.0, -1.0) else ""
    gate = f", gate {v.gate}" if v.gate else ""
    text = texts[v.criterion][lang] if v.criterion in texts else ""
    notes = [
        _turn_list(v.evidence),
        "" if v.verdict == "not_judged" or v.reason == failure else v.reason,
        f"judge {v.judge}" if v.judge not in ("", "rules") else "",
    ]
    head = f"{MARKS[v.verdict]} {v.criterion} (weight {v.weight:g}{partial}{gate})"
    return Entry(kind, f"{head} {text}".rstrip(), "; ".join(n for n in notes if n))


def _turn_list(evidence: tuple[int, ...]) -> str:
    return "turn " + ", ".join(str(turn) for turn in sorted(set(evidence))) if evidence else ""


def arithmetic(judgement: Judgement) -> list[Entry]:
    """Harms, and how the score comes about from the verdicts (clinical design 3.9)."""
    score = judgement.score
    entries = [
        Entry("harm", f"{h.grade} by {h.kind}: {h.criterion}", _turn_list(h.evidence))
        for h in score.harms
    ]
    lines = [_share("O", "outcome", score.outcome, judgement), _share("P", "process", score.process, judgement)]
    if score.counts is not None:
        c = score.counts
        lines.insert(0, f"strict: {c.tp:g} right, {c.fp:g} wrong, {c.fn:g} missed; lenient: {c.lenient_tp:g} right, "
                        f"{c.lenient_fp:g} wrong, {c.lenient_fn:g} missed")  # fmt: skip
    lines.append(f"judged: {score.criteria_judged:.0%} of the rubric's weight")
    if score.value is None:
        why = score.ungraded or "nothing that counts for the outcome could be judged by rules; it needs a judge for meaning"
        lines.append(f"score = none ({'ungraded: ' if score.ungraded else 'not judged: '}{why})")
    else:
        process = 1.0 if score.process is None else score.process
        whole = f"O {score.outcome:.3f} × ({1 - PROCESS_SHARE:g} + {PROCESS_SHARE:g} × P {process:.3f})"
        worst = max((h.grade for h in score.harms), default="")
        capped = f"min(cap {score.cap:.2f} for {worst}, {whole})" if score.cap is not None else whole
        lines.append(f"score = {capped} = {score.value:.3f}")
    return [*entries, Entry("score", "\n".join(lines))]


def _share(letter: str, kind: Kind, value: float | None, judgement: Judgement) -> str:
    decided = [v for v in judgement.verdicts if v.verdict in DECIDED and not v.reported_only]
    total = sum(v.weight for v in decided if v.kind == kind)
    earned = sum(v.weight * max(0.0, v.share) for v in decided if v.kind == kind)
    lost = sum(-v.share * v.weight for v in decided if v.kind == "safety" and v.verdict == "unmet") if kind == "outcome" else 0.0
    if value is None:
        return f"{letter} = none (no {kind} criterion was decided" + ("; P counts as 1)" if kind == "process" else ")")
    top = f"({earned:.2f} earned - {lost:.2f} lost to safety)" if lost else f"{earned:.2f} earned"
    return f"{letter} = {top} / {total:.2f} {kind} weight decided = {value:.3f}"


# --- screen -------------------------------------------------------------------------------------------------------------


class Screen:
    """Where entries are shown. Every text passes `clean` here.

    Args:
        plain: no colour, no boxes, no wrapping; None: plain unless standard output is a terminal.
        after: called with each text once it is shown (for pauses).
        out: where to write; None: standard output.
    """

    def __init__(
        self, *, plain: bool | None = None, after: Callable[[str], None] | None = None, out: TextIO | None = None
    ) -> None:
        from rich.console import Console

        self._out = out or sys.stdout
        reconfigure = getattr(self._out, "reconfigure", None)
        if reconfigure is not None and not (getattr(self._out, "encoding", None) or "").lower().startswith("utf"):
            reconfigure(errors="backslashreplace")  # a terminal without Unicode shows signs instead of failing
        self.plain = not self._out.isatty() if plain is None else plain
        self._after = after
        self._console = Console(file=self._out, markup=False, emoji=False, highlight=False)
        self.width = min(self._console.width, WIDEST)

    def line(self, text: str = "", style: str = "") -> None:
        """One line as it is, without a gutter."""
        text = clean(text)
        if self.plain:
            print(text, file=self._out, flush=True)
        else:
            for row in wrap(text, self.width):
                self._row([(row, style)])

    def head(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and values."""
        for name, value in rows:
            self.entry(Entry(name, value), "head")

    def rule(self, text: str, right: str = "") -> None:
        """A heading across the screen."""
        text, right = clean(text), clean(right)
        if self.plain:
            print(f"== {text}{', ' + right if right else ''} ==", file=self._out, flush=True)
            return
        self._row([])
        room = max(2, self.width - width_of(text) - width_of(right) - (7 if right else 4))
        self._row([("── ", "dim"), (text, "bold"), (" " + "─" * room, "dim"), (f" {right} ─" if right else "", "dim")])

    def entry(self, entry: Entry, where: str, label: str | None = None) -> None:
        """One entry. `where`: its place in plain text (`T03`, `head`, `end`); `label`: shown instead of the kind."""
        text, note = clean(entry.text), clean(entry.note)
        kind = clean(label or entry.kind).replace("\n", " ")
        if self.plain:
            rows = text.split("\n") + ([f"[{note}]"] if note else [])
            for row in rows:
                print(f"{where:<4} {pad(kind + ' ', 12)}| {row}".rstrip(), file=self._out, flush=True)
        else:
            self._gutter(entry.kind, kind, text, note)
        if self._after is not None:
            self._after(text)

    def _gutter(self, kind: str, label: str, text: str, note: str) -> None:
        style = STYLES.get(kind, "")
        body = "dim" if kind in QUIET else "bold" if kind == "score" else ""
        room = self.width - GUTTER
        rows = [(row, body) for row in wrap(text, room)] + [(row, "dim italic") for row in (wrap(note, room) if note else [])]
        for i, (row, row_style) in enumerate(rows):
            name = pad(label if width_of(label) < GUTTER - 2 else _head(label, GUTTER - 3), GUTTER - 3, right=True)
            first = (name if i == 0 else " " * (GUTTER - 3), f"bold {style}".strip())
            self._row([first, (" ┃ ", style or "dim"), (row, row_style)])

    def _row(self, parts: list[tuple[str, str]]) -> None:
        from rich.text import Text

        row = Text(no_wrap=True, overflow="ignore", end="\n")
        for text, style in parts:
            row.append(text, style=style)
        self._console.print(row, soft_wrap=True)

    def columns(self, heads: list[str], rows: list[list[str]], *, right: frozenset[int] = frozenset(), flex: int = 0) -> None:
        """Aligned columns. A row of one cell is a heading. On a terminal the column `flex` is folded to fit the width."""
        rows = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
        full = [row for row in rows if len(row) > 1]
        sizes = [max([width_of(h), *(width_of(row[i]) for row in full)]) for i, h in enumerate(heads)]
        over = sum(sizes) + 2 * (len(sizes) - 1) - self.width
        if not self.plain and over > 0:
            sizes[flex] = max(12, sizes[flex] - over)
        for number, row in enumerate([heads, *rows]):
            if len(row) == 1 and len(heads) > 1:
                self.line(row[0], "bold cyan")
                continue
            folded = wrap(row[flex], sizes[flex]) if not self.plain else [row[flex]]
            for i, part in enumerate(folded):
                cells = [(part if j == flex else cell if i == 0 else "") for j, cell in enumerate(row)]
                text = "  ".join(pad(cell, sizes[j], right=j in right) for j, cell in enumerate(cells)).rstrip()
                if self.plain:
                    print(text, file=self._out, flush=True)
                else:
                    self._row([(text, "bold" if number == 0 else "")])

    def erase_line(self) -> None:
        """Take back the line above (a prompt that was answered); nothing in plain text."""
        if not self.plain and self._out.isatty():
            self._out.write("\x1b[1A\x1b[2K")
            self._out.flush()


def show_turn(screen: Screen, turn: Turn) -> None:
    """One turn with its heading."""
    screen.rule(f"turn {turn.number}" if turn.number else "before the first turn", f"minute {turn.minute}")
    for entry in turn.entries:
        screen.entry(entry, f"T{turn.number:02d}")


def show_verdicts(screen: Screen, judgement: Judgement, texts: Mapping[str, L], lang: Lang) -> None:
    """Verdicts by kind, harms, and the score with its arithmetic."""
    for heading, entries in verdicts(judgement, texts, lang):
        screen.rule(heading)
        for entry in entries:
            screen.entry(entry, "end", label=entry.kind.replace("_", " "))
    screen.rule("score")
    for entry in arithmetic(judgement):
        screen.entry(entry, "end")
