"""The pairs that measure the proof: the committed file is what the generator makes, and each pair is what it says."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tools import make_proof_pairs
from tools.make_proof_pairs import OUT, book_passages, dumped, make, shares, starter_passages
from tools.proof_corruptions import covered, paired, renamed, swap
from tools.proof_numbers import narrowed
from tools.proof_records import Passage, Spot

PAIRS = [json.loads(line) for line in OUT.read_text("utf-8").splitlines()]
WRONG = ("number", "unit", "frequency", "negation", "strength", "population", "drug", "disease", "wrong_passage")
RIGHT = ("untouched", "paraphrase")
FIELDS = ["id", "kind", "template", "part", "entry", "passage", "sentence", "original", "label", "change"]
# Changes of these templates are of another sort than one word for another: numbers in other words, or a clause less.
NUMBERS_SAID_OTHERWISE = {
    "han_numerals", "digits", "converted", "time_span", "frequency_han", "frequency_latin", "wide_digits", "numbered",
    "bound_sign", "verbs", "several_development", "several_test",
}  # fmt: skip


MORE_OR_LESS = ("ten_times", "tenth", "digit", "doubled", "upper_end", "lower_end")
SAME_DIGITS = ("number.exchanged", "number.bound", "unit.mole", "unit.mass_up", "negation.prohibition", "drug.other")


def digits(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d+(?:\.\d+)?", text))


def of_kinds(kinds):
    return [pair for pair in PAIRS if pair["kind"] in kinds]


def test_the_committed_file_is_what_the_generator_makes():
    assert dumped(make(starter_passages())) == OUT.read_text("utf-8")


def test_there_are_enough_pairs_of_each_kind():
    counts = Counter(pair["kind"] for pair in PAIRS)
    assert set(counts) == {*WRONG, *RIGHT}
    assert len(PAIRS) >= 1200
    assert min(counts[kind] for kind in WRONG) >= 90
    assert sum(counts[kind] for kind in RIGHT) >= 350


def test_about_half_of_the_templates_of_each_kind_are_for_development_and_half_for_the_test():
    templates = {(pair["kind"], pair["template"], pair["part"]) for pair in PAIRS}
    assert len({name for _, name, _ in templates}) == len(templates), "a template belongs to one part"
    for kind in (*WRONG, *RIGHT):
        parts = Counter(part for found, _, part in templates if found == kind)
        assert sum(parts.values()) >= 4
        assert abs(parts["development"] - parts["test"]) <= 2, (kind, parts)


def test_every_pair_is_well_formed():
    assert len({pair["id"] for pair in PAIRS}) == len(PAIRS)
    assert len({(pair["passage"], pair["sentence"], pair["part"], pair["kind"]) for pair in PAIRS}) == len(PAIRS)
    for pair in PAIRS:
        assert list(pair) == FIELDS
        assert pair["label"] == ("supported" if pair["kind"] in RIGHT else "unsupported")
        assert pair["part"] in ("development", "test")
        title, _, text = pair["passage"].partition("\n")
        assert re.fullmatch("[^>]+ > [^>]+", title), pair["id"]
        assert pair["sentence"].strip() == pair["sentence"] != ""
        if pair["kind"] != "wrong_passage":
            assert pair["original"] in text.split("\n"), pair["id"]


def test_a_corruption_changes_what_it_names_and_is_nowhere_in_its_passage():
    for pair in of_kinds(set(WRONG) - {"wrong_passage"}):
        old, new = pair["change"].split(" → ")
        where, name = pair["id"], pair["template"]
        assert old != new, where
        assert old in pair["original"], where
        assert new in pair["sentence"], where
        assert pair["sentence"] != pair["original"], where
        assert pair["sentence"] not in pair["passage"].split("\n"), where
        if pair["kind"] == "number" and name.split(".")[1] in MORE_OR_LESS:
            assert digits(pair["original"]) != digits(pair["sentence"]), where
        if name in SAME_DIGITS:
            assert digits(pair["original"]) == digits(pair["sentence"]), where
        if pair["kind"] == "drug" or name in ("disease.subject", "disease.other", "disease.confusable"):
            assert new not in pair["passage"], where


def test_a_wrong_passage_is_another_one_and_says_little_of_the_sentence():
    titles = {passage.entry: passage.title for passage in starter_passages()}
    for pair in of_kinds(["wrong_passage"]):
        title, _, text = pair["passage"].partition("\n")
        assert pair["original"] not in text, pair["id"]
        passage = Passage("", title, (), "", "", (), text, ())
        assert covered(pair["sentence"], passage) <= 0.6, pair["id"]
        same = titles[pair["entry"]] == title.split(" > ")[0]
        assert same == (pair["template"] == "wrong_passage.other_section"), pair["id"]


def test_a_control_keeps_its_numbers_and_untouched_ones_stand_in_their_passage():
    for pair in of_kinds(RIGHT):
        name, original, sentence = pair["template"].split(".")[1], pair["original"], pair["sentence"]
        if pair["kind"] == "untouched":
            assert sentence == original, pair["id"]
            assert not pair["change"], pair["id"]
            continue
        assert sentence != original, pair["id"]
        if name.startswith("merged"):
            lines = pair["passage"].split("\n")
            original += lines[lines.index(original) + 1]
        if name == "addition_dropped":
            assert original.startswith(sentence.rstrip("。")), pair["id"]
        elif name not in NUMBERS_SAID_OTHERWISE:
            assert digits(sentence.replace("HbA1c", "")) == digits(original.replace("HbA1c", "")), pair["id"]


def test_a_converted_dose_is_the_same_dose():
    sizes = {"克": 1.0, "毫克": 1e-3, "微克": 1e-6, "升": 1.0, "毫升": 1e-3, "厘米": 1e-2, "毫米": 1e-3, "千克": 1e3}

    def value(text):
        numbers, unit = re.fullmatch(r"([\d.～]+) ?(\D+)", text).groups()
        return [float(number) * sizes[unit] for number in numbers.split("～")]

    converted = [pair["change"].split(" → ") for pair in PAIRS if pair["template"] == "paraphrase.converted"]
    assert len(converted) > 5
    for old, new in converted:
        assert value(new) == pytest.approx(value(old))


def spot(text: str, *others: str, title: str = "甲病") -> Spot:
    sentences = (text, *others)
    return Spot(Passage("a", title, (title,), "g", "disease", ("治疗",), "\n".join(sentences), sentences), 0)


def test_a_swap_changes_one_place_and_refuses_a_word_that_the_passage_has():
    template = swap([["成人", "儿童"]], absent=True)
    assert [one.sentence for one in template(spot("成人一次1片。"))] == ["儿童一次1片。"]
    assert list(template(spot("成人一次1片。", "儿童一次半片。"))) == []
    alone = swap([["升高", "降低"]], alone=True)
    assert list(alone(spot("血钾升高或降低都应就医。"))) == []


def test_a_threshold_is_not_narrowed():
    assert narrowed("40岁以上的人", 0, larger=True)
    assert not narrowed("40岁以上的人", 0, larger=False)
    assert narrowed("不超过15千克的儿童", 5, larger=False)
    assert not narrowed("每次15毫克", 2, larger=True)


def test_names_inside_longer_names_are_left_alone():
    assert list(renamed("diseases")(spot("肺炎球菌可引起咳嗽。"))) == []
    changed = {one.sentence for one in renamed("diseases")(spot("肺炎可引起咳嗽。"))}
    assert "痛风可引起咳嗽。" in changed
    assert all("肺炎" not in sentence for sentence in changed)
    assert list(paired("classes", both_ways=False)(spot("雌激素可引起恶心。"))) == []


def test_shares_are_even_as_far_as_there_are_sentences():
    assert shares({"a": 2, "b": 9, "c": 9}, 12) == {"a": 2, "b": 5, "c": 5}
    assert shares({"a": 1}, 5) == {"a": 1}


def test_books_give_passages_and_must_name_where_their_pairs_go(tmp_path: Path, capsys):
    file, out = tmp_path / "books.jsonl", tmp_path / "pairs.jsonl"
    text = (
        "甲药的成人常用量为每次5毫克，每日3次，饭后服用。对甲药过敏的人禁用甲药，肾功能不全的人应慎用甲药。"
        "孕妇和哺乳期妇女不应服用甲药。"
    )
    rows = [
        {"id": f"b{n}", "title": f"药学 > （{n}）甲药{n}号", "text": text.replace("甲药", f"甲药{n}号")}
        for n in range(9)
    ]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    passages = book_passages(file)
    assert [passage.shown.split("\n")[0] for passage in passages[:2]] == ["甲药0号 > 药学", "甲药1号 > 药学"]
    with pytest.raises(SystemExit):
        make_proof_pairs.main(["--textbooks", str(file)])
    assert make_proof_pairs.main(["--textbooks", str(file), "--out", str(out)]) == 0
    made = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert {pair["kind"] for pair in made} >= {"number", "unit", "frequency", "negation", "strength", "untouched"}
    assert f"{len(made)} pairs" in capsys.readouterr().out


def test_what_writers_paired_is_still_in_the_starter_literature_or_in_their_passages() -> None:
    from chimed_rag.indexing.index import Index
    from chimed_rag.literature import STARTER_INDEX

    index = Index.open(STARTER_INDEX)
    names = {
        one.chunk.id: " > ".join((one.document.title, *one.chunk.headings))
        for one in index.passages(index.store.rows.tolist()).values()
    }
    folder = OUT.parents[1] / "training/proof_pairs"
    written = [line.split("\t") for line in (folder / "passages/books.tsv").read_text("utf-8").splitlines()]
    assert len({passage_id for passage_id, _, _ in written}) == len({text for _, _, text in written}) == 452
    names |= {passage_id: title for passage_id, title, _ in written}
    files = sorted(folder.glob("*.tsv"))
    pairs = [line.split("\t") for file in files for line in file.read_text("utf-8").splitlines()]
    assert len(files) == 10
    assert len(pairs) >= 12_800
    assert [pair for pair in pairs if len(pair) != 5 or names.get(pair[0]) != pair[1] or pair[2] not in "SU"] == []
    assert len({(pair[0], pair[4]) for pair in pairs}) == len(pairs)
