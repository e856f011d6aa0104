"""Sentences that speak of the one they were written to: a doctor's reply is about that patient, not about the reader.

您已做了很正规的手术，可以不继续吃药了 is word for word in the literature, and false for whoever reads it as an answer.
Known by their words: what is told of someone's own case (您的情况, 你家孩子体温, 你已经过了2周, 根据你的描述, 你可能是
缺钙), and the closing of a reply (以上是对…的建议, 祝您健康). Not meant: what is said to every reader, as leaflets for
patients do (您需要禁食, 如果您怀孕, 建议您就医, 您的医生).
Not covered: a case told without a word for the person (已经怀孕三个月了，仍然胃痛) or by what befell him
(你人流前三天), traditional characters.

Of 1,716 sentences that were quoted to 452 patients' questions from an encyclopedia with replies 77 are of this kind, of
312,691 sentences of textbooks 46 (mostly what doctors say to patients there), of 473,055 of the encyclopedia 25. The
patterns were mended on the 157 of those 1,716 that have 你 or 您; of the 84 such sentences quoted since, a reader finds
11 that still are about somebody's case.
"""

from __future__ import annotations

import re

from chimed_rag.text import sentence_spans

_IF = re.compile("(?:如果|如若|假如|倘若|要是|若是?|一旦|除非|无论|不论)[你您]|如[你您](?!所|描|说)")
_ONES = "(?:孩子|宝宝|小孩|宝贝|儿子|女儿|母亲|父亲|妈妈?|爸爸?|爱人|老公|老婆|妻子|丈夫|家人|朋友|奶奶|爷爷)"
_TOLD = re.compile(
    "(?:根据|按照?|依据|从|看|分析|针对|对于|结合|就|由|凭)了?[你您](?:的|所|说|描述|提供|这|上)"
    "|(?:根据|按照?|看|针对|结合)所?描述|(?:根据|按照?|结合)(?:以上|上述)描述"
    "|[你您]的?(?:这种|这个|这样|这|该|此)?(?:一?种)?(?:病情|情况|状况|描述|年龄|年纪|岁数|问题|检查|报告|片子|体质|主诉)"
    "|[你您]的?(?:这[个种些])?症状(?=[可应是像考来看属多主很一])|[你您]所(?:说|述|描述|讲|提|问)"
    "|[你您](?:已经?|曾|刚|才|都|这|说|讲|问|描述|之前|以前|前面|当时|上次|这次|在?\\d|是\\d|又不|没有?(?!必要))"
    "|[你您](?:现在|目前)(?!可以?|需要?|应|要|不要)"
    f"|[你您]家(?!中|里|附近|庭|属|人|族)|[你您]的?{_ONES}(?![^，。；]{{0,8}}[应要需可会能须])"
    "|(?:不知道?|不清楚|不晓得)[你您]|[你您](?:很?可能|应该|多半|大概|估计|考虑)(?:就?是|得了|患|有)"
    "|(?:考虑|怀疑|估计|确诊|建议)[你您](?:是|得了|患|可能)|[你您]是(?:属于|不是|因为|由于|由)"
    "|以上是对.{0,80}(?:建议|解答|回答)|祝[你您]|希望.{0,12}[帮对][助到]?.{0,4}[你您]|为[你您]解答|[你您]的?(?:提问|咨询)"
)

_WORDS = ("你", "您", "描述", "以上是对")


def is_to_someone(text: str) -> bool:
    """Whether a sentence is about the one it was written to, or closes a letter to him."""
    return _may_be(text) and _TOLD.search(_IF.sub(" ", text)) is not None


def stands_to_someone(text: str, begin: int, end: int) -> bool:
    """Whether a sentence that `text[begin:end]` holds a part of is about the one it was written to."""
    return _may_be(text) and any(
        is_to_someone(text[first:last]) for first, last in sentence_spans(text) if first < end and begin < last
    )


def _may_be(text: str) -> bool:
    """Most texts have none of these words, and need not be read by the long expression."""
    return any(word in text for word in _WORDS)
