"""How far an offline judge agrees with physicians on K-QA: grouped cross-validation by question, kappa with its interval.

    python benchmarks/kqa.py NLI_medical_annotator.csv            # needs the extra train

Two judges: `learned` as it comes with the package (it has seen nothing of K-QA; what it leaves open is counted apart), and one fitted on the physicians' labels of
the other questions, on the same features. No rule decides a claim of K-QA, so these are the figures of rules+learned, too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlb_env.judge.agreement import Pair, estimates
from mlb_env.judge.fit import cues, examples
from mlb_env.judge.labels import Labelled, read_labels
from mlb_env.judge.learned import LearnedJudge
from mlb_env.judge.relate import relation, said


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    dialogues = read_labels(Path(sys.argv[1]))
    labelled = [d.labelled() for d in dialogues]
    questions = [d.turns[0].text for d in dialogues]
    _shipped(labelled, questions)
    _fitted(labelled, questions)


def _shipped(labelled: list[Labelled], questions: list[str]) -> None:
    judge = LearnedJudge()
    pairs = []
    for dialogue, question in zip(labelled, questions, strict=True):
        for item in dialogue.items:
            verdict = judge.vote(item.criterion, dialogue.lines, "en").verdict
            if verdict in ("met", "unmet"):
                pairs.append(Pair(question, item.met, verdict == "met"))
    _say(f"{judge.name('en')}, has seen nothing of K-QA", pairs, sum(len(d.items) for d in labelled))


def _fitted(labelled: list[Labelled], questions: list[str]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    idf = cues(examples("en"), [], "en").idf
    rows: list[Any] = []
    for dialogue in labelled:
        for item in dialogue.items:
            text = item.criterion.text["en"]
            rows.append(relation(text, said(dialogue.lines, text, "en"), "en", idf, lambda _: 0.0)[0])
    x, y = np.array(rows), np.array([i.met for d in labelled for i in d.items])
    groups = [q for d, q in zip(labelled, questions, strict=True) for _ in d.items]
    chances = np.zeros(len(y))
    for inside, outside in GroupKFold(10).split(x, y, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3)).fit(x[inside], y[inside])
        chances[outside] = model.predict_proba(x[outside])[:, 1]
    _say("fitted on the other questions (10 folds)", [Pair(g, bool(p), bool(c > 0.5)) for g, p, c in zip(groups, y, chances, strict=True)], len(y))


def _say(name: str, pairs: list[Pair], items: int) -> None:
    found = estimates(pairs)
    kappa, f1 = found["kappa"], found["F1"]
    print(f"{name}: kappa {_shown(kappa.value)} ({_shown(kappa.low)} – {_shown(kappa.high)}), F1 {_shown(f1.value)}, {len(pairs)} of {items} decided")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"




if __name__ == "__main__":
    main()
