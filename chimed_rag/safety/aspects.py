"""What a value tells: when an effect sets in, when it peaks, how long it lasts, the first dose or a later one.

What is covered: the words of `_TIMES` and `_DOSES` beside a value, as far as the next value of its kind in the clause.
What is not covered: other aspects, and those that only the clause before names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chimed_rag.safety.conversion import DOSES, Measure, comparable

if TYPE_CHECKING:
    from chimed_rag.safety.reading import Reading

_TIMES = {
    "onset": re.compile("[起见显生奏]效|起作用|发挥作用"),
    "peak": re.compile("达峰|高峰|峰值|顶峰"),
    "lasting": re.compile("维持|持续|延续|作用消失|失效|药效|作用时间"),
    "half-life": re.compile("半衰期"),
}
_DOSES = {
    "first": re.compile("首[剂次]|负荷|[起初]始|开始"),
    "later": re.compile("维持|长期|继以|继之|此后|随后"),
}


def is_of_another_aspect(said: Measure, sentence: Reading, place: int, places: list[tuple[Reading, int]]) -> bool:
    """Whether a sentence tells another aspect by a value than the literature does wherever it has that value."""
    words = _TIMES if said.unit in ("d", "月") else _DOSES if said.unit in DOSES else {}
    if not words or not places:
        return False
    mine = _aspects(said, sentence, place, words)
    return bool(mine) and all(
        (theirs := _aspects(said, reading, at, words)) and not mine & theirs for reading, at in places
    )


def _aspects(said: Measure, reading: Reading, place: int, words: dict[str, re.Pattern[str]]) -> set[str]:
    begin, end = reading.clause_at(place)
    others = [at for other, at, _ in reading.measures if at != place and comparable(said, other)]
    begin = max([begin, *(at + 1 for at in others if at < place)])
    end = min([end, *(at for at in others if at > place)])
    text = reading.raw_text(begin, place) + "\n" + reading.raw_text(place + 1, end)
    return {name for name, pattern in words.items() if pattern.search(text)}
