"""The correction of typing errors, on a vocabulary of our own: what it holds is right, what it lacks is rare."""

from __future__ import annotations

from collections import Counter

import pytest

from chimed_rag.query import spelling
from chimed_rag.query.spelling import mended
from chimed_rag.text import terms

RIGHT = "高血压吃什么药 糖尿病的饮食 阿莫西林治肺炎 孕妇能吃布洛芬吗 癫痫发作怎么办 血压高"
VOCABULARY = Counter(dict.fromkeys(terms(RIGHT), 500))


@pytest.mark.parametrize(
    ("typed", "meant", "change"),
    [
        ("高皿压吃什么药", "高血压吃什么药", ("高皿压", "高血压")),  # looks alike
        ("唐尿病的饮食", "糖尿病的饮食", ("唐尿", "糖尿")),  # sounds alike, at the edge
        ("阿莫西林治费炎", "阿莫西林治肺炎", ("治费炎", "治肺炎")),
        ("能吃布洛分吗", "能吃布洛芬吗", ("洛分吗", "洛芬吗")),
    ],
)
def test_errors_are_mended(typed, meant, change):
    assert mended(typed, VOCABULARY.__getitem__) == (meant, [change])


def test_two_errors_side_by_side():
    assert mended("癫闲发做怎么办", VOCABULARY.__getitem__)[0] == "癫痫发作怎么办"


@pytest.mark.parametrize("text", RIGHT.split())
def test_what_the_index_holds_stays(text):
    assert mended(text, VOCABULARY.__getitem__) == (text, [])


def test_a_rare_word_without_a_likely_other_stays():
    """No character that looks or sounds alike makes a word of the vocabulary of it."""
    assert mended("囫囵吞枣", VOCABULARY.__getitem__) == ("囫囵吞枣", [])


def test_it_is_the_index_that_judges():
    """The same characters are an error for one literature and a word of another."""
    assert mended("高皿压", VOCABULARY.__getitem__)[0] == "高血压"
    assert mended("高皿压", (VOCABULARY + Counter({"高皿": 500, "皿压": 500})).__getitem__)[0] == "高皿压"


@pytest.mark.parametrize("text", ["", "药", "hba1c 6.5%", "😀😀", "高 皿 压", "\ud800", "㐀㐁㐂"])
def test_odd_texts_stay(text):
    assert mended(text, lambda term: 0) == (text, [])


def test_the_length_stays_and_time_is_bounded():
    calls = Counter()

    def nothing_known(term):
        calls[term] += 1
        return 0

    text = "皿" * 2500 + "龘靐" * 1250
    corrected, _ = mended(text, nothing_known)
    assert len(corrected) == len(text)
    assert max(calls.values()) == 1  # each pair is looked up once
    paths = spelling._MOST_PATHS + 1
    assert calls.total() <= len(text) * (spelling._MOST_CANDIDATES + 1) * paths


def test_sounds_that_are_not_told_apart():
    assert spelling._similar("zhen") == ("zhen", "zen", "zheng", "zeng")
    assert spelling._similar("suo") == ("suo", "shuo")
    assert spelling._similar("ma") == ("ma",)
