"""Searching one generation: scores and ties against brute force, filters against an evaluation document by document."""

from __future__ import annotations

import math
import random
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.errors import InputError
from chimed_rag.indexing import lexical, writer
from chimed_rag.indexing.filters import parse
from chimed_rag.indexing.index import Index
from chimed_rag.records import Document

ENCODER = HashingEncoder(48)
COMMON = {"患者": 1.0}
WORDS = ["头痛", "发热", "咳嗽", "血压", "血糖", "孕妇", "儿童", "禁忌", "慎用", "口服", "手术", "复查", "过敏", "皮疹"]


# --- what a filter means, document by document, written from the documentation and not from the code ---------------


def _values(document: Document, key: str) -> list[Any]:
    if key == "id":
        return [document.id]
    if key in document.metadata:
        value = document.metadata[key]
        items = value if isinstance(value, list) else [value]
        kept = []
        for item in items:
            if isinstance(item, bool):
                kept.append(int(item))
            elif isinstance(item, str) or (isinstance(item, int | float) and abs(item) < 2**63):
                kept.append(item)
        return kept
    attribute = getattr(document, key, "") if key in ("title", "source", "date", "licence") else ""
    return [attribute] if attribute else []


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, str) == isinstance(right, str) and left == right


def _holds(condition: dict[str, Any], document: Document) -> bool:
    for key, value in condition.items():
        if key == "$and":
            ok = all(_holds(part, document) for part in value)
        elif key == "$or":
            ok = any(_holds(part, document) for part in value)
        elif key == "$not":
            ok = not _holds(value, document)
        elif isinstance(value, dict):
            ok = all(_operator_holds(name, operand, _values(document, key)) for name, operand in value.items())
        else:
            ok = _operator_holds("$in" if isinstance(value, list) else "$eq", value, _values(document, key))
        if not ok:
            return False
    return True


def _operator_holds(name: str, operand: Any, values: list[Any]) -> bool:
    if name == "$exists":
        return bool(values) == operand
    if name in ("$ne", "$nin"):
        return not _operator_holds("$eq" if name == "$ne" else "$in", operand, values)
    if name == "$eq":
        return any(_same(value, operand) for value in values)
    if name == "$in":
        return any(_same(value, one) for value in values for one in operand)
    compare = {
        "$gt": lambda a: a > operand, "$gte": lambda a: a >= operand,
        "$lt": lambda a: a < operand, "$lte": lambda a: a <= operand,
    }[name]  # fmt: skip
    return any(isinstance(value, str) == isinstance(operand, str) and compare(value) for value in values)


SCALARS: list[Any] = [
    "心内科",
    "儿科",
    "",
    "2020",
    "a\"b'c",
    "🙂",
    0,
    1,
    -3,
    2020,
    2021,
    2020.0,
    0.5,
    2**40,
    True,
    False,
]
ODD: list[Any] = [
    None,
    10**30,
    float("nan"),
    {"a": 1},
    [],
    ["心内科", 2020],
    ["儿科", "心内科", 0.5],
    [None, True],
    [[1]],
]
KEYS = ["department", "year", "tags"]
ATTRIBUTES = ["title", "source", "date", "licence"]


def _collection(n: int = 90) -> list[Document]:
    chance = random.Random(5)
    found = []
    for i in range(n):
        metadata = {key: chance.choice(SCALARS + ODD) for key in KEYS if chance.random() < 0.8}
        if chance.random() < 0.1:
            metadata["title"] = chance.choice(SCALARS)
        found.append(
            Document(
                id=f"doc-{i:02d}",
                text="患者" + "，".join(chance.choices(WORDS, k=chance.randint(1, 6))) + "。",
                title=chance.choice(["", "指南", "说明书"]),
                source=chance.choice(["", "a.jsonl:1", "心内科"]),
                date=chance.choice(["", "2020-01-01", "2021"]),
                metadata=metadata,
            )
        )
    return found


