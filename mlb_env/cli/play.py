"""`mlb play`: a person at the keyboard plays the agent, sees only what an agent sees, and gets the score at the end."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from ..catalog.load import Catalog, open_catalog
from ..catalog.play import Play
from ..episode import Episode
from ..errors import UserError
from ..judge.derive import rubric_of
from ..judge.grade import grade
from ..prompts import item_prompt
from ..spec.action import Action, Observation, ToolCall
from ..spec.base import Lang
from ..spec.forms import CLOSING, FORMS
from ..spec.jsontext import BadJson, parse_json
from . import refusal
from .dialogue import Entry, Screen, conclusion, pad, pretty, shorten, show_verdicts, width_of

HELP = """\
Type to speak (start with // to say something that begins with a slash). Commands:
  /tools [NAME [WORD]]      the tools; one tool's fields; its codes that contain WORD
  /tool NAME key=value ...  call a tool; "quotes" around values with spaces, commas between the values of a list
  /tool NAME {json}         the same with the arguments as a JSON object
  /add NAME ...             call a tool together with what you say or call next
  /form                     fill in the closing form field by field: this concludes the episode
  /clock                    turns and minutes used
  /help                     this text
  /quit                     leave (without a score)"""
SEARCH_ROWS = 15
ECHO = 60  # characters of what was typed that a remark repeats
YES = frozenset({"y", "yes", "send", "是"})
Schema = dict[str, Any]


class LeftForm(Exception):
    """The person left the form without sending it."""


class NotCalled(Exception):
    """A tool call that cannot be made as it was typed; says why."""


# --- keyboard -----------------------------------------------------------------------------------------------------------


class Keyboard:
    """Reads lines: with editing and history at a terminal; from a pipe with an echo, so that the output stays readable."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.present = sys.stdin.isatty()
        if self.present:
            with contextlib.suppress(ImportError):  # line editing is a comfort; some systems have no readline
                import readline  # noqa: F401
        reconfigure = getattr(sys.stdin, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # bytes that are not text become signs, not a crash

    def ask(self, prompt: str) -> str:
        """One line, without spaces around it.

        Raises:
            EOFError: the input has ended.
        """
        if self.present:
            return input(prompt).strip()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        self._screen.line(prompt + line.strip())
        return line.strip()


# --- closing form and code lists ----------------------------------------------------------------------------------------


def labels(schema: Schema) -> dict[str, str]:
    """The codes of a field with their labels, as the tool's schema describes them; empty where the field has no codes."""
    described = dict.fromkeys(schema.get("enum", ()), "")
    for part in re.split(r"[;；]\s*", schema.get("description", "")):
        code, _, label = part.partition(" ")
        if code in described:
            described[code] = label
    return described


def plain_schema(schema: Schema) -> tuple[Schema, bool]:
    """A field's schema without the alternative null, and whether null was one."""
    kinds = schema.get("anyOf")
    if not kinds:
        return schema, False
    real = [k for k in kinds if k.get("type") != "null"]
    return real[0], len(real) < len(kinds)


class FormWalk:
    """Asks for the fields of a tool's schema, one after another."""

    def __init__(self, keyboard: Keyboard, screen: Screen) -> None:
        self._keyboard, self._screen = keyboard, screen

    def fill(self, name: str, parameters: Schema) -> dict[str, Any]:
        """The arguments of the tool `name`, complete and accepted by the person.

        Raises:
            LeftForm: the person typed /cancel.
            EOFError: the input has ended.
        """
        self._screen.rule(f"form {name}")
        self._screen.line("Enter leaves out what is optional and ends a list. ? lists codes, a word searches them. /cancel leaves.")
        properties, required = parameters["properties"], set(parameters.get("required", ()))
        form: dict[str, Any] = {}
        for field, schema in properties.items():
            self._set(form, field, schema, field in required)
        while True:
            self._screen.rule(f"{name}, as it will be sent")
            for row in pretty(form):
                self._screen.line(row)
            problem = problems(name, form)
            if problem:
                self._screen.line(f"Not ready: {problem}", "red")
            answer = self._ask("send? (yes; a field's name to fill it in again; /cancel) ")
            if answer in properties:
                form.pop(answer, None)
                self._set(form, answer, properties[answer], answer in required)
            elif answer.lower() in YES and not problem:
                return form
            elif answer.lower() not in YES:
                self._screen.line(f"Type yes, /cancel, or one of {', '.join(properties)}.")

    def _ask(self, prompt: str) -> str:
        answer = self._keyboard.ask(prompt)
        if answer == "/cancel":
            raise LeftForm
        return answer

    def _set(self, form: dict[str, Any], field: str, schema: Schema, required: bool) -> None:
        value = self._value(field, schema, required)
        if value is not None:
            form[field] = value

    def _value(self, path: str, schema: Schema, required: bool) -> Any:
        """The value of a field; None where it was left out."""
        schema, _ = plain_schema(schema)
        if schema.get("type") == "array":
            return self._list(path, schema["items"])
        if schema.get("type") == "object":
            if not required and self._ask(f"{path}: fill it in? (yes, Enter for no) ").lower() not in YES:
                return None
            return self._object(path, schema)
        if "enum" in schema:
            return self._code(path, labels(schema), required)
        return self._scalar(path, schema, required)

    def _list(self, path: str, items: Schema) -> list[Any]:
        made: list[Any] = []
        while True:
            where = f"{path} {len(made) + 1}"
            value = self._object(where, items, may_end=True) if items.get("type") == "object" else self._value(where, items, False)
            if value is None:
                return made
            made.append(value)

    def _object(self, path: str, schema: Schema, *, may_end: bool = False) -> dict[str, Any] | None:
        """The fields of an object. `may_end`: Enter at the first field means that there is no (further) one."""
        made: dict[str, Any] = {}
        required = set(schema.get("required", ()))
        for i, (field, inner) in enumerate(schema["properties"].items()):
            value = self._value(f"{path} · {field}", inner, field in required and not (may_end and i == 0))
            if value is None and may_end and i == 0:
                return None
            if value not in (None, []):
                made[field] = value
        return made

    def _code(self, path: str, codes: dict[str, str], required: bool) -> str | None:
        listed: list[str] = []
        if len(codes) <= 8:
            listed = self._show(codes, list(codes))
        while True:
            answer = self._ask(f"{path}{'' if required else ' (optional)'}: ")
            if not answer:
                if not required:
                    return None
                self._screen.line("This field is needed: a code, a word to search for, or ? for the list.")
                continue
            found = [c for c in codes if c.casefold() == answer.casefold()]
            if not found and answer.isdigit() and 1 <= int(answer) <= len(listed):
                found = [listed[int(answer) - 1]]
            if not found:
                found = [c for c in codes if answer == "?" or answer.casefold() in f"{c} {codes[c]}".casefold()]
            if len(found) == 1:
                self._screen.line(f"  = {found[0]} {codes[found[0]]}".rstrip(), "green")
                return found[0]
            listed = self._show(codes, found, everything=answer == "?")

    def _show(self, codes: dict[str, str], found: list[str], *, everything: bool = False) -> list[str]:
        """Show numbered codes; returns those shown."""
        shown = found if everything else found[:SEARCH_ROWS]
        for i, code in enumerate(shown, 1):
            self._screen.line(f"  {i:>3} {code}  {codes[code]}".rstrip())
        if not found:
            self._screen.line("  nothing matches; ? lists all")
        elif len(shown) < len(found):
            self._screen.line(f"  and {len(found) - len(shown)} more; narrow the word")
        return shown

    def _scalar(self, path: str, schema: Schema, required: bool) -> Any:
        kind = schema.get("type", "string")
        hint = {"number": " (number)", "integer": " (whole number)", "boolean": " (yes/no)"}.get(kind, "")
        while True:
            answer = self._ask(f"{path}{hint}{'' if required else ' (optional)'}: ")
            if not answer:
                if not required:
                    return None
                self._screen.line("This field is needed.")
                continue
            try:
                return convert(answer, schema)
            except NotCalled as problem:
                self._screen.line(str(problem))


# --- tool calls as typed ------------------------------------------------------------------------------------------------


def _cut(text: str) -> str:
    """What was typed, as far as it is repeated in a remark about it."""
    return text if len(text) <= ECHO else text[: ECHO - 1] + "…"


def convert(text: str, schema: Schema) -> Any:
    """A typed value in the type of its field.

    Raises:
        NotCalled: it cannot be read as that type.
    """
    schema, _ = plain_schema(schema)
    kind = schema.get("type", "string")
    try:
        if kind in ("number", "integer"):
            return int(text) if kind == "integer" else float(text)
        if kind == "boolean":
            return {"yes": True, "y": True, "true": True, "是": True, "no": False, "n": False, "false": False, "否": False}[text.lower()]
        if kind == "object" or (kind == "array" and text.startswith("[")):
            return parse_json(text)
    except (ValueError, KeyError):
        shown = {"number": "a number", "integer": "a whole number", "boolean": "yes or no"}.get(kind, "JSON")
        raise NotCalled(f"'{_cut(text)}' is not {shown}") from None
    if kind == "array":
        return [convert(part.strip(), schema["items"]) for part in re.split(r"[,，]", text) if part.strip()]
    return text


def problems(name: str, arguments: dict[str, Any]) -> str:
    """What the tool would find wrong with its arguments; empty if nothing."""
    try:
        FORMS[name].model_validate(arguments)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in found[:5])
    return ""


def read_call(text: str, tools: dict[str, Schema]) -> ToolCall:
    """The tool call in `NAME key=value ...` or `NAME {json}`; bare words are the value of the first field.

    Raises:
        NotCalled: no such tool, or its arguments cannot be read or would be refused.
    """
    name, _, rest = text.strip().partition(" ")
    if name not in tools:
        raise NotCalled(f"there is no tool '{_cut(name)}'; there are: {', '.join(tools)}" if tools else "this task has no tools")
    properties: Schema = tools[name]["parameters"]["properties"]
    rest = rest.strip()
    arguments = _json_object(name, rest) if rest.startswith("{") else _pairs(name, rest, properties)
    if problem := problems(name, arguments):
        raise NotCalled(f"{problem} (/tools {name} shows the fields and codes)")
    return ToolCall.of(name, **arguments)


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        arguments = parse_json(text)
    except BadJson as error:
        raise NotCalled(f"the arguments of {name} are not valid JSON: {error}") from None
    assert isinstance(arguments, dict)  # it begins with a brace
    return arguments


def _pairs(name: str, text: str, properties: Schema) -> dict[str, Any]:
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.quotes, lexer.commenters, lexer.escape = True, '"', "", ""
    try:
        words = list(lexer)
    except ValueError:
        raise NotCalled('a " is not closed') from None
    arguments: dict[str, Any] = {}
    bare: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            bare.append(word)
        elif key in properties:
            arguments[key] = convert(value, properties[key])
        else:
            raise NotCalled(f"{name} has no field '{_cut(key)}'; it has: {', '.join(properties)}")
    if bare:
        first = next(iter(properties))
        if first in arguments:
            raise NotCalled(f"'{_cut(' '.join(bare))}' belongs to no field; put values with spaces in \"quotes\"")
        arguments[first] = convert(" ".join(bare), properties[first])
    return arguments


# --- choosing a scenario ------------------------------------------------------------------------------------------------


def choose(catalog: Catalog, keyboard: Keyboard, screen: Screen, lang: Lang | None, dataset: str | None) -> Play:
    """Let the person choose. Interactive scenarios are shown by what anybody sees at once: their titles and ids tell the truth.

    Raises:
        UserError: there is no such dataset, or it has no scenario.
        EOFError: the input has ended.
    """
    catalog.select(dataset=[dataset] if dataset else [])  # an unknown name is an error
    if dataset is None:
        names = [n for n in dict.fromkeys(p.dataset.name for p in catalog.select()) if catalog.plays[n]]
        rows = [
            [str(i), n, catalog.datasets[n].dimension, catalog.datasets[n].title[lang or "en"], str(len(catalog.plays[n]))]
            for i, n in enumerate(names, 1)
        ]
        screen.columns(["#", "dataset", "dimension", "what it asks", "n"], rows, right=frozenset({0, 4}), flex=3)
        dataset = names[_number(keyboard, screen, "dataset (number or name): ", names)]
    plays = [p for p in catalog.plays[dataset] if lang is None or lang in p.langs]
    if not plays:
        raise UserError(f"the dataset '{dataset}' has no scenario" + (f" in '{lang}'" if lang else ""))
    shown = [[str(i), p.difficulty, _glimpse(p, lang or _language(p))] for i, p in enumerate(plays, 1)]
    screen.columns(["#", "difficulty", "what can be seen"], shown, right=frozenset({0}), flex=2)
    return plays[_number(keyboard, screen, "scenario (number): ", [p.id for p in plays])]


def _glimpse(play: Play, lang: Lang) -> str:
    text, missing = shorten(play.case.observed[lang] if play.case else " ".join(_question(play, lang).split()), 1, 60)
    return text + ("…" if missing else "")


def _question(play: Play, lang: Lang) -> str:
    item = play.item
    text = getattr(item, "question", None) or getattr(item, "phrase", None) or getattr(item, "text", None)
    return text[lang] if text else item_prompt(play, lang)


def _language(play: Play) -> Lang:
    return "en" if "en" in play.langs else play.langs[0]


def _number(keyboard: Keyboard, screen: Screen, prompt: str, names: list[str]) -> int:
    while True:
        answer = keyboard.ask(prompt)
        if answer in names:
            return names.index(answer)
        if answer.isdigit() and 1 <= int(answer) <= len(names):
            return int(answer) - 1
        if answer in ("/quit", "q"):
            raise EOFError
        screen.line(f"Give a number from 1 to {len(names)} (q leaves).")


# --- the session --------------------------------------------------------------------------------------------------------


class Session:
    """One episode with a person in the agent's place."""

    def __init__(self, episode: Episode, keyboard: Keyboard, screen: Screen) -> None:
        self._episode, self._keyboard, self._screen = episode, keyboard, screen
        self._tools: dict[str, Schema] = {t["function"]["name"]: t["function"] for t in episode.briefing.tools}
        self._added: list[ToolCall] = []
        self._commands: dict[str, Callable[[str], Action | None]] = {
            "help": self._help, "tools": self._show_tools, "tool": self._tool, "add": self._add, "form": self._form,
            "clock": self._clock,
        }  # fmt: skip

    def play(self) -> None:
        """Play until the episode is over; leaving early ends it without a score.

        Raises:
            KeyboardInterrupt: Ctrl-C; the episode is ended before.
        """
        episode, brief = self._episode, self._episode.briefing
        first = episode.reset()
        self._screen.rule(f"{brief.dimension} / {brief.dataset}", f"at most {brief.max_turns} turns")
        for text in (brief.task, brief.policy):
            if text:
                self._screen.entry(Entry("task", text), "head")
        if self._tools:
            self._screen.entry(Entry("tools", ", ".join(self._tools)), "head")
        self._screen.line("/help shows the commands." if self._tools else "One answer ends this task. /help shows the commands.", "dim")
        self._show(first)
        try:
            while not episode.over:
                action = self._read()
                if action is None:
                    episode.fail("the person at the keyboard left before the end")
                else:
                    self._show(episode.step(action))
        except EOFError:
            episode.fail("the input ended before the episode did")
        except KeyboardInterrupt:
            episode.fail("interrupted at the keyboard")
            raise

    def _read(self) -> Action | None:
        """The next action; None where the person leaves."""
        while True:
            line = self._keyboard.ask(f"turn {self._episode.turn + 1} you> ")
            if line in ("/quit", "/exit"):
                return None
            if line.startswith("/") and not line.startswith("//"):
                name, _, rest = line[1:].partition(" ")
                action = self._commands.get(name, self._unknown)(rest.strip())
                if action is not None:
                    return action
            elif line:
                return self._act(self._whole(line.removeprefix("/") if line.startswith("//") else line))
            else:
                self._screen.line("Say something, or type /help.")

    def _whole(self, line: str) -> str:
        """An answer to a single-step task. JSON may go over several lines: until it is complete, or an empty line."""
        while not self._tools and line.startswith(("{", "[")) and not _is_json(line):
            more = self._keyboard.ask("... ")
            if not more:
                break
            line += "\n" + more
        return line

    def _act(self, content: str, *calls: ToolCall) -> Action:
        added, self._added = self._added, []
        return Action(content=content, tool_calls=(*added, *calls))

    def _show(self, observation: Observation) -> None:
        for m in observation.messages:
            text = f"{m.name}: {m.content}" if m.role == "tool" else m.content
            self._screen.entry(Entry(m.speaker, text), f"T{m.turn:02d}")

    # --- commands ---------------------------------------------------------------------------------------------------

    def _unknown(self, rest: str) -> None:
        self._screen.line("There is no such command; /help lists them. Start with // to say something that begins with a slash.")

    def _help(self, rest: str) -> None:
        for row in HELP.split("\n"):
            self._screen.line(row)

    def _clock(self, rest: str) -> None:
        e = self._episode
        minutes = f", minute {e.minute} of {e.play.budget.minutes}" if e.play.steps else ""
        self._screen.line(f"{e.turn} of {e.max_turns} turns used{minutes}, {e.malformed} malformed actions.")

    def _show_tools(self, rest: str) -> None:
        name, _, word = rest.partition(" ")
        if not self._tools:
            self._screen.line("This task has no tools; just answer.")
        elif not name:
            for tool, function in self._tools.items():
                closing = " (concludes the episode; /form fills it in)" if tool in CLOSING else ""
                self._screen.line(f"{tool}{closing}", "bold")
                self._screen.line(f"  {_fields(function['parameters'])}", "dim")
                self._screen.line(f"  {function['description']}")
        elif name not in self._tools:
            self._screen.line(f"There is no tool '{_cut(name)}'; there are: {', '.join(self._tools)}")
        else:
            for row in _described(self._tools[name]["parameters"], word.strip()):
                self._screen.line(row)

    def _tool(self, rest: str) -> Action | None:
        call = self._call(rest)
        return self._act("", call) if call else None

    def _add(self, rest: str) -> None:
        call = self._call(rest)
        if call:
            self._added.append(call)
            self._screen.line(f"{call.name} goes with what you say or call next.")

    def _call(self, rest: str) -> ToolCall | None:
        try:
            return read_call(rest, self._tools)
        except NotCalled as problem:
            self._screen.line(f"Not sent: {problem}", "red")
            return None

    def _form(self, rest: str) -> Action | None:
        name = next((n for n in self._tools if n in CLOSING), None)
        if name is None:
            self._screen.line("This task has no closing form; just answer.")
            return None
        try:
            form = FormWalk(self._keyboard, self._screen).fill(name, self._tools[name]["parameters"])
        except LeftForm:
            self._screen.line("The form was not sent.")
            return None
        return self._act("", ToolCall.of(name, **form))


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except BadJson:
        return False
    return True


def _fields(parameters: Schema) -> str:
    required = parameters.get("required", ())
    return " ".join(name if name in required else f"[{name}]" for name in parameters["properties"])


def _described(parameters: Schema, word: str, indent: int = 0) -> list[str]:
    """The fields of a tool with their types; code lists only as far as they contain `word`."""
    rows: list[str] = []
    required = parameters.get("required", ())
    for name, given in parameters["properties"].items():
        schema, _ = plain_schema(given)
        many = schema.get("type") == "array"
        inner, _ = plain_schema(schema["items"]) if many else (schema, False)
        kind = "code" if "enum" in inner else inner.get("type", "string")
        rows.append(f"{'  ' * indent}{name}: {'list of ' if many else ''}{kind}{'' if name in required else ', optional'}")
        if "enum" in inner:
            codes = labels(inner)
            found = [c for c in codes if word.casefold() in f"{c} {codes[c]}".casefold()]
            size = max((width_of(c) for c in found), default=0)
            if word or len(found) <= SEARCH_ROWS:
                rows += [f"{'  ' * indent}    {pad(c, size)}  {codes[c]}".rstrip() for c in found]
            else:
                rows.append(f"{'  ' * indent}    {len(found)} codes; add a word to search them, for example {found[0]}")
        elif inner.get("type") == "object":
            rows += _described(inner, word, indent + 1)
    return rows


# --- the command --------------------------------------------------------------------------------------------------------


def play(
    scenario: Annotated[
        str | None, typer.Argument(metavar="SCENARIO", help="Its id; chosen from a list if left out.", show_default=False)
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Choose from this dataset.")] = None,
    lang: Annotated[str | None, typer.Option("--lang", metavar="en|zh", help="Language (en where it exists).")] = None,
    persona: Annotated[str | None, typer.Option("--persona", metavar="ID", help="How the patient talks.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Fixes persona and every random draw.")] = 0,
    scenarios: Annotated[list[Path] | None, typer.Option("--scenarios", metavar="DIR", help="Play from these folders.")] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Write the trajectory here at the end.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain text (also when the output is piped).")] = False,
) -> None:
    """Play the agent yourself: talk with the patient, use the tools, conclude, and see your score."""
    if lang not in (None, "en", "zh"):
        raise UserError(f"--lang {lang} is not possible; give en or zh")
    language: Lang | None = "zh" if lang == "zh" else "en" if lang == "en" else None
    if save is not None:
        _check_free(save)
    catalog = open_catalog(scenarios or (), bundled=not scenarios)
    screen = Screen(plain=True if plain else None)
    keyboard = Keyboard(screen)
    try:
        if scenario is None:
            chosen = choose(catalog, keyboard, screen, language, dataset)
        else:
            chosen = _named(catalog, scenario, dataset)
        if persona is not None and not chosen.interactive:
            raise UserError(f"--persona {persona}: '{chosen.id}' is a single-step task without a patient")
        episode = Episode(chosen, lang=language or _language(chosen), seed=seed, persona=persona)
    except EOFError:
        screen.line("Nothing was played.")
        return
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    try:
        Session(episode, keyboard, screen).play()
    except KeyboardInterrupt:
        screen.line()
        _finish(episode, chosen, keyboard, screen, save, offer=False)
        raise typer.Exit(130) from None
    _finish(episode, chosen, keyboard, screen, save, offer=True)


def _named(catalog: Catalog, scenario: str, dataset: str | None) -> Play:
    found = catalog.select(dataset=[dataset] if dataset else [], scenario=[scenario])
    if len(found) > 1:
        names = ", ".join(p.dataset.name for p in found)
        raise UserError(f"the scenario '{scenario}' stands in several datasets ({names}); add --dataset")
    return found[0]


def _finish(episode: Episode, chosen: Play, keyboard: Keyboard, screen: Screen, save: Path | None, *, offer: bool) -> None:
    """Show how it ended, the verdicts and the score; save the trajectory."""
    trajectory = episode.trajectory()
    screen.rule("the end", f"{chosen.id}, {trajectory.stop_reason}")
    for entry in conclusion(trajectory):
        screen.entry(entry, "end")
    if not trajectory.failure:
        texts = {c.id: c.text for c in rubric_of(chosen).criteria}
        show_verdicts(screen, grade(trajectory, chosen), texts, trajectory.lang)
    while save is None and offer and keyboard.present and trajectory.turns:
        try:
            answer = keyboard.ask("save the trajectory? (a file name; Enter for no) ")
            if not answer:
                return
            _check_free(Path(answer))
            save = Path(answer)
        except (EOFError, KeyboardInterrupt):
            return
        except UserError as problem:
            screen.line(str(problem))
    if save is not None:
        try:
            save.write_text(trajectory.model_dump_json() + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            raise refusal(f"the trajectory file '{save}'", error) from None
        screen.line(f"Saved: {save}")


def _check_free(path: Path) -> None:
    if path.exists():
        raise UserError(f"'{path}' exists already; give another file name, so that nothing is overwritten")
    if not path.parent.is_dir():
        raise UserError(f"the folder of '{path}' does not exist; create it, or give another file name")
