"""What a run is asked to do. Everything here can change a result; how fast it is done (concurrency) is not part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from ..catalog.read import read_yaml, say
from ..effects import ModelSettings
from ..errors import UserError
from ..spec.base import Model

LangChoice = Literal["en", "zh", "both"]


class ModelConfig(Model):
    """A model endpoint of one role. `base_url` null: the openai package's default. `key_variable`: the environment variable
    that holds the key (the key itself is never written). `timeout_s` in seconds bounds one attempt."""

    model: str = Field(min_length=1)
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=2048, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=3, ge=0)
    extra_body: dict[str, Any] = {}

    def settings(self) -> ModelSettings:
        return ModelSettings(**self.model_dump())


class ConfigFile(Model):
    """`--config run.yaml`: one section for each role; every field is optional, flags override."""

    agent: dict[str, Any] = {}
    patient: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None


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
    judge: Literal["rules", "none"] = "rules"
    max_turns: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)  # of the agent's model, per episode
    model: ModelConfig | None = None
    patient_model: ModelConfig | None = None  # with `patient` llm:<model>
    record_tools: Literal["task", "fhir", "both"] = "task"
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
        return made._with_patient()

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


def model_config(flags: dict[str, Any], config: Path | None) -> ModelConfig | None:
    """The agent's model, from `--config` and the flags; flags win. None where neither names a model.

    Raises:
        UserError: a broken file, a role that this version does not use, no model name, a secret in the address.
    """
    file = read_yaml(config, ConfigFile) if config else ConfigFile()
    if file.judge is not None:
        raise UserError(f"{config}: the section 'judge' cannot be used, as this version's judge calls no model; remove it")
    fields = {**file.agent, **flags}
    if not fields:
        return None
    return _model(fields, file.agent, flags, config)


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
    return _model({**fields, "model": name}, section, flags, config)


def _model(fields: dict[str, Any], section: dict[str, Any], flags: dict[str, Any], config: Path | None) -> ModelConfig:
    if "model" not in fields:
        raise UserError(f"no model is named, but {', '.join(option(f) for f in sorted(fields))} is given; add --model NAME")
    try:
        made = ModelConfig.model_validate(fields)
    except ValidationError as error:
        problem, loc = say(error)
        where = f"{config}: " if config and loc and loc[0] in section and loc[0] not in flags else ""
        raise UserError(f"{where}model settings, '{'.'.join(map(str, loc))}': {problem}") from None
    if "@" in (made.base_url or ""):
        raise UserError("--base-url holds a user name or password, which would be written to run.json; "
                        "put the key into an environment variable and name it with --key-variable")  # fmt: skip
    return made