@pytest.fixture(scope="module")
def filtered(shared: ModuleType) -> Iterator[tuple[Index, list[Document]]]:
    """An index of several segments with deletions, and the documents that live in it."""
    path = Path(tempfile.mkdtemp(dir=shared.workplace()))
    documents = _collection()
    writer.build(path / "index", documents[:50], ENCODER)
    writer.delete(path / "index", ids=["doc-00", "doc-07", "doc-49"])
    writer.update(path / "index", documents[50:70], ENCODER, mode="add")
    writer.update(path / "index", documents[70:], ENCODER, mode="add")
    writer.update(path / "index", [documents[7]], ENCODER, mode="add")
    writer.delete(path / "index", ids=["doc-66"])
    index = Index.open(path / "index")
    assert len(index.store.segments) > 1
    yield index, [d for d in documents if d.id not in ("doc-00", "doc-49", "doc-66")]
    index.close()
    shutil.rmtree(path)


def _conditions() -> st.SearchStrategy[dict[str, Any]]:
    scalar = st.sampled_from(SCALARS)
    key = st.sampled_from([*KEYS, *ATTRIBUTES, "absent"])
    operand = st.one_of(
        st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), scalar),
        st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalar, max_size=4)),
        st.tuples(st.just("$exists"), st.booleans()),
    )
    identity = st.one_of(
        st.sampled_from(["doc-01", "doc-00", "doc-66", "doc-88", "none"]),
        st.lists(st.sampled_from(["doc-01", "doc-07", "doc-66", "doc-71"]), max_size=3),
        st.tuples(st.sampled_from(["$ne", "$gt", "$lte"]), st.sampled_from(["doc-07", "doc-60"])).map(
            lambda o: dict([o])
        ),
    )
    plain = st.one_of(scalar, st.lists(scalar, max_size=3), st.lists(operand, min_size=1, max_size=2).map(dict))
    leaf = st.one_of(
        st.dictionaries(key, plain, min_size=1, max_size=2), identity.map(lambda value: {"id": value})
    )  # fmt: skip
    return st.recursive(
        leaf,
        lambda part: st.one_of(
            st.lists(part, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
            st.lists(part, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
            part.map(lambda one: {"$not": one}),
        ),
        max_leaves=4,
    )


def _check_filter(index: Index, documents: list[Document], condition: dict[str, Any]) -> None:
    expected = {d.id for d in documents if _holds(condition, d)}
    vectors = ENCODER.encode_queries(["患者头痛"])
    everything = {
        "dense": index.search_dense(vectors, 1000)[0],
        "lexical": index.search_lexical([COMMON], 1000)[0],
    }
    for name, ranking in everything.items():
        allowed = [hit for hit in ranking if hit.document_id in expected]
        assert {hit.document_id for hit in allowed} == expected
        for k in (1, 3, 1000):
            if name == "dense":
                hits = index.search_dense(vectors, k, condition)[0]
            else:
                hits = index.search_lexical([COMMON], k, condition)[0]
            assert [(h.chunk_id, h.score) for h in hits] == [(h.chunk_id, h.score) for h in allowed[:k]], (name, k)


_SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@given(condition=_conditions())
@_SETTINGS
def test_filters_agree_with_brute_force(filtered: tuple[Index, list[Document]], condition: dict[str, Any]) -> None:
    _check_filter(*filtered, condition)


@given(condition=_conditions())
@_SETTINGS
def test_filters_agree_where_tantivy_cannot_apply_them(
    filtered: tuple[Index, list[Document]], monkeypatch: pytest.MonkeyPatch, condition: dict[str, Any]
) -> None:
    monkeypatch.setattr(lexical, "_MOST_VALUES", 1)
    filtered[0]._conditions.clear()
    try:
        _check_filter(*filtered, condition)
    finally:
        filtered[0]._conditions.clear()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"department": "心内科"}, {"a", "b"}),
        ({"year": 2020}, {"a", "b"}),
        ({"year": "2020"}, {"c"}),
        ({"year": {"$gte": 2020}}, {"a", "b", "d"}),
        ({"year": {"$gt": 2020, "$lt": 2022}}, {"d"}),
        ({"year": {"$lt": "3"}}, {"c"}),
        ({"tags": {"$in": ["x", "z"]}}, {"a", "d"}),
        ({"tags": {"$nin": ["x"]}}, {"b", "c", "d", "e"}),
        ({"tags": {"$exists": True}}, {"a", "d"}),
        ({"department": {"$ne": "心内科"}}, {"c", "d", "e"}),
        ({"$not": {"department": "心内科"}}, {"c", "d", "e"}),
        ({"$or": [{"id": "e"}, {"department": "儿科"}]}, {"c", "e"}),
        ({"$and": [{"department": "心内科"}, {"year": 2020.0}]}, {"a", "b"}),
        ({"flag": True}, {"a"}),
        ({"flag": 1}, {"a"}),
        ({"flag": False}, {"b"}),
        ({"title": "指南"}, {"d"}),
        ({"title": "自己的"}, {"e"}),
        ({"id": {"$gte": "d"}}, {"d", "e"}),
        ({"department": []}, set()),
        ({"long": "长" * 40_000}, {"e"}),
        ({"long": "长" * 39_999}, set()),
    ],
)
def test_every_operator(tmp_path: Path, condition: dict[str, Any], expected: set[str]) -> None:
    documents = [
        Document(
            id="a", text="患者", metadata={"department": "心内科", "year": 2020, "tags": ["x", "y"], "flag": True}
        ),
        Document(id="b", text="患者", metadata={"department": "心内科", "year": 2020.0, "flag": False}),
        Document(id="c", text="患者", metadata={"department": "儿科", "year": "2020", "tags": None}),
        Document(id="d", text="患者", title="指南", metadata={"year": 2021, "tags": "z"}),
        Document(id="e", text="患者", title="指南", metadata={"title": "自己的", "long": "长" * 40_000}),
    ]
    writer.build(tmp_path / "index", documents, ENCODER)
    index = Index.open(tmp_path / "index")
    assert {h.document_id for h in index.search_dense(ENCODER.encode_queries(["患者"]), 9, condition)[0]} == expected
    assert {h.document_id for h in index.search_lexical([COMMON], 9, condition)[0]} == expected
    index.close()


