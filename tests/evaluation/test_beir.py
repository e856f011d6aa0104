from __future__ import annotations

import gzip
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.errors import CorpusError, DuplicateError, InputError
from chimed_rag.evaluation.beir import (
    BeirCorpus,
    data_sha256,
    judged_queries,
    read_qrels,
    read_queries,
)


def write(path: Path, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.jsonl.gz"])
def test_queries_plain_and_gzip(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {"_id": "q2", "text": "发烧怎么办"}, "", {"id": 1, "text": "头痛", "extra": []})
    assert list(read_queries(path).items()) == [("q2", "发烧怎么办"), ("1", "头痛")]


def test_corpus_rows_become_documents(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl",
        {"_id": "a1", "title": "感冒", "text": "多休息。", "metadata": {"year": 2020}},
        {"_id": "a2", "text": "多休息。"},
    )
    second = write(
        tmp_path / "b.jsonl.gz",
        {"id": "b1", "title": None, "text": "多饮水。", "section": "治疗", "department": ["内科"]},
        {"_id": "b2", "title": "只有标题", "text": ""},
        {"_id": "b3", "id": 7, "title": "t", "text": "x", "metadata": "kept as it is"},
    )
    documents = list(BeirCorpus([first, str(second)]))
    assert [(d.id, d.title, d.text, d.metadata) for d in documents] == [
        ("a1", "感冒", "多休息。", {"year": 2020}),
        ("a2", "", "多休息。", {}),  # one text, two documents
        ("b1", "", "多饮水。", {"section": "治疗", "department": ["内科"]}),
        ("b2", "只有标题", "只有标题", {}),
        ("b3", "t", "x", {"id": 7, "metadata": "kept as it is"}),
    ]


def test_a_corpus_can_be_read_again_and_counts_repeated_rows(tmp_path: Path) -> None:
    row = {"_id": "a1", "title": "t", "text": "x"}
    again = row | {"department": "内科"}  # a further field does not make it another text
    second = write(tmp_path / "b.jsonl", again, {"_id": "b", "text": "x"})
    corpus = BeirCorpus([write(tmp_path / "a.jsonl", row), second])
    for _ in range(2):
        assert [document.id for document in corpus] == ["a1", "b"]
        assert corpus.repeated == 1


def test_one_id_with_two_texts_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", {"_id": "a1", "text": "x"})
    second = write(tmp_path / "b.jsonl", {"_id": "z", "text": "x"}, {"_id": "a1", "text": "y"})
    with pytest.raises(DuplicateError, match=r"b\.jsonl, line 2: document 'a1'") as caught:
        list(BeirCorpus([first, second]))
    assert (caught.value.path, caught.value.line) == (str(second), 2)
    with pytest.raises(DuplicateError, match="query 'a1'"):
        read_queries(write(tmp_path / "q.jsonl", {"_id": "a1", "text": "x"}, {"_id": "a1", "text": "y"}))
    with pytest.raises(DuplicateError, match="'q' and 'd'"):
        read_qrels(write(tmp_path / "r.tsv", "q\td\t1", "q\td\t0"))


def test_qrels_as_json_lines_and_as_columns(tmp_path: Path) -> None:
    expected = {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2}}
    lines = write(
        tmp_path / "qrels.jsonl.gz",
        {"query-id": "q1", "corpus-id": "d1", "score": 1},
        {"query-id": "q1", "corpus-id": "d2", "score": 0},
        {"query-id": "q2", "corpus-id": "d1", "score": 2.0},
    )
    rows = ["q1\td1\t1", "q1\td2\t0", "q2\td1\t2"]
    assert read_qrels(lines) == expected
    assert read_qrels(write(tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore", *rows)) == expected
    assert read_qrels(write(tmp_path / "bare.tsv", *rows)) == expected


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"_id": "x", "text": ', "not a usable JSON object"),
        (r'{"_id": "x", "text": "\ud83d"}', "surrogates not allowed"),
        ('["x"]', "not a JSON object but list"),
        ('{"text": "x"}', "without a usable '_id' or 'id'"),
        ('{"_id": "", "text": "x"}', "without a usable"),
        ('{"_id": true, "text": "x"}', "without a usable"),
        ('{"_id": "x", "text": 3}', "text"),
        ('{"_id": "x"}', "text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: str, complaint: str) -> None:
    path = write(tmp_path / "bad.jsonl", {"_id": "good", "text": "good"}, row)
    for read in (read_queries, lambda path: list(BeirCorpus([path]))):
        with pytest.raises(CorpusError, match=complaint) as caught:
            read(path)
        assert (caught.value.path, caught.value.line) == (str(path), 2)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("q1 d1 1", "three tab-separated columns"),
        ("q1\td1\thigh", "score must be a whole number"),
        ("q1\td1\t0.5", "score must be a whole number"),
        ('{"query-id": "q1", "corpus-id": "d1"}', "score must be a whole number"),
        ('{"query-id": "q1", "score": 1}', "'corpus-id'"),
    ],
)
def test_a_bad_judgement_is_named(tmp_path: Path, row: str, complaint: str) -> None:
    path = write(tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore", row)
    with pytest.raises(CorpusError, match=complaint) as caught:
        read_qrels(path)
    assert caught.value.line == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="No such file"):
        read_queries(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="No such file"):
        data_sha256([tmp_path / "none.jsonl"])
    (tmp_path / "gbk.jsonl").write_bytes('{"_id": "a", "text": "a"}\n{"_id": "b", "text": "发烧"}\n'.encode("gbk"))
    with pytest.raises(CorpusError, match=r"line \d: not UTF-8"):
        read_queries(tmp_path / "gbk.jsonl")
    whole = gzip.compress(b'{"_id": "a", "text": "a"}\n' * 100)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match="cannot be read"):
        read_queries(tmp_path / "cut.jsonl.gz")


def test_what_a_document_cannot_hold_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"_id": "a", "text": "x"}, {"_id": "i" * 513, "text": "x"})
    with pytest.raises(CorpusError, match=r"a\.jsonl, line 2: document 'i+': id: "):
        list(BeirCorpus([path]))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "bom.jsonl").write_bytes(b'\xef\xbb\xbf{"_id": "a", "text": "a"}\n')
    assert read_queries(tmp_path / "bom.jsonl") == {"a": "a"}


def test_unjudged_queries_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    queries = {"q3": "c", "q1": "a", "q2": "b"}
    with caplog.at_level(logging.WARNING):
        asked, judgements = judged_queries(queries, {"q1": {"d": 1}, "q3": {"d": 0}, "q9": {"d": 1}, "q8": {"d": 1}})
    assert list(asked) == list(judgements) == ["q3", "q1"]
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 3 queries have no judgement and are left out",
        "2 of 4 judged queries are not among the queries",
    ]
    with pytest.raises(InputError, match="no query has a judgement"):
        judged_queries(queries, {"other": {"d": 1}})


def test_missing_documents_are_the_relevant_ones_no_file_holds(tmp_path: Path) -> None:
    corpus = BeirCorpus([write(tmp_path / "a.jsonl", {"_id": "a", "text": "x"})])
    list(corpus)
    assert corpus.missing({"q": {"a": 1, "b": 1, "c": 0}}) == {"b"}


def test_data_sha256_is_that_of_the_concatenated_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert data_sha256([tmp_path / "a", tmp_path / "b"]) == hashlib.sha256(b"onetwo").hexdigest()


def test_an_escaped_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    assert read_queries(write(tmp_path / "q.jsonl", r'{"_id": "x", "text": "\uD83D\uDE00"}')) == {"x": "\U0001f600"}
