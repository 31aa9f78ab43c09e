"""The guard of worded replies: whether a reply that a model (or a person) put into words says only what may be said.

It knows the facts that may be said now, those said before, and the case. It looks for words, numbers, sides and times that none
of these facts holds, for facts turned into their opposite, for the diagnosis, for a broken role and for the other language. It is
lexical: a fault in words it does not know passes; a faithful reply in unusual words may be refused, and is then worded anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Literal

import yaml

from .. import codes
from ..spec.base import LL, Lang, Model
from ..spec.case import Fact
from .numerals import numbers
from .understand import Matcher, lexicon
from .world import World

FaultKind = Literal["leak", "invention", "contradiction", "diagnosis", "role", "language", "empty", "length", "omission"]
NO = {
    "zh": re.compile(r"没|不|无|未|别|非|从来|否|免"),
    "en": re.compile(r"\b(?:no|not|never|none|nothing|nor|neither|nobody|without|hardly|cannot|clear of|free of)\b|n't\b|\bnope\b|\bnah\b"),
}
_CLAUSE = re.compile(r"[，。！？；,;!?\n…]+|\.(?:\s|$)|\bbut\b|\bthough\b|不过|但是|就是(?=[^，。]{2})")
_ASKING = {"zh": re.compile(r"吗$|呢$|吧$|么$|是不是|会不会|要不要|能不能|有没有"), "en": re.compile(r"^(?:is|are|do|does|did|could|can|should|will|would|what|why|how)\b")}
_HAN = re.compile(r"[一-鿿]")
_LATIN = re.compile(r"[A-Za-z]{2,}")
_PLAIN = frozenset(["probable", "possible", "suspected", "moderate", "pregnancy", "inferior", "infection", "bleeding", "nonspecific", "non-specific", "without", "symptoms"])
_DOSE = re.compile(r"(\d+(?:\.\d+)?|[零〇一二两三四五六七八九十百点]+|[a-z]+(?:[- ][a-z]+)?)\s?(mg|毫克|milligrams?|mils?|ml|毫升|片|粒|tablets?|capsules?|岁|年|years?|天|days?|小时|hours?|次|times)")
_ECHO = re.compile(r"[^，。！？,.!?]{1,12}[？?]")
ECHO = 6  # characters from which a repeated clause is an echo of the question
LONGEST = 2000  # characters of one reply
FOREIGN_WORDS = 4  # Latin words beyond those of the facts that a Chinese reply may hold


@dataclass(frozen=True)
class Fault:
    """What is wrong with a reply, and the words that show it."""

    kind: FaultKind
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


class GuardWords(Model):
    """The file lexicon/guard.yaml."""

    role: LL
    clinical: LL
    idioms: LL
    near: tuple[tuple[str, ...], ...]
    exclusive: tuple[LL, ...]


@lru_cache(maxsize=1)
def guard_words() -> GuardWords:
    text = (files(__package__) / "lexicon" / "guard.yaml").read_text(encoding="utf-8")
    return GuardWords.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))


@lru_cache(maxsize=1)
def _clinical() -> Matcher:
    """Clinical words: topic cues (key: the topic) and the words of the list (key: the word)."""
    cues: dict[str, LL] = {f"topic:{t}": LL(zh=c.zh, en=c.en) for t, c in lexicon().topics.items()}
    words = guard_words().clinical
    cues |= {f"word:{w}": LL(zh=(w,)) for w in words.zh}
    cues |= {f"word:{w}": LL(en=(w,)) for w in words.en}
    return Matcher(cues)


@lru_cache(maxsize=2)
def _roles(lang: Lang) -> re.Pattern[str]:
    words = guard_words().role
    both = [re.escape(w) for w in words.zh] + [rf"\b{re.escape(w)}" for w in words.en]
    return re.compile("|".join(both))


@lru_cache(maxsize=1)
def _idioms() -> re.Pattern[str]:
    words = guard_words().idioms
    return re.compile("|".join(map(re.escape, (*words.zh, *words.en))))


@dataclass(frozen=True)
class Licence:
    """What one reply may draw on. `allowed`: facts to be said now; `known`: said before; `offline`: the wording of the rules."""

    world: World
    lang: Lang
    allowed: tuple[Fact, ...]
    known: tuple[Fact, ...]
    asked: str
    offline: str = ""

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        return (*self.allowed, *self.known)

    @cached_property
    def text(self) -> str:
        """All that the facts say, in both languages, with the opening and what the person asks."""
        case = self.world.case
        texts: list[str | None] = [*case.opening.zh, *case.opening.en, self.offline]
        texts += [t for q in case.mind.questions_patient_asks for t in (q.text.zh, q.text.en)]
        for fact in self.facts:
            texts += [fact.truth.zh, fact.truth.en, *fact.told.zh, *fact.told.en]
            if fact.corrected:
                texts += [*fact.corrected.zh, *fact.corrected.en]
        return "\n".join(t for t in texts if t).lower()

    @cached_property
    def spoken(self) -> str:
        """What the facts say in the language of the reply."""
        return "\n".join([*self.world.case.opening[self.lang], *(t for f in self.facts for t in (f.truth[self.lang], *f.told[self.lang]))]).lower()

    @cached_property
    def cues(self) -> tuple[str, ...]:
        """The words of the topics at hand."""
        return tuple(c.lower() for t in self.topics for c in (*lexicon().topics[t].zh, *lexicon().topics[t].en))

    @cached_property
    def topics(self) -> frozenset[str]:
        book = codes.topics()
        own = {f.topic for f in self.facts}
        own |= {parent for t in own if t in book and (parent := book[t].parent)}
        return frozenset(own.union(*(group for group in guard_words().near if own & set(group))))


def check(reply: str, licence: Licence) -> list[Fault]:
    """The faults of a reply; none: it may be said."""
    text = _idioms().sub(" ", reply.strip().lower())
    if not text.strip():
        return [Fault("empty", "the reply is empty")]
    if len(text) > LONGEST:
        return [Fault("length", f"the reply has {len(text)} characters; a spoken answer has at most {LONGEST}")]
    return [
        *_language(text, licence), *_role(text, licence), *_diagnosis(text, licence), *_words(text, licence),
        *_numbers(text, licence), *_sides(text, licence), *_opposites(text, licence),
    ]  # fmt: skip


def omitted(reply: str, licence: Licence) -> list[Fault]:
    """The facts that were to be said now and of which a reply holds no word of its own: what it repeats of the question says nothing."""
    lang = licence.lang
    text = _own_words(reply.strip().lower(), licence.asked.lower())
    if not text:
        return [Fault("omission", "it only repeats what was asked")]
    said = _content(text, lang)
    missing = [f for f in licence.allowed if not said & frozenset().union(*(_content(t.lower(), lang) for t in (f.truth[lang], *f.told[lang])))]
    plain = len(licence.allowed) == 1 and _yes_or_no(licence.allowed[0])
    if not missing or (plain and _clauses(text) and NO[lang].search(_clauses(text)[0])):
        return []
    return [Fault("omission", f"nothing is said of {', '.join(f.id for f in missing)}")]


def _own_words(reply: str, asked: str) -> str:
    """The clauses of a reply that are not the doctor's, word for word ("发烧？没有。" keeps its echo: so short a one is how people talk)."""
    theirs = {_bare(c) for c in _clauses(asked)}
    return "\n".join(c for c in _clauses(reply) if len(_bare(c)) < ECHO or _bare(c) not in theirs)


