"""What is kept of the evidence: never more than fits, whole sentences, the question untouched."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.errors import GeneratorError
from chimed_rag.generation.budget import GAP, MOST_TRIES, fit
from chimed_rag.generation.prompts import load_prompt
from chimed_rag.records import Evidence
from chimed_rag.text import sentence_spans
from tests.contracts.generator_contract import passages

PROMPT = load_prompt("citation")
QUESTION = "孕妇发热能吃布洛芬吗？"
BARE = sum(len(one["content"]) for one in PROMPT.messages(question=QUESTION))
TEXTS = (
    "布洛芬用于缓解轻至中度疼痛，也用于发热。孕晚期禁用布洛芬，以免胎儿动脉导管过早收缩。每次0.2 g，每日三次。",
    "发热时应多饮水，注意休息。\n体温超过38.5℃时可使用退热药。\n孕妇退热一般优先考虑对乙酰氨基酚。",
    "感冒多在一周内好转。感冒常见流涕、鼻塞和咽痛。",
)


class Counter:
    """Counts characters, and how often it was asked."""

    def __init__(self, tokens=len):
        self.tokens, self.calls = tokens, 0

    def __call__(self, messages):
        self.calls += 1
        return sum(self.tokens(one["content"]) for one in messages)


def test_what_fits_is_counted_once_and_left_as_it_is():
    count, evidence = Counter(), passages(*TEXTS)
    fitted = fit(PROMPT, QUESTION, evidence, count, 10_000)
    assert (fitted.evidence, count.calls) == (evidence, 1)
    assert fitted.messages == PROMPT.messages(question=QUESTION, evidence=evidence)


def test_the_sentence_that_answers_stays_and_the_rest_goes():
    count = Counter()
    fitted = fit(PROMPT, QUESTION, passages(*TEXTS), count, BARE + 60)
    assert "孕晚期禁用布洛芬，以免胎儿动脉导管过早收缩。" in fitted.messages[0]["content"]
    assert "感冒" not in fitted.messages[0]["content"]
    assert count.calls <= 2 + MOST_TRIES


def test_a_gap_is_marked_and_the_rest_lies_where_it_lay():
    forbids = "## 禁忌\n下列情况禁用：\n1. 孕晚期妇女\n2. 活动性消化道溃疡"
    text = f"## 概述\n布洛芬是解热镇痛药。\n\n{forbids}\n\n## 贮藏\n密封保存。"
    [passage] = passages(text)
    passage = passage.model_copy(update={"start": 100, "end": 100 + len(text)})
    needed = BARE + len("文献：\n[1] 布洛芬：禁忌 下列情况禁用： …… 活动性消化道溃疡\n") + 10
    [kept] = fit(PROMPT, "活动性消化道溃疡能用布洛芬吗？", [passage], Counter(), needed).evidence
    assert "## 禁忌\n下列情况禁用：" in kept.text  # a list item says nothing without what it stands under
    assert "2. 活动性消化道溃疡" in kept.text
    assert "概述" not in kept.text
    document = "。" * 100 + text
    for part in kept.text.split(GAP):
        begin = kept.text.index(part)
        found = "".join(document[slice(*span)] for span in kept.source_spans(begin, begin + len(part)))
        assert found == part


def test_runs_of_a_passage_from_a_cleaned_document_stay_true():
    text = "感冒多在一周内好转。孕晚期禁用布洛芬。感冒常见流涕。"
    document = "感冒多在一周内\n第3页\n好转。孕晚期禁\n第4页\n用布洛芬。感冒常见流涕。"
    runs = ((0, 0, 7), (7, 12, 7), (14, 24, 12))
    [passage] = passages(text)
    passage = passage.model_copy(update={"runs": runs, "end": len(document)})
    [kept] = fit(PROMPT, "孕晚期能用布洛芬吗？", [passage], Counter(), BARE + 28).evidence
    assert kept.text == "孕晚期禁用布洛芬。"
    assert "".join(document[slice(*span)] for span in kept.source_spans(0, len(kept.text))) == kept.text
    assert (kept.start, kept.end) == (15, 29)


SENTENCES = st.lists(
    st.sampled_from(
        ["孕晚期禁用布洛芬", "发热时应多饮水", "（1）孕妇；", "## 禁忌", "禁用于：", "x" * 90, "…", "\ud800", ""]
    ),
    max_size=8,
).map("。\n".join)
TOKENS = st.sampled_from(
    [len, lambda text: len(text.encode("utf-8", "replace")), lambda text: sum(map(ord, text)) // 20_000 + len(text)]
)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=20), st.lists(SENTENCES, max_size=5), TOKENS, st.integers(0, 900))
def test_never_more_than_fits_and_always_whole_sentences(question, texts, tokens, room):
    evidence, count = passages(*texts), Counter(tokens)
    try:
        fitted = fit(PROMPT, question, evidence, count, room)
    except GeneratorError:
        everything = count(PROMPT.messages(question=question, evidence=evidence))
        assert everything > room
        return
    assert tokens(fitted.messages[0]["content"]) <= room
    assert f"问题：{question}\n" in fitted.messages[0]["content"]
    assert fitted.messages == PROMPT.messages(question=question, evidence=fitted.evidence)
    assert fitted == fit(PROMPT, question, evidence, tokens_of(tokens), room)
    originals = {one.number: one for one in evidence}
    numbers = [one.number for one in fitted.evidence]
    assert numbers == sorted(set(numbers) & originals.keys())
    for one in fitted.evidence:
        assert made_of(one, originals[one.number])
    assert count.calls <= 2 + 2 * MOST_TRIES


def tokens_of(tokens):
    return lambda messages: sum(tokens(one["content"]) for one in messages)


def made_of(kept: Evidence, original: Evidence) -> bool:
    """Whether the text is whole sentences of the original, in order, gaps marked; a document is one passage here."""
    if kept == original:
        return True
    spans = sentence_spans(original.text)
    stretches = []
    for _, start, length in kept.runs:
        begin = stretches.pop()[0] if stretches and stretches[-1][1] == start else start
        stretches.append((begin, start + length))
    return (
        GAP.join(original.text[slice(*span)] for span in stretches) == kept.text
        and {begin for begin, _ in stretches} <= {begin for begin, _ in spans}
        and {end for _, end in stretches} <= {end for _, end in spans}
        and stretches == sorted(stretches)
    )


def test_whatever_fits_is_found():
    evidence = passages(*TEXTS)
    shortest = [passages("", "", "感冒多在一周内好转。")[2]]
    least = Counter()(PROMPT.messages(question=QUESTION, evidence=shortest))
    for room in range(BARE, BARE + 100):
        if room < least:
            with pytest.raises(GeneratorError):
                fit(PROMPT, QUESTION, evidence, Counter(), room)
        else:
            assert fit(PROMPT, QUESTION, evidence, Counter(), room).evidence


def test_a_small_context_holds_a_short_question_and_a_sentence():
    room = 512 - 512 // 3
    fitted = fit(PROMPT, QUESTION, passages(*TEXTS * 3), Counter(), room)
    assert fitted.evidence
    assert Counter()(fitted.messages) <= room


@pytest.mark.parametrize(
    ("question", "room", "message"),
    [
        ("水" * 500, 400, rf"need {BARE - len(QUESTION) + 500} tokens; there is room for 400\. Shorten the question"),
        (QUESTION, BARE - 1, rf"need {BARE} tokens; there is room for {BARE - 1}\."),
        (QUESTION, BARE + 9, rf"not one sentence of the evidence fits into the 9 that are left of {BARE + 9}\."),
    ],
)
def test_what_cannot_fit_says_by_how_much(question, room, message):
    with pytest.raises(GeneratorError, match=message):
        fit(PROMPT, question, passages(*TEXTS), Counter(), room)


def test_without_evidence_the_question_alone_counts():
    assert fit(PROMPT, QUESTION, [], Counter(), BARE).evidence == []
    with pytest.raises(GeneratorError, match="there is room for 10"):
        fit(PROMPT, QUESTION, [], Counter(), 10)
