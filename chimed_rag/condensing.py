"""A follow-up becomes a question that stands alone, by rule.

After 感冒能吃布洛芬吗？ the follow-up 那孕妇呢？ is 孕妇感冒能吃布洛芬吗？ What is covered: another group, drug or
disease in the place of the last one; an aspect (副作用, 吃多久) whose topic was said before; pronouns and ordinals,
counted through the last answer; bare 为什么 and 还有呢. What is not covered: what needs the meaning of a sentence, and
topics that only the answer named (but for ordinals, pronouns and 一起).

The rule errs on one side: what has a matter of its own stays exactly as it was typed, so that a new topic never drags
the old one along. The price (`benchmarks/followups.py`): in consultations, which keep to one topic, nearly half of the
follow-ups that name nothing stay as they are, and all turns in a row find the topic more often; but those spoil every
new topic. Time is linear in the texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from chimed_rag.entities.mentions import Mention, mentions
from chimed_rag.query.followup import (
    Reference,
    groups,
    leans,
    names_activity,
    no_topics,
    own_matter,
    references,
    without_courtesy,
)
from chimed_rag.text import fold, sentence_spans

Kind = Literal["stands_alone", "replaced", "completed", "resolved", "joined", "rewritten"]
"""What was done last: nothing; a slot of the last question filled anew; its topic put in front; a pronoun or ordinal
replaced by what it stands for; both questions put together; written by a language model (`rephrasing`)."""

LOOKED_BACK = 6
"""So many earlier questions are searched for the topic; an older one is out of mind."""
MOST_NAMES = 3
LONGEST = 120
"""Of an earlier question that is put in front whole, so many characters at most."""


class Condensed(NamedTuple):
    """A question that stands alone, how it came about, and what was changed, in order ("group: 儿童 → 孕妇")."""

    text: str
    kind: Kind = "stands_alone"
    changes: tuple[str, ...] = ()


_SICK = frozenset({"disease", "sign", "germ"})
_TAKEN = frozenset({"drug", "herb"})
_DONE = frozenset({"test", "act"})
_TOPICS = _SICK | _TAKEN | _DONE | {"term"}


def condense(question: str, history: Sequence[str], answers: Sequence[str] = ()) -> Condensed:
    """The question, put so that it can be answered without the conversation.

    Args:
        question: as typed.
        history: the earlier questions, standing alone, oldest first.
        answers: what was answered, oldest first; only the last one is read.
    """
    base = _base(history)
    asked = without_courtesy(question).strip()
    if base is None or not asked or not (_QUESTION.search(asked) or _BARE.match(asked)):
        return Condensed(question)
    answer = answers[-1] if answers else ""
    changes: list[str] = []
    text = _resolved(asked, base, answer, changes)
    filled = _filled(text, base)
    if filled is not None:
        return Condensed(filled[0], "replaced", (*changes, filled[1]))
    completed = _completed(text, base, answer, points=_THEN.match(question) is not None)
    if completed is not None:
        return Condensed(completed[0], completed[1], (*changes, completed[2]))
    if changes:
        return Condensed(text, "resolved", tuple(changes))
    return Condensed(question)


def topics(text: str) -> list[Mention]:
    """The names in a text that can be what a conversation is about, each thing once."""
    people = {place for start, end in groups(text) for place in range(start, end)}
    found: dict[str, Mention] = {}
    for one in mentions(text):
        is_person = one.start in people and one.end - 1 in people
        if one.kind in _TOPICS and not is_person and no_topics().isdisjoint((one.canonical, fold(one.text))):
            found.setdefault(one.canonical, one)
    return list(found.values())


class _Base(NamedTuple):
    """The earlier question that a follow-up leans on, without its courtesy, and what it speaks of."""

    text: str
    topics: list[Mention]
    groups: list[tuple[int, int]]
    ill: str = ""
    """The names of illnesses that an earlier question has, where this one has none."""


def _base(history: Sequence[str]) -> _Base | None:
    recent = [text for text in (without_courtesy(one).strip() for one in history[-LOOKED_BACK:][::-1]) if text]
    for place, text in enumerate(recent):
        if found := topics(text):
            base = _Base(text, found, groups(text))
            if any(one.kind in _SICK for one in found):
                return base
            for earlier in recent[place + 1 :]:
                if ill := [one for one in topics(earlier) if one.kind in _SICK]:
                    return base._replace(ill=_named(ill, _Base(earlier, ill, [])))
            return base
    named = [text for text in recent if len(own_matter(text)) > 1]
    return _Base(named[0], [], groups(named[0])) if named else None


# --- pronouns and ordinals -------------------------------------------------------------------------------------------

_KINDS: dict[str, frozenset[str]] = {
    "drug": _TAKEN,
    "disease": _SICK | {"term"},
    "test": frozenset({"test", "term"}),
    "act": frozenset({"act"}),
    "any": _TOPICS,
}


_MOST_REFERENCES = 5
_NEAR = 60
"""So many characters before a pronoun are read for what it may stand for."""


def _resolved(asked: str, base: _Base, answer: str, changes: list[str]) -> str:
    """The question with what its pronouns and ordinals stand for; one that is explained before it stays."""
    own = topics(asked)
    for one in reversed(references(asked)[:_MOST_REFERENCES]):
        kinds = _KINDS[one.thing]
        before = asked[: one.start]
        if any(name.end <= one.start and name.kind in kinds for name in own) or len(own_matter(before[-_NEAR:])) > 2:
            continue
        meant = _meant(one, kinds, base, answer, of_illness=bool(_ABOUT_DISEASE.search(asked)))
        if meant:
            changes.insert(0, f"reference: {asked[one.start : one.end]} → {meant}")
            asked = asked[: one.start] + meant + asked[one.end :]
    return asked


def _meant(one: Reference, kinds: frozenset[str], base: _Base, answer: str, *, of_illness: bool) -> str:
    asked = [name for name in base.topics if name.kind in kinds]
    if not one.ordinal:
        named = asked or [name for name in topics(answer) if name.kind in kinds]
        if one.thing == "any":  # 它 is rather a drug than what it is taken for, unless it is contagious
            first = ("disease", "germ") if of_illness else tuple(_TAKEN)
            named = sorted(named, key=lambda name: (name.kind not in first, name.kind == "sign"))
        return "、".join(name.text for name in (named if one.several else named[:1])[:MOST_NAMES])
    known = {name.canonical for name in base.topics}
    said = [name for name in topics(answer) if name.kind in kinds and name.canonical not in known]
    if one.thing == "any":  # 第二种: things of the kind of which there are most
        said = _alike(said)
        asked = _alike(asked)
    listed = asked if len(asked) > 1 and (not said or one.ordinal < 0) else said
    if one.ordinal > len(listed) or not listed:
        return ""
    return listed[one.ordinal - 1 if one.ordinal > 0 else -1].text


def _alike(found: Sequence[Mention]) -> list[Mention]:
    families = [[name for name in found if name.kind in kinds] for kinds in (_TAKEN, _SICK, _DONE)]
    return max(families, key=len)


# --- another group, drug or disease ----------------------------------------------------------------------------------

_INSTEAD = re.compile(
    r"^(?P<change>(?:如果|要是|假如|换成|换作|换做|换|改成|改用|改吃|轮到)*(?:是|吃|用)?)(?P<value>[^，。？！?!,]{1,24}?)(?:的话)?"
    r"(?P<how>呢|可以(?:吗|么)|行吗|行不行|怎么样|也(?:是)?一样吗)?[？?。!！ ]*$"
)
_WHICH_DRUG = re.compile(r"(?:什么|哪些|哪种|啥|哪个|何种)(?:样的)?药物?")
_SUFFIX = re.compile("病?(?:病人|患者|的人|人群|人|者|的)$")


def _filled(text: str, base: _Base) -> tuple[str, str] | None:
    """The last question with the value that the follow-up gives, and what was replaced; None if it gives none."""
    shape = _INSTEAD.match(text)
    if shape is None or not (shape["how"] or shape["change"]):
        return None
    value = shape["value"]
    people = groups(value)
    if people and people[0][0] == 0 and not own_matter(value[people[0][1] :]) and len(value) - people[0][1] <= 3:
        return _with_group(value, base)
    named = topics(value)
    if len(named) != 1 or named[0].start or own_matter(value[named[0].end :]):
        return None
    rest = value[named[0].end :]
    if rest and _SUFFIX.fullmatch(rest) and named[0].kind in _SICK:
        return _with_patient(value, base)
    if rest:
        return None
    family = next((kinds for kinds in (_TAKEN, _SICK, _DONE) if named[0].kind in kinds), frozenset({named[0].kind}))
    slots = [one for one in mentions(base.text) if one.kind in family and one.canonical not in no_topics()]
    if slots:
        slot = slots[-1] if family is _TAKEN else slots[0]
        made = base.text[: slot.start] + value + base.text[slot.end :]
        return made, f"{slot.kind}: {slot.text} → {value}"
    if family is _TAKEN and (which := _WHICH_DRUG.search(base.text)):
        return base.text[: which.start()] + value + base.text[which.end() :], f"drug: {which[0]} → {value}"
    return None


def _with_group(value: str, base: _Base) -> tuple[str, str]:
    if base.groups:
        start, end = base.groups[0]
        return base.text[:start] + value + base.text[end:], f"group: {base.text[start:end]} → {value}"
    return _before_topic(value, base), f"group: – → {value}"


def _before_topic(value: str, base: _Base) -> str:
    """The earlier question with a group put in front of the clause that holds its topic."""
    first = min((one.start for one in base.topics), default=0)
    clause = max((base.text.rfind(mark, 0, first) + 1 for mark in "，。；？！,;?!"), default=0)
    taken = any(one.start == clause and one.kind in _TAKEN for one in base.topics)
    return f"{base.text[:clause]}{value}{'用' if taken else ''}{base.text[clause:]}"


def _with_patient(value: str, base: _Base) -> tuple[str, str]:
    """糖尿病人 takes the place of another disease's patients, or is put in front."""
    for one in base.topics:
        after = re.match("病?(?:病人|患者|的人|人群|人)", base.text[one.end :])
        if one.kind in _SICK and after:
            end = one.end + after.end()
            return base.text[: one.start] + value + base.text[end:], f"group: {base.text[one.start : end]} → {value}"
    return _before_topic(value, base), f"group: – → {value}"