def _bare(clause: str) -> str:
    return re.sub(r"\W+", "", clause)


@lru_cache(maxsize=4096)
def _content(text: str, lang: Lang) -> frozenset[str]:
    """What a text is made of: pairs of Chinese characters, English words of four letters and more (cut to five), and numbers."""
    marks = frozenset(f"{n:g}" for n in numbers(text, lang) if n > 1)
    if lang == "zh":
        chars = re.sub(r"[^一-鿿a-z0-9]|[的了是我您你他她就也都还在和有这那没不]", " ", text)
        return marks | frozenset(c[i : i + 2] for c in chars.split() for i in range(max(1, len(c) - 1)))
    return marks | frozenset(w[:5] for w in re.findall(r"[a-z]{4,}", text) if w not in _COMMON)


_COMMON = frozenset(["that", "this", "with", "have", "been", "from", "they", "there", "what", "when", "just", "really", "very", "like", "well", "about", "some", "then", "than", "them", "were", "your", "will", "would", "could", "know"])


def _language(text: str, licence: Licence) -> Iterable[Fault]:
    if licence.lang == "en" and (found := _HAN.search(text)):
        yield Fault("language", f"the reply has to be English; it holds '{found.group()}'")
    if licence.lang == "zh":
        own = licence.spoken + licence.asked.lower()
        foreign = [w for w in _LATIN.findall(text) if w not in own]
        if len(foreign) >= FOREIGN_WORDS or not _HAN.search(text):
            yield Fault("language", f"the reply has to be Chinese; it holds '{' '.join(foreign[:5])}'")


