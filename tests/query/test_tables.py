"""The tables as they ship, and how an expression of a table is found in a question."""

from __future__ import annotations

import pytest

from chimed_rag.query.tables import Table, replacements, rows, synonyms


def test_the_longest_expression_wins_and_changes_are_told_in_order():
    table = Table({"心梗": "心肌梗死", "急性心梗": "急性心肌梗死", "b超": "超声"})
    assert table.apply("急性心梗做b超") == (
        "急性心肌梗死做超声",
        [("急性心梗", "急性心肌梗死"), ("b超", "超声")],
    )


@pytest.mark.parametrize("text", ["rate", "hra", "ra2", "2ra"])
def test_a_latin_word_is_found_only_as_a_whole(text):
    assert Table({"ra": "类风湿关节炎"}).apply(text) == (text, [])


@pytest.mark.parametrize("text", ["ra", "查ra高", "(ra)"])
def test_a_latin_word_is_found_beside_chinese(text):
    assert Table({"ra": "类风湿"}).apply(text)[0] == text.replace("ra", "类风湿")


def test_synonyms_stand_for_each_other_the_first_first():
    table = synonyms("abbreviations.tsv")
    assert table.words["copd"] == "慢性阻塞性肺疾病 慢阻肺"
    assert table.words["慢阻肺"] == "慢性阻塞性肺疾病 copd"
    assert table.words["慢性阻塞性肺疾病"] == "慢阻肺 copd"


@pytest.mark.parametrize(("name", "least"), [("abbreviations.tsv", 250), ("trade_names.tsv", 200)])
def test_enough_rows_each_with_two_columns(name, least):
    table = rows(name)
    assert len(table) >= least
    assert [row for row in table if len(row) != 2 or not all(row)] == []


def test_no_name_stands_in_two_groups_of_abbreviations():
    """It would be replaced by whichever group is read last."""
    names = [name for first, others in rows("abbreviations.tsv") for name in (first, *others.split())]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_no_expression_stands_in_two_tables():
    """What one step replaces, the next could not see; and switching one off would not switch it off."""
    tables = [replacements("trade_names.tsv"), replacements("lay_terms.tsv"), synonyms("abbreviations.tsv")]
    said = [word for table in tables for word in table.words]
    assert sorted(word for word in set(said) if said.count(word) > 1) == []


def test_no_generic_name_is_a_trade_name_itself():
    table = replacements("trade_names.tsv").words
    assert [said for said, meant in table.items() if meant in table] == []


def test_the_learnt_tables_are_well_formed():
    for _, meant in rows("confusions.tsv"):
        assert len(meant) % 2 == 0 and meant[1::2].isdigit()
    assert all(len(first) == 1 and len(set(second)) == len(second) for first, second in rows("pairs.tsv"))
    assert len(rows("sounds.tsv")) > 390  # syllables of Mandarin without tones