# --- an aspect whose topic was said before ---------------------------------------------------------------------------

_ABOUT_DRUG = re.compile(
    "副作用|不良反应|用量|剂量|用法|[吃服用喝打](?:多少|多久|几|完|一辈子|法)|几[次片粒颗针]|饭[前后]|空腹吃|怎么[吃服用打]|漏|忘了?[吃打]|停药|伤[肝肾胃]|一辈子|依赖|过量|适应症|说明书|间隔|隔多"
)
_ABOUT_DISEASE = re.compile(
    "传染|遗传|症状|[挂看]什么科|[挂看]哪个?科|[挂该看].{0,4}科|病因|确诊|诊断|预防|治[好愈]|根治|复发|自愈|自己好|严重|要紧|癌变|后遗症|上学|上班|护理|活多久"
)
_ABOUT_ILLNESS = re.compile(
    "(?:治疗|治|缓解|改善)[^，。？?]{0,4}(?:方法|办法|方式|手段)|治[好愈]|根治|自愈|症状|病因|确诊|病情"
)
"""What is asked of an illness alone, so that it is looked for behind a question about a drug."""
_ALONE = re.compile(
    r"^(?:这是|那是|是)?(?:为什么|为啥|为何|然后|接着|还有|怎么说|原因)(?:呢|吗|啊)?[？?。 ]*$"
    r"|还有(?:别的|其[他它])?(?:的|吗|呢)+[？?]*$|^(?:再)?(?:详细|具体)"
)
_OBJECTLESS = re.compile(
    r"(?:能不能|可不可以|能否|可否|可以|能|敢|该不该|要不要)(?:吃|喝|用|服用|服|打)(?=(?:吗|么|嘛|不|不行|得|$)|[？?])"
)
_TOGETHER = re.compile(
    r"一起[吃用服喝打]|同时[吃用服喝打]|合用|同服|[哪][个种一](?:更|比较|最)?(?:好|效果|合适|安全|管用)|有?什么?区别|有什么不同|隔(?:开|多)"
)
_MISSING = re.compile(
    r"^(?:还|也|就|都)?(?:(?:会不会|会)(?:引起|导致|造成|出现|有|让人)?|(?:能不能|可不可以|能|可以)(?:治|缓解|退|止|降|预防|引起)|(?:和|跟|与|可以和|能和|能不能和|可以跟|能跟))"
)
_OBJECT = re.compile(
    r"^(?:还|也)?(?:需要|需不需要|要不要|用不用|一定要|必须|能不能|可不可以|可以|要|能|用)(?:做|打|吃|用|喝|进行|服用|涂|去做)?"
)
_QUESTION = re.compile(
    "[？?吗呢么啥]|什么|怎|多[久少大长高]|几[次天个周片粒点岁月年种]|哪|为何|是否|还是|[能要会可]不|有没有|有无|副作用|用量|用法|禁忌"
)
_BARE = re.compile("^.{0,12}(?:第[一二三四五1-5]|前者|后者|换成|孕妇|儿童|老人).{0,12}$")
_THEN = re.compile("(?:^|[，。！,.! ])那(?![种个些位次天年时里边样会])")
_POINTS = 4
"""A question that points back (那…, 这种情况, 其他方法) may have so many characters of a matter of its own."""


