"""The Gymnasium face of one episode (DESIGN section 7)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit

import mlb_env
from mlb_env.catalog.load import Catalog
from mlb_env.effects import NoEdge
from mlb_env.envs.env import MlbEnv
from mlb_env.episode import EpisodeOver
from mlb_env.errors import MlbError, UserError
from mlb_env.judge.grade import grade
from mlb_env.spec.action import Action, ToolCall
from mlb_env.spec.scenario import DIMENSIONS, ChoiceItem

INFO = {
    "scenario": str, "dataset": str, "dimension": str, "lang": str, "turn": int, "minute": int, "task": str, "policy": str,
    "tools": str, "stop_reason": str, "malformed": int, "graded": bool, "score": float, "criteria_judged": float,
    "score_detail": str,
}  # fmt: skip
EMPTY_NOTE: dict[str, Any] = {
    "sex": "", "age": "", "chief_complaint": "", "present_illness": [], "past_history": [], "personal_history": [],
    "marital_history": [], "family_history": [],
}  # fmt: skip
CLOSING: dict[str, dict[str, Any]] = {
    "MADiagnosis": {"name": "submit_diagnosis", "arguments": {"primary": {"name": "cold"}, "certainty": "possible"}},
    "MAInspection": {"name": "propose_tests", "arguments": {"tests": [], "none_reason": "none"}},
    "MARecord": {"name": "write_record", "arguments": EMPTY_NOTE},
}  # fmt: skip
QUESTIONS = ("您好，什么时候开始的？", "有没有发热？", "对什么药物过敏吗？", "What medicines do you take?", "When did this start?")


def make(dimension: str, **keywords: Any) -> MlbEnv:
    env = gymnasium.make(f"mlb/{dimension}-v0", **keywords).unwrapped
    assert isinstance(env, MlbEnv)
    return env


def closing(dataset: str) -> str:
    return json.dumps({"content": "", "tool_calls": [CLOSING[dataset]]})


def play(env: MlbEnv, seed: int, conclude_after: int = 4) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """All transitions of an episode of SmartCare that asks, then concludes."""
    observation, info = env.reset(seed=seed)
    yield observation, 0.0, info
    over, turn = False, 0
    while not over:
        text = QUESTIONS[turn % len(QUESTIONS)] if turn < conclude_after else closing(info["dataset"])
        observation, reward, terminated, truncated, info = env.step(text)
        over, turn = terminated or truncated, turn + 1
        yield observation, reward, info


# --- what Gymnasium itself asks for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_check_env_is_clean_without_a_warning(dimension: str, lang: str) -> None:
    check_env(make(dimension, lang=lang))  # this suite turns warnings into errors


def test_check_env_is_clean_with_the_dense_reward() -> None:
    check_env(make("SmartCare", reward="dense"))


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_an_environment_of_the_dimension_plays_its_datasets_only(dimension: str) -> None:
    env = make(dimension)
    for seed in range(8):
        _, info = env.reset(seed=seed)
        assert info["dimension"] == dimension


def test_the_module_prefix_registers_by_itself() -> None:
    code = 'import gymnasium; e = gymnasium.make("mlb_env:mlb/SmartCare-v0"); print(len(e.reset(seed=0)[0]) > 0)'
    where = str(Path(mlb_env.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": where},
        check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_registering_twice_changes_nothing() -> None:
    from mlb_env.envs.register import register

    before = gymnasium.spec("mlb/MedSE-v0")
    register()
    assert gymnasium.spec("mlb/MedSE-v0") is before


def test_reset_is_required_before_a_step_and_after_the_end() -> None:
    env = make("MedKQA")
    with pytest.raises(EpisodeOver, match="call reset first"):
        env.step("A")
    env.reset(seed=0)
    env.step("A")
    with pytest.raises(EpisodeOver, match="call reset first"):
        env.step("A")


def test_the_usual_wrappers_work() -> None:
    env = RecordEpisodeStatistics(gymnasium.make("mlb/SmartCare-v0", dataset="MADiagnosis"))
    env.reset(seed=1)
    env.step("When did this start?")
    *_, terminated, _, info = env.step(closing("MADiagnosis"))
    assert terminated and info["episode"]["l"] == 2 and info["episode"]["r"] == pytest.approx(info["score"])

    limited = TimeLimit(gymnasium.make("mlb/SmartCare-v0"), max_episode_steps=2)
    limited.reset(seed=1)
    assert limited.step("Hello?")[3] is False
    _, _, terminated, truncated, info = limited.step("Hello?")
    assert truncated and not terminated and not info["graded"]
    observation, _ = limited.reset()
    assert observation


# --- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", ["MedKQA", "SmartServ", "SmartCare"])
def test_the_seed_alone_fixes_everything(dimension: str) -> None:
    runs = []
    for _ in range(2):
        env = make(dimension, lang="zh")
        seen: list[tuple[Any, ...]] = []
        for seed in (11, None, None):
            seen.append(env.reset(seed=seed))
            over, turn = False, 0
            while not over:
                step = env.step(QUESTIONS[turn % 5])
                seen.append(step)
                over, turn = step[2] or step[3], turn + 1
        runs.append(seen)
    assert data_equivalence(runs[0], runs[1], exact=True)


def test_other_seeds_give_other_scenarios_and_personas() -> None:
    env = make("SmartCare")
    scenarios, personas = set(), set()
    for seed in range(40):
        _, info = env.reset(seed=seed)
        env.step(closing(info["dataset"]))
        scenarios.add(info["scenario"])
        personas.add(env.trajectory().persona)
    assert len(scenarios) > 10 and len(personas) > 1


def test_without_a_seed_the_draws_go_on() -> None:
    env = make("MedKQA")
    env.reset(seed=5)
    assert len({env.reset()[1]["scenario"] for _ in range(30)}) > 5


def test_the_option_scenario_chooses_it_and_leaves_later_draws_alone() -> None:
    free, told = make("SmartCare"), make("SmartCare")
    wanted = free.reset(seed=9)[1]["scenario"]
    other = next(s for s in (free.reset()[1]["scenario"] for _ in range(50)) if s != wanted)
    free.reset(seed=9)
    _, info = told.reset(seed=9, options={"scenario": other})
    assert info["scenario"] == other
    assert told.reset()[1]["scenario"] == free.reset()[1]["scenario"]


# --- observation, action, info ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_info_has_the_same_keys_and_types_at_every_step(dimension: str) -> None:
    env = make(dimension, max_turns=6)
    for seed in range(6):
        _, info = env.reset(seed=seed)
        infos, over = [info], False
        while not over:
            *_, terminated, truncated, info = env.step("When did this start?")
            infos.append(info)
            over = terminated or truncated
        for one in infos:
            assert {key: type(value) for key, value in one.items()} == INFO
            assert len(json.dumps({k: v for k, v in one.items() if k not in ("task", "policy", "tools")})) < 5000


def test_task_policy_and_tools_are_json_after_reset_and_empty_later() -> None:
    env = make("SmartCare", dataset="MADiagnosis")
    _, info = env.reset(seed=0)
    assert json.loads(info["task"]) == env.briefing.task and json.loads(info["policy"]) == env.briefing.policy
    assert json.loads(info["tools"]) == list(env.briefing.tools)
    assert {tool["function"]["name"] for tool in json.loads(info["tools"])} >= {"examine", "submit_diagnosis"}
    *_, info = env.step("Hello?")
    assert (info["task"], info["policy"], info["tools"]) == ("", "", "")


def test_the_observation_is_what_is_new() -> None:
    env = make("SmartCare", dataset="MADiagnosis")
    opening, _ = env.reset(seed=0)
    observation, *_ = env.step('{"content": "When did this start?", "tool_calls": [{"name": "wait", "arguments": {"minutes": 5}}]}')
    assert observation.startswith("[wait] ") and opening not in observation


def test_the_rubric_shows_only_after_the_end() -> None:
    seen = list(play(make("SmartCare"), seed=3))
    for observation, _, info in seen[:-1]:
        assert (info["score_detail"], info["graded"], info["criteria_judged"]) == ("", False, 0.0), observation
    detail = json.loads(seen[-1][2]["score_detail"])
    assert {"process", "outcome", "cap", "harms"} <= set(detail) and detail["value"] == seen[-1][2]["score"]


@pytest.mark.parametrize("dataset", CLOSING)
def test_text_action_and_openai_message_are_the_same_action(dataset: str) -> None:
    action = Action(content="Thank you.", tool_calls=(ToolCall.of(CLOSING[dataset]["name"], **CLOSING[dataset]["arguments"]),))
    message = action.to_message()
    assert Action.from_message(message) == action == Action.from_text(action.to_text())
    kept = []
    for form in (action, action.to_text(), Action.from_message(message)):
        env = make("SmartCare", dataset=dataset)
        env.reset(seed=4)
        assert env.step(form)[2]
        kept.append(env.trajectory())
    assert kept[0] == kept[1] == kept[2]
    said = next(m for m in kept[0].messages if m.role == "assistant")
    assert Action.from_message(said.to_openai()).to_text() == Action(content=said.content, tool_calls=said.tool_calls).to_text()


def test_a_malformed_action_is_answered_and_counted_until_the_budget_ends() -> None:
    env = make("SmartServ")
    env.reset(seed=0)
    for count in range(1, 6):
        observation, _, terminated, truncated, info = env.step('{"content": "x", "tool_calls": [')
        assert observation and info["malformed"] == count and not terminated and not truncated
    *_, terminated, truncated, info = env.step('{"content": "x", "tool_calls": [')
    assert truncated and not terminated and info["stop_reason"] == "max_malformed"


@pytest.mark.parametrize("action", [None, 3, b"hello", {"content": "hello"}, ["hello"]])
def test_an_action_of_another_kind_is_the_users_mistake(action: Any) -> None:
    env = make("SmartServ")
    env.reset(seed=0)
    with pytest.raises(UserError, match=f"not {type(action).__name__}"):
        env.step(action)


# --- rewards ---------------------------------------------------------------------------------------------------------


def test_a_right_answer_earns_one_and_terminates(catalog: Catalog) -> None:
    env = make("MedKQA", lang="zh")
    _, info = env.reset(seed=2)
    item = next(p.item for p in catalog.plays[info["dataset"]] if p.id == info["scenario"])
    assert isinstance(item, ChoiceItem)
    observation, reward, terminated, truncated, info = env.step("".join(item.answer))
    assert (reward, terminated, truncated, info["stop_reason"]) == (1.0, True, False, "concluded")
    assert info["graded"] and info["score"] == 1.0 and info["criteria_judged"] == 1.0 and observation in env.observation_space


def test_what_cannot_be_judged_has_reward_zero_and_says_so() -> None:
    env = make("MedSE", dataset="MACompliance")
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step("I would ask the ethics committee.")
    assert terminated and reward == 0.0 and info["graded"] is False and info["score"] == 0.0
    assert json.loads(info["score_detail"])["value"] is None


def test_the_turn_budget_truncates_with_a_reason_and_a_score() -> None:
    env = make("SmartCare", dataset="MADiagnosis", max_turns=2)
    env.reset(seed=0)
    assert env.step("When did this start?")[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step("When did this start?")
    assert (terminated, truncated, info["stop_reason"], info["graded"]) == (False, True, "max_turns", True)
    assert reward == info["score"]


def test_the_terminal_reward_is_the_score_at_the_end_and_nothing_before() -> None:
    for seed in range(6):
        rewards = [(reward, info["score"]) for _, reward, info in play(make("SmartCare"), seed)]
        assert all(pair == (0.0, 0.0) for pair in rewards[:-1])
        assert rewards[-1][0] == rewards[-1][1]


def test_the_dense_reward_sums_to_the_score_and_pays_on_the_way() -> None:
    paid = 0.0
    for seed in range(12):
        steps = list(play(make("SmartCare", reward="dense"), seed, conclude_after=8))
        plain = list(play(make("SmartCare"), seed, conclude_after=8))
        assert sum(reward for _, reward, _ in steps) == pytest.approx(plain[-1][2]["score"])
        assert [o for o, _, _ in steps] == [o for o, _, _ in plain]
        paid += sum(reward for _, reward, _ in steps[:-1])
        assert all(-0.3 <= reward <= 0.3 for _, reward, _ in steps[:-1])
    assert paid > 0


def test_a_trajectory_can_be_scored_later(catalog: Catalog) -> None:
    later, now = make("SmartCare", judge=None), make("SmartCare")
    last, scored = list(play(later, seed=6))[-1], list(play(now, seed=6))[-1]
    assert last[1] == 0.0 and last[2]["graded"] is False and last[2]["score_detail"] == ""
    trajectory = later.trajectory()
    chosen = next(p for p in catalog.plays[trajectory.dataset] if p.id == trajectory.scenario)
    assert grade(trajectory, chosen).score.value == scored[2]["score"] and later.judgement() == now.judgement()


def test_the_trajectory_is_of_the_episode_that_ended_last() -> None:
    env = make("SmartCare")
    with pytest.raises(MlbError, match="no episode has ended"):
        env.trajectory()
    with pytest.raises(EpisodeOver, match="call reset first"):
        _ = env.briefing
    ended = list(play(env, seed=1))[-1][2]["scenario"]
    env.reset(seed=2)
    env.step("Hello?")
    assert env.trajectory().scenario == ended == env.judgement().scenario


# --- rendering -------------------------------------------------------------------------------------------------------


def test_ansi_shows_the_dialogue_so_far() -> None:
    env = make("SmartCare", dataset="MADiagnosis", render_mode="ansi")
    env.reset(seed=0)
    answer, *_ = env.step("When did this start?")
    shown = env.render()
    assert isinstance(shown, str)
    assert shown.index("[task] ") < shown.index("[patient] ") < shown.index("[agent] When did this start?")
    assert shown.endswith(answer.splitlines()[-1])
    env.reset(seed=0)
    assert "[agent]" not in (env.render() or "")


def test_human_prints_as_it_goes_and_disarms_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    env = make("SmartCare", dataset="MADiagnosis", render_mode="human")
    env.reset(seed=0)
    env.step("\x1b[2J\x1b]0;gone\x07When did \x9bthis start?")
    out = capsys.readouterr().out
    assert env.render() is None and "[agent] [2J]0;goneWhen did this start?" in out
    assert not any(ord(c) < 32 and c != "\n" for c in out)


# --- a user's mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"dataset": "Nope"}, "Nope"),
        ({"dataset": "CMExam"}, "'CMExam' is of MedKQA"),
        ({"scenario": "nope"}, "nope"),
        ({"lang": "fr"}, "lang 'fr'"),
        ({"persona": "nobody"}, "persona 'nobody'"),
        ({"patient": "gpt"}, "patient 'gpt'"),
        ({"judge": "oracle"}, "judge 'oracle'"),
        ({"max_turns": 0}, "max_turns is 0"),
        ({"max_turns": "9"}, "max_turns is '9'"),
        ({"max_turns": True}, "max_turns is True"),
        ({"reward": "sparse"}, "reward 'sparse'"),
        ({"reward": "dense", "judge": None}, "needs a judge"),
        ({"scenarios": "/nonexistent/folder"}, "/nonexistent/folder"),
    ],
)  # fmt: skip
def test_a_value_that_nothing_bears_is_named(keywords: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as caught:
        gymnasium.make("mlb/SmartCare-v0", **keywords)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_dimension_or_render_mode_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="dimension 'Nope'"):
        MlbEnv("Nope")
    with pytest.raises(UserError, match="render_mode 'rgb_array'"):
        MlbEnv("MedKQA", render_mode="rgb_array")


def test_a_persona_where_nobody_talks_is_refused() -> None:
    with pytest.raises(UserError, match="MedKQA has no patient"):
        gymnasium.make("mlb/MedKQA-v0", persona="plain")


@pytest.mark.parametrize(("options", "named"), [({"scenario": "nope"}, "nope"), ({"seed": 3}, "no option 'seed'")])
def test_options_of_reset_that_do_not_exist_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        make("SmartCare").reset(options=options)


# --- content ---------------------------------------------------------------------------------------------------------


def test_dataset_scenario_and_persona_narrow_what_is_played(interactive: list[Any]) -> None:
    env = make("SmartServ", dataset=["MAGuidance", "MAReport"], persona="plain", max_turns=1)
    for seed in range(12):
        _, info = env.reset(seed=seed)
        env.step("Hello?")
        assert info["dataset"] in ("MAGuidance", "MAReport") and env.trajectory().persona == "plain"
    wanted = next(p.id for p in interactive if p.dataset.name == "MAReport")
    assert {make("SmartServ", scenario=wanted).reset(seed=s)[1]["scenario"] for s in range(4)} == {wanted}


def _folder(base: Path, lang: str) -> Path:
    """A content folder with one item of CMExam, in one language."""
    where = base / "MedKQA"
    where.mkdir(parents=True)
    (where / "CMExam.yaml").write_text(
        "name: CMExam\ndimension: MedKQA\nedition: mine\nform: choice\n"
        f"title: {{{lang}: title}}\ntask: {{{lang}: Answer with a letter.}}\n", encoding="utf-8",
    )  # fmt: skip
    provenance = {"author_kind": "researcher", "author": "a", "date": "2026", "licence": "CC0-1.0", "method": "by hand"}
    item = {"id": "mine-1", "family": "mine-1", "provenance": provenance, "question": {lang: "1 + 1?"},
            "options": {lang: ["1", "2"]}, "answer": ["B"], "form": "single"}  # fmt: skip
    (where / "CMExam.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    return base


def test_a_folder_of_ones_own_is_played_instead_of_the_bundled_scenarios(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "content", "en")
    env = make("MedKQA", scenarios=folder)
    assert env.reset(seed=0)[1]["scenario"] == "mine-1" and env.step("B")[1] == 1.0
    with pytest.raises(UserError, match="SmartCare"):
        make("SmartCare", scenarios=str(folder))


def test_a_language_in_which_nothing_exists_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "content", "zh")
    with pytest.raises(UserError, match="cannot be played in 'en'; it exists in zh"):
        make("MedKQA", scenarios=folder)
    with pytest.raises(UserError, match="the scenario 'mine-1' cannot be played in 'en'"):
        make("MedKQA", scenarios=folder, scenario="mine-1")
    assert make("MedKQA", scenarios=folder, lang="zh").reset(seed=0)[0]


def test_environments_of_one_process_share_the_content() -> None:
    assert make("SmartCare")._plays[0] is make("SmartCare", edge=NoEdge())._plays[0]
