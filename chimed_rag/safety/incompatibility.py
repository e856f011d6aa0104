"""What must not go together, what pregnant women must not take, and how much of a toxic herb is too much.

Covered: the 十八反 and 十九畏 with other names and processed forms of their herbs; herbs and common classes of drugs
that are contraindicated in pregnancy; the daily ceilings of toxic herbs by mouth. The tables beside this module name
their source, row by row: the Chinese Pharmacopoeia (facts without its words), textbooks, package leaflets. A sentence
that warns (甘草不宜与甘遂同用) raises nothing; a question whether one may (甘草和甘遂不能一起吃吗) does.
Not covered: herbs inside the name of a formula or a patent medicine (大活络丹), doses that are written without g, 克,
mg, 毫克, 钱 or 两, external use, traditional characters, the reader's own condition, and every table row that was left
out as not certain.
The 十八反 and 十九畏 are tradition, partly disputed; a finding says what the books say, not what happens in a body.
Names that stand in different sentences are held together only where the caller says so (`context`). Of 98,678 sentences
of classics 128 raise a finding (formulas that do combine), of 25,024 of textbooks 3, of 2,984 patient questions 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

from chimed_rag.packaged import rows
from chimed_rag.query.tables import replacements
from chimed_rag.safety.late import Late
from chimed_rag.safety.names import Found, Names, plain, words

Kind = Literal["eighteen", "nineteen", "pregnancy", "ceiling", "interaction"]


class Finding(NamedTuple):
    """Something that a text combines, recommends or doses against a rule.

    Args:
        kind: which family of rules.
        names: the main names concerned, the rule's first side first.
        rule: the source of the rule: book and heading, or what a table of the user says.
        text: what the rule says, in Chinese, one sentence.
    """

    kind: Kind
    names: tuple[str, ...]
    rule: str
    text: str


_SENTENCE = re.compile(r"[^。！？!?；;\n]+[。！？!?；;\n]*")
_ASKS = Late(r"[吗嘛么][。！？!?；;\s]*$|[？?]|(?:行不|[能可]不[能可]|[能可]否|是否|要紧)[^。；;]*$", "吗嘛么？?不否紧")
_ASKS_WHY = Late("为什么|为何|什么原因|怎么会|何以")
_TOGETHER = "[同合并联混配共一伍][用服煎起同伍]|同时|联合|与|和|跟|配"
_WARNS = Late(
    rf"(?:不宜|不能|不可|不得|不要|不应|不许|切勿|勿|忌|禁|避免|不建议|不推荐|不主张|慎)[^，,。；;]{{0,24}}(?:{_TOGETHER})"
    rf"|(?:同用|合用|并用|同服|配伍|联用|一起)[^。；;孕]{{0,10}}(?:禁|忌|有毒|毒性|中毒|有害|危险|不良反应|不宜|不可|不能|避免)"
    "|十八反|十九畏|相反|相畏|相恶|反药|配伍禁忌"
)
# A list of what is dangerous (甘遂、牵牛子和巴豆霜峻猛，孕妇禁用) puts nothing together, unless it says so.
_LISTS = Late("孕[妇期][^，,。；;]{0,8}[禁忌慎]|峻猛|剧毒|有大?毒")
_PUTS_TOGETHER = Late(r"[同合并联混配共][用服煎伍]|一起|配|加|\d(?:g|克)")
_FORBIDS = Late(
    "禁|忌|慎|不宜|不能|不可|不得|不要|不应|不许|不用|不建议|不推荐|勿|避免|停[用药]|致畸|流产|畸形|风险|危险|危害|损害|有害"
    "|不自行|咨询医生|告诉医生|由医生|[可会能]引起|通过胎盘"
)
_PREGNANT = Late(
    "(?<![避不未备没助外])(?<!没有)(?<![没未备再想算划能]怀)(?<!没有怀)(?<!可以怀)孕(?!激素|酮|育|前|三烯)"
    "|有喜了|有身孕|怀上了|准妈妈|备孕成功"
    "|(?<!终止)(?<!异位)(?<!未)(?<!非)妊娠(?!试验)",
    "孕喜怀妈妊",
)
_OVERDONE = Late(
    "中毒|致死|毒性|毒理|过量|超量|超过|不宜|不能|不可|不得|不要|不应|勿|忌|禁|避免|灌胃|小鼠|大鼠|家兔|动物"
    "|外[用洗敷搽涂贴]|熏洗|坐浴|泡脚|足浴|煎汤洗|研末敷|调敷"
)
_AMOUNT = (
    r"(?P<low>\d{1,4}(?:\.\d{1,4})?)(?:[ ]?(?:g|克)?[~～\-–—至到](?P<high>\d{1,4}(?:\.\d{1,4})?))?[ ]?"
    r"(?P<unit>mg|毫克|g(?![a-z])|克|钱|两)(?![/／]?(?:kg|公斤|千克))"
)
_AFTER = Late(rf"(?:[（(][^（()）]{{0,12}}[）)])?[^，,、。；;（()）\d]{{0,6}}{_AMOUNT}")
_BEFORE = Late(rf"{_AMOUNT}的?$")
_GRAMS = {"mg": 0.001, "毫克": 0.001, "g": 1.0, "克": 1.0, "钱": 3.0, "两": 30.0}
_MOST = 4000  # of a longer sentence only so many characters from its beginning are read at a time


def sentences(text: str) -> Iterator[str]:
    """The sentences of a folded text with their stops; an endless one comes in pieces."""
    for found in _SENTENCE.finditer(text):
        for begin in range(0, len(found[0]), _MOST):
            yield found[0][begin : begin + _MOST]


def warned(sentence: str) -> bool:
    """Whether a folded sentence advises against a combination; one that asks whether it may be does not."""
    if _asks(sentence):
        return False
    return bool(_WARNS.search(sentence) or (_LISTS.search(sentence) and not _PUTS_TOGETHER.search(sentence)))


def _asks(sentence: str) -> bool:
    return bool(_ASKS.search(sentence)) and not _ASKS_WHY.search(sentence)


def pregnant(text: str) -> bool:
    """Whether a text speaks of a pregnancy that is there, not of avoiding, wanting or ending one."""
    return bool(_PREGNANT.search(plain(text)))


def incompatibilities(text: str, *, context: str = "") -> list[Finding]:
    """What the text combines, recommends in pregnancy, or doses above the ceiling, each once, in order.

    Args:
        text: a question, or one or more sentences of an answer; each sentence is read by itself.
        context: what the reader said: names and a pregnancy there hold for every sentence of the text.
    """
    known, around = _names(), plain(context)
    taken = known.find(around)
    expecting = bool(_PREGNANT.search(around))
    found: dict[Finding, None] = {}
    for sentence in sentences(plain(text)):
        here = known.find(sentence)
        if here:
            found.update(dict.fromkeys(_combined(sentence, here, taken)))
            found.update(dict.fromkeys(_in_pregnancy(sentence, here, expecting)))
            found.update(dict.fromkeys(_above_ceiling(sentence, here)))
    return list(found)


@cache
def _names() -> Names:
    herbs = [(name, others, hidden) for name, others, hidden in rows("chimed_rag.safety", "herbs.tsv")]
    drugs = [(name, others, hidden) for name, others, _, _, hidden in rows("chimed_rag.safety", "pregnancy.tsv")]
    known = words([*herbs, *drugs])
    for trade, generics in replacements("trade_names.tsv").words.items():
        found = [known[generic] for generic in generics.split() if known.get(generic)]
        if found:
            known.setdefault(trade, found[0])
    return Names(known)


class _Rule(NamedTuple):
    kind: Kind
    left: frozenset[str]
    right: frozenset[str]
    source: str


@cache
def _rules() -> tuple[_Rule, ...]:
    return tuple(
        _Rule(
            "eighteen" if kind == "eighteen" else "nineteen", frozenset(left.split()), frozenset(right.split()), source
        )
        for kind, left, right, source in rows("chimed_rag.safety", "incompatible.tsv")
    )


def _pairs(here: list[str], taken: list[str], rule: _Rule) -> Iterator[tuple[str, str]]:
    """A name of either side of the rule, of which at least one stands `here`, the other here or among `taken`."""
    both = dict.fromkeys((*here, *taken))
    for one in both:
        for other in both:
            if one in rule.left and other in rule.right and (one in here or other in here):
                yield one, other


def _combined(sentence: str, here: list[Found], taken: list[Found]) -> Iterator[Finding]:
    names, others = [found.name for found in here], [found.name for found in taken]
    if len({*names, *others}) < 2 or warned(sentence) or _opposed(sentence, here):
        return
    for rule in _rules():
        for pair in _pairs(names, others, rule):
            family = "十八反" if rule.kind == "eighteen" else "十九畏"
            yield Finding(rule.kind, pair, rule.source, f"{pair[0]}与{pair[1]}属{family}，不宜同用。")


def _opposed(sentence: str, here: list[Found]) -> bool:
    """甘草反甘遂, 丁香畏郁金: the word of opposition between two names."""
    return any(b.start - a.end <= 3 and re.search("[反畏恶]", sentence[a.end : b.start]) for a, b in pairwise(here))


@cache
def _contraindicated() -> dict[str, tuple[str, str]]:
    return {name: (grade, source) for name, _, grade, source, _ in rows("chimed_rag.safety", "pregnancy.tsv")}


def _in_pregnancy(sentence: str, here: list[Found], expecting: bool) -> Iterator[Finding]:
    if not (expecting or _PREGNANT.search(sentence)):
        return
    if not _asks(sentence) and _FORBIDS.search(sentence):
        return
    for name in dict.fromkeys(found.name for found in here):
        if name in _contraindicated():
            grade, source = _contraindicated()[name]
            yield Finding("pregnancy", (name,), source, f"{name}：孕妇{grade}。")


@cache
def _ceilings() -> dict[str, tuple[float, str, str]]:
    return {name: (float(most), form, source) for name, most, form, source in rows("chimed_rag.safety", "ceilings.tsv")}


def _above_ceiling(sentence: str, here: list[Found]) -> Iterator[Finding]:
    if not any(found.name in _ceilings() for found in here) or (_OVERDONE.search(sentence) and not _asks(sentence)):
        return
    for found in here:
        if found.name not in _ceilings():
            continue
        most, form, source = _ceilings()[found.name]
        amount = _AFTER.match(sentence, found.end) or _BEFORE.search(sentence, max(0, found.start - 16), found.start)
        if amount and _grams(amount) > most * 1.001:
            kind = f"（{form}）" if form else ""
            yield Finding(
                "ceiling",
                (found.name,),
                source,
                f"{found.name}{kind}有毒，内服每日一般不超过{most:g}g，文中的用量超过了它。",
            )


def _grams(amount: re.Match[str]) -> float:
    return float(amount["high"] or amount["low"]) * _GRAMS[amount["unit"]]