def _completed(text: str, base: _Base, answer: str, *, points: bool) -> tuple[str, Kind, str] | None:
    """The follow-up with the topic that it lacks, or None if it has one."""
    own = topics(text)
    if own and _is_whole(text, own, base):
        return None
    if not own:
        matter = len(own_matter(_asking(text)))
        if matter > (2 * _POINTS if leans(text) else _POINTS if points else 1):
            return None
        if names_activity(text) and groups(text):
            return None  # 孕妇能喝咖啡吗 is a question of its own
        if _ALONE.search(text):
            return _joined(text, base)
    topic = _topic(text, own, base, answer)
    if topic:
        return _composed(text, topic, base), "completed", f"topic: {topic}"
    return None if own else _joined(text, base)


def _asking(text: str) -> str:
    """The sentences that ask; all of them where none does."""
    sentences = [text[start:end] for start, end in sentence_spans(text)]
    return "".join(one for one in sentences if _QUESTION.search(one)) or text


def _is_whole(text: str, own: Sequence[Mention], base: _Base) -> bool:
    """Whether a question that names something also says what it asks that of."""
    kinds = {one.kind for one in own}
    if _OBJECTLESS.search(text) and not kinds & (_TAKEN | _DONE):
        return False
    if _TOGETHER.search(text) and len(own) < 2 and kinds <= _TAKEN and not _names_no_more(own, base):
        return not (_MISSING.match(text) or text.startswith(own[0].text))
    begins = _MISSING.match(text)
    if begins and own[0].start <= begins.end() + 2 and not groups(text):
        return not base.topics
    begins = _OBJECT.match(text)
    if begins and own[0].start <= begins.end() + 1 and kinds <= (_TAKEN | _DONE) and not groups(text):
        return not any(one.kind in _SICK for one in base.topics) or len(own_matter(text[own[-1].end :])) > 1
    return True


