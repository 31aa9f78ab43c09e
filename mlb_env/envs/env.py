"""One episode as a Gymnasium environment: the observation and the action are text, everything else is in `info`.

    import gymnasium, mlb_env
    env = gymnasium.make("mlb/SmartCare-v0", lang="zh")
    observation, info = env.reset(seed=0)
    while not over:
        observation, reward, terminated, truncated, info = env.step(agent(observation))
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import gymnasium
from gymnasium.vector import AutoresetMode

from ..catalog.load import PATH_VARIABLE, Catalog, open_catalog
from ..catalog.play import Play
from ..effects import Edge, Flow, ModelSettings, NoEdge, drive
from ..episode import Episode, EpisodeOver
from ..errors import MlbError, UserError
from ..judge.grade import grade
from ..judge.score import PROCESS_SHARE
from ..patient.worded import cast_patient
from ..spec.action import Action, Briefing, Message, Observation
from ..spec.base import LANGS, Lang
from ..spec.rubric import Judgement
from ..spec.scenario import DIMENSIONS
from ..spec.trajectory import Trajectory
from ..tools import RecordTools
from .space import UnicodeText

if TYPE_CHECKING:
    from ..llm.endpoint import ModelEdge

MAX_OBSERVATION = 1_000_000
MAX_ACTION = 100_000
REWARDS = ("terminal", "dense")
Step = tuple[str, float, bool, bool, dict[str, Any]]
# What a text may not do to the terminal it is shown on: control characters, escape sequences with them.
_CONTROLS = {c: None for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}


class MlbEnv(gymnasium.Env[str, str]):
    """Episodes of one dimension.

    Args:
        dimension: set by the environment's id.
        dataset: play only this dataset (a name, or several); None: all of the dimension.
        scenario: play only this scenario (an id, or several).
        lang: `en` or `zh`. Scenarios that do not exist in it are left out.
        persona: id of a persona for every episode; None: the seed draws one of those the scenario allows.
        patient: who plays the patient: `offline` (rules), or `llm:MODEL` (a model words what the rules decide).
        patient_model: endpoint and settings of that model; None: the openai package's defaults.
        judge: `rules`, or None: no score now (`trajectory()` can be graded later).
        max_turns: overrides the scenarios' turn budgets, at least 1.
        reward: `terminal`: 0 until the end, then the score. `dense`: the same total, spread over the steps: each step also
            pays the growth of 0.3 * P (P: the share of the process criteria met so far, by the rules), and the last step
            takes back what was paid (docs/gymnasium.md).
        scenarios: play this content folder instead of the bundled scenarios, as `mlb run --scenarios` does.
        record_tools: the record's tools as `task`-shaped functions, as raw `fhir` ones, or `both`.
        render_mode: `ansi` (`render()` returns the dialogue so far) or `human` (it is printed as it goes).
        edge: carries out model calls of the simulators; the offline patient makes none.

    Raises:
        UserError: a value that nothing bears; nothing to play.
        ContentError: a content file that cannot be used.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "human"], "render_fps": 4, "autoreset_mode": AutoresetMode.SAME_STEP,
    }  # fmt: skip

    def __init__(
        self, dimension: str, *, dataset: str | Sequence[str] | None = None, scenario: str | Sequence[str] | None = None,
        lang: Lang = "en", persona: str | None = None, patient: str = "offline", patient_model: ModelSettings | None = None, judge: str | None = "rules",
        max_turns: int | None = None, record_tools: RecordTools = "task", reward: str = "terminal", scenarios: str | os.PathLike[str] | None = None,
        render_mode: str | None = None, edge: Edge | None = None,
    ) -> None:  # fmt: skip
        _one_of("dimension", dimension, DIMENSIONS)
        _one_of("lang", lang, get_args(Lang))
        _one_of("reward", reward, REWARDS)
        _one_of("record_tools", record_tools, get_args(RecordTools))
        if patient != "offline" and not (patient.startswith("llm:") and patient[4:]):
            raise UserError(f"patient '{patient}': an environment has the patients 'offline' and 'llm:MODEL'")
        if patient_model is not None and patient != f"llm:{patient_model.model}":
            raise UserError(f"patient_model is for the model '{patient_model.model}', but the patient is '{patient}'")
        if patient != "offline":
            patient_model = patient_model or ModelSettings(model=patient[4:])
            edge = edge or model_edge(patient_model)
        self._casting = cast_patient(patient, patient_model, None)
        if judge not in ("rules", None):
            raise UserError(f"judge '{judge}' is not in this version of mlb-env, which has 'rules', or None to score later")
        if reward == "dense" and judge is None:
            raise UserError("reward 'dense' needs a judge during the episode; give judge='rules' or reward='terminal'")
        if max_turns is not None and (type(max_turns) is not int or max_turns < 1):
            raise UserError(f"max_turns is {max_turns!r}; give a whole number of at least 1, or None for the scenario's own")
        if render_mode is not None:
            _one_of("render_mode", render_mode, tuple(self.metadata["render_modes"]))
        catalog = _catalog(os.fspath(scenarios) if scenarios is not None else None, os.environ.get(PATH_VARIABLE, ""))
        self._plays = _plays(catalog, dimension, _names(dataset), _names(scenario), lang)
        if persona is not None:
            if not any(play.interactive for play in self._plays):
                raise UserError(f"persona '{persona}': {dimension} has no patient, so it takes no persona")
            _one_of("persona", persona, tuple(catalog.personas))
        self._lang, self._persona, self._judge, self._max_turns = lang, persona, judge, max_turns
        self._dense, self._record_tools = reward == "dense", record_tools
        self._edge: Edge = edge or NoEdge()
        self.render_mode = render_mode
        self.observation_space = UnicodeText(MAX_OBSERVATION)
        self.action_space = UnicodeText(MAX_ACTION)
        self._episode: Episode | None = None
        self._ended: Episode | None = None
        self._judgement: Judgement | None = None
        self._potential = 0.0
        self._shown: list[str] = []

    # --- the Gymnasium methods --------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: alone fixes scenario, persona and every random draw; None goes on from the last draws.
            options: `{"scenario": id}` chooses the scenario.

        Returns:
            The first observation (the item's prompt, or the patient's opening), and `info` with the task, the policy and
            the tools.

        Raises:
            UserError: an option, or a scenario, that does not exist here.
        """
        super().reset(seed=seed)
        chosen = self._plays[int(self.np_random.integers(len(self._plays)))]
        drawn = int(self.np_random.integers(2**31))
        wanted = dict(options or {})
        if (name := wanted.pop("scenario", None)) is not None:
            chosen = self._play(name)
        if wanted:
            raise UserError(f"reset has no option '{next(iter(wanted))}'; it has 'scenario'")
        self._episode = Episode(
            chosen, lang=self._lang, seed=drawn, persona=self._persona, max_turns=self._max_turns, edge=self._edge,
            patient=self._casting, record_tools=self._record_tools,
        )  # fmt: skip
        observation = self._episode.reset()
        self._potential = 0.0
        self._shown = []
        brief = self._episode.briefing
        self._show([f"[task] {brief.task}", *_lines(observation.messages)])
        info = self._info(self._episode)
        info["task"], info["policy"] = _json(brief.task), _json(brief.policy)
        info["tools"] = _json(brief.tools)
        return observation.text, info

    def step(self, action: str | Action) -> Step:
        """Carry out one action: text as `Action.from_text` reads it, or an `Action`.

        Returns:
            observation, reward, terminated, truncated, info.

        Raises:
            EpisodeOver: no episode is under way.
            UserError: the action is neither a text nor an `Action`.
        """
        return self.outcome(drive(self.flow(action), self._edge))

    def render(self) -> str | None:
        """`ansi`: the dialogue so far. `human` has printed it already."""
        return "\n".join(self._shown) if self.render_mode == "ansi" else None

    # --- a step in two halves, so that a vector environment can overlap the model calls of many ---------------------

    def flow(self, action: str | Action) -> Flow[Observation]:
        """The first half of a step: the episode's own flow of effects. Its result goes to `outcome`."""
        if self._episode is None:
            raise EpisodeOver("no episode is under way; call reset first")
        if not isinstance(action, str | Action):
            raise UserError(f"an action is a text or an mlb_env.Action, not {type(action).__name__}")
        if self.render_mode is not None:
            self._show([f"[agent] {action if isinstance(action, str) else action.to_text()}"])
        return self._episode.flow(action)

    def outcome(self, observation: Observation) -> Step:
        """The second half of a step: the reward, whether it is over, and `info`."""
        episode = self._episode
        assert episode is not None
        if self.render_mode is not None:
            self._show(_lines(observation.messages))
        info = self._info(episode)
        reward = 0.0
        if episode.over:
            self._ended, self._judgement = episode, None
            reward = self._close(info) - self._potential
        elif self._dense:
            process = grade(_so_far(episode), episode.play).score.process or 0.0
            reward = PROCESS_SHARE * process - self._potential
            self._potential += reward
        return observation.text, reward, episode.terminated, episode.truncated, info

    def _close(self, info: dict[str, Any]) -> float:
        """Score the episode that has ended; returns what it is worth as a reward."""
        if self._judge is None:
            return 0.0
        score = self.judgement().score
        info["graded"] = score.value is not None
        info["score"] = score.value if score.value is not None else 0.0
        info["criteria_judged"] = score.criteria_judged
        info["score_detail"] = score.model_dump_json()
        return float(info["score"])

    # --- beyond Gymnasium -------------------------------------------------------------------------------------------

    @property
    def briefing(self) -> Briefing:
        """The task, the policy and the tools of the episode under way, typed.

        Raises:
            EpisodeOver: before the first reset.
        """
        if self._episode is None:
            raise EpisodeOver("no episode is under way; call reset first")
        return self._episode.briefing

    def trajectory(self) -> Trajectory:
        """The full record of the episode that ended last; an automatic reset does not lose it.

        Raises:
            MlbError: none has ended yet.
        """
        if self._ended is None:
            raise MlbError("no episode has ended yet; there is no trajectory to hand out")
        return self._ended.trajectory()

    def judgement(self) -> Judgement:
        """The verdicts, by rules, on the episode that ended last.

        Raises:
            MlbError: none has ended yet.
        """
        trajectory = self.trajectory() if self._judgement is None else None
        if trajectory is not None:
            assert self._ended is not None
            self._judgement = grade(trajectory, self._ended.play)
        assert self._judgement is not None
        return self._judgement

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _play(self, name: str) -> Play:
        for play in self._plays:
            if play.id == name:
                return play
        known = ", ".join(p.id for p in self._plays[:30]) + (", ..." if len(self._plays) > 30 else "")
        raise UserError(f"there is no scenario '{name}' in this environment (there are: {known})")

    def _info(self, episode: Episode) -> dict[str, Any]:
        """Always the same keys with the same types. The rubric's part stays empty until the end."""
        dataset = episode.play.dataset
        return {
            "scenario": episode.play.id, "dataset": dataset.name, "dimension": dataset.dimension, "lang": episode.lang,
            "turn": episode.turn, "minute": episode.minute, "task": "", "policy": "", "tools": "",
            "stop_reason": episode.stop_reason or "", "malformed": episode.malformed, "graded": False, "score": 0.0,
            "criteria_judged": 0.0, "score_detail": "",
        }  # fmt: skip

    def _show(self, lines: list[str]) -> None:
        if self.render_mode is None:
            return
        lines = [line.translate(_CONTROLS) for line in lines]
        self._shown += lines
        if self.render_mode == "human":
            print(*lines, sep="\n", flush=True)


