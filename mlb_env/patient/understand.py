"""Understanding what the agent says to the patient, offline, in Chinese and English.

A turn is cut into sentences; questions are matched against the lexicon of topics (longest cue first) and against the
case's own cues. What is not understood stays not understood: nothing is guessed. The lexicon is the folder `lexicon/`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container, Iterable, Sized
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal, TypeVar

import yaml

from .. import codes
from ..spec.base import LL, L, Lang, Model
from .topicmodel import NONE, chances


class TopicCues(Model):
    """`ask`: a good way to ask; the cues are phrases that name the topic inside a question."""

    ask: L
    zh: tuple[str, ...]
    en: tuple[str, ...]


class Wording(Model):
    """A wording with a gap in it (`zh`: a regular expression over lower case), and which cues inside it are then no question of their own."""

    topic: str
    zh: str
    swallows: Literal["all", "circumstances"] | None = None


class Lexicon(Model):
    """The topics' cues, their wordings with a gap, and the speech acts a patient has to recognise."""

    topics: dict[str, TopicCues]
    acts: dict[str, LL]
    patterns: tuple[Wording, ...]


ACTS = ("interrogative", "open", "complaint", "anything_else", "private", "normalising", "teach_back", "show_document", "presence")
WHOLE = frozenset({"open", "anything_else", "private", "teach_back", "show_document"})  # acts that are a question of their own
LIKELY = 0.5  # chance from which the topic model is believed
SHORT: dict[Lang, int] = {"zh": 12, "en": 36}  # characters
LONG: dict[Lang, int] = {"zh": 6, "en": 24}  # characters of a cue that is no mere mention
CLAUSES = 8  # clauses of one sentence that are looked at one by one
SURE, POSSIBLE = 0.6, 0.06  # a word of the lexicon is a mere mention where another topic is SURE and its own not POSSIBLE
WHEN = frozenset({"onset", "timing", "course"})
MERE = frozenset({"site", "quality", "severity", "onset", "timing"})
DRUG_MATTERS = frozenset({"drug_otc", "drug_herbal", "drug_topical", "drug_injection", "prior_reaction", "allergy", "overdose",
                          "adherence", "anticoagulant", "medicine_box", "contraceptive", "vaccination"})  # fmt: skip