def _names_no_more(own: Sequence[Mention], base: _Base) -> bool:
    """Whether the earlier question names nothing else."""
    return {one.canonical for one in base.topics} <= {one.canonical for one in own}


def _topic(text: str, own: Sequence[Mention], base: _Base, answer: str) -> str:
    """What to put in front: names of the earlier question, of the kind that the aspect is asked of; empty if none."""
    folded = fold(text)
    together = _TOGETHER.search(folded)
    if together or _OBJECTLESS.search(folded) or _ABOUT_DRUG.search(folded):
        wanted = _TAKEN
    elif _ABOUT_DISEASE.search(folded) or (own and {one.kind for one in own} <= (_TAKEN | _DONE)):
        wanted = _SICK | _DONE | {"term"}
    else:
        wanted = _TOPICS
    if base.ill and _ABOUT_ILLNESS.search(folded):
        return base.ill
    known = {one.canonical for one in own}
    found = [one for one in base.topics if one.kind in wanted and one.canonical not in known]
    if wanted is _TAKEN:
        known |= {one.canonical for one in found}
        said = [one for one in topics(answer) if one.kind in _TAKEN and one.canonical not in known]
        if (together and len(known) < 2) or (not found and len(said) == 1):
            found += said[:1]
    return _named(found or [one for one in base.topics if one.canonical not in known], base)


def _named(found: Sequence[Mention], base: _Base) -> str:
    """The names as the earlier question has them, side by side where they stood so."""
    parts = ""
    last: Mention | None = None
    few = found[: 2 * MOST_NAMES]
    for one in [one for one in few if not any(one is not two and one.text in two.text for two in few)][:MOST_NAMES]:
        beside = last is None or (last.end == one.start and base.text[one.start : one.end] == one.text)
        parts += one.text if beside else f"、{one.text}"
        last = one
    return parts


def _composed(text: str, topic: str, base: _Base) -> str:
    people = "" if groups(text) or not base.groups else base.text[slice(*base.groups[0])]
    people = "" if people in topic else people
    objectless = _OBJECTLESS.search(text)
    if objectless and "、" not in topic:
        return f"{people}{text[: objectless.end()]}{topic}{text[objectless.end() :]}"
    takes = people and any(one.kind in _TAKEN and topic.startswith(one.text) for one in mentions(topic))
    return f"{people}{'用' if takes else ''}{topic}{text}"


def _joined(text: str, base: _Base) -> tuple[str, Kind, str]:
    before = base.text[:LONGEST].rstrip("？?。！! ")
    return f"{before}？{text}", "joined", "question: the last one in front"
