"""What the agent is shown of results and vital signs, as text."""

from __future__ import annotations

from typing import Any

from .spec.base import L, Lang
from .spec.case import Result, Vitals

QUALITY = {
    "haemolysed": L(zh="标本溶血", en="haemolysed sample"), "wrong_person": L(zh="标本身份存疑", en="identity of the sample in doubt"),
    "motion": L(zh="运动伪影", en="motion artefact"), "pending": L(zh="待审核", en="not yet verified"),
}  # fmt: skip


def result_line(result: Result, lang: Lang) -> str:
    """One analyte: name, value, unit, reference range, flag."""
    ref = result.ref_range
    if ref and ref.text:
        shown = ref.text
    elif ref and (ref.low is not None or ref.high is not None):
        shown = f"{'' if ref.low is None else ref.low}-{'' if ref.high is None else ref.high}"
    else:
        shown = ""
    parts = [f"{result.analyte[lang]}: {result.value} {result.unit}".rstrip(), f"[{shown}]" if shown else "", result.flag]
    return " ".join(p for p in parts if p)


def vitals_line(v: Vitals, lang: Lang) -> str:
    """One set of readings, with its units, and the person's state."""
    zh = lang == "zh"
    pairs = [
        ("体温" if zh else "T", v.T, "℃"), ("脉搏" if zh else "HR", v.HR, "/min"), ("呼吸" if zh else "RR", v.RR, "/min"),
        ("血压" if zh else "BP", v.BP, "mmHg"), ("SpO2", v.SpO2, "%"), ("疼痛评分" if zh else "pain", v.pain, "/10"),
        ("血糖" if zh else "glucose", v.glucose, "mmol/L"), ("体重" if zh else "weight", v.weight, "kg"),
    ]  # fmt: skip
    text = ", ".join(f"{name} {value} {unit}" for name, value, unit in pairs if value is not None)
    tail = [v.consciousness[lang]] if v.consciousness else []
    return "; ".join([text, *tail, v.state[lang]])


def text_of(value: Any) -> str:
    """A field of the note as text: entries one a line."""
    if isinstance(value, str):
        return value
    return "\n".join(entry["text"] for entry in value)
