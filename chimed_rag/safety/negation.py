"""Negation: a sentence denies what its passage denies, and nothing that it affirms.

What is covered: a denial that was added, lost or moved to another word, told by what follows it and by its
surroundings; two denials that cancel out; a denial that tells only of whom, when or in which case; one in other words,
where the clause of the literature most like it denies, forbids or restricts something too and does not affirm what is
denied; a clause of the literature that a sentence repeats without its denial. What is not covered: a scope that crosses
a comma, denials of what the clause of the literature most like it does not affirm (不高 for 正常 or 低), but for what
says that something never comes back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chimed_rag.safety.marks import Mark
from chimed_rag.safety.polarity import denials, head, ladder_marks, level
from chimed_rag.safety.reading import Reading, per_reading
from chimed_rag.safety.surroundings import likeness

_FORBIDDING = ("禁用", "慎用", "不应", "不建议", "禁忌证")
_ALIKE = 0.45  # likeness of surroundings from which two denials are one, whatever they deny
_FORBIDDEN = 0.35  # and a denial and a forbidding word

_LEAST_HELD = 0.25  # of the characters of a clause, the share that a clause of the literature must hold to be its like
_NEARLY = 0.8  # of the best share, that from which another clause is as like
_CEASED = re.compile("停止|失去|丧失|消失|缺乏|难以|少(?![数见])|[勿禁免]")
_DOUBTING = frozenset(("不一定", "未必", "不见得", "未见得"))  # they deny no more than a certainty
_PART = re.compile("每|所有|都|人人|谁|一律|全部")
_MOST = 12  # places of a word that are looked at
_TELLING = 2  # pairs of characters that tell what is denied
_MOSTLY = 0.7  # the share of them that an affirmation must repeat
_PREDICATE = re.compile("不会|不是|并[非不]|不再|不至|无法|没有")
_SAME = 0.9  # of its characters, from which a clause is the same but for its denials
_OF_WHOM = re.compile("的(?:人|患者|病人|病例|孩子|儿童|妇女|女性|男性|孕妇|老年人|婴)")
_FOLLOWS = re.compile("等于|意味|代表|说明|表示|见得")
_NOT_MEANT = re.compile(
    "(?:不(?:等于|代表|意味着?|说明|表示|见得|一定)|并非|不是|不能[^，。；]{0,4}(?:认为|断定|说|当作?|算|排除))[^，。；]{0,4}$"
)
"""不等于没有: two denials that cancel out."""
_WHO = re.compile("[^，。；]{1,12}的(?:[^，。；]{0,3}(?:人|患者|病人|病例)|[^，。；]{0,4}(?:孩|儿|妇|老人|女|男))")
_WHOSE = re.compile("[^，。；]{1,8}的$")
_WHEN = re.compile("[^，。；]{1,10}(?:的?时候?|的话|之前|期间)(?=$|[，。；就应要也可先都再])")
_CONCEDED = re.compile("(?:即使|即便|就算|哪怕|纵使|虽然?|尽管|如果?|若|假如|要是|倘若|万一)[^，。；]{0,3}$")
_OUTRIGHT = re.compile("不(?:会|能|可能)?再[犯得发次破出复患有生长痛疼]|无关|不相干|不搭界|没关系|没什么关系")
_MAY = ("可", "会", "能", "易", "致")
_RESTRICTING = re.compile(
    "停止|停用|避免|消失|缺[乏少]?|失去|丧失|排除|除外|防止|以免|以防|免于|少[于见用做量吃喝去]|较少|很少|极少|[仅只]|才|难|拒绝|代替|自行"
)


def negation(sentence: Reading, sources: Sequence[Reading], context: Sequence[Reading]) -> tuple[bool, str]:
    """(whether anything is denied on either side, what is wrong)."""
    said = denials(sentence)
    source = [mark for reading in sources for mark in denials(reading)]
    if not said and not source:
        return False, ""
    forbidden = [mark for reading in (*sources, *context) for mark in ladder_marks(reading) if level(mark) <= 0]
    paired: set[int] = set()
    for mark in said:
        found = _denied_alike(mark, [one for one in source if id(one) not in paired or one.values == mark.values])
        if (found is None and (mark.text in _DOUBTING or _is_of_case(mark))) or _is_weak(mark):
            continue
        if found is not None and not _same_head(mark, found) and _is_affirmed_there(mark, sources):
            return True, f"原文没有否定：“{_shown(mark)}”"
        if found is not None:
            paired.add(id(found))
        elif not _is_told(mark, sources) or denied_otherwise(mark, sources):
            continue  # 居高不下: what is denied is nowhere told
        elif not (_is_outright(mark) or affirmed_in_like_clause(mark, sources) or _is_possible(mark, sources)):
            continue
        elif _head_of(mark).startswith(_FORBIDDING) or not any(
            likeness(mark.context, other.context) > _FORBIDDEN or _head_of(mark)[:2] in _after(other)
            for other in forbidden
        ):
            return True, f"原文没有否定：“{_shown(mark)}”"
    for mark in source:
        if id(mark) not in paired and (
            affirmed := _affirmed(mark, sentence, sources) or _repeated(mark, sentence, sources)
        ):
            return True, f"“{affirmed}”不同于原文的“{_shown(mark)}”"
    return True, ""


def _is_weak(mark: Mark) -> bool:
    """Whether a denial says only that one thing does not follow from another, or is not so for all."""
    low, high = mark.reading.clause_at(mark.start)
    following = mark.reading.norm[mark.end : min(mark.end + 3, high)]
    if _FOLLOWS.match(following) or _PART.match(following):
        return True
    return _NOT_MEANT.search(mark.reading.raw_text(low, mark.start)) is not None


def _is_of_case(mark: Mark) -> bool:
    """Whether a denial tells of whom, when or in which case something holds (没生过孩子的人, 没发作时, 即使没有症状),
    or names what is to be kept apart from something (而不是): the literature names the case as it likes."""
    reading = mark.reading
    low, high = reading.clause_at(mark.start)
    before, after = reading.raw_text(low, mark.start), reading.raw_text(mark.end, high)
    if mark.text in ("不是", "非", "并非") and before.endswith("而"):
        return True
    if _WHOSE.fullmatch(after) and "是" not in before and high < len(reading.norm) - 1:
        return True
    return bool(_WHO.match(after) or _WHEN.match(after) or _CONCEDED.search(before))


def _is_outright(mark: Mark) -> bool:
    """Whether a denial says that something never comes back, or has nothing to do with another: the literature must say
    so too."""
    reading = mark.reading
    low, high = reading.clause_at(mark.start)
    return _OUTRIGHT.search(reading.raw_text(max(low, mark.start - 2), min(high, mark.end + 3))) is not None


def _is_possible(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature says that what is denied may be: 可癌变, where a sentence has 不会癌变."""
    words = _head_of(mark)[:2]
    return len(words) == 2 and any(
        reading.norm[max(0, place - 1) : place] in _MAY and reading.norm[max(0, place - 2)] not in "不没未"
        for reading in sources
        for place in _places(reading, words)
    )


