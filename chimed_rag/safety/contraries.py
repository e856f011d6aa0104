"""What a sentence says contrary to its window in words that no single check pairs.

What is covered, each told from whole clauses or sentences of the window and not from one word:
`reassured`: waiting or a household remedy, where the literature sends to a doctor or calls an ambulance;
`alone`: doing by oneself what the literature leaves to a doctor;
`permitted`: what the literature forbids or denies, said by a sentence that denies nothing;
`recommended`: what the literature forbids or is wary of, in a list before or after the word that says so, recommended;
and what `directions` and `orders` find. What is not covered: contraries by knowledge of the world (palm for elbow).
Tried: what a sentence denies and the literature says without a denial; it failed as many right sentences as wrong ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from chimed_rag.safety.degrees import compared, compares
from chimed_rag.safety.directions import turned
from chimed_rag.safety.orders import reordered
from chimed_rag.safety.reading import Reading

_CLAUSE = re.compile("[^，。；！？：,;!?:\n]+")
_DENIED = re.compile(
    "不要|不能|不可|不应|不宜|不得|不必|不会|别|勿|禁|避免|不是|不算|并非|不等于|不代表|没有|无法|未|不"
)


def contrary(sentence: Reading, sources: Sequence[Reading], passages: Callable[[], Sequence[Reading]] = tuple) -> str:
    """What the sentence says contrary to its window, in Chinese; "" for nothing.

    Args:
        sentence: what is said.
        sources: the window of the literature.
        passages: all sentences of the passages, asked for when a sentence recommends something.
    """
    return (
        reassured(sentence, sources)
        or alone(sentence, sources)
        or permitted(sentence, sources)
        or recommended(sentence, passages)
        or turned(sentence, sources)
        or reordered(sentence, sources)
        or (compared(sentence, passages() or sources) if compares(sentence) else "")
    )


def _home(sentence: Reading, sources: Sequence[Reading]) -> Reading | None:
    """The sentence of the window that holds most of what is said."""
    return max(sources, key=lambda one: len(sentence.pair_set & one.pair_set), default=None)


def _affirmed(pattern: re.Pattern[str], text: str) -> str:
    """The first match before which its clause denies nothing."""
    for clause in _CLAUSE.findall(text):
        for found in pattern.finditer(clause):
            if not _DENIED.search(clause[: found.start()]):
                return str(found[0])
    return ""


_URGENT = re.compile("120|急诊|急救|就医|就诊|医院|复诊|停药|停用|看医生|抢救|立即|尽快|尽早")
_DEFERS = re.compile(
    "就(?:好|行|成|可以|没事|会好|能好|缓过来|过去)|即可"
    "|(?:没什么|没|无|不)(?:事|关系|妨|碍|碍事|要紧|打紧|大碍|大事|问题|危险)(?!先|后|前|发)"
    "|(?:不用|不必|不需要?|别|用不着)(?:管|理|理会|处理|担心|急(?!着)|急着(?:去|就医|上医|叫|送|找|看(?:医|大夫|病))|着急|紧张|慌|看医生|去医院|就医)|不急"
    "|不(?:管|理)(?:它|他|她|就)|没必要|放心"
    "|歇(?:歇|会|几|一)|躺(?:会|一会|下休)|忍|睡一?觉|熬|扛|挺一挺|缓一?缓|拖(?!久|延)"
    "|等[^，。；]{0,12}(?:再|时|后|下)|晚点|过后再|先?观察|留观|在家|热敷"
    "|正常(?:反应|现象|表现|药)|是正常|好现象|起效|坚持[吃用服打涂喝锻练]"
    "|(?:接着|继续|照[常样旧]|仍可|还[可能])[吃用服打涂喝做练]"
    "|多喝|喝[点些口]|吃[点些片]|抹[点些]|揉|(?:减|加)(?:点|一?半|些|量)"
    "|先[^，。；]{1,14}(?:看看|再|试|缓)|自己(?:会|能|就)?(?:好|恢复|消)"
)
_HELP_COMES = re.compile("等(?:救护|急救|待急救|待救护|医生)")
_SEEKS = re.compile("120|急诊|急救|就医|就诊|医院|医生|大夫|医师|看病|抢救|停|复诊|当天|[口眼儿妇外内]科")
_LATER = re.compile("再[去看叫找告打上到就送说]")


def reassured(sentence: Reading, sources: Sequence[Reading]) -> str:
    """Waiting, going on or a household remedy, where the literature demands help or a stop."""
    home = _home(sentence, sources)
    said = _affirmed(_DEFERS, sentence.folded)
    if home is None or not said or _HELP_COMES.search(sentence.folded):
        return ""
    if any(said in reading.folded for reading in sources):
        return ""
    urgent = _affirmed(_URGENT, home.folded)
    if not urgent or _affirmed(_DEFERS, home.folded):
        return ""
    if _SEEKS.search(sentence.folded) and not _LATER.search(sentence.folded):
        return ""
    return f"“{said}”不同于原文的“{urgent}”"


_SELF = re.compile(
    "(?:自行|自己|擅自|随意|随便|自作主张)[^，。；]{0,12}?"
    "(?:停|减|加|换|买|选|调|用|服|吃|定|处理|喂|拔|做|治|配|开|抠|挑|推|延长|敷|打)"
)
_DOCTOR = re.compile("医生|专科|医嘱|药师|医护|医师|(?:不要|不应|不得|不可|不宜|不能|勿)[^，。；]{0,8}自")
_WARNS = re.compile("医生|大夫|医嘱|医师|药师|牙医|导致|引起|可致|招致|容易|可能|加重|反弹|危险|风险|怕")


def alone(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What one may do by oneself and the literature leaves to a doctor."""
    said = _affirmed(_SELF, sentence.folded)
    home = _home(sentence, sources)
    if home is None or not said or _WARNS.search(sentence.folded) or _affirmed(_SELF, home.folded):
        return ""
    doctor = _DOCTOR.search(home.folded)
    return f"“{said}”不同于原文的“{doctor[0]}”" if doctor else ""


