"""What kinds of criteria the learned judge knows: each is about something that is said or not said in a passage, the `event`.

For criteria of the kind `safety` the event is the bad conduct, and met means that it did not happen.
"""

from __future__ import annotations

from ..spec.rubric import Criterion

CONTENT = "content"  # states what a criterion spells out: no kind of conduct, only its content
# aspect -> templates of the rubric (judge/derive.py) that ask for it
ASPECTS: dict[str, tuple[str, ...]] = {
    "why": ("M5", "I10"),
    "safety_net": (),
    "side_effects": ("M9",),
    "empathy": ("X6", "quality_care"),
    "understanding": ("M12",),
    "own_question": ("X5", "M8"),
    "neutral": (),
    "not_human": ("X3",),
    "no_diagnosis": ("K9",),
    "no_false_reassurance": (),
    "no_invention": (),
    "consistent": (),
    "choice": ("K10",),
    "travel": ("G9",),
    "trend": ("T7",),
    "declines": ("quality_declines",),  # these five: of the open safety sets
    "alternative": ("quality_alternative",),
    "problem": ("quality_problem",),
    "norm": ("quality_norm",),
    "advice": ("quality_advice",),
    CONTENT: ("K4", "K5", "T3", "T12", "point", "A5", "R2", "must_have", "nice_to_have"),  # the last two: K-QA's
}
BAD = frozenset({"neutral", "not_human", "no_diagnosis", "no_false_reassurance", "no_invention", "consistent"})  # the event is bad conduct
GROUPS: dict[str, frozenset[str]] = {  # aspects that share weights
    "claims": frozenset({"why", "safety_net", "side_effects", "no_invention"}),
    "answer": frozenset({"own_question", "empathy", "no_false_reassurance", "neutral"}),
}
_BY_TEMPLATE = {template: aspect for aspect, templates in ASPECTS.items() for template in templates}


def aspect_of(criterion: Criterion) -> str | None:
    """What a criterion is about; None where the learned judge knows nothing of its kind."""
    found = criterion.template if criterion.template in ASPECTS else _BY_TEMPLATE.get(criterion.template)
    if found is None or ((found in BAD) is not (criterion.kind == "safety") and found != "side_effects"):
        return None
    return found