_REGULAR = re.compile(r"长期|常年|一直在吃|平时吃|每天吃|天天吃|处方|医生开的|大夫开的|规律服|\b(?:prescri\w+|regular\w*|every day|daily|long[- ]term)\b")
_ASKS = re.compile(  # a question without its mark
    r"吗|么$|呢$|没$|没有$|不$|木有$|不呢|咋|啥|哪|几[个次天回]|还是|([一-鿿])[不没]\1|"
    r"^(?:and |so |but |well,? |ok,? )?(?:do|does|did|is|are|was|were|have|has|had|can|could|would|will|any|what|when|where|who|whose|how|why|which)\b"
)
_REQUESTS = re.compile(
    r"\b(?:tell|describe|let me know|may i|can i|could i|i'd like|i would like|i need|i want|please|show|send|upload|walk me|talk me|list|name|confirm|give me|state|read)\b"
)
_AND = re.compile(r"[，,；;]|还有|另外|\band\b|\bor\b")
_AND_OR = re.compile(r"或者?|还有|另外|[，,；;]|\b(?:or|and)\b")
_CLAUSE = re.compile(r"[，,：:]")
_LEADS_UP = re.compile(
    r"因为|为了|为避免|所以|我们|我需要|我想|我要|有些|有的|很容易|容易|可能会|最怕|需要了解|需要判断|想跟您|想确认|跟您确认|冒昧|不好意思|您这情况|您这种|一般来说|通常"
    r"|\b(?:because|since|so that|as we|we need|we want|i need|i want|i'd like|i ask|some|sometimes|certain|can cause|may cause|can affect|may affect|to be safe|just so|sorry to ask)\b"
)
_SUBJECT = re.compile(r"[^，。？有没是]{0,8}?(?:的?(?:症状|情况|问题|感觉)?)?，?(?:是否|有没有|有无|会不会|是不是)")
_BEARER = re.compile(r"[^，。？有没是]{0,8}?(?:的(?:症状|情况)?)?，?(?:是否|有没有|有无|会不会|是不是)?(?:还)?(?:伴|合并|同时有)")
_PRESENT = re.compile(r"有没有|有无|是否|是不是|会不会|出现|伴")
_THEN = re.compile(r"(?:了)?(?:发生|发作|出现)?(?:时(?=[，有会感是能还])|前(?=[，有是后])|后(?=[，有是还])|的地方|以后|之后|的时候|那会儿|期间|以来|到现在|之前|以前(?!有)|前有)")
_SINCE = re.compile(r"\b(?:after|since|during|before)(?: (?:the|your|this|that|it|all))*(?: \w+)? $")
_EXCEPT = re.compile(r"除了?[^，。？！；]{1,12}?(?:以外|之外|外|，)|\b(?:apart from|other than|besides|aside from|except for|except)\b[^,.?!;]{1,40},?")
_TAG = re.compile(  # "you haven't fallen, have you?", "没发烧，对吧？": the tag asks nothing of its own
    r"[,，]?\s*(?:(?:have|has|had|do|does|did|is|are|was|were|would|could|can|will|should)(?:n['’]t)? (?:you|he|she|it|they|there|that|we|i)"
    r"|right|correct|yes|no|eh|是吧|对吧|是不是|对不对|是吗|对吗|没错吧|行吗|好吗|可以吗)\s*$"
)
_EXAMPLES = re.compile(r"比如|例如|譬如|像是|\b(?:such as|for example|for instance|like)\b")
_NAMED_BY_EXAMPLES = frozenset({"allergy", "family", "prior_reaction", "drug", "trigger", "relief"})
_BODY = "头胸腹腰背肩颈腿膝脚手臂腕肘踝眼耳喉胃膀胱皮肤关节口腔"
_SHARED = re.compile(  # "腹部或者腰部的疼痛": both are asked for
    rf"([{_BODY}]{{1,2}}[部里口]?)(或者?|和|以及|、)([{_BODY}]{{1,2}}[部里口]?)的?(疼痛|疼|痛|肿胀|肿|麻木|发麻|不适|不舒服|无力|僵硬)"
)
_STRONGLY = re.compile(r"(?:明显|显著|突然|不明原因|大幅)(?:的|地)?(?=下降|减轻|增加|消瘦|肿|变化|无力|加重)")
_OWN = re.compile(r"您自己|你自己|本人|自身|病史|有没有|是否|有无|\b(?:you|yourself)\b")
_FAMILY_NOUN = re.compile(r"家族病?史|\bfamily history\b")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_SENTENCE = re.compile(r"[。！!？?；;\n]|\.(?:\s|$)")
_Phrase = TypeVar("_Phrase", str, tuple[str, ...])
_WORD = re.compile(r"[a-z0-9]+(?:['’-][a-z0-9]+)*")


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The bundled lexicon.

    Raises:
        pydantic.ValidationError: never with the bundled file (a test checks it).
    """
    topics: dict[str, Any] = {}
    acts: dict[str, Any] = {}
    patterns: list[Any] = []
    for file in sorted(item.name for item in (files(__package__) / "lexicon").iterdir() if item.name.endswith(".yaml")):
        data = yaml.load((files(__package__) / "lexicon" / file).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        topics |= data.get("topics", {})
        acts |= data.get("acts", {})
        patterns += data.get("patterns", [])
    return Lexicon.model_validate({"topics": topics, "acts": acts, "patterns": patterns})


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[Wording, re.Pattern[str]], ...]:
    return tuple((w, re.compile(w.zh)) for w in lexicon().patterns)


def stem(word: str) -> str:
    """A light English stem: plural and possessive endings off."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words(text: str) -> set[str]:
    """The words of a text that carry meaning, roughly: pairs of Chinese characters, and stems of English words of four letters or more."""
    lower = text.lower()
    pairs = {a + b for a, b in pairwise(lower) if _HAN.match(a) and _HAN.match(b)}
    return pairs | {stem(w) for w in _WORD.findall(lower) if len(w) >= 4}