def _role(text: str, licence: Licence) -> Iterable[Fault]:
    found = _roles(licence.lang).search(text)
    if found and found.group() not in licence.text:
        yield Fault("role", f"a patient does not say '{found.group()}'")


def _diagnosis(text: str, licence: Licence) -> Iterable[Fault]:
    bare = text.replace("的", "")
    for diagnosis in licence.world.case.truth.diagnoses:
        if diagnosis.role not in ("primary", "complication"):
            continue
        names = [n for n in (diagnosis.name.zh, diagnosis.name.en, *diagnosis.acceptable.zh, *diagnosis.acceptable.en) if n]
        wholes = (w.strip() for n in names for w in re.split(r"[（()）:：,，]", n.lower()))
        for part in (*(w for w in wholes if len(w) >= 4), *_parts(*names)):
            if _mentions(bare, part) and not _mentions(licence.text.replace("的", ""), part):
                yield Fault("diagnosis", f"'{part}' is of a diagnosis that was not told to the patient")
                return


def _parts(*names: str) -> Iterable[str]:
    """What gives a name away: in Chinese runs of four characters (shorter names whole), in English its long words, cut to a stem."""
    for name in names:
        for piece in re.split(r"[\s（()）:：,，;；/]+", name.lower()):
            if _HAN.search(piece):
                yield from (piece[i : i + 4] for i in range(max(1, len(piece) - 3)) if len(piece) >= 2)
            elif len(piece) >= 8 and piece not in _PLAIN:
                yield piece[:7]
            elif name.isupper() and len(name) >= 3:
                yield name.lower()


def _mentions(text: str, name: str) -> bool:
    if _HAN.search(name):
        return name in text
    return re.search(rf"\b{re.escape(name)}", text) is not None


def _clauses(text: str) -> list[str]:
    return [c.strip() for c in _CLAUSE.split(text) if c and c.strip()]


def _words(text: str, licence: Licence) -> Iterable[Fault]:
    """Clinical words that no fact at hand holds."""
    held, asked = _spoken(licence.text), _spoken(licence.asked.lower())
    for clause in _clauses(text):
        if _ASKING[licence.lang].search(clause):
            continue
        for hit in _clinical().find(clause):
            kind, _, key = hit.key.partition(":")
            said = clause[hit.start : hit.end]
            if said in licence.text or hit.key in held or (kind == "topic" and key in licence.topics):
                continue
            if kind == "topic" and codes.topics()[key].group in ("ice", "attribute", "context", "general"):
                continue
            known_to_case = kind == "topic" and key in licence.world.by_topic
            if kind == "word" and any(said[:5] in cue for cue in licence.cues):
                continue
            if hit.key in asked and NO[licence.lang].search(clause) and not known_to_case:
                continue  # "fever? no": an honest no to what was asked
            yield Fault("leak" if known_to_case else "invention", f"'{said}' is not among what may be said now")
            return


@lru_cache(maxsize=256)
def _spoken(text: str) -> frozenset[str]:
    return frozenset(h.key for h in _clinical().find(text))


def _numbers(text: str, licence: Licence) -> Iterable[Fault]:
    free = numbers(licence.text, licence.lang) | numbers(licence.asked.lower(), licence.lang) | {0.0, 1.0}
    new = [n for n in numbers(text, licence.lang) if n not in free]
    if new:
        yield Fault("invention", f"no fact holds the number {', '.join(f'{n:g}' for n in sorted(new))}")
        return
    held = _measures(licence.text + "\n" + licence.asked.lower(), licence.lang)
    for value, unit in _measures(text, licence.lang):
        if unit in _EXACT and (value, unit) not in held and any(u == unit for _, u in held):
            yield Fault("contradiction", f"no fact says {value:g} {unit}")
            return


