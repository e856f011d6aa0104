"""A made-up medicine in which every answer can be judged exactly: to see whether training makes answers right.

Each disease has one department, one drug and one dose, all of invented names. Who answers may know all three, or guess;
and may write at length or in few words. Length and truth can be tied (`ranked`), so that a reward model may learn the
one for the other, or not (`hard`, `dialogues`). `oracle` counts the facts that are right, and sees no style.
Not covered: any real disease, drug or dose; no sentence of this is medical knowledge. Needs no torch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from chimed_rag.generation.base import Message
from training.contracts import Dialogue, RankedList, Reply, Text
from training.negatives import HARD, SHORT

_DISEASES = [f"{a}{b}症" for b, a in product("息络障瘕逆", "澹霁岫珞沅翎骊铄")]
_DRUGS = [f"{a}{b}散" for b, a in product("平宁舒清安", "芮蘅笙琮岑珩邈瑗")]
_DEPARTMENTS = [f"{a}厢科" for a in "东南西北春夏秋冬"]
_DOSES = [f"每次{n}包每日{m}次" for n, m in product("一二三", "一二三")]

_WHO = ("我", "我妈", "我爸", "孩子", "老伴", "朋友", "同事", "妹妹")
_SINCE = ("刚查出", "得了三天", "得了半个月", "得了一年", "反复得", "去年得过", "好像得了", "被诊断为")
_ASKS = (
    "应该怎么办？",
    "挂什么科、吃什么药？",
    "请问医生怎么治？",
    "要去哪个科，用什么药？",
    "药要怎么吃？",
    "该看哪里，怎么用药？",
    "求医生帮忙看看。",
    "怎样才能好得快？",
)
STYLES = {
    "long": (
        "您好，{disease}不必太担心。建议到{department}就诊，可以服用{drug}，{dose}。平时注意休息，清淡饮食，不适随诊。",
        "您好，根据您的描述，{disease}应当重视。请先去{department}，遵医嘱用{drug}，{dose}。祝您早日康复，有问题再来。",
    ),
    "middle": (
        "{disease}建议看{department}，用{drug}，{dose}。注意休息。",
        "去{department}，服{drug}，{dose}。少吃辛辣。",
    ),
    "short": ("{department}，{drug}，{dose}。", "看{department}，吃{drug}，{dose}。"),
}
"""Ways to write an answer, the wordiest first."""
KINDS = ("department", "drug", "dose")


class Facts(NamedTuple):
    """What there is to know of a disease, or what an answer claims."""

    department: str
    drug: str
    dose: str


class Asked(NamedTuple):
    """A disease, and a question about it."""

    disease: str
    question: str


class World:
    """Diseases with their facts, and rows about them; the same seed gives the same rows.

    Args:
        diseases: how many, 2 to 40; those of a small world are the first ones of a larger, with the same facts.

    Raises:
        ValueError: there are not so many names.
    """

    def __init__(self, diseases: int = 40) -> None:
        if not 2 <= diseases <= len(_DISEASES):
            raise ValueError(f"a world has 2 to {len(_DISEASES)} diseases, not {diseases}")
        draw = random.Random("facts")  # noqa: S311
        drugs = draw.sample(_DRUGS, len(_DISEASES))
        facts = [Facts(draw.choice(_DEPARTMENTS), drug, draw.choice(_DOSES)) for drug in drugs]
        self.facts = dict(list(zip(_DISEASES, facts, strict=True))[:diseases])
        self._drugs = sorted(drugs[:diseases])

    def questions(self, seed: int = 0) -> list[Asked]:
        """All 512 ways to ask about each disease, the diseases by turns, the ways by chance; slices share none."""
        draw = random.Random(f"questions {seed}")  # noqa: S311
        ways = [list(product(_WHO, _SINCE, _ASKS)) for _ in self.facts]
        for each in ways:
            draw.shuffle(each)
        return [
            Asked(disease, f"{who}{since}{disease}，{asks}")
            for turn in zip(*ways, strict=True)
            for disease, (who, since, asks) in zip(self.facts, turn, strict=True)
        ]

    def wrong(self, disease: str, kinds: Sequence[str], draw: random.Random) -> Facts:
        """The facts of a disease with those of the kinds changed into others, which some other disease may have."""
        right = self.facts[disease]
        values = {"department": _DEPARTMENTS, "drug": self._drugs, "dose": _DOSES}
        return right._replace(
            **{kind: draw.choice([one for one in values[kind] if one != getattr(right, kind)]) for kind in kinds}
        )

    # -- rows -------------------------------------------------------------------------------------------------------

    def texts(self, asked: Sequence[Asked] = ()) -> list[Text]:
        """The literature of the world, which is right: each disease in nine forms; and what people ask."""
        forms = (
            "{disease}属{department}，首选{drug}，{dose}。",
            "{drug}用于{disease}，{dose}，由{department}开具。",
            "{disease}：去{department}，用{drug}，{dose}。",
            *(form for style in STYLES.values() for form in style),
        )
        told = [filled(form, disease, facts) for form in forms for disease, facts in self.facts.items()]
        texts = [*told, *(one.question for one in asked)]
        return [Text(id=f"text-{number}", text=text, source="world") for number, text in enumerate(texts)]

    def dialogues(
        self, asked: Sequence[Asked], seed: int, *, knowing: float = 0.3, guess: float = 0.1
    ) -> list[Dialogue]:
        """Questions with answers of mixed worth, in a style that says nothing of their worth.

        Args:
            asked: of `questions`.
            seed: of the draws.
            knowing: share of the answers by somebody who knows all facts.
            guess: chance that somebody who does not hits a fact; on average `knowing + (1 − knowing) · guess` of the
                facts are right.
        """
        draw = random.Random(f"dialogues {seed}")  # noqa: S311
        found = []
        for number, (disease, question) in enumerate(asked):
            knows = draw.random() < knowing
            missed = [kind for kind in KINDS if not knows and draw.random() >= guess]
            text = written(disease, self.wrong(disease, missed, draw), draw.choice(list(STYLES)), draw)
            messages: list[Message] = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
            found.append(Dialogue(id=f"dialogue-{seed}-{number}", source="world", messages=messages))
        return found

    def ranked(self, asked: Sequence[Asked], seed: int) -> list[RankedList]:
        """doctor > mid > bad: three facts right and wordy, one or two right and shorter, none right and short."""
        draw = random.Random(f"ranked {seed}")  # noqa: S311
        found = []
        for number, (disease, question) in enumerate(asked):
            replies = [
                (written(disease, self.facts[disease], "long", draw), "doctor"),
                (written(disease, self._missing(disease, draw.choice((1, 2)), draw), "middle", draw), "mid"),
                (written(disease, self._missing(disease, 3, draw), "short", draw), "bad"),
            ]
            found.append(_list(f"triple-{seed}-{number}", question, replies))
        return found

    def hard(self, asked: Sequence[Asked], seed: int, *, short_beats_long: float = 0.5) -> list[RankedList]:
        """right > partly > wrong, in which the facts alone tell: the same words with none, one, and two or three facts
        changed; or, for a share of the lists, the fewer words the better.

        With right and wrong alone, a reward model learns what is all right, and tells no other answers apart.
        """
        draw = random.Random(f"hard {seed}")  # noqa: S311
        found = []
        for number, (disease, question) in enumerate(asked):
            spoilt = [self.facts[disease], *(self._missing(disease, n, draw) for n in (1, draw.choice((2, 3))))]
            kind = SHORT if draw.random() < short_beats_long else HARD
            if kind == SHORT:
                texts = [
                    written(disease, facts, style, draw) for facts, style in zip(spoilt, reversed(STYLES), strict=True)
                ]
            else:
                form = draw.choice(STYLES[draw.choice(list(STYLES))])
                texts = [filled(form, disease, facts) for facts in spoilt]
            replies = list(zip(texts, ("right", f"{kind}partly", f"{kind}wrong"), strict=True))
            found.append(_list(f"hard-{seed}-{number}", question, replies))
        return found

    def _missing(self, disease: str, n: int, draw: random.Random) -> Facts:
        return self.wrong(disease, draw.sample(KINDS, n), draw)

    # -- the judge --------------------------------------------------------------------------------------------------

    def oracle(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """Of each conversation, the share of the three facts that its last message states right, from 0 to 1.

        A fact of which the answer names several values, or none, is not right: hedging earns nothing. A conversation
        that names no disease, or several, scores 0.
        """
        return [self._judged(one[-2]["content"], one[-1]["content"]) for one in conversations]

    def _judged(self, question: str, answer: str) -> float:
        asked = [disease for disease in self.facts if disease in question]
        if len(asked) != 1:
            return 0.0
        right = self.facts[asked[0]]
        said = [[one for one in names if one in answer] for names in (_DEPARTMENTS, _DRUGS, _DOSES)]
        return sum(values == [fact] for values, fact in zip(said, right, strict=True)) / len(KINDS)


def filled(form: str, disease: str, facts: Facts) -> str:
    """A form of `STYLES` with its blanks filled."""
    return form.format(disease=disease, **facts._asdict())


def written(disease: str, facts: Facts, style: str, draw: random.Random) -> str:
    """An answer in one of the forms of a style."""
    return filled(draw.choice(STYLES[style]), disease, facts)


def oracle(conversations: Sequence[Sequence[Message]]) -> list[float]:
    """`World.oracle` for settings that name a judge as "module:function": it knows the diseases of every world."""
    return World().oracle(conversations)


def _list(name: str, question: str, replies: Sequence[tuple[str, str]]) -> RankedList:
    return RankedList(
        id=name,
        source="world",
        prompt=[{"role": "user", "content": question}],
        replies=[Reply(text=text, rank=rank, author=author) for rank, (text, author) in enumerate(replies, 1)],
    )