@lru_cache(maxsize=1)
def questioning() -> frozenset[str]:
    """Words that tell nothing of what a question is about: those of the lexicon's good questions and of its acts."""
    book = lexicon()
    texts = [text for cues in book.topics.values() for text in (cues.ask["zh"], cues.ask["en"])] + [t for a in book.acts.values() for t in (*a.zh, *a.en)]
    return frozenset().union(*(words(t) for t in texts))


@lru_cache(maxsize=256)
def topic_words(topic: str) -> frozenset[str]:
    """The words that name a topic."""
    cues = lexicon().topics[topic]
    return frozenset().union(*(words(t) for t in (*cues.zh, *cues.en)))


@dataclass(frozen=True)
class Hit:
    """A cue found: `key` is a topic id, "act:<name>" or "fact:<id>"."""

    key: str
    start: int
    end: int
    plain: bool = False  # a whole wording, no mere mention


class Matcher:
    """Finds cues, leftmost and longest first: Chinese by characters, English by stemmed words."""

    def __init__(self, cues: dict[str, LL], base: Matcher | None = None) -> None:
        """`base`: a matcher whose cues count as well; it is not changed, and costs no second compiling."""
        zh: dict[str, dict[str, list[str]]] = {}
        en: dict[str, dict[tuple[str, ...], list[str]]] = {}
        for key, wordings in cues.items():
            for phrase in (p.lower() for p in wordings.zh):
                zh.setdefault(phrase[:2], {}).setdefault(phrase, []).append(key)
            for phrase in wordings.en:
                words = tuple(stem(w) for w in _WORD.findall(phrase.lower()))
                if words:
                    en.setdefault(words[0], {}).setdefault(words, []).append(key)
        self._zh: dict[str, tuple[tuple[int, ...], dict[str, list[str]]]] = dict(base._zh) if base else {}
        self._zh |= _buckets(zh, self._zh)
        self._en: dict[str, tuple[tuple[int, ...], dict[tuple[str, ...], list[str]]]] = dict(base._en) if base else {}
        self._en |= _buckets(en, self._en)
        self._zh_in_ascii = any(start.isascii() for start in self._zh)

    def find(self, text: str) -> list[Hit]:
        """All hits in a (lower-case) sentence, in order of place. The same phrase may stand for several topics."""
        hits: list[Hit] = []
        i, n, zh = 0, len(text), self._zh
        if text.isascii() and not self._zh_in_ascii:
            i = n
        while i < n - 1:
            if bucket := zh.get(text[i : i + 2]):
                lengths, phrases = bucket
                for k in lengths:
                    if i + k <= n and (keys := phrases.get(text[i : i + k])):
                        hits += _hits(keys, i, i + k)
                        i += k - 1
                        break
            i += 1
        words = [(stem(m.group()), m.start(), m.end()) for m in _WORD.finditer(text)]
        said = tuple(word for word, _, _ in words)
        i = 0
        while i < len(said):
            step = 1
            if options := self._en.get(said[i]):
                counts, sequences = options
                for k in counts:
                    if i + k <= len(said) and (keys := sequences.get(said[i : i + k])):
                        hits += _hits(keys, words[i][1], words[i + k - 1][2])
                        step = k
                        break
            i += step
        hits.sort(key=lambda h: h.start)
        return hits


def _buckets(
    new: dict[str, dict[_Phrase, list[str]]], old: dict[str, tuple[tuple[int, ...], dict[_Phrase, list[str]]]]
) -> dict[str, tuple[tuple[int, ...], dict[_Phrase, list[str]]]]:
    """The buckets of `new`, each with what `old` has in it: by their first piece, with the lengths of their phrases."""
    made = {}
    for start, phrases in new.items():
        whole = {p: list(keys) for p, keys in old[start][1].items()} if start in old else {}
        for phrase, keys in phrases.items():
            whole.setdefault(phrase, []).extend(keys)
        made[start] = (_lengths(whole), whole)
    return made


def _lengths(phrases: Iterable[Sized]) -> tuple[int, ...]:
    """The lengths that occur, longest first."""
    return tuple(sorted({len(phrase) for phrase in phrases}, reverse=True))


def _hits(keys: list[str], start: int, end: int) -> list[Hit]:
    """One hit for each key of a phrase."""
    return [Hit(keys[0], start, end), *(Hit(k, start, end) for k in keys[1:] if k != keys[0])]


