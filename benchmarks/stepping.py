"""How fast interactive episodes step offline.

    python benchmarks/stepping.py [--steps N] [--floor STEPS_PER_SECOND] [--profile]

Every step is a question to the offline patient, in Chinese or English, and no text is used twice: the questions are the
lexicon's cues in many frames, over all topics, singly and two at a time, with some that nothing understands. Nothing
remembers an answer, no model is asked. One process, one thread, CPU time. Two figures: `Episode.step`, and `env.step` of
`gymnasium.make`, which also judges each episode at its end; both include the resets.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import gymnasium

import mlb_env.envs.register
from mlb_env.catalog.load import open_catalog
from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.patient.understand import Lexicon, lexicon
from mlb_env.spec.base import LANGS, Lang

FRAMES: dict[Lang, tuple[str, ...]] = {
    "zh": ("{}？", "请问{}？", "我想了解一下，{}呢？", "麻烦您说说{}，可以吗？", "那么{}？慢慢说。", "好的，我知道了。{}？",
           "顺便问一下，{}？", "为了弄清楚您的情况，需要问一下：{}？"),
    "en": ("{}?", "May I ask, {}?", "Thank you, that helps. {}?", "Just to be sure: {}?", "And {}? Take your time.",
           "Could you tell me, {}?", "Before we go on, {}?", "I see. One more thing, {}?"),
}  # fmt: skip
ODD = {
    "zh": ("今天外面的风是不是刮得{}", "您家养的那{}只猫叫什么", "第{}路公交车从哪一站上"),
    "en": ("does bus number {} stop near your house", "which colour is the door of number {}", "what is {} times seven"),
}
ODD_SHARE = 0.05
PAIR_SHARE = 0.2


@dataclass
class Result:
    """What one way of stepping came to."""

    steps: int
    episodes: int
    seconds: float
    ended: int  # steps of the episodes that ended, and how many of those were not understood
    unparsed: int

    @property
    def rate(self) -> float:
        return self.steps / self.seconds


def questions(lang: Lang, book: Lexicon, rng: Random) -> Iterator[str]:
    """Questions in an endless mix; each topic, cue and frame meets every other. No text comes twice."""
    cues = [(topic, cue) for topic, entry in book.topics.items() for cue in (entry.zh if lang == "zh" else entry.en)]
    join = "，还有" if lang == "zh" else ", and "
    seen: set[str] = set()
    for number in itertools.count():
        draw = rng.random()
        if draw < ODD_SHARE:
            said = rng.choice(ODD[lang]).format(number)
        elif draw < ODD_SHARE + PAIR_SHARE:
            said = join.join(cue for _, cue in rng.sample(cues, 2))
        else:
            said = rng.choice(cues)[1]
        text = rng.choice(FRAMES[lang]).format(said)
        if text not in seen:
            seen.add(text)
            yield text


def plays() -> list[Play]:
    """All scenarios in which the patient talks."""
    chosen = open_catalog().select(dimension=["SmartServ", "SmartCare"])
    return [p for p in chosen if p.scenario is not None and p.scenario.variant == "dialogue"]


def raw(chosen: list[Play], asked: dict[Lang, list[str]]) -> Result:
    """Step episodes themselves, over all scenarios in turn and both languages by halves."""
    result = Result(0, 0, 0.0, 0, 0)
    for lang, texts in asked.items():
        order = itertools.cycle(chosen)
        left = iter(texts)
        start = time.process_time()
        text = next(left, None)
        while text is not None:
            episode = Episode(next(order), lang=lang, seed=result.episodes)
            episode.reset()
            while text is not None and not episode.over:
                episode.step(text)
                result.steps += 1
                text = next(left, None)
            result.episodes += 1
            if episode.over:
                result.ended += episode.turn
                result.unparsed += sum(a.kind == "unparsed" for a in episode.trajectory().answers)
        result.seconds += time.process_time() - start
    return result


def through_gymnasium(chosen: list[Play], asked: dict[Lang, list[str]]) -> Result:
    """Step through `gymnasium.make`, with a score at the end of each episode."""
    result = Result(0, 0, 0.0, 0, 0)
    for lang, texts in asked.items():
        half = len(texts) // 2
        for name, part in (("mlb/SmartServ-v0", texts[:half]), ("mlb/SmartCare-v0", texts[half:])):
            ids = [p.id for p in chosen if p.dataset.dimension in name]
            env = gymnasium.make(name, lang=lang, scenario=ids)
            start = time.process_time()
            env.reset(seed=0)
            over = False
            for text in part:
                if over:
                    env.reset()
                *_, terminated, truncated, _ = env.step(text)
                over = terminated or truncated
                result.episodes += over
                result.steps += 1
            result.seconds += time.process_time() - start
            env.close()
    return result


def main() -> int:
    """Measure and print; 1 where one of the two is slower than the floor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--floor", type=float, default=0.0, help="steps per second; slower exits with 1")
    parser.add_argument("--profile", action="store_true", help="print where Episode.step spends its time")
    settings = parser.parse_args()
    mlb_env.envs.register.register()
    book, half = lexicon(), settings.steps // 2
    asked = {lang: list(itertools.islice(questions(lang, book, Random(lang)), half)) for lang in LANGS}
    chosen = plays()
    every = [text for texts in asked.values() for text in texts]
    print(f"{len(every)} questions, {len(set(every))} different, over {len(chosen)} scenarios in zh and en")
    warm = {lang: texts[:2500] for lang, texts in asked.items()}  # each case's cues are compiled once, at its first question
    raw(chosen, warm)
    through_gymnasium(chosen, warm)
    if settings.profile:
        profile = cProfile.Profile()
        profile.runcall(raw, chosen, asked)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return 0
    plain, face = raw(chosen, asked), through_gymnasium(chosen, asked)
    understood = 1 - plain.unparsed / max(1, plain.ended)
    print(f"Episode.step  {plain.rate:8.0f} steps/s   ({plain.steps} steps, {plain.episodes} episodes)")
    print(f"env.step      {face.rate:8.0f} steps/s   ({face.steps} steps, {face.episodes} episodes, each judged)")
    print(f"ratio         {face.rate / plain.rate:8.2f}")
    print(f"understood    {understood:8.1%} of the turns ({ODD_SHARE:.0%} are meant not to be)")
    return 0 if min(plain.rate, face.rate) >= settings.floor else 1


if __name__ == "__main__":
    sys.exit(main())