@pytest.mark.parametrize(
    "condition",
    [
        {"year": {"$near": 3}}, {"$nor": [{"a": 1}]}, {"$and": []}, {"$or": {"a": 1}}, {"a": None}, {"a": {"$gt": [1]}},
        {"a": {"$in": "text"}}, {"a": {"$gt": None}}, {"a": 10**30}, {"a": float("nan")}, {"a": "\ud800"}, {1: "x"},
        {"a": {}}, {"$and": [{}]}, {"$or": [{"a": 1}, {}]}, {"$not": {}}, {"$and": [3]}, [("a", 1)],
    ],
)  # fmt: skip
def test_filters_that_cannot_be_read(condition: Any) -> None:
    # An empty part would hold for everything: a deletion by such a filter would empty the index.
    with pytest.raises(InputError):
        parse(condition)


def test_more_values_than_tantivy_is_given(folder: Path) -> None:
    # 1,300 distinct values satisfy the condition, more than lexical._MOST_VALUES: it is applied to the hits.
    documents = [Document(id=f"d{i:04d}", text="患者" + WORDS[i % 14], metadata={"n": i}) for i in range(1400)]
    writer.build(folder / "index", documents, ENCODER)
    index = Index.open(folder / "index")
    condition = {"n": {"$gte": 100}}
    assert index.lexical.compile_filter(parse(condition), index.store) is None
    for k in (1, 10, 1299, 1300, 1400):
        hits = index.search_lexical([COMMON], k, condition)[0]
        # Every text has the same length and the term once, so all scores are equal and the ids decide.
        assert [h.document_id for h in hits] == [f"d{i:04d}" for i in range(100, min(100 + k, 1400))]
        assert len(index.search_dense(ENCODER.encode_queries(["患者"]), k, condition)[0]) == min(k, 1300)
    assert index.search_lexical([COMMON], 0, condition) == [[]]
    rare = {"$and": [condition, {"n": {"$lt": 102}}]}
    assert [h.document_id for h in index.search_lexical([COMMON], 5, rare)[0]] == ["d0100", "d0101"]
    index.close()


# --- scores ----------------------------------------------------------------------------------------------------------


def _decoded(index: Index) -> np.ndarray:
    """The stored vectors by the definition of the format: code c of int8 is (c / 127.5 - 1) * scale."""
    codes = np.concatenate([np.asarray(segment.codes) for segment in index.store.segments])
    form = index.manifest.vectors
    if form.storage == "int8":
        return (codes.astype(np.float64) / 127.5 - 1.0) * form.scale
    return codes.copy().view("<f4" if form.storage == "fp32" else "<f2").astype(np.float64)