@lru_cache(maxsize=1)
def _base_matcher() -> Matcher:
    book = lexicon()
    cues = {topic: LL(zh=c.zh, en=c.en) for topic, c in book.topics.items()}
    cues |= {f"act:{name}": wordings for name, wordings in book.acts.items()}
    return Matcher(cues)


def matcher(extra: dict[str, LL] | None = None) -> Matcher:
    """A matcher over the lexicon, with further cues (`fact:<id>`) of one case. Build once per case, not per episode."""
    return Matcher(extra or {}, _base_matcher())


@dataclass(frozen=True)
class Heard:
    """What a turn said to the patient. `asks`: topic ids and "fact:<id>", in order, without repeats."""

    asks: tuple[str, ...]
    acts: frozenset[str]
    question: bool  # at least one sentence is a question
    about: tuple[str, ...] = ()  # symptoms whose when, where or how was asked


def hear(text: str, cues: Matcher, known: Container[str] = ()) -> Heard:
    """Parse one turn of speech.

    Only topics inside a question count as asked. Where a question names an attribute (when, where, how bad), the symptom
    in it is what the question is about and is not itself asked. What the lexicon leaves open is put to the topic model, and so is
    whether a word of the lexicon is what the question is about.

    Args:
        text: what was said.
        cues: the lexicon with the case's own cues.
        known: the topics on which the person knows something; a likely topic among them is taken for meant.
    """
    asks: dict[str, None] = {}
    about: dict[str, None] = {}
    acts: set[str] = set()
    question = False
    for whole, mark in sentences(_EXCEPT.sub(" ", text.lower())):
        acts |= {h.key[4:] for h in cues.find(whole) if h.key.startswith("act:")}
        sentence = _spelled_out(_question_of(_untagged(whole), cues))
        hits = _with_patterns(sentence, cues.find(sentence))
        named = {h.key[4:] for h in hits if h.key.startswith("act:")}
        if not _is_question(sentence, mark, named):
            continue
        if _REGULAR.search(sentence):
            acts.add("regular")
        question = True
        topics, named_only = _asked(sentence, hits, named)
        if named & WHOLE and not topics:  # "anything else that was abnormal?"
            topics = _surely(sentence, known) if named & {"open", "anything_else"} else []
        else:
            plainly = any(h.key in topics and (h.plain or h.end - h.start >= LONG[_lang(sentence)]) for h in hits)
            topics = _weighed(sentence, topics, named_only, mark in ("?", "？"), plainly)
            topics += [t for t in _second(sentence, cues, known) if t not in topics] if topics else []
        asks |= dict.fromkeys(topics)
        about |= dict.fromkeys(named_only)
    return Heard(tuple(asks), frozenset(acts), question, tuple(about))


def _spelled_out(sentence: str) -> str:
    """The sentence with what two parts of the body share said of each."""
    return _STRONGLY.sub("", _SHARED.sub(r"\1\4\2\3\4", sentence)) if _HAN.search(sentence) else sentence


def _with_patterns(sentence: str, hits: list[Hit]) -> list[Hit]:
    """The hits, with those of wordings that have a gap in them."""
    if not _HAN.search(sentence):
        return hits
    more: list[Hit] = []
    swallowed: set[Hit] = set()
    for wording, pattern in _patterns():
        if wording.topic == "drug" and any(h.key == "drug" or h.key in DRUG_MATTERS for h in hits):
            continue
        for m in pattern.finditer(sentence):
            more.append(Hit(wording.topic, m.start(), m.end(), True))
            if wording.swallows:
                swallowed |= {h for h in hits if h.key != wording.topic and m.start() <= h.start and h.end <= m.end() and _swallowed(h, wording)}
    return sorted([*(h for h in hits if h not in swallowed), *more], key=lambda h: h.start)


def _swallowed(hit: Hit, wording: Wording) -> bool:
    """A named test, or what somebody was doing when it got worse, is no question of its own."""
    topic = codes.topics().get(hit.key)
    return topic is not None and (wording.swallows == "all" or topic.group in ("general", "history", "context"))


