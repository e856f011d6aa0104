"""What the surface of a question shows of its leaning on an earlier one: thanks before it, whom it asks for, pronouns.

What is covered: the words of `followup.yaml` beside this module, groups of people with or without an age, pronouns and
ordinals for drugs, diseases and tests. What is not covered: what they refer to, and which names a question holds
(`condensing`, on the floor where names are known). Time is linear in the text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, NamedTuple

from chimed_rag import packaged
from chimed_rag.query.question import content
from chimed_rag.text import HAN, fold

Thing = Literal["drug", "disease", "test", "act", "any"]
"""What a pronoun or an ordinal stands for; "any" where the word does not tell."""


class Reference(NamedTuple):
    """A pronoun or an ordinal in a question; `ordinal` counts from 1, -1 is the last, 0 is none; places half-open."""

    thing: Thing
    start: int
    end: int
    ordinal: int = 0
    several: bool = False


@cache
def _words(name: str) -> tuple[str, ...]:
    table: dict[str, Any] = packaged.parsed(packaged.source("chimed_rag.query", "followup.yaml"))
    return tuple(sorted(set(fold(table[name]).split()), key=lambda word: (-len(word), word)))


# --- thanks and greetings ----------------------------------------------------------------------------------------

_CLAUSE = re.compile(r"[^，。！？!?；;,、～~\s]*[，。！？!?；;,、～~\s]*")
_THANKS = re.compile(
    r"^.{0,6}(?:感谢|谢谢|多谢).{0,16}$|^我?(?:会|一定会).{1,24}的$|^(?:我|听起来)?.{0,6}(?:明白|知道|了解|清楚|理解)了?$"
    r"|^(?:[我你您]|本人)(?:好，)?(?:我?叫|是|姓|的名字[是叫])〔[^〔〕]{1,12}〕$"
)
_PROMISE = re.compile(r"(?:我|那我|我们)(?:会|一定会|将|这就|先去|先)[^。！？!?吃用服吗呢]{1,60}[。！!]+")
_LEADING = re.compile(
    r"^(?:(?:那么|那就|那(?![种个些位次天年时里边样会])|请问一下|请问|另外|顺便|医生|大夫|对了|我?还?(?:想|要)(?:再|请)?(?:问|知道|了解|请教|咨询)(?:一?下|的是)?"
    r"|麻烦问一?下|问一?下|还有(?=我|请问|一个))[，,：: ]*)+"
)


def without_courtesy(question: str) -> str:
    """The question without the thanks, greetings and connecting words that it begins with; empty if it is no more."""
    place, known = 0, _words_set("courtesy")
    for clause in _CLAUSE.finditer(question):
        if clause.start() < place:
            continue  # within a promise
        said = fold(clause[0]).strip("，。！？!?；;,、～~ \t\n\r\u3000")
        if clause[0] and said and said not in known and not _THANKS.match(said):
            promise = _PROMISE.match(question, clause.start())
            if promise is None:
                break
            place = promise.end()
            continue
        place = clause.end()
    rest = question[place:]
    leading = _LEADING.match(rest)
    return rest[leading.end() :] if leading else rest


@cache
def _words_set(name: str) -> frozenset[str]:
    return frozenset(_words(name))


# --- whom it asks for --------------------------------------------------------------------------------------------

_AGE = r"(?:\d{1,3}|[一二两三四五六七八九十半]{1,3})(?:个多?月|岁半?|周岁|月龄)(?:多|左右|大|以下|以上|以内)?(?:的|了)?"


_YEARS = r"(?:\d{1,3}|[一二两三四五六七八九十]{1,3})(?:周岁|岁半?)(?:多|左右|以下|以上|以内)?的?"


@cache
def _group() -> re.Pattern[str]:
    groups = "|".join(_words("groups"))
    return re.compile(rf"(?:{_AGE})?(?:{groups})(?:{_AGE})?|{_YEARS}")


def groups(text: str) -> list[tuple[int, int]]:
    """Where a text names groups of people, half-open; those joined by 和 or 、 are one."""
    found: list[tuple[int, int]] = []
    for one in _group().finditer(fold(text)):
        start, end = one.span()
        if found and text[found[-1][1] : start] in ("", "和", "或", "及", "、", "与", "跟", "的"):
            start = found.pop()[0]
        found.append((start, end))
    return found


# --- pronouns and ordinals -----------------------------------------------------------------------------------------

_NOUNS: tuple[tuple[Thing, str], ...] = (
    ("drug", r"药物?|药品|药片|胶囊|药膏"),
    ("disease", r"疾病|毛病|病症|病(?![人史历房例毒])"),
    ("test", r"检查|化验|检测|指标"),
    ("act", r"手术|疗法"),
)
_SAID = r"(?:(?:[你您]|医生)?(?:前面|上面|刚才|刚刚|之前)(?:[你您]|医生)?(?:所?(?:说|提|讲|推荐|介绍)(?:到|过)?的)?)?"
_NOUN = "|".join(f"(?P<{thing}>{noun})" for thing, noun in _NOUNS)
_PRONOUN = re.compile(
    rf"{_SAID}(?:[这那该此](?P<many>些|[两几三]种|[两几三]个)?(?:一?[个种类款项])?(?:{_NOUN})"
    r"|(?<![其])(?:它(?P<they>们)?)(?:的(?=[药病]))?"
    r"|(?:这个|这种|那个(?!时)|那种)(?=[呢吗可能会要需有怎是严疼多为？?]|$))"
)
_COUNT = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5}
_ORDINAL = re.compile(
    rf"(?:第(?P<count>[一二三四五1-5])|(?P<last>最后一))(?:[个种类款项](?!月|星期|疗程|小时|孩子|宝宝|孕|阶段))(?:{_NOUN})?|(?P<former>前者)|(?P<latter>后者)"
)


def references(text: str) -> list[Reference]:
    """The pronouns and ordinals of a text that stand for a thing said elsewhere, in order."""
    folded = fold(text)
    found = []
    for one in _ORDINAL.finditer(folded):
        count = _COUNT[one["count"]] if one["count"] else 1 if one["former"] else -1
        found.append(Reference(_thing(one), *one.span(), ordinal=count))
    taken = {place for one in found for place in range(one.start, one.end)}
    for one in _PRONOUN.finditer(folded):
        if taken.isdisjoint(range(*one.span())):
            found.append(Reference(_thing(one), *one.span(), several=bool(one["many"] or one["they"])))
    return sorted(found, key=lambda one: one.start)


def _thing(match: re.Match[str]) -> Thing:
    return next((thing for thing, _ in _NOUNS if match[thing]), "any")


# --- what is left ----------------------------------------------------------------------------------------------------


@cache
def _empty() -> re.Pattern[str]:
    words = sorted({*_words("generic"), *_words("activities")}, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, words)))


@cache
def _activity() -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, _words("activities"))))


def own_matter(text: str) -> str:
    """The Chinese characters and words of a text that are neither filler nor said of every drug and disease."""
    rest = _empty().sub(" ", content(_group().sub(" ", fold(text))))
    return "".join(re.findall(rf"[{HAN}a-z]+", rest))


def no_topics() -> frozenset[str]:
    """Names, folded, that are said of many drugs and diseases, so that none is what a conversation is about."""
    return _words_set("no_topics") | _words_set("activities")


_LEANING = re.compile(
    r"其[他它](?!药物?过敏)|别的|除此|除了|这(?:些|几种|几个|一)?(?:种|个|类|一)?(?:方法|办法|情况|措施|问题|现象|建议|症状|治疗|方案|过程|期间|方式|疾?病|药|手术|检查)|(?<!其)它|^这(?:样|会|需要|能|可以|是)"
)


def leans(text: str) -> bool:
    """Whether a word points back: 这种情况, 其他方法, 除了."""
    return bool(_LEANING.search(fold(text)))


def names_activity(text: str) -> bool:
    """Whether it asks for something one does or eats: 喝酒, 洗澡."""
    return bool(_activity().search(fold(text)))
