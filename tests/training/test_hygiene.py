"""Comparing texts: n-grams, similarity, near duplicates, traces of evaluation sets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from chimed_rag.errors import ConfigError
from chimed_rag.evaluation.grams import grams, skeleton
from training.hygiene import Contamination, NearDuplicates, similarity


def test_a_skeleton_knows_no_width_case_blank_or_punctuation() -> None:
    assert skeleton("ＨｂＡ１ｃ ＞ 7.0%，高血压？\n") == skeleton("hba1c7.0 高血压") == "hba1c70高血压"


def test_grams_are_equal_where_the_characters_are() -> None:
    text = "高血压患者应当低盐饮食"
    found = grams(text, 3)
    assert found.shape == (len(text) - 2,)
    assert grams("低盐饮食", 3).tolist() == found[-2:].tolist()
    assert len(set(found.tolist())) == len(found)
    assert grams("高血", 3).shape == (0,)
    assert grams("血高压", 3)[0] != grams("高血压", 3)[0]  # order counts


def test_similarity_is_jaccard_of_trigrams() -> None:
    assert similarity("甲乙丙丁戊", "甲乙丙丁戊") == 1
    assert similarity("甲乙丙丁戊", "甲乙丙丁己") == pytest.approx(2 / 4)  # 甲乙丙 乙丙丁 of those and 丙丁戊 丙丁己
    assert similarity("甲乙", "甲丙") == 0
    assert similarity("甲乙", "甲乙") == 1


def test_near_duplicates_are_found_and_others_are_not() -> None:
    chance = random.Random(0)
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    texts = ["".join(chance.choices(characters, k=200)) for _ in range(50)]
    near = NearDuplicates(0.9)
    assert [near.see(text) for text in texts] == [[]] * 50
    for n, text in enumerate(texts):
        changed = text[:60] + "改" + text[61:]  # 3 of 198 trigrams: Jaccard 195/201 = .97
        assert near.see(changed) == [n]
    far = texts[7][:100] + "".join(chance.choices(characters, k=100))  # about 98/298 = .33
    assert near.see(far) == []
    assert near.see("短") == []
    assert near.see("短") == [101]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    row = {"question": "患者男性，五十岁，反复胸痛三天", "options": {"A": "阿司匹林", "B": ["布洛芬缓释胶囊"]}, "n": 3}
    (tmp_path / "deep" / "exam.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    (tmp_path / "plain.txt").write_text("这是一行并非JSON的普通文字没有括号\n", "utf-8")
    return tmp_path


def test_traces_of_the_evaluation_sets(folder: Path) -> None:
    traces = Contamination(folder)
    assert len(traces.files) == 2
    # 患者男性五十岁反复胸痛三天 has 13 characters: one gram. The plain line has 19: seven.
    assert len(traces) == 8
    # The gram stands at one of 2 + 13 + 2 − 12 = 5 places.
    assert traces.shares(["甲乙患者男性 五十岁 反复胸痛三天！丙丁"]).tolist() == pytest.approx([1 / 5])
    assert traces.shares(["甲乙患者男性五十岁反复胸痛三年丙丁", ""]).tolist() == [0, 0]
    assert traces.share(skeleton("布洛芬缓释胶囊。")) == 1  # shorter than a gram: compared as a whole
    assert traces.share(skeleton("布洛芬缓释")) == 0
    assert traces.share(skeleton("阿司匹林")) == 0  # four characters are no trace
    assert Contamination(folder, 5).share(skeleton("我想问反复胸痛怎么办")) == 0
    assert Contamination(folder, 5).share(skeleton("我反复胸痛三了")) == pytest.approx(1 / 3)


def test_no_gram_reaches_across_two_texts(folder: Path) -> None:
    assert Contamination(folder, 13).share(skeleton("反复胸痛三天阿司匹林布洛芬缓释胶囊")) == 0


def test_an_empty_folder_is_no_check(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no evaluation file"):
        Contamination(tmp_path)
    with pytest.raises(ConfigError, match="holds no evaluation file"):
        Contamination(tmp_path / "gone")


def test_hashes_of_many_grams_are_distinct() -> None:
    text = "".join(chr(0x4E00 + n % 19000) + chr(0x4E00 + (n * 7) % 18000) for n in range(100_000))
    distinct = {text[n : n + 4] for n in range(len(text) - 3)}
    assert len(np.unique(grams(text, 4))) == len(distinct)
