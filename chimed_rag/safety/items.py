"""Items: what one item of a list says, said of another: of 丹参 that it is 血中之气药, which 川芎 is.

What is covered: items that open with what they are about, a heading before a colon, the name of a medicine or germ,
or names of one class (斜疝 and 直疝, Ⅰ期 and Ⅱ期), each with all that follows until the next one opens; the clauses of
a sentence that name an item and say what the items of another of its kind say alone. What is not covered: items named
in their midst (寒痰用甲汤，热痰用乙汤), a difference of single characters (归肾经), what a heading says of all items.
Tried: names of diseases and signs as items wherever they open a sentence; they are as often told of another.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from chimed_rag.entities.lexicon import unknown_drugs
from chimed_rag.safety.reading import Reading

_MOST_ITEMS = 120
_STOPS = re.compile("[;；。！？!?\n]|(?=[①-⑳])")
_COMMA = re.compile("[,，]")
_LEAD = re.compile("(?:[①-⑳()（）“”\"'\\d.、·\\s\ue000-\uf8ff]|[其此该另又])*")
_HEADING = re.compile("([^:：,，、()（）]{1,24}?)(?:[(（][^)）]*[)）])?[:：]")
_ASPECT = re.compile(
    "治疗|诊断|鉴别|表现|病因|机制|病机|分[型期级度类]|辨证|检查|体征|症状|并发症|预后|指征|适应证|禁忌|用法|用量|不良反应"
    "|处理|预防|护理|急救|外治|内治|手术|原则|病理|特点|时间|方法|要点|监测|目标|标准|饮食|复查|疗程|剂量|常用药|首选|例外"
    "|注意|命名|顺序|辅助|影像|电图|超声|血象|髓象|ct|x线|mri|实验室|抢救|搬运|随访|定义|流行|危险因素|评分|包括|(?:出现|见于|作用)$"
)
"""Headings that name an aspect of a thing, not a thing."""
_FORMS = "汤|散|丸|颗粒|口服液|胶囊|糖浆|饮|丹|注射液|液"
_CLASSED = re.compile(
    "([^，。,;；:：、()（）]{1,8}?(期|型|度|级|征|证|试验|疝|癣|癌|瘤|骨折|脱位|休克|反应|综合征|炎|热|水肿|血肿|青光眼"
    f"|出血|病|{_FORMS}))(?![状体变因例史人者程发灶原情理部位间])"
)
_DOSED = re.compile("([^，。,;；:：、()（）\\d\ue000-\uf8ff]{2,9})[\ue000-\uf8ff]")
_TASTED = re.compile("([^，。,;；:：、()（）]{2,5}?)[味性]?[微大]?[辛甘酸苦咸淡涩平温凉寒][、,，平温凉寒微大]")
_NO_NAME = re.compile(
    "成人|儿童|小儿|老年|每|起始|日|多饮|维持|极量|剂量|首剂|静|肌|负荷|总量|最大|开始|渐|[前后](?!脱|[期型壁位])|使用|如|首选|出现|反复|估计"
    "|因|对|当|若|以|[无有不没]|是|应|宜|可|需|与|[大小]剂量|[大水]蜜?丸|外用|口服|煎"
)
_NOT_IN_NAME = re.compile("出现|治|为|用|服|含|方|宜|的|不|所|[和与或及]")
_JOINS = re.compile("[和与或及、]")
_COMPOUND = frozenset("、和与及依性类化抗受")  # 葡萄糖依赖性 is no 葡萄糖
_MASS = re.compile("g|μ|ml|U|万", re.IGNORECASE)
_NAMED, _ASPECTS, _HEADED = "name", "aspect", "heading"
_KINDS = {"drug": _NAMED, "herb": _NAMED, "germ": _NAMED}
_MIN_TOLD = 2
_SHORT = 6  # characters of a name of which half is enough to be said; of a longer one two thirds

Topic = tuple[str, str]
"""The kind of an item and what it is about."""


class _Part(NamedTuple):
    """A stretch of `reading.norm` that one item fills, the topic with which it opens, and whether a sentence does."""

    reading: Reading
    begin: int
    end: int
    topic: Topic
    opens: bool


class _Item(NamedTuple):
    """What a part says (pairs of matter, and measures) and the topics that it may be about."""

    told: frozenset[str]
    topics: frozenset[Topic]


class _Group(NamedTuple):
    """Clauses of a sentence that name the same topics."""

    begin: int
    end: int
    topics: frozenset[Topic]


def misplaced(sentence: Reading, passages: Sequence[Reading], context: Sequence[Reading]) -> str:
    """What the sentence says of an item and the literature of another of its kind, in Chinese; "" for nothing.

    Args:
        sentence: what is said.
        passages: all sentences of the passages, in order.
        context: titles and headings; what only one item is named by is said of the whole passage.
    """
    items = _items(tuple(passages), tuple(context))
    topics = frozenset(topic for item in items for topic in item.topics)
    if len(topics) < 2 or len(items) > _MOST_ITEMS:
        return ""
    groups = _groups(sentence, topics)
    named = frozenset(topic for group in groups for topic in group.topics)
    if not named:
        return ""
    holding = defaultdict(list)
    for item in items:
        for sign in item.told:
            holding[sign].append(item)
    alone = [reading.norm for reading in context if not _JOINS.search(reading.norm)]
    for group in groups:
        for kind in dict.fromkeys(kind for kind, _ in sorted(group.topics)):
            mine = frozenset(topic for topic in group.topics if topic[0] == kind)
            if any(name in title for _, name in mine for title in alone):
                continue
            others = frozenset() if len(groups) > 1 else named
            other = _told_of_another(sentence, group, mine, others, holding)
            if other:
                return f"“{sentence.raw_text(group.begin, group.end)}”：原文说的是“{other[1]}”"
    return ""


def _told_of_another(
    sentence: Reading,
    group: _Group,
    mine: frozenset[Topic],
    named: frozenset[Topic],
    holding: Mapping[str, Sequence[_Item]],
) -> Topic | None:
    """The topic whose items alone say what a group of clauses says of `mine`."""
    (kind, _), *_ = mine
    signs, free = _said(sentence, group)
    own: list[frozenset[Topic]] = []
    told: dict[Topic, list[str]] = defaultdict(list)
    for sign in signs:
        owners = [frozenset(topic for topic in item.topics if topic[0] == kind) for item in holding.get(sign, ())]
        every = frozenset().union(*owners)
        if every & mine:
            own.append(every)
        elif owners and all(one and named.isdisjoint(one) for one in owners):
            for topic in sorted(every):
                told[topic].append(sign)
    words = sentence.norm[group.begin : group.end]
    apart = [topic for topic in told if not _is_same(topic[1], words, [name for _, name in mine])]
    if not apart:
        return None
    best = max(apart, key=lambda topic: len(told[topic]))
    against, agreeing = len(told[best]), sum(best not in topics for topics in own)
    brief = against == 1 and free <= _MIN_TOLD + 1 and len(told[best][0]) == 2 and bool(named)
    return best if (against >= _MIN_TOLD or brief) and 2 * agreeing <= against else None


def _said(sentence: Reading, group: _Group) -> tuple[list[str], int]:
    """What a group says beside the names of its topics, and of how many characters."""
    named: set[int] = set()
    for _, name in group.topics:
        size = _prefix(name, sentence.norm)
        for match in re.finditer(re.escape(name[:size]), sentence.norm):
            named.update(range(*match.span()))
    places = [at for at in range(group.begin, group.end) if sentence.tells(at)]
    signs = [sentence.norm[a] + sentence.norm[b] for a, b in pairwise(places) if not {a, b} & named]
    signs += [sentence.norm[at] for _, at, _ in sentence.measures if group.begin <= at < group.end]
    return list(dict.fromkeys(signs)), sum(at not in named for at in places)


def _is_same(name: str, words: str, mine: Iterable[str]) -> bool:
    """Whether a name is one of `mine`, wider or narrower, or half of it is said apart from them."""
    if any(name in one or one in name or set(name) == set(one) for one in mine):
        return True
    least = max(2, (len(name) + 1) // 2) if len(name) <= _SHORT else -(-2 * len(name) // 3)
    pieces = {name[at : at + least] for at in range(len(name) - least + 1)}
    return any(piece in words and not any(piece in one for one in mine) for piece in pieces)


def _prefix(name: str, text: str) -> int:
    """How many characters of the head of a name stand in a text."""
    size = 0
    while size < len(name) and name[: size + 1] in text:
        size += 1
    return size


def _groups(sentence: Reading, topics: frozenset[Topic]) -> list[_Group]:
    """The clauses of a sentence by the topics that they name; those that name none go with their neighbours."""
    whole = [name for _, name in topics if len(name) > 1 and name in sentence.norm]
    found: list[_Group] = []
    for begin, end in sentence.clauses:
        here = frozenset(topic for topic in topics if _is_named(topic, sentence.norm[begin:end], whole))
        last = found[-1] if found else None
        if last and (not here or not last.topics or here == last.topics):
            found[-1] = _Group(last.begin, end, last.topics | here)
        else:
            found.append(_Group(begin, end, here))
    return found


def _is_named(topic: Topic, words: str, whole: Sequence[str]) -> bool:
    """Whether words name a topic: wholly, or by its first half where they name no other one that begins alike."""
    kind, name = topic
    size = _prefix(name, words)
    if size == len(name) or kind == _NAMED:
        return size == len(name) > 1
    return size >= max(2, len(name) / 2) and not any(one.startswith(name[:size]) for one in whole)


@lru_cache(maxsize=16)
def _items(passages: tuple[Reading, ...], context: tuple[Reading, ...]) -> list[_Item]:
    """What the passages say, item by item, with the topics of each."""
    titles = [name for one in context for names in [_JOINS.split(one.norm)] if len(names) > 1 for name in names]
    names = [name for name in titles if len(name) > 1]
    ends = ["。", *(reading.norm[-1:] for reading in passages)]
    parts = [part for reading, before in zip(passages, ends, strict=False) for part in _parts(reading, before, names)]
    headed = {name for kind, name in {part.topic for part in parts} if kind == _HEADED}
    kinds = Counter(kind for kind, name in {part.topic for part in parts} if kind in _LONE or name not in headed)
    topics = [part.topic if kinds[part.topic[0]] > 1 or part.topic[0] in _LONE else _NONE for part in parts]
    owned = list(_owned(parts, topics))
    every = {topic for found in owned for topic in found if len(topic[1]) > 1}
    items = []
    for part, found in zip(parts, owned, strict=True):
        reading, words = part.reading, part.reading.norm[part.begin : part.end]
        places = [at for at in range(part.begin, part.end) if reading.tells(at)]
        told = {reading.norm[a] + reading.norm[b] for a, b in pairwise(places)}
        told.update(reading.norm[at] for _, at, _ in reading.measures if part.begin <= at < part.end)
        items.append(_Item(frozenset(told), found | {topic for topic in every if topic[1] in words}))
    return items


_NONE: Topic = ("", "")
_LONE = frozenset((_NAMED, _ASPECTS, _HEADED))
"""Kinds of which one item may stand alone among those of others."""


def _owned(parts: Sequence[_Part], topics: Sequence[Topic]) -> Iterator[frozenset[Topic]]:
    """The topics that each part may be about: its own, or those before it.

    A sentence without one goes on with the last; after a sentence that opened several it may be about any of these, and
    an aspect of its own about all so far.
    """
    now: dict[str, set[str]] = {}
    ever: dict[str, set[str]] = {}
    opened: list[Topic] = []
    for part, (kind, name) in zip(parts, topics, strict=True):
        if part.opens and kind not in ("", _ASPECTS):
            now, opened = {kind: {name}}, [(kind, name)]
        elif part.opens:
            now.pop(_ASPECTS, None)
            for one in {one for one, _ in opened}:
                several = {other for kin, other in opened if kin == one}
                now[one] = several if len(several) > 1 else now.get(one, several)
            if kind:
                now = {one: set(ever[one]) for one in now} | {kind: {name}}
        elif kind == _ASPECTS:
            now[kind] = {name}
        elif kind:
            now.pop(_ASPECTS, None)
            if kind == _HEADED:
                now.pop(_NAMED, None)
            now[kind] = {name}
            opened.append((kind, name))
        for one, names in now.items():
            ever.setdefault(one, set()).update(names)
        yield frozenset((one, other) for one, names in now.items() for other in names)


def _parts(reading: Reading, before: str, titles: Sequence[str]) -> Iterator[_Part]:
    """A sentence of the literature, cut at stops, at signs of a list, after a heading and where a medicine opens."""
    norm = reading.norm
    cuts = sorted({0, len(norm), *(match.end() for match in _STOPS.finditer(norm))})
    drugs = dict(unknown_drugs(norm))
    for begin, end in pairwise(cuts):
        if end - begin < 3:
            continue
        topic, after = _heading(reading, begin, end)
        if topic == _NONE and not after:
            topic = _opening(reading, _start(norm, begin), end, titles, drugs)
        starts = [(begin, topic)]
        if after and (inner := _class(norm, _start(norm, after), end)) != _NONE:
            starts.append((after, inner))
        for comma in _COMMA.finditer(norm, max(begin, after), end):
            at, (kind, name) = comma.end(), starts[-1][1]
            if kind != _NAMED or norm.count("(", begin, at) > norm.count(")", begin, at):
                continue
            other = _name(reading, at, titles, drugs)
            if other[0] == kind and other[1] != name and norm[at + len(other[1])] not in ",，;；。":
                starts.append((at, other))
        stops = [start for start, _ in starts[1:]] + [end]
        for number, ((start, found), stop) in enumerate(zip(starts, stops, strict=True)):
            first = number == 0 and begin == 0 and before not in "；;"
            yield _Part(reading, start, stop, found, first)


def _start(norm: str, begin: int) -> int:
    lead = _LEAD.match(norm, begin)
    return lead.end() if lead else begin


def _heading(reading: Reading, begin: int, end: int) -> tuple[Topic, int]:
    """The heading with which a stretch opens, and where it ends; 0 if there is none."""
    start = _start(reading.norm, begin)
    match = _HEADING.match(reading.norm, start, end)
    if not match:
        return _NONE, 0
    if _ASPECT.search(match[1]):
        return (_ASPECTS, match[1]), match.end()
    return _checked((_HEADED, match[1])), match.end()


def _opening(reading: Reading, start: int, end: int, titles: Sequence[str], drugs: Mapping[int, int]) -> Topic:
    """What a stretch opens with: a name, or what stands before a dose, a taste or the end of a class."""
    named = _name(reading, start, titles, drugs)
    if named != _NONE:
        return named
    if tasted := _TASTED.match(reading.norm, start, end):
        return _checked((_NAMED, tasted[1]))
    dosed = _DOSED.match(reading.norm, start, end)
    if dosed and any(at == dosed.end() - 1 and _MASS.search(one.text) for one, at, _ in reading.measures):
        return _checked((_NAMED, dosed[1]))
    return _class(reading.norm, start, end)


def _name(reading: Reading, start: int, titles: Sequence[str], drugs: Mapping[int, int]) -> Topic:
    """The medicine or germ whose name begins at a place, alone."""
    norm = reading.norm
    for name in titles:
        if norm.startswith(name, start) and norm[start + len(name) : start + len(name) + 1] not in _COMPOUND:
            return _checked((_NAMED, name))
    for token in reading.tokens:
        if token.start == start and token.kind in _KINDS and norm[token.end : token.end + 1] not in _COMPOUND:
            return _checked((_KINDS[token.kind], token.canonical))
    return _checked((_NAMED, norm[start : drugs[start]])) if start in drugs else _NONE


def _class(norm: str, start: int, end: int) -> Topic:
    match = _CLASSED.match(norm, start, end)
    if not match:
        return _NONE
    return _checked((_NAMED if re.fullmatch(_FORMS, match[2]) else match[2], match[1]))


def _checked(topic: Topic) -> Topic:
    """A topic, unless its words are those of a sentence."""
    kind, name = topic
    wrong = (_JOINS if kind == _HEADED else _NOT_IN_NAME).search(name)
    return _NONE if wrong or len(name) < 2 or (kind != _HEADED and _NO_NAME.match(name)) else topic
