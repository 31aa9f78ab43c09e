"""How options are split out of a multiple-choice text: every shape of the MLB release, and its traps."""

from __future__ import annotations

from typing import Any

import pytest

from mlb_env.importers.options import explicit, letters, split

STEM = "下列哪种药物可用于治疗稳定型心绞痛？"
WANTED = ("硝酸甘油", "维生素C", "左氧氟沙星")


@pytest.mark.parametrize(
    "tail",
    [
        " A 硝酸甘油 B 维生素C C 左氧氟沙星",
        "A.硝酸甘油B.维生素CC.左氧氟沙星",
        "A. 硝酸甘油 B. 维生素C C. 左氧氟沙星",
        "A.硝酸甘油 B.维生素C C.左氧氟沙星",
        "\nA、硝酸甘油\nB、维生素C\nC、左氧氟沙星\n",
        "(A) 硝酸甘油 (B) 维生素C (C) 左氧氟沙星",
        "Ａ．硝酸甘油Ｂ．维生素CＣ．左氧氟沙星",
        "A：硝酸甘油；B：维生素C；C：左氧氟沙星",
        "['A 硝酸甘油', 'B 维生素C', 'C 左氧氟沙星']",
        "'A 硝酸甘油', 'B 维生素C', 'C 左氧氟沙星'",
        '["A. 硝酸甘油", "B. 维生素C", "C. 左氧氟沙星"]',
        "[‘A 硝酸甘油’，‘B 维生素C’，‘C 左氧氟沙星’]",
        " 选项：['A 硝酸甘油', 'B 维生素C', 'C 左氧氟沙星']",
        "\n选项：\nA. 硝酸甘油\nB. 维生素C\nC. 左氧氟沙星",
        "\\n选项：\\n['A 硝酸甘油', 'B 维生素C', 'C 左氧氟沙星']",
    ],
)
def test_every_shape_gives_the_same_question_and_options(tail: str) -> None:
    assert split(STEM + tail) == (STEM, WANTED)


def test_text_that_looks_like_a_list_before_the_options_stays_in_the_question() -> None:
    stem = "根据报告{'检查记录': '| A | 正常 |', '检验记录': ''}，甲A、乙B两项，最可能的是"
    assert split(stem + "['A 贫血', 'B 感染']") == (stem, ("贫血", "感染"))


def test_letters_inside_options_are_not_markers() -> None:
    found = split("该药抑制的酶是（）A. CYP2D6 B. 维生素B依赖酶 C. CYP3A4 D. P-gp")
    assert found == ("该药抑制的酶是（）", ("CYP2D6", "维生素B依赖酶", "CYP3A4", "P-gp"))


def test_doses_without_spaces_are_split() -> None:
    assert split("首剂是A.0.5gB.1.0gC.1.5g") == ("首剂是", ("0.5g", "1.0g", "1.5g"))


def test_apostrophes_inside_quoted_options_are_kept() -> None:
    assert split("""哪一项？['A Crohn's病', 'B Murphy征']""") == ("哪一项？", ("Crohn's病", "Murphy征"))


@pytest.mark.parametrize("question", ["没有选项的问题", "只有 A. 一项", "B. 乙 C. 丙", ""])
def test_without_options_nothing_is_found(question: str) -> None:
    assert split(question) is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["A 甲", "B 乙"], ("甲", "乙")),
        (["甲", "乙"], ("甲", "乙")),
        (["A型", "B型"], ("A型", "B型")),
        ({"B": "乙", "A": "甲"}, ("甲", "乙")),
        ("A.甲B.乙", ("甲", "乙")),
        ("甲\n乙\n", ("甲", "乙")),
        ({"A": "甲", "C": "丙"}, None),
        ([1, 2], None),
        (7, None),
    ],
)
def test_an_explicit_options_field(given: Any, wanted: tuple[str, ...] | None) -> None:
    assert explicit(given) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("D", ("D",)), ("B,C,E", ("B", "C", "E")), ("BCE", ("B", "C", "E")), (["B"], ("B",)), (["A", "C"], ("A", "C")),
        ("B、C", ("B", "C")), ("Ｂ，Ｃ", ("B", "C")), (" ['B', 'C'] ", ("B", "C")), ("A.", ("A",)),
        ("", None), ("答案是A", None), ("b", None), (None, None), (3, None), ([1], None),
    ],
)  # fmt: skip
def test_the_letters_of_an_answer(given: Any, wanted: tuple[str, ...] | None) -> None:
    assert letters(given) == wanted