def _head_of(mark: Mark) -> str:
    return next(iter(mark.values))


def _after(mark: Mark) -> str:
    return head(mark.reading, mark.end, 6)


def _denied_alike(mark: Mark, source: Sequence[Mark]) -> Mark | None:
    """A denial in the literature of the same thing, or in like surroundings."""
    scored = []
    for other in source:
        same = _same_head(mark, other)
        score = likeness(mark.context, other.context) + (1.0 if same else 0.0)
        scored.append((score, other))
    if not scored:
        return None
    score, found = max(scored, key=lambda one: one[0])
    return found if score >= _ALIKE else None


def _same_head(one: Mark, other: Mark) -> bool:
    mine, theirs = _head_of(one), _head_of(other)
    return (bool(mine[:1]) and mine[:1] == theirs[:1]) or _share_pair(mine, theirs)


def _is_affirmed_there(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature says without a denial what a sentence denies."""
    words = _head_of(mark)[:2]
    return len(words) == 2 and any(_undenied(reading, words) for reading in sources)


def _is_told(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the literature speaks of what a sentence denies."""
    words = _head_of(mark)[:2]
    return len(words) < 2 or any(words in reading.norm for reading in sources)


def shares_head(one: Mark, other: Mark) -> bool:
    """Whether what follows two words begins alike, or shares two characters."""
    mine, theirs = _after(one), _after(other)
    return (bool(mine[:1]) and mine[:1] == theirs[:1]) or _share_pair(mine, theirs)


def denied_otherwise(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether the clauses of the literature most like that of a denial deny, forbid or restrict something, in whatever
    words, and do not affirm what it denies."""
    alike = _like_clauses(mark, sources)
    if _affirms(mark, alike):
        return False
    if mark.text[:1] in "没未" and any("前" in reading.norm[begin:end] for reading, begin, end in alike):
        return True
    reading = mark.reading
    here = reading.clause_at(mark.start)
    chars, mine = _chars(reading, *here), _negatives(reading, here[0])
    return any(
        _denies(*clause) and (_negatives(*clause[:2]) >= mine or len(chars & _chars(*clause)) < _SAME * len(chars))
        for clause in alike
    )


def like_texts(mark: Mark, sources: Sequence[Reading], *, wider: bool = False) -> str:
    """The clauses of the literature most like that of a mark; if `wider`, like that and the one before."""
    return "，".join(reading.norm[begin:end] for reading, begin, end in _like_clauses(mark, sources, wider=wider))


def affirmed_in_like_clause(mark: Mark, sources: Sequence[Reading]) -> bool:
    """Whether one of these clauses affirms what a mark denies."""
    return _affirms(mark, _like_clauses(mark, sources))


def _affirms(mark: Mark, clauses: Sequence[tuple[Reading, int, int]]) -> bool:
    reading = mark.reading
    words = _after(mark)[:2] or reading.norm[mark.end : min(mark.end + 1, reading.clause_at(mark.start)[1])]
    return bool(words) and any(
        begin <= place < end and not _is_ceased(source, place, len(words))
        for source, begin, end in clauses
        for place in _undenied(source, words)
    )


def _is_ceased(reading: Reading, place: int, length: int) -> bool:
    """Whether something is said to have stopped, to lack or not to have come yet: 停止排气, 少晒太阳, 绝经前."""
    begin, end = reading.clause_at(place)
    before = reading.norm[max(begin, place - 4) : place]
    return _CEASED.search(before) is not None or "前" in reading.norm[place + length : min(end, place + length + 2)]


def _like_clauses(mark: Mark, sources: Sequence[Reading], *, wider: bool = False) -> list[tuple[Reading, int, int]]:
    """The clauses of the literature that hold most of the characters of the clause of a mark, or of that and the one
    before."""
    reading = mark.reading
    chars = _chars(reading, *reading.clause_at(mark.start))
    number = reading.clause_numbers[mark.start]
    if wider and number:
        chars |= _chars(reading, *reading.clauses[number - 1])
    if not chars:
        return []
    clauses = [(source, begin, end) for source in sources for begin, end in source.clauses]
    held = [len(chars & _chars(*clause)) / len(chars) for clause in clauses]
    most = max(held, default=0.0)
    if most < _LEAST_HELD:
        return []
    return [clause for clause, share in zip(clauses, held, strict=True) if share >= _NEARLY * most]


def _denies(reading: Reading, begin: int, end: int) -> bool:
    """Whether a clause holds a word that denies, forbids or restricts."""
    return _negatives(reading, begin) > 0 or _restricts(reading, begin, end)


def _restricts(reading: Reading, begin: int, end: int) -> bool:
    return _RESTRICTING.search(reading.raw_text(begin, end)) is not None


def _negatives(reading: Reading, begin: int) -> int:
    """How many words deny or forbid in the clause that begins there."""
    return len(_refusals(reading).get(begin, ()))


@per_reading
def _refusals(reading: Reading) -> dict[int, list[Mark]]:
    """Denials and forbidding words by the beginning of their clause."""
    found: dict[int, list[Mark]] = {}
    for mark in (*denials(reading), *(mark for mark in ladder_marks(reading) if level(mark) <= 0)):
        found.setdefault(reading.clause_at(mark.start)[0], []).append(mark)
    return found


@per_reading
def _chars(reading: Reading, begin: int, end: int) -> frozenset[str]:
    return frozenset(reading.norm[place] for place in range(begin, end) if reading.tells(place))


def _share_pair(one: str, other: str) -> bool:
    return any(one[place : place + 2] in other for place in range(len(one) - 1))


def _affirmed(mark: Mark, sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the sentence says of the thing that the literature denies, where it says so without a denial."""
    words = _head_of(mark)[:2]
    if not words:
        return ""
    for place in _undenied(sentence, words)[:_MOST]:
        here = sentence.context(place, place + 1)
        end = min(mark.end, len(mark.reading.norm) - 1)
        there = mark.reading.context(end, end + 1)
        affirmed = max(
            (
                likeness(here, reading.context(at, at + 1))
                for reading in sources
                for at in _undenied(reading, words)[:_MOST]
            ),
            default=0.0,
        )
        if likeness(here, there) > max(0.25, affirmed + 0.05):
            low, high = max(0, place - 4), min(len(sentence.norm), place + len(words) + 2)
            return sentence.raw_text(low, high)
    return ""


def _repeated(mark: Mark, sentence: Reading, sources: Sequence[Reading]) -> str:
    """The clause of a sentence that affirms most of what a clause of the literature denies."""
    denied = mark.reading.clause_at(mark.start)
    pairs = mark.reading.pairs_within(mark.end, denied[1])
    if len(pairs) < _TELLING or not _PREDICATE.match(mark.text) or _negatives(mark.reading, denied[0]) != 1:
        return ""
    for begin, end in sentence.clauses:
        shared = pairs & sentence.pairs_within(begin, end)
        if len(shared) < max(_TELLING, _MOSTLY * len(pairs)) or _denies(sentence, begin, end):
            continue
        elsewhere = max(
            (
                len(shared & source.pairs_within(low, high))
                for source in sources
                for low, high in source.clauses
                if not (source is mark.reading and (low, high) == denied) and not _denies(source, low, high)
            ),
            default=0,
        )
        if 2 * elsewhere < len(shared):
            return sentence.raw_text(begin, end)
    return ""


def _places(reading: Reading, words: str) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(words), reading.norm)]


@per_reading
def _undenied(reading: Reading, words: str) -> list[int]:
    """The places of words that no denial in their clause precedes."""
    return [place for place in _places(reading, words) if not _is_denied(reading, place)]


def _is_denied(reading: Reading, place: int) -> bool:
    """Whether an odd number of denials and forbidding words stands before a place in its clause; those that say of
    whom it speaks (未治疗的患者) do not count."""
    before = [mark for mark in _refusals(reading).get(reading.clause_at(place)[0], ()) if mark.end <= place]
    return sum(not _OF_WHOM.search(reading.norm, mark.end, place) for mark in before) % 2 == 1


def _shown(mark: Mark) -> str:
    end = min(mark.end + 4, mark.reading.clause_at(mark.start)[1])
    return mark.reading.raw_text(mark.start, end)
