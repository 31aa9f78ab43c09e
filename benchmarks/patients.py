"""Many seeded offline episodes with agents that do not play fair: what the patient says that it should not.

    python benchmarks/patients.py [--episodes 10000]

Episodes of all interactive scenarios, in both languages, with every persona in turn, played by `random` and `dumper`; each
trajectory is audited as `mlb patients audit` does. Prints leaks, contradictions and exceptions; the bar is 0 of each.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from random import Random
from typing import Any

from mlb_env.agent import AgentContext, load_agent
from mlb_env.catalog.load import content_root, open_catalog
from mlb_env.episode import Episode
from mlb_env.patient.audit import EpisodeAudit, audit, fidelity
from mlb_env.spec.base import LANGS

AGENTS = ("random", "dumper")


def play(episodes: int, start: int = 0) -> tuple[list[EpisodeAudit], Counter[str]]:
    """The audits, and exceptions by name."""
    catalog = open_catalog()
    plays = catalog.select(dimension=["SmartServ", "SmartCare"])
    plays = [p for p in plays if p.scenario and p.scenario.variant == "dialogue"]
    factories = {name: load_agent(name, content=content_root()) for name in AGENTS}
    personas = list(catalog.personas.values())
    audits: list[EpisodeAudit] = []
    errors: Counter[str] = Counter()
    for i in range(start, start + episodes):
        chosen, lang, agent = plays[i % len(plays)], LANGS[(i // len(plays)) % len(LANGS)], AGENTS[(i // 2) % len(AGENTS)]
        assert chosen.case is not None
        fitting = [p.id for p in personas if not p.informants or chosen.case.person.informant.kind in p.informants]
        episode = Episode(chosen, lang=lang, seed=i, persona=fitting[i % len(fitting)])
        player: Any = factories[agent](AgentContext(agent, lang, Random(f"{i}/agent")))
        try:
            observation = episode.reset()
            player.reset(episode.briefing)
            while not episode.over:
                observation = episode.step(player.act(observation))
            audits.append(audit(episode.trajectory(), chosen))
        except Exception as error:
            errors[f"{type(error).__name__}: {error}"] += 1
    return audits, errors


def main() -> None:
    parser = argparse.ArgumentParser(description="Audit many offline episodes.")
    parser.add_argument("--episodes", type=int, default=10_000)
    given = parser.parse_args()
    start = time.perf_counter()
    audits, errors = play(given.episodes)
    figures = fidelity(audits)
    print(f"{len(audits):,} episodes, {figures.replies:,} replies in {time.perf_counter() - start:.0f} s")
    print(f"leaks {figures.lapses.get('leak', 0)} · diagnosis {figures.lapses.get('diagnosis', 0)} · contradictions "
          f"{figures.lapses.get('contradiction', 0)} · exceptions {sum(errors.values())}")  # fmt: skip
    print(f"precision {figures.precision} · recall {figures.recall} · persona {figures.adherence} · lapses {figures.lapses}")
    for what, n in errors.most_common(5):
        print(f"  {n} × {what}")
    for a in [a for a in audits if a.lapses][:10]:
        print(f"  {a.episode} {a.persona}: {a.lapses[0].kind} in turn {a.lapses[0].turn}: {a.lapses[0].why}")


if __name__ == "__main__":
    main()