@lru_cache(maxsize=8)
def _catalog(folder: str | None, search_path: str) -> Catalog:
    """The content, loaded once per process and settings: environments share it. `search_path` is MLB_CONTENT's value."""
    return open_catalog() if folder is None else open_catalog([folder], bundled=False)


def _plays(catalog: Catalog, dimension: str, datasets: tuple[str, ...], scenarios: tuple[str, ...], lang: Lang) -> list[Play]:
    plays = catalog.select(dimension=[dimension], dataset=datasets, scenario=scenarios)
    if not plays:
        named = ", ".join(f"'{d}' is of {catalog.datasets[d].dimension}" for d in datasets)
        raise UserError(f"there is nothing to play in {dimension}" + (f": dataset {named}" if named else ""))
    spoken = [play for play in plays if lang in play.langs]
    lost = [play.id for play in plays if lang not in play.langs]
    if not spoken or (scenarios and lost):
        there = ", ".join(one for one in LANGS if any(one in play.langs for play in plays))
        what = f"the scenario '{lost[0]}'" if scenarios else dimension
        raise UserError(f"{what} cannot be played in '{lang}'; it exists in {there}")
    return spoken


def _so_far(episode: Episode) -> Trajectory:
    """What has happened up to now, as if the episode were cut here."""
    cut = copy(episode)
    cut.fail("")  # on the copy: ended without a failure's reason, so that the rules judge it
    return cut.trajectory()


def _lines(messages: Sequence[Message]) -> list[str]:
    return [f"[{m.name if m.role == 'tool' else m.speaker}] {m.content}" for m in messages]


def _names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def model_edge(settings: ModelSettings) -> ModelEdge:
    """An edge that reaches model endpoints, checked before the first episode."""
    from ..llm.endpoint import ModelEdge

    ModelEdge.check(settings)
    return ModelEdge()


def _one_of(what: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise UserError(f"{what} {value!r} is not known; give one of {', '.join(known)}")