def _untagged(sentence: str) -> str:
    """The sentence without its tag, where something is left of it."""
    rest = _TAG.sub("", sentence)
    return rest if len(rest) >= 4 and (rest != sentence) and ("," in sentence or "，" in sentence) else sentence


def _is_question(sentence: str, mark: str, named: set[str]) -> bool:
    """By its mark; else by how it begins, or by a word that asks. In English a full stop turns "who", "what" and "how" inside it into
    relative pronouns; what is left are requests ("please tell me ...")."""
    if mark in ("?", "？") or _ASKS.search(sentence):
        return True
    return "interrogative" in named and (mark != "." or bool(_HAN.search(sentence) or _REQUESTS.search(sentence)))


def _question_of(sentence: str, cues: Matcher) -> str:
    """The sentence without the explanation that leads up to its question ("some painkillers cause bleeding, so do you take any?")."""
    clauses = [c for c in _CLAUSE.split(sentence) if c.strip()]
    for i in range(len(clauses) - 2, -1, -1):
        if _LEADS_UP.search(clauses[i]) and not any(h.key == "act:interrogative" for h in cues.find(clauses[i])):
            clauses = clauses[i + 1 :]
            break
    return "，".join(clauses) if _HAN.search(sentence) else ", ".join(clauses)


def _asked(sentence: str, hits: list[Hit], named: set[str]) -> tuple[list[str], list[str]]:
    """The topics and facts that the lexicon finds asked for in one question, and the symptoms whose attribute is asked."""
    book = codes.topics()
    topics = list(dict.fromkeys(h.key for h in hits if not h.key.startswith("act:") and not _as_a_time(h, sentence)))
    topics = topics or list(dict.fromkeys(h.key for h in hits if not h.key.startswith("act:")))

    def group(topic: str) -> str:
        return book[topic].group if topic in book else ""

    if "family" in topics:  # "does high blood pressure run in the family?" is not about the person's own
        own = _own(sentence, hits)
        topics = [t for t in topics if t not in book or t in own or (book[t].parent != "past_illness" and t != "past_illness")]
    if (examples := _EXAMPLES.search(sentence)) and any(h.key in _NAMED_BY_EXAMPLES for h in hits if h.end <= examples.start()):
        before = {h.key for h in hits if h.end <= examples.start()}
        topics = [t for t in topics if t in before or t not in book or group(t) == "symptom" or book[t].parent in before]
    if "drug" in topics and "drug_dose" in topics:
        topics.remove("drug_dose")
    if "drug" in topics and any(t in DRUG_MATTERS for t in topics):  # the narrower question is meant
        topics.remove("drug")
    if "prior_care" in topics and any(t == "relief" or t.startswith(("fact:", "drug")) for t in topics):
        topics.remove("prior_care")  # "what did you do to stop it?", "have you tried any medicine?"
    if any(group(t) in ("history", "critical", "context") for t in topics):  # "heart trouble, for how many years?": its own when
        topics = [t for t in topics if t not in WHEN]
    symptoms = [t for t in topics if group(t) == "symptom"]
    if "prior_episode" in topics:  # "have you had such a headache before?"
        return [t for t in topics if t not in symptoms], symptoms
    if symptoms and "presence" in named:  # "is one arm weak?": which one is not what is asked
        topics = [t for t in topics if t not in MERE]
    about: list[str] = []
    if "associated" in topics or len(symptoms) > 1:  # "您的头痛是否伴有发热？"
        bearers = [t for t in symptoms if any(h.key == t and _BEARER.match(sentence[h.end :]) and not _PRESENT.search(sentence[: h.start]) for h in hits)]
        if len(bearers) < len(topics):
            topics, symptoms, about = [t for t in topics if t not in bearers], [t for t in symptoms if t not in bearers], bearers
    subjects = [t for t in symptoms if any(h.key == t and _SUBJECT.match(sentence[h.end :]) and not _PRESENT.search(sentence[: h.start]) for h in hits)]
    if subjects and any(group(t) == "attribute" and t != "associated" for t in topics):  # "您的咳嗽和气喘的症状，有没有在活动后加重？"
        return [t for t in topics if t not in subjects], [*about, *subjects]
    if any(group(t) == "attribute" and t != "associated" for t in topics) and "presence" not in named:
        about = [*about, *symptoms]
        topics = [t for t in topics if t not in about]
    return topics, about


