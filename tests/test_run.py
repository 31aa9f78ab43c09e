"""A run: the same bytes however it is played, nothing lost however it ends, failures that are never scores."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import mlb_env
from mlb_env import Action, RunError, UserError
from mlb_env.agent import AgentContext
from mlb_env.bench.regrade import regrade
from mlb_env.bench.store import Kept, RunStore, next_folder, read_header
from mlb_env.effects import ChatRequest, Failure, Flow, ModelSettings
from mlb_env.errors import AgentFailed
from mlb_env.spec.action import Briefing, Observation
from mlb_env.spec.rubric import Judgement
from mlb_env.spec.trajectory import Trajectory, Usage

from .run_kit import (  # noqa: F401  the fixture is used by being here
    FAILING,
    QUICK,
    SLOW,
    bundled_cases_are_parsed_once,
    call,
    contents,
    mlb,
    start,
    write_agent,
    write_content,
)  # fmt: skip


@pytest.fixture
def content(tmp_path: Path) -> Path:
    return write_content(tmp_path / "content")


class Always:
    """Answers A; the base of the agents below."""

    def __init__(self, context: AgentContext) -> None:
        self.context = context

    def reset(self, briefing: Briefing) -> None:
        pass

    def act(self, observation: Observation) -> Any:
        return Action(content="A")


def run(content: Path, out: Path, agent: Any = Always, **settings: Any) -> mlb_env.RunResult:
    return mlb_env.run(agent, scenarios=content, out=out, **settings)


# --- the same bytes -----------------------------------------------------------------------------------------------------


def test_the_bytes_do_not_depend_on_concurrency_or_the_order_of_completion(content: Path, tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "slow.py", SLOW)
    one = run(content, tmp_path / "one", agent, seed=7, trials=2, concurrency=1)
    many = run(content, tmp_path / "many", agent, seed=7, trials=2, concurrency=16)
    assert contents(one.folder) == contents(many.folder)
    assert (one.folder / "run.json").read_bytes() == (many.folder / "run.json").read_bytes()


def test_another_seed_is_another_run(content: Path, tmp_path: Path) -> None:
    agent = write_agent(tmp_path / "quick.py", QUICK)
    assert contents(run(content, tmp_path / "a", agent, seed=1).folder) != contents(run(content, tmp_path / "b", agent, seed=2).folder)


def test_the_bundled_interactive_scenarios_are_deterministic_too(tmp_path: Path) -> None:
    runs = [
        mlb_env.run("interviewer", dataset=["MAGuidance", "MARecord"], lang="both", seed=3, out=tmp_path / f"{n}", concurrency=n)
        for n in (1, 16)
    ]
    assert contents(runs[0].folder) == contents(runs[1].folder)


def test_lines_stand_in_scenario_order(content: Path, tmp_path: Path) -> None:
    result = run(content, tmp_path / "r", write_agent(tmp_path / "slow.py", SLOW), trials=2, concurrency=16)
    names = [t.episode for t in result.trajectories()]
    assert names == [f"tiny-{i:03d}.en.{trial}" for i in range(24) for trial in range(2)]
    assert [j.episode for j in result.judgements()] == names


# --- what ends early ----------------------------------------------------------------------------------------------------


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def started(content: Path, tmp_path: Path) -> tuple[Path, subprocess.Popen[str]]:
    """A run of 24 episodes that has finished 7 and cannot go on while `gate` stands."""
    write_agent(tmp_path / "slow.py", SLOW)
    (tmp_path / "gate").touch()
    out = tmp_path / "broken"
    process = start("run", "--scenarios", content, "--agent", "slow.py", "--out", out, "--concurrency", 4, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while lines_in(out / "journal.jsonl") < 7:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    return out, process


def interrupted(content: Path, tmp_path: Path, how: signal.Signals) -> tuple[Path, subprocess.Popen[str], str]:
    """Such a run, stopped by a signal; its folder, its process and its stderr."""
    out, process = started(content, tmp_path)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    (tmp_path / "gate").unlink()
    assert lines_in(out / "journal.jsonl") == 7
    return out, process, err


@pytest.fixture
def unbroken(content: Path, tmp_path: Path) -> dict[str, bytes]:
    return contents(run(content, tmp_path / "unbroken", write_agent(tmp_path / "slow.py", SLOW)).folder)


def test_a_killed_run_resumes_and_ends_with_the_bytes_of_an_unbroken_one(
    content: Path, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    out, process, _ = interrupted(content, tmp_path, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    kept = lines_in(out / "journal.jsonl")
    done: list[int] = []
    mlb_env.run(resume=out, progress=lambda n, total, ungraded: done.append(n))
    assert contents(out) == unbroken
    assert done[0] == kept and done[-1] == 24  # nothing was played twice
    assert not (out / "journal.jsonl").exists()


def test_ctrl_c_exits_130_says_how_to_resume_and_keeps_what_was_finished(
    content: Path, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    out, process, err = interrupted(content, tmp_path, signal.SIGINT)
    assert process.returncode == 130
    assert f"interrupted; resume with mlb run --resume {out}" in err and "Traceback" not in err
    done = mlb("run", "--resume", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(out) == unbroken


@pytest.mark.parametrize("tail", [b'{"trajectory":{"episode":"tiny-0', b"\x00\x00\x00\n", b'{"trajectory":{},"judgement":{}}\n'])
def test_a_torn_or_damaged_last_line_is_dropped_and_its_episode_played_again(
    content: Path, tmp_path: Path, unbroken: dict[str, bytes], tail: bytes
) -> None:
    out, _, _ = interrupted(content, tmp_path, signal.SIGKILL)
    with (out / "journal.jsonl").open("ab") as journal:
        journal.write(tail)
    mlb_env.run(resume=out)
    assert contents(out) == unbroken


def test_a_line_that_lost_its_end_costs_only_its_own_episode(content: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out, _, _ = interrupted(content, tmp_path, signal.SIGKILL)
    journal = out / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    kept = lines_in(journal)
    seen: list[int] = []
    mlb_env.run(resume=out, progress=lambda n, total, ungraded: seen.append(n))
    assert seen[0] == kept
    assert contents(out) == unbroken


def test_a_run_killed_before_its_first_episode_resumes(content: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out, _, _ = interrupted(content, tmp_path, signal.SIGKILL)
    (out / "journal.jsonl").unlink()
    mlb_env.run(resume=out)
    assert contents(out) == unbroken


def test_a_run_killed_while_its_files_were_put_in_place_resumes(
    content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = write_agent(tmp_path / "quick.py", QUICK)
    whole = contents(run(content, tmp_path / "whole", agent).folder)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mlb_env.bench.store.write_summary", killed)
        with pytest.raises(KeyboardInterrupt):
            run(content, tmp_path / "cut", agent)
    assert (tmp_path / "cut" / "trajectories.jsonl").exists() and (tmp_path / "cut" / "journal.jsonl").exists()
    mlb_env.run(resume=tmp_path / "cut")
    assert contents(tmp_path / "cut") == whole


def test_resuming_a_finished_run_plays_nothing_and_changes_nothing(content: Path, tmp_path: Path) -> None:
    result = run(content, tmp_path / "r", write_agent(tmp_path / "quick.py", QUICK))
    before = contents(result.folder)
    again = mlb_env.run(resume=result.folder)
    assert again.summary == result.summary and contents(result.folder) == before


def test_a_full_disk_is_one_sentence_and_nothing_finished_is_lost(content: Path, tmp_path: Path) -> None:
    write_agent(tmp_path / "quick.py", QUICK)
    whole = contents(run(content, tmp_path / "whole", str(tmp_path / "quick.py")).folder)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))  # the kernel's own refusal in the middle of the journal

    process = start("run", "--scenarios", content, "--agent", "quick.py", "--out", "full", cwd=tmp_path, preexec_fn=small_files)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.count("\n") <= 2 and "mlb: 'full' cannot be written" in err and "mlb run --resume full" in err, err
    kept = lines_in(tmp_path / "full" / "journal.jsonl")
    assert 0 < kept < 24
    mlb_env.run(resume=tmp_path / "full")
    assert contents(tmp_path / "full") == whole


# --- the folder ---------------------------------------------------------------------------------------------------------


def test_an_existing_folder_is_refused_even_an_empty_one(content: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty' exists already"):
        run(content, tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())


def test_without_a_folder_the_next_free_number_is_taken(content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    agent = write_agent(tmp_path / "my agent.py", QUICK)
    folders = [str(mlb_env.run(agent, scenarios=content, limit=1).folder) for _ in range(2)]
    assert folders == ["runs/my-agent-001", "runs/my-agent-002"]
    assert next_folder("../../etc") == Path("runs/etc-001")


def test_two_writers_are_refused(content: Path, tmp_path: Path) -> None:
    out, process = started(content, tmp_path)
    with pytest.raises(UserError, match="another process is writing"):
        mlb_env.run(resume=out)
    (tmp_path / "gate").unlink()
    process.communicate(timeout=60)
    assert process.returncode == 0 and lines_in(out / "trajectories.jsonl") == 24


def test_run_json_says_what_was_played_and_holds_no_secret(
    content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret-0815")
    agent = write_agent(tmp_path / "quick.py", QUICK)
    model = {"model": "m", "key_variable": "MY_KEY", "base_url": "http://127.0.0.1:1/v1"}
    result = run(content, tmp_path / "r", agent, model=model, limit=3)
    text = (result.folder / "run.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert "sk-very-secret" not in text and data["settings"]["model"]["key_variable"] == "MY_KEY"
    assert set(data["content"]) == {"CMExam"} and data["agent"]["file"] == agent and len(data["agent"]["sha256"]) == 64
    assert {"mlb-env", "python", "numpy"} <= set(data["versions"]) and data["episodes"] == 3


def test_a_key_in_the_wrong_place_is_refused_before_it_is_written(
    content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0815")
    agent = write_agent(tmp_path / "quick.py", QUICK)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        run(content, tmp_path / "r", agent, model={"model": "m", "extra_body": {"token": "sk-very-secret-0815"}})
    with pytest.raises(UserError, match="user name or password"):
        run(content, tmp_path / "r", agent, model={"model": "m", "base_url": "http://me:secret@host/v1"})
    assert not (tmp_path / "r").exists()


def test_a_run_that_cannot_start_leaves_nothing_behind(content: Path, tmp_path: Path) -> None:
    def broken(context: AgentContext) -> Any:
        raise ValueError("no weights")

    with pytest.raises(UserError, match="cannot be made: ValueError: no weights"):
        run(content, tmp_path / "r", broken)
    with pytest.raises(UserError, match="has no method 'reset'"):
        run(content, tmp_path / "r", lambda context: object())
    assert not (tmp_path / "r").exists()


# --- resuming something else --------------------------------------------------------------------------------------------


@pytest.fixture
def finished(content: Path, tmp_path: Path) -> Path:
    return run(content, tmp_path / "finished", write_agent(tmp_path / "quick.py", QUICK), seed=1).folder


def test_other_settings_are_refused_and_named(finished: Path) -> None:
    with pytest.raises(UserError, match=r"--seed was given as 5, but the run in .* has 1"):
        mlb_env.run(resume=finished, seed=5)
    mlb_env.run(resume=finished, seed=1, concurrency=3)  # the same ones, and what changes no result, are fine


def test_changed_content_is_refused(finished: Path, content: Path) -> None:
    write_content(content, items=23)
    with pytest.raises(UserError, match="the content of CMExam has changed"):
        mlb_env.run(resume=finished)


def test_a_changed_agent_is_refused(finished: Path, tmp_path: Path) -> None:
    write_agent(tmp_path / "quick.py", QUICK + "\n# other\n")
    with pytest.raises(UserError, match=r"agent's file .*quick\.py has changed"):
        mlb_env.run(resume=finished)


def test_retry_ungraded_plays_only_what_failed(content: Path, tmp_path: Path) -> None:
    flag = tmp_path / "endpoint is down"
    played: list[str] = []

    class Flaky(Always):
        def act(self, observation: Observation) -> Any:
            played.append(observation.text.split("?")[0])
            if flag.exists() and "question 3?" in observation.text:
                raise AgentFailed("the endpoint is down")
            return Action(content="A")

    flag.touch()
    first = run(content, tmp_path / "r", Flaky)
    assert first.ungraded == 1
    flag.unlink()
    played.clear()
    assert mlb_env.run(Flaky, resume=first.folder).ungraded == 1 and not played
    second = mlb_env.run(Flaky, resume=first.folder, retry_ungraded=True)
    assert played == ["question 3"] and second.ungraded == 0
    assert contents(second.folder) == contents(run(content, tmp_path / "whole", Flaky).folder)


def test_a_finished_run_that_lost_its_summary_gets_it_again(finished: Path) -> None:
    before = contents(finished)
    for again in (lambda: mlb_env.run(resume=finished), lambda: call("grade", finished, "--write", cwd=finished)):
        (finished / "summary.json").unlink()
        assert f"mlb run --resume {finished}" in call("report", finished, cwd=finished).stderr
        again()
        assert contents(finished) == before


@pytest.mark.parametrize("summary", [True, False])
def test_a_finished_run_that_lost_its_verdicts_says_what_makes_them_again(finished: Path, summary: bool) -> None:
    before = contents(finished)
    (finished / "verdicts.jsonl").unlink()
    if not summary:
        (finished / "summary.json").unlink()
    for command in (("run", "--resume"), ("run", "--retry-ungraded", "--resume"), *([("compare", finished)] if summary else [])):
        done = call(*command, finished, cwd=finished)
        assert done.returncode == 2 and f"mlb grade {finished} --write" in done.stderr, command
    done = call("grade", finished, "--write", cwd=finished)
    assert done.returncode == 0 and "24 judgements made, as there were none" in done.stdout
    assert contents(finished) == before


def test_an_unfinished_run_is_not_graded(finished: Path) -> None:
    (finished / "summary.json").unlink()
    (finished / "journal.jsonl").touch()
    with pytest.raises(UserError, match="not finished"):
        regrade(finished)


@pytest.mark.parametrize("left", [(), ("run.json.tmp",)])
def test_resuming_a_folder_in_which_no_run_was_begun_says_to_remove_it(tmp_path: Path, left: tuple[str, ...]) -> None:
    (tmp_path / "e").mkdir()
    for name in left:
        (tmp_path / "e" / name).touch()
    with pytest.raises(UserError, match=r"'.*e' is empty.*remove it"):
        mlb_env.run(resume=tmp_path / "e")


# --- failures -----------------------------------------------------------------------------------------------------------


def test_a_failing_agent_leaves_its_episodes_ungraded_and_the_run_goes_on(content: Path, tmp_path: Path) -> None:
    result = run(content, tmp_path / "r", write_agent(tmp_path / "failing.py", FAILING))
    assert result.summary.coverage == pytest.approx(22 / 24, abs=1e-6) and result.ungraded == 2
    assert result.summary.overall.score == 1.0  # the others answered A
    by_name = {j.scenario: j.score for j in result.judgements()}
    for name, reason in (("tiny-002", "agent raised TypeError: bad operand in two lines (failing.py:9)"),
                         ("tiny-004", "the agent returned int, where an Action or a text is expected")):  # fmt: skip
        assert by_name[name].value is None and by_name[name].ungraded == reason
    failed = {t.scenario: t for t in result.trajectories()}["tiny-002"]
    assert failed.stop_reason == "failed" and "TypeError" in failed.failure


def test_the_command_line_exits_1_when_episodes_stay_ungraded(content: Path, tmp_path: Path) -> None:
    write_agent(tmp_path / "failing.py", FAILING)
    done = mlb("run", "--scenarios", content, "--agent", "failing.py", "--out", "r", cwd=tmp_path)
    assert done.returncode == 1
    assert "Coverage 92 %: 2 of 24 episodes have no score" in done.stdout and "1 × agent raised TypeError" in done.stdout


def test_a_failing_judge_leaves_the_episode_ungraded(content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("no such rule")

    monkeypatch.setattr("mlb_env.bench.episodes.grading", broken)
    result = run(content, tmp_path / "r", limit=1)
    assert result.summary.overall.score is None and "the judge raised KeyError" in next(iter(result.summary.failures))


def test_an_endpoint_that_is_not_there_gives_no_score(content: Path, tmp_path: Path) -> None:
    class Calling(Always):
        def act(self, observation: Observation) -> Flow[Action]:
            settings = ModelSettings(model="m", base_url="http://127.0.0.1:9/v1", retries=0, timeout_s=5)
            (reply,) = yield (ChatRequest("agent", settings, ({"role": "user", "content": "hello"},)),)
            assert isinstance(reply, Failure)
            raise AgentFailed(reply.reason)

    result = run(content, tmp_path / "r", Calling, limit=2)
    assert result.summary.coverage == 0.0 and result.summary.overall.score is None
    assert "127.0.0.1" in next(iter(result.summary.failures))


@pytest.mark.parametrize("error", [SystemExit(0), asyncio.CancelledError()])
def test_an_agent_that_ends_the_program_or_cancels_ends_only_its_episode(
    content: Path, tmp_path: Path, error: BaseException
) -> None:
    class Leaving(Always):
        def act(self, observation: Observation) -> Any:
            if "question 1?" in observation.text:
                raise error
            return "A"

    result = run(content, tmp_path / "r", Leaving)
    failed = [t for t in result.trajectories() if t.failure]
    assert [t.scenario for t in failed] == ["tiny-001"] and type(error).__name__ in failed[0].failure
    assert len(list(result.trajectories())) == 24


def test_an_agent_that_ends_the_program_is_no_success_on_the_command_line(content: Path, tmp_path: Path) -> None:
    write_agent(tmp_path / "leaving.py", QUICK.replace("return Action(content", "raise SystemExit(0)\n        return Action(content"))
    done = call("run", "--scenarios", content, "--agent", "leaving.py", "--out", "r", "--limit", 2, cwd=tmp_path)
    assert done.returncode == 1 and "Coverage 0 %" in done.stdout
    for place, text in (("loaded", "raise SystemExit(0)\n"), ("made", "def make(context):\n    raise SystemExit(0)\n")):
        write_agent(tmp_path / f"{place}.py", text)
        done = call("run", "--scenarios", content, "--agent", f"{place}.py", "--out", place, cwd=tmp_path)
        assert done.returncode == 2 and f"cannot be {place}" in done.stderr and "SystemExit" in done.stderr


def test_an_episode_that_cannot_be_written_as_json_is_ungraded_and_the_run_goes_on(content: Path, tmp_path: Path) -> None:
    class Unwritable(Always):
        def act(self, observation: Observation) -> Any:
            if "question 1?" in observation.text:
                return Action.model_construct(content="A", tool_calls=({object()},))
            return "A"

    result = run(content, tmp_path / "r", Unwritable, limit=3)
    assert [bool(t.failure) for t in result.trajectories()] == [False, True, False]

    class Halved(Always):
        @property
        def usage(self) -> Any:
            raise OverflowError("the meter is broken")

    (failed,) = run(content, tmp_path / "s", Halved, limit=1).trajectories()
    assert failed.stop_reason == "failed" and "OverflowError: the meter is broken" in failed.failure


def test_a_line_that_cannot_be_made_is_kept_as_failed(content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Kept.of

    def of(trajectory: Trajectory, judgement: Judgement) -> Kept:
        if trajectory.scenario == "tiny-001" and not trajectory.failure:
            "\ud83d".encode()
        return real(trajectory, judgement)

    monkeypatch.setattr(Kept, "of", of)
    result = run(content, tmp_path / "r", limit=3)
    assert [t.failure.split(":")[0] for t in result.trajectories()] == ["", "the episode cannot be written as JSON", ""]


# --- agents -------------------------------------------------------------------------------------------------------------


def test_an_agent_may_answer_at_once_in_text_as_an_awaitable_or_as_a_flow(content: Path, tmp_path: Path) -> None:
    class Text(Always):
        def act(self, observation: Observation) -> Any:
            return "A"

    class Awaited(Always):
        async def act(self, observation: Observation) -> Any:
            await asyncio.sleep(0)
            return Action(content="A")

    class Flowing(Always):
        def act(self, observation: Observation) -> Any:
            return Action(content="A")
            yield ()

    for agent in (Always, Text, Awaited, Flowing):
        result = run(content, tmp_path / agent.__name__, agent, limit=4)
        assert result.summary.overall.score == 1.0 and result.ungraded == 0


def test_each_episode_has_a_fresh_agent_with_a_generator_of_its_own(content: Path, tmp_path: Path) -> None:
    draws: dict[int, float] = {}

    class Drawing(Always):
        def act(self, observation: Observation) -> Any:
            draws[id(self)] = self.context.rng.random()
            kept.append(self)
            return "A"

    kept: list[Any] = []
    run(content, tmp_path / "r", Drawing, limit=5)
    assert len(draws) == 5 and len(set(draws.values())) == 5


def test_only_the_bundled_calibration_agents_are_given_the_gold(content: Path, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Nosy(Always):
        def __init__(self, context: AgentContext) -> None:
            super().__init__(context)
            seen.append(context.gold)

    run(content, tmp_path / "r", Nosy, limit=2)
    assert seen and all(gold is None for gold in seen)
    oracle = mlb_env.run("oracle", scenarios=content, out=tmp_path / "o", limit=2)
    assert oracle.summary.overall.score == 1.0


def test_what_the_agents_model_cost_is_recorded_with_the_episode(content: Path, tmp_path: Path) -> None:
    class Costly(Always):
        usage = Usage(calls=2, prompt_tokens=100, completion_tokens=7)

    result = run(content, tmp_path / "r", Costly, limit=3)
    assert result.summary.usage["agent"].calls == 6 and result.summary.usage["agent"].tokens == 321
    assert next(result.trajectories()).usage["agent"].prompt_tokens == 100


def test_half_a_surrogate_pair_in_an_answer_does_not_stop_the_run(content: Path, tmp_path: Path) -> None:
    class Cut(Always):
        def act(self, observation: Observation) -> Any:
            return "A \ud83d"

    result = run(content, tmp_path / "r", Cut, limit=1)
    assert result.ungraded == 0 and next(result.trajectories()).messages[-1].content == "A ?"


def test_a_run_works_inside_a_running_event_loop(content: Path, tmp_path: Path) -> None:
    async def notebook() -> float | None:
        return run(content, tmp_path / "r", limit=1).summary.overall.score

    assert asyncio.run(notebook()) == 1.0


# --- which episodes -----------------------------------------------------------------------------------------------------


def episodes(result: mlb_env.RunResult) -> list[str]:
    return [t.episode for t in result.trajectories()]


def bilingual(content: Path) -> None:
    """Item 0 in both languages, item 1 in English, item 2 in Chinese."""
    path = content / "MedKQA" / "CMExam.jsonl"
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:3]
    for item, langs in zip(items, (("en", "zh"), ("en",), ("zh",)), strict=True):
        item["question"] = dict.fromkeys(langs, item["question"]["en"])
        item["options"] = dict.fromkeys(langs, item["options"]["en"])
    path.write_text("".join(json.dumps(i) + "\n" for i in items), encoding="utf-8")


@pytest.mark.parametrize(("lang", "expected"), [
    (None, ["tiny-000.en.0", "tiny-001.en.0", "tiny-002.zh.0"]), ("en", ["tiny-000.en.0", "tiny-001.en.0"]),
    ("zh", ["tiny-000.zh.0", "tiny-002.zh.0"]), ("both", ["tiny-000.zh.0", "tiny-000.en.0", "tiny-001.en.0", "tiny-002.zh.0"]),
])  # fmt: skip
def test_the_language_option(content: Path, tmp_path: Path, lang: str | None, expected: list[str]) -> None:
    bilingual(content)
    assert episodes(run(content, tmp_path / "r", lang=lang)) == expected


def test_a_language_in_which_nothing_exists_is_the_users_mistake(content: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--lang zh: none of the 24 scenarios"):
        run(content, tmp_path / "r", lang="zh")


def test_limit_counts_scenarios_and_each_is_played_as_often_as_asked(content: Path, tmp_path: Path) -> None:
    assert episodes(run(content, tmp_path / "r", limit=1, trials=3)) == [f"tiny-000.en.{t}" for t in range(3)]


def test_editions_are_never_pooled(content: Path, tmp_path: Path) -> None:
    other = write_content(tmp_path / "other", dataset="MAExam", edition="elsewhere", items=2)
    file = other / "MedKQA" / "MAExam.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("tiny-", "other-"), encoding="utf-8")
    with pytest.raises(UserError, match=r"several editions: elsewhere .*, tiny"):
        mlb_env.run(Always, scenarios=[content, other], out=tmp_path / "r")
    assert mlb_env.run(Always, scenarios=[content, other], dataset="MAExam", out=tmp_path / "r").header.edition == "elsewhere"


def test_an_id_in_two_datasets_is_refused(content: Path, tmp_path: Path) -> None:
    write_content(content, dataset="MAExam")
    with pytest.raises(UserError, match="'tiny-000' stands in CMExam and in MAExam"):
        run(content, tmp_path / "r")


def test_the_turn_budget_can_be_set(tmp_path: Path) -> None:
    class Talker(Always):
        def act(self, observation: Observation) -> Any:
            return "您好。"

    result = mlb_env.run(Talker, dataset="MAGuidance", limit=1, max_turns=2, out=tmp_path / "r")
    assert [(t.turns, t.stop_reason) for t in result.trajectories()] == [(2, "max_turns")]


def test_one_persona_for_all(tmp_path: Path) -> None:
    result = mlb_env.run("null", dataset="MAGuidance", persona="terse", out=tmp_path / "r")
    assert {t.persona for t in result.trajectories()} == {"terse"}
    with pytest.raises(UserError, match="no such persona"):
        mlb_env.run("null", dataset="MAGuidance", persona="grumpy", out=tmp_path / "s")


# --- judging ------------------------------------------------------------------------------------------------------------


def test_without_a_judge_nothing_is_scored_and_nothing_is_ungraded(content: Path, tmp_path: Path) -> None:
    result = run(content, tmp_path / "r", judge="none")
    assert result.summary.overall.score is None and result.summary.coverage == 1.0 and result.ungraded == 0


def test_a_trajectory_can_be_graded_by_itself(content: Path, tmp_path: Path) -> None:
    result = run(content, tmp_path / "r", limit=2)
    trajectory, saved = next(result.trajectories()), next(result.judgements())
    assert mlb_env.grade(trajectory, scenarios=[content]) == saved
    with pytest.raises(UserError, match=r"there is no (dataset|scenario)"):
        mlb_env.grade(trajectory)  # the bundled content does not have it


def test_load_gives_one_scenario_by_its_id() -> None:
    play = mlb_env.load("cmexam-001")
    assert play.id == "cmexam-001" and mlb_env.Episode(play).reset().text
    with pytest.raises(UserError, match="there is no scenario 'nope'"):
        mlb_env.load("nope")


# --- the store by itself ------------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_says_so(content: Path, tmp_path: Path) -> None:
    result = run(content, tmp_path / "r", limit=1)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be made"):
        RunStore.create(tmp_path / "file" / "r", read_header(result.folder))


def test_the_journal_of_a_failing_disk_is_a_run_error(
    content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        run(content, tmp_path / "r", limit=1)