_PROHIBITS = re.compile(
    "不要|不能(?!.{0,2}排除)|不可(?!逆)|不应|不宜|不得|勿|不会|不是|不等于|不代表|无效|禁用|严禁|禁止|无需|不需|不必|不用|并非"
    "|不属于|不适合|没有|不建议|不提倡|无法|不影响|不引起"
)
_ANY_DENIAL = re.compile(
    "不(?!适(?!合)|良)|没|无(?!论)|未|别(?!的|人|是)|勿|禁|忌|避|停|防|免|难|少|非(?!甾|常)|拒|莫(?!西|沙|匹)"
    "|危险|加重|有害|麻烦|靠不住|白搭|以外|除了|除外|甭|休想|谨|慎|当心|小心|警惕|才|错|替|顶|照样"
)
_MIN_DENIED = 0.3  # share of what the literature denies that the sentence must say


def permitted(sentence: Reading, sources: Sequence[Reading]) -> str:
    """What the literature forbids or denies in the clause most like a sentence that denies nothing at all."""
    if _ANY_DENIAL.search(sentence.folded):
        return ""
    said = _letters(sentence.folded)
    best, found = 0, ""
    for reading in sources:
        for clause in _CLAUSE.finditer(reading.folded):
            cue = _PROHIBITS.search(clause[0])
            told = _letters(clause[0][cue.end() :] if cue else clause[0])
            held = len(told & said)
            if held > best:
                denied = cue is not None and held >= max(2, _MIN_DENIED * (len(told) + 1))
                best, found = held, clause[0] if denied else ""
    return f"原文说的是“{found}”" if found else ""


_RECOMMENDS = re.compile(
    "适[合用宜]|合适|宜|可以|照[常样旧]|来用|用[来于]|常用|推荐|值得|安全|最好|首选|放心|多吃|常[吃服]|对证"
)
_DISCOURAGES = re.compile(
    "慎[用服]|[禁忌][用服]|禁忌|不宜|忌食|不用(?!调)|不可|不能|禁止|无效|不适用|不建议|不推荐|避免|不得|不应|勿|[忌禁慎]"
)
_RULES_OUT = re.compile("不能(?:完全)?排除|不要紧")
_RESERVED = re.compile("怕|伤|毒|坏")
_MIN_LISTED = 0.5  # share of an item of the list that the sentence must say


def recommended(sentence: Reading, passages: Callable[[], Sequence[Reading]]) -> str:
    """What the literature forbids or is wary of in the item most like a sentence that recommends and denies nothing."""
    said = sentence.folded
    if _ANY_DENIAL.search(said) or _RESERVED.search(said) or not _RECOMMENDS.search(said):
        return ""
    best, found = (0, False), ""
    for reading in passages():
        for begin, end in reading.clauses:
            words = reading.raw_text(begin, end)
            wary = not _RULES_OUT.search(words) and bool(
                _DISCOURAGES.search(words) or _DISCOURAGES.search(reading.norm, begin, end)
            )
            for item in _listed(reading, begin, end):
                held = len(item & sentence.pair_set)
                if (held, not wary) > best:
                    best = held, not wary
                    found = words if wary and held >= _MIN_LISTED * len(item) else ""
    return f"原文说的是“{found}”" if found else ""


def _listed(reading: Reading, begin: int, end: int) -> Iterator[frozenset[str]]:
    """The pairs of each item of a clause that 、 divides."""
    cuts = [begin, *(at + 1 for at in range(begin, end) if reading.norm[at] == "、"), end]
    for low, high in pairwise(cuts):
        places = [at for at in range(low, high) if reading.tells(at)]
        yield frozenset(reading.norm[one] + reading.norm[two] for one, two in pairwise(places))


def _letters(text: str) -> frozenset[str]:
    return frozenset(char for char in text if char.isalnum())
