"""Words of criteria: what a reader needs to decide one without the code (which facts, which departments, which limits), in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .. import codes
from ..spec.base import L
from ..spec.case import PatientCase

ACTIONS = {
    "continue": "继续", "stop": "停用", "pause": "暂停", "avoid": "避免使用", "allowed": "可以使用", "change_by_prescriber": "由处方医生调整",
    "check_first": "先核实再用",
}  # fmt: skip
SIGNIFICANCE = {"critical": "危急", "significant": "有意义", "minor": "轻微", "physiological": "生理性", "artefact": "误差", "normal": "正常"}
CERTAINTY = {"definite": "确定", "probable": "很可能", "possible": "可能"}
STATES = {"present": "有", "denied": "否认", "unknown": "不详", "not_applicable": "不适用"}
FIELDS = {
    "sex": ("性别", "sex"), "age": ("年龄", "age"), "chief_complaint": ("主诉", "chief complaint"), "present_illness": ("现病史", "present illness"),
    "past_history": ("既往史", "past history"), "personal_history": ("个人史", "personal history"), "marital_history": ("婚育史", "marital history"),
    "family_history": ("家族史", "family history"),
}  # fmt: skip


def listed(texts: Iterable[L]) -> L:
    """Texts in a row."""
    kept = list(texts)
    return L(zh="；".join(t.zh.rstrip("。；") for t in kept if t.zh) or "-", en="; ".join(t.en.rstrip(".;") for t in kept if t.en) or "-")


def facts(case: PatientCase, ids: Sequence[str]) -> L:
    """What is true of these facts, in a row."""
    by_id = {f.id: f for f in case.facts}
    return listed(by_id[i].truth for i in ids if i in by_id)


def coded(items: Mapping[str, codes.CodeItem], ids: Iterable[str]) -> L:
    """Codes with their labels: as the forms have them, and as a person reads them."""
    known = [(i, items[i]) for i in ids]
    return L(zh="、".join(f"{item.zh} [{i}]" for i, item in known), en=", ".join(f"{item.en} [{i}]" for i, item in known))


def departments(ids: Iterable[str]) -> L:
    return coded(codes.departments(), ids)


def signs(ids: Iterable[str]) -> L:
    return coded(codes.signs(), ids)


def words(labels: Mapping[str, str], ids: Iterable[str]) -> L:
    """Words of a closed list: the code is English, the Chinese has both."""
    known = list(ids)
    return L(zh="或".join(f"{labels[i]} [{i}]" for i in known), en=" or ".join(known))


def exams(case: PatientCase, ids: Iterable[str]) -> L:
    """What is examined, and how."""
    regions, manoeuvres = codes.regions(), codes.manoeuvres()
    by_id = {e.id: e for e in case.exam}
    pairs = [(regions[by_id[i].region], manoeuvres[by_id[i].manoeuvre]) for i in ids if i in by_id]
    return L(zh="、".join(f"{r.zh}{m.zh}" for r, m in pairs), en=", ".join(f"{r.en} ({m.en})" for r, m in pairs))


def tests(case: PatientCase, wanted: Iterable[str]) -> L:
    """The names of tests of the case, by their codes or ids."""
    kept = set(wanted)
    return listed(t.name for t in case.tests if t.code in kept or t.id in kept)


def acts(deadlines: Mapping[str, int | None]) -> L:
    """Urgent acts with the minute by which each is due."""
    known = codes.acts()
    return L(
        zh="、".join(f"{known[a].zh} [{a}]" + (f"（第{m}分钟前）" if m is not None else "") for a, m in deadlines.items()),
        en=", ".join(f"{known[a].en} [{a}]" + (f" (by minute {m})" if m is not None else "") for a, m in deadlines.items()),
    )