_UNIT = {"毫克": "mg", "mg": "mg", "milligram": "mg", "mil": "ml", "ml": "ml", "毫升": "ml", "岁": "year", "年": "year", "year": "year", "天": "day",
         "day": "day", "小时": "hour", "hour": "hour", "片": "tablet", "粒": "tablet", "tablet": "tablet", "capsule": "tablet", "次": "time", "time": "time"}  # fmt: skip
_EXACT = frozenset({"mg", "ml", "day", "hour", "year"})


def _measures(text: str, lang: Lang) -> set[tuple[float, str]]:
    """Values with their unit."""
    return {(v, _UNIT[m.group(2).rstrip("s")]) for m in _DOSE.finditer(text) for v in numbers(m.group(1), lang)}


def _sides(text: str, licence: Licence) -> Iterable[Fault]:
    no, groups = NO[licence.lang], guard_words().exclusive
    now = [c for f in licence.allowed for t in (f.truth[licence.lang], *f.told[licence.lang]) for c in _clauses(t.lower())]
    sides = [w for g in groups[:2] for w in g[licence.lang]]
    sided = any(_mentions(c, w) for c in now for w in sides)  # the answer itself names a side: the same has to be affirmed
    for i, group in enumerate(groups):
        found = next((w for w in group[licence.lang] if any(_mentions(c, w) and not (i < 2 and no.search(c)) for c in _clauses(text))), None)
        if not found:
            continue
        if i < 2 and sided:
            agreed = any(_mentions(c, w) and not no.search(c) for c in now for w in group[licence.lang])
        else:
            agreed = any(_mentions(licence.text, w) for w in (*group.zh, *group.en))
        if not agreed:
            yield Fault("contradiction", f"no fact at hand says '{found}'")


def _opposites(text: str, licence: Licence) -> Iterable[Fault]:
    """Facts turned into their opposite: what is so denied, or what is not affirmed."""
    lang = licence.lang
    clauses = [c for c in _clauses(_ECHO.sub("", text)) if not _ASKING[lang].search(c)]
    said = _polarities(clauses, lang)
    for facts in (licence.allowed, licence.known):
        held = _polarities((c for f in facts for t in f.told[lang] for c in _clauses(t.lower())), lang)
        held |= _polarities((c for f in facts for c in _clauses(f.truth[lang].lower())), lang)  # the truth speaks plainest
        for key, ways in said.items():
            if len(ways) == 1 and len(held.get(key, ())) == 1 and ways != held[key]:
                yield Fault("contradiction", f"'{codes.topics()[key[6:]].label(lang)}' is said the other way round")
                return
        for key in held:
            said.pop(key, None)
    plain = [f for f in licence.allowed if _yes_or_no(f)]
    if plain and len(plain) == len(licence.allowed) and len({f.polarity for f in plain}) == 1 and clauses:
        no = re.match(r"(?:没有|没|不是|不，|不$|从来没|从没|一点都?不|no\b|nope\b|nah\b|not at all|never|none)", clauses[0])
        yes = re.match(r"(?:有的|有啊|有呀|有$|有过|是的|是啊|对|会的|yes|yeah|yep|aye|i do\b|i have\b|it does)", clauses[0])
        if (no and plain[0].polarity == "present" and not _denies(plain, lang)) or (yes and plain[0].polarity == "absent"):
            yield Fault("contradiction", f"'{plain[0].truth[lang]}' is said the other way round")


def _polarities(clauses: Iterable[str], lang: Lang) -> dict[str, set[bool]]:
    """Symptom (`topic:<id>`) -> whether the clauses that name it deny."""
    found: dict[str, set[bool]] = {}
    for clause in clauses:
        for hit in _clinical().find(clause):
            if hit.key.startswith("topic:") and codes.topics()[hit.key[6:]].group == "symptom":
                found.setdefault(hit.key, set()).add(bool(NO[lang].search(clause)))
    return found


def _yes_or_no(fact: Fact) -> bool:
    topic = codes.topics()[fact.topic]
    return topic.group == "symptom" or fact.topic in ("prior_episode", "allergy", "tobacco", "alcohol", "pregnancy", "surgery") or (
        topic.parent == "past_illness"
    )


def _denies(facts: Iterable[Fact], lang: Lang) -> bool:
    """Whether the facts' own wordings begin with a denial."""
    return any(NO[lang].search((_clauses(t.lower()) or [""])[0]) for f in facts for t in f.told[lang])
