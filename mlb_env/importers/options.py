"""Splits the options out of a multiple-choice text, in all the shapes of the MLB release.

Shapes: `A x B y`, `A.xB.y`, `A. x B. y`, `A、x`, `(A) x`, one a line; lists of quoted strings with the letter inside, with
or without brackets; an explicit list, mapping or text. The options' own text is kept.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_FULL = {ord("Ａ") + i: 65 + i for i in range(26)}  # full-width letters, one character for one
_QUOTES = "'\"‘’“”"
_QUOTED = re.compile(rf"\[?\s*[{_QUOTES}]\s*A\s*[.．、:：)）\s]")
_BETWEEN = re.compile(rf"[{_QUOTES}]\s*[,，、]\s*[{_QUOTES}]")
_LETTERED = re.compile(r"^\s*[(（\[【]?\s*([A-Z])\s*(?:[.．、:：)）\]】]|(?=\s))\s*")
_LEAD = re.compile(r"(?:\s|\\n)*(?:(?:选项|备选项|备选答案)\s*[:：])?(?:\s|\\n)*$")
_STYLES = (  # what stands around a letter
    r"[(（]\s*{}\s*[)）]", r"{}\s*[.．]", r"{}\s*、", r"{}\s*[:：]", r"{}\s*[)）]", r"{}(?=[ \t\u3000])",
)  # fmt: skip
_BEFORE = (r"(?:^|(?<=[\s\u3000?？。！!：:；;，,、)）\]】'\"“”]))", r"(?<![A-Za-z0-9])", "")  # strict, looser, anywhere
_SPACE_STYLE = _STYLES[-1]

Split = tuple[str, tuple[str, ...]]


def split(question: str) -> Split | None:
    """The question without its options, and the options without letters; None where no options are found."""
    return _quoted(question) or _marked(question)


def explicit(options: Any) -> tuple[str, ...] | None:
    """The options of an explicit field: a list, a mapping by letter, or a text; without letters. None if it has none."""
    if isinstance(options, str):
        found = split(options)
        return found[1] if found else _lines(options)
    if isinstance(options, dict):
        letters = sorted(str(k).strip().upper() for k in options)
        if letters != [chr(65 + i) for i in range(len(letters))]:
            return None
        by_letter = {str(k).strip().upper(): str(v).strip() for k, v in options.items()}
        return tuple(by_letter[letter] for letter in letters)
    if isinstance(options, list) and options and all(isinstance(o, str) for o in options):
        texts = [o.strip() for o in options]
        return _unlettered(texts) or tuple(texts)
    return None


def letters(answer: Any) -> tuple[str, ...] | None:
    """The letters of an answer: "B,C,E", "BCE", "B、C", ["B", "C"]; None if it is anything else."""
    if isinstance(answer, list):
        if not all(isinstance(a, str) for a in answer):
            return None
        answer = ",".join(answer)
    if not isinstance(answer, str):
        return None
    text = unicodedata.normalize("NFKC", answer).strip().strip("[]").rstrip(".。")
    if not re.fullmatch(r"[\s'\"]*[A-Z](?:[\s,，、;；'\"|/]*[A-Z])*[\s'\"]*", text):
        return None
    return tuple(re.findall(r"[A-Z]", text))


def _lines(text: str) -> tuple[str, ...] | None:
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    return lines if len(lines) > 1 else None


def _stem(text: str) -> str:
    """The text without a closing "选项：", white space and literal backslash-n."""
    found = _LEAD.search(text)
    return text[: found.start()] if found else text


def _unlettered(texts: list[str]) -> tuple[str, ...] | None:
    """The texts without their letters, if these are A, B, C ... in order."""
    found = [_LETTERED.match(t.translate(_FULL)) for t in texts]
    if len(texts) < 2 or [m.group(1) if m else "" for m in found] != [chr(65 + i) for i in range(len(texts))]:
        return None
    return tuple(t[m.end() :].strip() for t, m in zip(texts, found, strict=True) if m)


def _quoted(question: str) -> Split | None:
    """A list of quoted strings at the end: `['A x', 'B y']`, or the same without brackets."""
    starts = list(_QUOTED.finditer(question.translate(_FULL)))
    for start in reversed(starts):
        body = question[start.start() :].strip().removeprefix("[").strip()
        body = re.sub(rf"\s*\]?\s*[{_QUOTES}]?\s*$", "", body) if body.endswith("]") else body
        body = body.strip().strip(",，").strip().strip(_QUOTES)
        if options := _unlettered(_BETWEEN.split(body)):
            return _stem(question[: start.start()]), options
    return None


def _chain(text: str, style: str, before: str) -> list[tuple[int, int]]:
    """The longest run of markers A, B, C ... in order; of equally long ones the last."""
    best: list[tuple[int, int]] = []
    for first in re.finditer(before + style.format("A"), text, re.MULTILINE):
        chain = [first.span()]
        while len(chain) < 26:
            pattern = re.compile(before + style.format(chr(65 + len(chain))), re.MULTILINE)
            following = pattern.search(text, chain[-1][1])
            if following is None:
                break
            chain.append(following.span())
        if len(chain) >= max(2, len(best)):
            best = chain
    return best


def _marked(question: str) -> Split | None:
    """Options marked by letters in running text: the longest chain over all shapes; the stricter shape where equal."""
    text = question.translate(_FULL)
    best: list[tuple[int, int]] = []
    for before in _BEFORE:
        for style in _STYLES:
            if style == _SPACE_STYLE and before == "":
                continue  # a letter at the end of a word is no marker
            chain = _chain(text, style, before)
            if len(chain) > len(best):
                best = chain
    if not best:
        return None
    ends = [*(start for start, _ in best[1:]), len(question)]
    options = [question[mark[1] : end].strip() for mark, end in zip(best, ends, strict=True)]
    for separator in (",", "，", ";", "；"):
        if all(o.endswith(separator) for o in options[:-1]):
            options = [o.removesuffix(separator).rstrip() for o in options]
            break
    return _stem(question[: best[0][0]]), tuple(options)