@pytest.mark.parametrize("storage", ["int8", "fp16", "fp32"])
@pytest.mark.parametrize("dimension", [16, 64, 200])
def test_dense_scores_are_those_of_the_stored_codes(folder: Path, storage: Any, dimension: int) -> None:
    encoder = HashingEncoder(dimension)
    chance = random.Random(dimension)
    documents = [Document(id=f"d{i:03d}", text="患者" + "".join(chance.choices(WORDS, k=9))) for i in range(300)]
    writer.build(folder / "index", documents[:250], encoder, storage=storage)
    writer.update(folder / "index", documents[250:], encoder, mode="add")
    writer.delete(folder / "index", ids=["d000", "d260"])
    index = Index.open(folder / "index")
    stored = _decoded(index)
    ids = [hits[0] for _, hits in sorted(index.store.keys(index.store.rows.tolist()).items())]
    true = encoder.encode_documents([documents[int(i[1:])].text for i in ids])
    step = {"int8": index.manifest.vectors.scale / 127.5, "fp16": 2.0**-10, "fp32": 0.0}[storage]
    assert np.abs(stored - true).max() <= step / 2 + 1e-6

    queries = encoder.encode_queries(["患者头痛发热", "孕妇慎用", "手术", *WORDS, *(d.text for d in documents[:30])])
    scores = queries.astype(np.float64) @ stored.T
    scores[:, [ids.index(dead) for dead in ("d000", "d260") if dead in ids]] = -np.inf
    for condition, allowed in (
        (None, np.ones(len(ids), bool)),
        ({"id": {"$gte": "d100"}}, np.array([i >= "d100" for i in ids])),
    ):
        for k in (1, 10, 400):
            for found, expected in zip(index.search_dense(queries, k, condition), scores, strict=True):
                possible = np.flatnonzero(allowed & np.isfinite(expected))
                assert len(found) == min(k, len(possible))
                np.testing.assert_allclose(
                    [h.score for h in found], [expected[ids.index(h.document_id)] for h in found], atol=1e-3
                )
                best = np.sort(expected[possible])[::-1][: len(found)]
                np.testing.assert_allclose([h.score for h in found], best, atol=1e-3)
                assert found == sorted(found, key=lambda h: (-h.score, h.chunk_id))
    index.close()


def test_the_first_document_does_not_decide_how_well_later_ones_are_stored(folder: Path) -> None:
    # A long first document has small components everywhere, the second one large component: no index may clip it.
    encoder = HashingEncoder(512)
    long = Document(id="long", text="".join(chr(0x4E00 + i) for i in range(390)))
    short = Document(id="short", text="高血压患者每日口服")
    writer.build(folder / "index", [long], encoder)
    writer.update(folder / "index", [short], encoder, mode="add")
    index = Index.open(folder / "index")
    hit = index.search_dense(encoder.encode_queries([short.text]), 1)[0][0]
    index.close()
    assert hit.document_id == "short"
    assert hit.score == pytest.approx(1.0, abs=0.05)


def test_bm25_by_hand(tmp_path: Path) -> None:
    # Terms are character pairs. a: 头痛; b: 头痛 痛发 发热; c: 咳嗽. N = 3, average length (1 + 3 + 1) / 3.
    documents = [Document(id="a", text="头痛"), Document(id="b", text="头痛发热"), Document(id="c", text="咳嗽")]
    writer.build(tmp_path / "index", documents, ENCODER)
    index = Index.open(tmp_path / "index")

    def bm25(df: int, length: int) -> float:
        idf = math.log(1 + (3 - df + 0.5) / (df + 0.5))
        return idf * 1 * (1.2 + 1) / (1 + 1.2 * (1 - 0.75 + 0.75 * length / (5 / 3)))

    hits = index.search_lexical([{"头痛": 1.0}], 5)[0]
    assert [h.document_id for h in hits] == ["a", "b"]
    assert [h.score for h in hits] == pytest.approx([bm25(2, 1), bm25(2, 3)], rel=1e-5)
    hits = index.search_lexical([{"头痛": 1.0, "发热": 2.0, "没有": 1.0}], 5)[0]
    assert [h.document_id for h in hits] == ["b", "a"]
    assert [h.score for h in hits] == pytest.approx([bm25(2, 3) + 2 * bm25(1, 3), bm25(2, 1)], rel=1e-5)
    assert index.lexical.document_frequency("头痛") == 2
    assert index.lexical.inverse_document_frequency("头痛") == pytest.approx(math.log(1 + 1.5 / 2.5))
    assert index.search_lexical([{}, {"没有": 1.0}], 5) == [[], []]
    index.close()


