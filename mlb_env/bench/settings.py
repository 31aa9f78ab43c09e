"""What a run is asked to do. Everything here can change a result; how fast it is done (concurrency) is not part of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from ..catalog.read import read_text, read_yaml, say
from ..effects import ModelSettings
from ..errors import UserError
from ..judge.grade import Bench
from ..judge.learned import LearnedJudge
from ..judge.meaning import Judge, ModelJudge, Protocol
from ..llm.pace import Pace, Paces
from ..spec.base import Model

LangChoice = Literal["en", "zh", "both"]


class ModelConfig(Model):
    """A model endpoint of one role. `base_url` null: the openai package's default. `key_variable`: the environment variable
    that holds the key (the key itself is never written). `timeout_s` in seconds bounds one attempt. `usd_prompt`, `usd_completion`: the price of a
    million tokens in US dollars, both or neither."""

    model: str = Field(min_length=1)
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=2048, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=3, ge=0)
    extra_body: dict[str, Any] = {}
    usd_prompt: float | None = Field(default=None, ge=0)
    usd_completion: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _whole_price(self) -> Self:
        if (self.usd_prompt is None) != (self.usd_completion is None):
            raise ValueError("a price has two parts; give both usd_prompt and usd_completion")
        return self

    def settings(self) -> ModelSettings:
        return ModelSettings(**{name: getattr(self, name) for name in ModelConfig.model_fields})


class JudgeConfig(ModelConfig):
    """A judge's model. `protocol`: how it is asked: `rubric` (JSON verdict with evidence) or `mlb` (MLB's one-word verdicts and marks)."""

    protocol: Protocol = "rubric"


class ConfigFile(Model):
    """`--config run.yaml`: one section for each role; every field is optional, flags override. `limits`: rate limits by base address of the
    endpoint ("default": the openai package's)."""

    agent: dict[str, Any] = {}
    patient: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None
    limits: dict[str, Pace] = {}


class Calibration(Model):
    """What `mlb judge agree --save` writes: that a judge was measured, on what, and how well it agreed.

    `judges`: model and prompt hash of each, by language. `labels`: sha256 of the labelled set.
    """

    judges: tuple[str, ...]
    labels: str
    items: int
    coverage: float
    kappa: float | None
    kappa_low: float | None
    f1: float | None

    def passes(self) -> bool:
        """Whether the judge may be believed: at least 100 items, 0.9 of them decided, kappa at least 0.6 and surely above 0.4
        ("substantial" agreement by Landis and Koch, Biometrics 1977;33:159)."""
        return (self.items >= 100 and self.coverage >= 0.9 and self.kappa is not None and self.kappa >= 0.6
                and self.kappa_low is not None and self.kappa_low > 0.4)  # fmt: skip


class RunSettings(Model):
    """Which scenarios are played, by which agent, how often, from which seed, and how they are judged.

    `scenarios`: folders that are played in place of the bundled content. `lang` None: English where a scenario exists in
    it, else the language it has. `limit`: at most so many scenarios. `trials`: repetitions of each. `record_tools`: the shape of the record's
    tools: task-shaped, raw FHIR, or both.
    """

    agent: str = "interviewer"
    dimension: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    scenario: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    lang: LangChoice | None = None
    limit: int | None = Field(default=None, ge=1)
    trials: int = Field(default=1, ge=1)
    seed: int = 0
    patient: str = "offline"
    persona: str | None = None
    judge: str = "rules"
    judge_models: tuple[JudgeConfig, ...] = ()  # one for each llm:<model> of `judge`, in order
    judge_vote: Literal["majority", "unanimous"] = "majority"
    calibration: Calibration | None = None  # what is known of the judge's agreement with people
    max_turns: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)  # of the agent's model, per episode
    model: ModelConfig | None = None
    patient_model: ModelConfig | None = None  # with `patient` llm:<model>
    record_tools: Literal["task", "fhir", "both"] = "task"
    shard: str | None = Field(default=None, pattern=r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$")  # "2/8": the second of eight parts of the episodes
    record: str | None = None  # a FHIR server in place of the store, for tasks in the record

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Settings from what a user gave; paths become absolute, so that a run can be resumed from anywhere.

        Raises:
            UserError: an unknown name, a value out of range, a choice that this version does not have.
        """
        given = dict(given)
        for name in ("dimension", "dataset", "scenario", "scenarios"):
            if isinstance(given.get(name), str | Path):
                given[name] = (given[name],)
        if "scenarios" in given:
            given["scenarios"] = tuple(str(Path(p).absolute()) for p in given["scenarios"])
        if str(given.get("agent", "")).endswith(".py"):
            given["agent"] = str(Path(given["agent"]).absolute())
        try:
            made = cls.model_validate(given)
        except ValidationError as error:
            problem, loc = say(error)
            if error.errors()[0]["type"] == "extra_forbidden":
                raise UserError(f"a run has no setting '{loc[-1]}'; it has {', '.join(cls.model_fields)}") from None
            raise UserError(f"{'.'.join(option(str(p)) for p in loc[:1])}: {problem}") from None
        if made.record is not None and not made.record.startswith(("http://", "https://")):
            raise UserError(f"--record {made.record}: give the base address of a FHIR R4 server, http://... or https://...")
        if made.shard is not None and made.part[0] > made.part[1]:
            raise UserError(f"--shard {made.shard}: there are {made.part[1]} parts, so the first number is at most that")
        return made._with_patient()._with_judge()

    @property
    def part(self) -> tuple[int, int]:
        """(which, of how many), from 1; (1, 1) without shards."""
        which, _, of = (self.shard or "1/1").partition("/")
        return int(which), int(of)

    def _with_judge(self) -> Self:
        """Settings whose judge is one there is, with the models of its parts."""
        self = self.model_copy(update={"judge": _with_folders(self.judge)})
        names = judge_models(self.judge)
        models = self.judge_models or tuple(JudgeConfig(model=name) for name in names)
        if [m.model for m in models] != list(names):
            raise UserError(f"--judge {self.judge}: the model settings of the judge name other models, {', '.join(m.model for m in models)}")
        return self.model_copy(update={"judge_models": models})

    def bench(self) -> Bench:
        """Who judges."""
        asked = iter(self.judge_models)
        judges: list[Judge] = []
        for part in self.judge.split("+"):
            if part.startswith("llm:"):
                config = next(asked)
                judges.append(ModelJudge(config.settings(), config.protocol))
            elif _learned(part):
                judges.append(LearnedJudge(Path(part[8:]) if part[8:] else None))
        return Bench("rules" in self.judge.split("+"), tuple(judges), self.judge_vote)

    @property
    def meaning(self) -> tuple[str, ...]:
        """The judges of meaning, as they are shown: models by their name, the learned judge as --judge names it."""
        return tuple(p.removeprefix("llm:") for p in self.judge.split("+") if p.startswith("llm:") or _learned(p))

    def _with_patient(self) -> Self:
        """Settings whose patient is one there is, with its model where it has one."""
        kind, _, rest = self.patient.partition(":")
        if kind == "llm" and rest:
            config = self.patient_model or ModelConfig(model=rest)
            if config.model != rest:
                raise UserError(f"--patient {self.patient}: the model settings of the patient name another model, '{config.model}'")
            return self.model_copy(update={"patient_model": config})
        if self.patient_model is not None:
            raise UserError(f"--patient {self.patient} calls no model, but model settings for the patient are given; use --patient llm:MODEL")
        if kind == "replay" and rest:
            return self.model_copy(update={"patient": f"replay:{Path(rest).absolute()}"})
        if self.patient not in ("offline", "human"):
            raise UserError(f"--patient {self.patient}: there is no such patient; there are offline, llm:MODEL, human and replay:RUN")
        return self


def option(name: str) -> str:
    """The command-line name of a setting."""
    return "--" + name.replace("_", "-")


def read_calibration(path: Path, judges: Iterable[str]) -> Calibration:
    """A saved measurement of these judges.

    Raises:
        UserError: it cannot be read, or is of other judges (another model, or another version of the prompt).
    """
    try:
        made = Calibration.model_validate_json(read_text(path))
    except ValidationError as error:
        raise UserError(f"{path}: not a measurement that mlb judge agree --save wrote ({say(error)[0]})") from None
    if missing := [j for j in judges if j not in made.judges]:
        raise UserError(f"{path} is of {', '.join(made.judges)}, not of {missing[0]}; measure it with: mlb judge agree LABELS --judge ... --save FILE")
    return made


def judge_models(judge: str) -> tuple[str, ...]:
    """The models that a judge such as `rules+llm:a+llm:b` asks; none for `rules` and `none`.

    Raises:
        UserError: a part that there is not, or twice.
    """
    parts = judge.split("+")
    for part in parts:
        if not (part == "rules" or _learned(part) or (part.startswith("llm:") and part[4:]) or judge == "none"):
            raise UserError(f"--judge {judge}: there is no judge '{part}'; there are rules, learned, learned:FOLDER, llm:MODEL, several joined by +, and none")
    if len(set(parts)) != len(parts):
        raise UserError(f"--judge {judge}: a judge stands twice; two votes of one model are one vote")
    return tuple(p[4:] for p in parts if p.startswith("llm:"))


def _learned(part: str) -> bool:
    return part == "learned" or (part.startswith("learned:") and bool(part[8:]))


def _with_folders(judge: str) -> str:
    """The judge with absolute folders of learned judges, so that a run can be resumed from anywhere.

    Raises:
        UserError: a folder is not there.
    """
    parts = []
    for part in judge.split("+"):
        if _learned(part) and part[8:]:
            folder = Path(part[8:]).absolute()
            if not folder.is_dir():
                raise UserError(f"--judge {judge}: '{part[8:]}' is not a folder that mlb judge train wrote")
            part = f"learned:{folder}"
        parts.append(part)
    return "+".join(parts)


def judge_config(judge: str | None, flags: dict[str, Any], config: Path | None) -> tuple[JudgeConfig, ...]:
    """The models of the judges: their names from `judge`, the rest from the flags and the section `judge` of `--config`.

    Raises:
        UserError: a broken file, settings for a judge that calls no model, a secret in the address.
    """
    section = (read_yaml(config, ConfigFile).judge if config else None) or {}
    fields, names = {**section, **flags}, judge_models(judge or "rules")
    if not names and fields:
        raise UserError(f"model settings for the judge are given, but the judge is {judge or 'rules'}; add --judge rules+llm:MODEL")
    return tuple(_model({**fields, "model": name}, section, flags, config, JudgeConfig) for name in names)


def judge_flags(base_url: str | None, protocol: str | None) -> dict[str, Any]:
    """The judge's settings that the command line was given."""
    return {k: v for k, v in {"base_url": base_url, "protocol": protocol}.items() if v is not None}


def model_config(flags: dict[str, Any], config: Path | None) -> ModelConfig | None:
    """The agent's model, from `--config` and the flags; flags win. None where neither names a model.

    Raises:
        UserError: a broken file, a role that this version does not use, no model name, a secret in the address.
    """
    file = read_yaml(config, ConfigFile) if config else ConfigFile()
    fields = {**file.agent, **flags}
    if not fields:
        return None
    return _model(fields, file.agent, flags, config, ModelConfig)


def read_paces(config: Path | None, requests_per_minute: float | None, tokens_per_minute: float | None) -> Paces:
    """The rate limits: the flags hold for every endpoint that the section `limits` of `--config` does not name.

    Raises:
        UserError: a broken file, a limit that is not above 0.
    """
    try:
        every = Pace(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    except ValidationError as error:
        raise UserError(f"{option(str(error.errors()[0]['loc'][0]))}: a number above 0 is expected") from None
    named = read_yaml(config, ConfigFile).limits if config else {}
    return Paces(every=every, endpoints={url.rstrip("/"): pace for url, pace in named.items()})


def check_prices(settings: RunSettings) -> None:
    """Whether a budget in dollars can be kept.

    Raises:
        UserError: the price of a model is not known.
    """
    for config in (settings.model, settings.patient_model, *settings.judge_models):
        if config is not None and config.usd_prompt is None:
            raise UserError(f"a budget in dollars needs the price of {config.model}; give --price PROMPT,COMPLETION, or usd_prompt and usd_completion "
                            "in --config")  # fmt: skip


def patient_config(patient: str | None, flags: dict[str, Any], config: Path | None) -> ModelConfig | None:
    """The model of the patient `llm:<model>`: its name from there, the rest from the flags and the section `patient` of `--config`.

    Raises:
        UserError: a broken file, settings for a patient that calls no model, a secret in the address.
    """
    section = (read_yaml(config, ConfigFile).patient if config else None) or {}
    fields = {**section, **flags}
    kind, _, name = (patient or "offline").partition(":")
    if kind != "llm":
        if fields:
            raise UserError(f"model settings for the patient are given, but the patient is {patient or 'offline'}; add --patient llm:MODEL")
        return None
    return _model({**fields, "model": name}, section, flags, config, ModelConfig)


C = TypeVar("C", bound=ModelConfig)


def _model(fields: dict[str, Any], section: dict[str, Any], flags: dict[str, Any], config: Path | None, kind: type[C]) -> C:
    if "model" not in fields:
        raise UserError(f"no model is named, but {', '.join(option(f) for f in sorted(fields))} is given; add --model NAME")
    try:
        made = kind.model_validate(fields)
    except ValidationError as error:
        problem, loc = say(error)
        where = f"{config}: " if config and loc and loc[0] in section and loc[0] not in flags else ""
        raise UserError(f"{where}model settings, '{'.'.join(map(str, loc))}': {problem}") from None
    if "@" in (made.base_url or ""):
        raise UserError("--base-url holds a user name or password, which would be written to run.json; "
                        "put the key into an environment variable and name it with --key-variable")  # fmt: skip
    return made
