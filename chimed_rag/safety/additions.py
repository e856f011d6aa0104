"""What a sentence adds of its own where its passages have nothing of the kind: a reassurance, a praise, haste.

What is covered: that something is safe or does no harm, that it works best or better, that it comes or is to be done
the same or the next day; each in closed classes of expressions, against all that the passages and their titles say.
What is not covered: additions of fact, which words alone do not tell from a rewording; what is said with a denial
(不能放心), since the literature warns in many ways. Tried: superlatives, exclusives, permanence and "at once" of any
kind; they failed a right sentence for every second wrong one, or for every one.
"""

from __future__ import annotations

from collections.abc import Sequence

from chimed_rag.safety.dictionary import CLAUSE_ENDS
from chimed_rag.safety.late import Late
from chimed_rag.text import fold

_HARMLESS = Late(
    "安全(?![性带套期帽感阀网]|范围|剂量|用药|注射|隐患|事故)|放心|(?:没有?|无)(?:什么|任何|多大)?(?:影响|坏处|害处|妨)"
    "|不受影响|不伤身",
    ("安全", "放心", "影响", "坏处", "害处", "妨", "不伤身"),
)
_HARM_TOLD = Late("安全|放心|影响|坏处|害处|妨|不良反应|无害|毒性[小低]|[无没]不良|风险|耐受|[可能]用|可继续|不必|无需")
_BETTER = Late(
    "(?:效果|疗效|药效|作用|吸收|药力|力量)[^，。；、]{0,3}(?:更|最)(?:好|佳|强|大|快|持久|完全|理想)"
    "|增效|增强(?:疗效|药效|药力|效果)|值得(?:推荐|推广|提倡)|理想"
    "|最(?:合适|适合|适宜|管用|有效|灵|奏效|可靠|有价值|有用|对症|拿手|稳妥|省事)",
    ("更", "最", "增效", "增强", "值得", "理想"),
)
_PRAISED = Late("最|更|[首优]选|优先|优于|佳|较好|良好|特效|要药|理想|增效|增强|协同|推荐|首要|专治|显著")
_SOON = Late("(?:当天|当日|当晚|次日|隔天|第二天|翌日)(?:即|就|便|立刻|马上|照)", ("天", "日", "晚"))
_SOON_TOLD = Late(
    "[当次隔翌即]日|[当次隔第二即]天|当晚|24|48|1[日天dh]|[一1]昼夜|立[即刻]|即[刻可]|马上|迅速|很快|小时|分钟|[hd]内"
)
_DENIES = frozenset("不没无未非别勿莫")
_CLASSES = ((_HARMLESS, _HARM_TOLD), (_BETTER, _PRAISED), (_SOON, _SOON_TOLD))


def added(sentence: str, told: Sequence[str]) -> str:
    """The first such expression of a sentence of which none of the texts says anything alike; "" for none."""
    said = fold(sentence)
    for claimed, known in _CLASSES:
        for found in claimed.finditer(said):
            if _is_denied(said, found.start()):
                continue
            if not any(known.search(fold(text)) for text in told):
                return str(found[0])
    return ""


def _is_denied(text: str, place: int) -> bool:
    """Whether the clause denies something before a place, near it."""
    for char in reversed(text[max(0, place - 5) : place]):
        if char in CLAUSE_ENDS:
            return False
        if char in _DENIES:
            return True
    return False