def test_a_filter_does_not_change_lexical_scores(filtered: tuple[Index, list[Document]]) -> None:
    index, _ = filtered
    query = {"患者": 1.0, "头痛": 2.0, "血压": 0.5}
    every = {h.chunk_id: h.score for h in index.search_lexical([query], 1000)[0]}
    some = index.search_lexical([query], 1000, {"title": "指南"})[0]
    assert some
    assert all(h.score == pytest.approx(every[h.chunk_id], rel=1e-6) for h in some)


# --- ties and limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["int8", "fp16", "fp32"])
def test_ties_go_by_chunk_id_also_across_the_cut(folder: Path, storage: Any) -> None:
    # 120 copies of one text, added in random order and in several segments, among 80 others that are worse or better.
    chance = random.Random(3)
    copies = [Document(id=f"copy-{i:03d}", text="患者头痛发热咳嗽") for i in range(120)]
    others = [Document(id=f"other-{i:03d}", text="患者" + "".join(chance.choices(WORDS, k=8))) for i in range(80)]
    documents = copies + others
    chance.shuffle(documents)
    writer.build(folder / "index", documents[:120], ENCODER, storage=storage)
    for begin in range(120, 200, 20):
        writer.update(folder / "index", documents[begin : begin + 20], ENCODER, mode="add")
    index = Index.open(folder / "index")
    vectors = ENCODER.encode_queries(["患者头痛发热"] * 30)
    query = dict.fromkeys(["患者", "头痛", "痛发", "发热"], 1.0)
    every = {"dense": index.search_dense(vectors[:1], 1000)[0], "lexical": index.search_lexical([query], 1000)[0]}
    for name, ranking in every.items():
        assert len(ranking) == 200
        assert len({h.score for h in ranking if h.document_id.startswith("copy")}) == 1, "copies have one score"
        assert ranking == sorted(ranking, key=lambda h: (-h.score, h.chunk_id))
        first = [h.document_id for h in ranking].index("copy-000")
        for k in (1, first + 1, first + 2, first + 50, first + 111, first + 119, first + 120, first + 121, 199):
            batch = index.search_dense(vectors, k) if name == "dense" else index.search_lexical([query] * 30, k)
            assert all(hits == ranking[:k] for hits in batch), (name, k)
    index.close()


def test_unusual_numbers_of_hits(filtered: tuple[Index, list[Document]]) -> None:
    index, documents = filtered
    vectors = ENCODER.encode_queries(["患者", "头痛"])
    for k in (0, -1):
        assert index.search_dense(vectors, k) == [[], []]
        assert index.search_lexical([COMMON], k) == [[]]
    for k in (len(documents), 10**12):
        assert len(index.search_dense(vectors, k)[0]) == len(documents)
        assert len(index.search_lexical([COMMON], k)[0]) == len(documents)
    assert index.search_dense(vectors[:0], 5) == []
    assert index.search_lexical([], 5) == []


def test_query_vectors_that_cannot_be_used(filtered: tuple[Index, list[Document]]) -> None:
    index, documents = filtered
    for wrong in (np.full((1, 48), np.nan, np.float32), np.zeros((1, 47), np.float32), np.zeros(48, np.float32)):
        with pytest.raises(InputError):
            index.search_dense(wrong, 3)
    # A zero row (a question without a character that the encoder knows) matches all alike; ids decide.
    hits = index.search_dense(np.zeros((1, 48), np.float32), 3)[0]
    assert [h.document_id for h in hits] == sorted(d.id for d in documents)[:3]


def test_many_threads_on_one_index(filtered: tuple[Index, list[Document]]) -> None:
    index, _ = filtered

    def look(n: int) -> Any:
        condition = [None, {"department": "心内科"}, {"year": {"$gte": 0}}][n % 3]
        dense = index.search_dense(ENCODER.encode_queries([WORDS[n % 14]]), 7, condition)
        rows = [h.row for h in dense[0]]
        return (
            dense,
            index.search_lexical([COMMON], 7, condition),
            [p.chunk.text for p in index.passages(rows).values()],
        )

    expected = [look(n) for n in range(42)]
    index._conditions.clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(42))) == expected