def _own(sentence: str, hits: list[Hit]) -> set[str]:
    """Topics in clauses that ask for the person's own illnesses beside the family's ("... 的家族史，或者您自己有没有 ...")."""
    own: set[str] = set()
    start, noun, rest = 0, False, deque(hits)
    for end in [*(m.start() for m in _AND_OR.finditer(sentence)), len(sentence)]:
        clause = sentence[start:end]
        inside = []
        while rest and rest[0].start < end:
            inside.append(rest.popleft())
        if any(h.key == "family" for h in inside):
            noun = noun or bool(_FAMILY_NOUN.search(clause))
        elif not _EXAMPLES.search(clause) and (_OWN.search(clause) or noun):
            own |= {h.key for h in inside}
        start = end
    return own


def _surely(sentence: str, known: Container[str]) -> list[str]:
    """The topic that the model is sure of, if the person knows something on it."""
    best, chance = next(iter(chances(sentence, _lang(sentence)).items()))
    return [best] if chance >= SURE and best in known else []


def _second(sentence: str, cues: Matcher, known: Container[str]) -> list[str]:
    """Topics of further clauses that ask something of their own in words the lexicon does not have ("..., and is it there all day?")."""
    clauses = [c.strip() for c in _AND.split(sentence, CLAUSES) if c and len(c.strip()) >= 4]
    found: list[str] = []
    for clause in clauses if len(clauses) > 1 else ():
        hits = cues.find(clause)
        if not any(h.key == "act:interrogative" for h in hits) or any(not h.key.startswith("act:") for h in hits):
            continue
        best, chance = next(iter(chances(clause, _lang(clause)).items()))
        if best != NONE and chance >= (LIKELY if best in known else SURE):
            found.append(best)
    return found


def _as_a_time(hit: Hit, sentence: str) -> bool:
    """Whether a symptom or the onset only dates something else ("after the headache began, did you take anything?")."""
    topic = codes.topics().get(hit.key)
    if topic is None or (topic.group != "symptom" and topic.id not in ("onset", "falls")):
        return False
    return bool(_THEN.match(sentence[hit.end : hit.end + 12]) or _SINCE.search(sentence[max(0, hit.start - 40) : hit.start]))


def _weighed(sentence: str, topics: list[str], about: list[str], marked: bool, plainly: bool) -> list[str]:
    """What the topic model makes of it: it drops what is only mentioned, and fills in where the lexicon found nothing.

    `about`: the symptoms whose attribute is asked; the model knows topics, not attributes of others, and cannot overrule that. `plainly`: a topic was named in so
    many words that it is no mere mention. `marked`: a question mark ends the sentence; it is then never taken for one that asks nothing.
    """
    lang: Lang = _lang(sentence)
    if topics and len(sentence) <= SHORT[lang]:
        return topics  # a short question with a word of the lexicon: nothing else is in it
    likely = chances(sentence, lang)
    best, chance = next(iter(likely.items()))
    if topics:
        unlikely = not plainly and chance >= SURE and best not in topics and best not in about and not (best == NONE and marked)
        if not unlikely or any(t.startswith("fact:") or likely.get(t, 0.0) >= POSSIBLE * chance for t in topics):
            return topics
        return [best] if best != NONE else []
    return [best] if best != NONE and chance >= LIKELY else []


def _lang(sentence: str) -> Lang:
    return "zh" if _HAN.search(sentence) else "en"


def sentences(text: str) -> list[tuple[str, str]]:
    """Sentences with the mark that ends each ("" at the end)."""
    result = []
    start = 0
    for m in _SENTENCE.finditer(text):
        sentence = text[start : m.start()].strip()
        if sentence:
            result.append((sentence, m.group()[:1]))
        start = m.end()
    if text[start:].strip():
        result.append((text[start:].strip(), ""))
    return result


def ask_for(topic: str, lang: Lang) -> str:
    """A good question on a topic."""
    return lexicon().topics[topic].ask[lang]


def raw_lexicon() -> dict[str, Any]:
    """The lexicon as plain data, for agents that stuff it and for tests."""
    return lexicon().model_dump()
