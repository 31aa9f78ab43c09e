"""Numbers in spoken Chinese and English, as values."""

from __future__ import annotations

import re

from ..spec.base import Lang

_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10000}
# a Chinese numeral counts as a number before one of these
_MEASURE = "天日号月年岁点时分小钟周星礼次回遍片粒颗袋包支瓶杯碗口斤公克毫升度层楼个米厘里块成趟顿名胎孕针盒板滴勺倍"
_ZH = re.compile(rf"(?:第)?([零〇一二两三四五六七八九十百千万]{{1,12}}(?:点[零一二三四五六七八九]+)?)(半)?(?=[{_MEASURE}多来几]|$|[^\w])")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ONES = {w: i for i, w in enumerate(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
)}  # fmt: skip
_TENS = {w: 10 * i for i, w in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)}
_WORDS = re.compile(rf"\b(?:{'|'.join([*_TENS, *_ONES])}|hundred|thousand)(?:[- ](?:and )?(?:{'|'.join([*_TENS, *_ONES])}|hundred|thousand)){{0,9}}\b")
_ORDINARY = {"one", "zero"}


def numbers(text: str, lang: Lang) -> set[float]:
    """The values named in a text, digits and words; halves and fractions are not counted."""
    found = {float(m.group()) for m in _NUMBER.finditer(text)}
    if re.search(r"[一-鿿]", text):
        for m in _ZH.finditer(text):
            if (value := chinese(m.group(1))) is not None:
                found.add(value)
    for m in _WORDS.finditer(text):
        found.add(english(m.group()))
    return found


def chinese(numeral: str) -> float | None:
    """`一百六十四` is 164, `零点三` 0.3, `一六四` 164 (read digit by digit); None if it is no number."""
    whole, _, part = numeral.partition("点")
    if not any(c in _UNITS for c in whole):
        value = float("".join(str(_DIGITS[c]) for c in whole)) if whole else None
    else:
        total = digit = 0
        for c in whole:
            if c in _DIGITS:
                digit = _DIGITS[c]
            else:
                total += (digit or 1) * _UNITS[c]
                digit = 0
        if digit and len(whole) > 1 and whole[-2] in "百千万":
            digit *= _UNITS[whole[-2]] // 10  # 一百二 is 120
        value = float(total + digit)
    if value is None or not part:
        return value
    return value + float("0." + "".join(str(_DIGITS[c]) for c in part))


def english(words: str) -> float:
    """`forty-eight` is 48, `one hundred and two` 102."""
    total = now = 0
    for word in re.split(r"[- ]+", words):
        if word == "hundred":
            now = (now or 1) * 100
        elif word == "thousand":
            total, now = total + (now or 1) * 1000, 0
        elif word != "and":
            now += _ONES.get(word, _TENS.get(word, 0))
    return float(total + now)
