"""Reading pairs: the forms, the filters, and that every row is accounted for."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chimed_rag.errors import ConfigError, CorpusError, InputError
from training.files import Ledger
from training.pairs import Pair, PairData, PairFile, read_pairs, split
from training.settings import ROOT


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


def row(query: str, passage: str, source: str = "甲", kind: str = "qa", open_licence: bool = True) -> dict[str, Any]:
    return {"query": query, "passage": passage, "source": source, "kind": kind, "open_licence": open_licence}


def read(*files: dict[str, Any], limit: int | None = None, **hygiene: Any) -> tuple[list[Pair], Ledger]:
    data = PairData.model_validate({"files": files, "hygiene": {"evaluation": None, **hygiene}, "limit": limit})
    ledger: Ledger = []
    return read_pairs(data, seed=1, ledger=ledger), ledger


def test_filters_and_reasons(tmp_path: Path) -> None:
    rows = [
        row("头痛怎么办", "先休息，再就诊。"),
        row("头痛怎么办！", "先休息再就诊"),  # the same skeletons
        row("发烧怎么办", "多喝水。", open_licence=False),
        row("咳嗽怎么办", "查胸片。", source="乙"),
        row("胃痛怎么办", "做胃镜。", kind="exam"),
        row("？？", "无。"),
        row("痛", "看医生。"),
        row("腹泻", "腹泻。"),
    ]
    path = write(tmp_path / "x.jsonl.gz", rows)
    pairs, (account,) = read({"path": path, "open_licence": True, "sources": ["甲"], "not_kinds": ["exam"]})
    assert pairs == [Pair("头痛怎么办", "先休息，再就诊。", "甲")]
    expected = "duplicate", "not open_licence", "source", "kind", "empty", "too short", "repeats itself"
    assert dict(account.dropped) == dict.fromkeys(expected, 1)
    assert (account.rows, account.read, account.kept) == (8, 8, 1)


def test_consultations(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("多喝水，注意休息。\t感冒怎么办\t感冒了咋治\t\n", "utf-8")
    pairs, (account,) = read({"path": str(tmp_path / "*.tsv"), "form": "consultations"})
    assert pairs == [Pair(q, "多喝水，注意休息。", "a") for q in ("感冒怎么办", "感冒了咋治")]
    assert (account.rows, account.read, account.kept, dict(account.dropped)) == (1, 3, 2, {"empty": 1})
    (tmp_path / "b.tsv").write_text("好的。\t问题一呢\n没有制表符\n", "utf-8")
    with pytest.raises(CorpusError, match=r"b\.tsv, line 2: no tab"):
        read({"path": str(tmp_path / "*.tsv"), "form": "consultations"})


def test_questions_asked_of_a_literature(tmp_path: Path) -> None:
    rows = [
        {"kind": "short", "question": "痛风能喝酒吗", "sentences": ["痛风患者应限酒。", "啤酒可诱发痛风。"]},
        {"kind": "absent_aspect", "question": "痛风能坐飞机吗", "sentences": []},
    ]
    pairs, (account,) = read({"path": write(tmp_path / "asked.jsonl", rows), "form": "asked", "source": "own"})
    assert pairs == [Pair("痛风能喝酒吗", text, "own") for text in ("痛风患者应限酒。", "啤酒可诱发痛风。")]
    assert (account.rows, account.read, account.kept) == (2, 2, 2)
    path = write(tmp_path / "broken.jsonl", [rows[0], {"question": "痛风呢", "sentences": "无"}])
    with pytest.raises(CorpusError, match=r'broken\.jsonl, line 2: "sentences" is no list of texts'):
        read({"path": path, "form": "asked"})


def test_a_corpus_becomes_templated_pairs(tmp_path: Path) -> None:
    rows = [{"title": "痛风", "section": "治疗", "text": "限酒。"}, {"title": "痛风", "section": "", "text": "限肉。"}]
    path = write(tmp_path / "books.jsonl", rows)
    pairs, (account,) = read(
        {"path": path, "form": "corpus", "query": ["{title}如何{section}"], "passage": "{title}：{text}"}
    )
    assert pairs == [Pair("痛风如何治疗", "痛风：限酒。", "books")]
    assert dict(account.dropped) == {"empty": 1}
    both, _ = read({"path": path, "form": "corpus", "query": ["{title}一", "{title}二"]})
    assert both == read({"path": path, "form": "corpus", "query": ["{title}一", "{title}二"]})[0]


def test_beir(tmp_path: Path) -> None:
    write(tmp_path / "queries.jsonl", [{"_id": "1", "text": "怎么退烧"}])
    write(
        tmp_path / "corpus.jsonl.gz",
        [{"_id": "a", "title": "发热", "text": "物理降温。"}, {"_id": "b", "text": "无关。"}],
    )
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t0\n", "utf-8")
    pairs, (account,) = read({"path": str(tmp_path), "form": "beir", "source": "丙"})
    assert pairs == [Pair("怎么退烧", "发热\n物理降温。", "丙")]
    assert dict(account.dropped) == {"not relevant": 1}
    (tmp_path / "qrels.tsv").unlink()
    with pytest.raises(CorpusError, match=r"no file qrels\.jsonl"):
        read({"path": str(tmp_path), "form": "beir"})


def test_evaluation_sets_and_near_duplicates_go(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    write(tmp_path / "eval" / "q.jsonl", [{"text": "孩子半夜突然发高烧应该怎么处理才好"}])
    long = "".join(chr(0x4E00 + 13 * n) for n in range(120))
    rows = [
        row("请问孩子半夜突然发高烧应该怎么处理", "先测体温。"),
        row("孩子半夜发烧", "先测体温。"),
        row("这个病怎么治疗呢", long),
        row("这个病怎么治疗呢", long[:50] + "改" + long[51:]),
        row("另一个问题是什么", long),
    ]
    path = write(tmp_path / "x.jsonl", rows)
    pairs, (account,) = read({"path": path}, evaluation=str(tmp_path / "eval"))
    assert [pair.query for pair in pairs] == ["孩子半夜发烧", "这个病怎么治疗呢", "另一个问题是什么"]
    assert dict(account.dropped) == {"evaluation": 1, "near duplicate": 1}
    assert len(read({"path": path}, near_duplicates=None)[0]) == 5
    with pytest.raises(ConfigError, match="holds no evaluation file"):
        read({"path": path}, evaluation=str(tmp_path / "gone"))


def test_limits_draw_the_same_pairs_again(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [row(f"第{n}个问题", f"第{n}个回答") for n in range(50)])
    few, (account,) = read({"path": path, "limit": 20}, limit=7)
    assert len(few) == 7 and few == read({"path": path, "limit": 20}, limit=7)[0]
    assert few == sorted(few, key=lambda pair: int(pair.query[1:-3]))
    assert (account.kept, dict(account.dropped)) == (7, {"beyond the limit": 43})


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [row("问题", "回答")])
    with Path(path).open("a", encoding="utf-8") as file:
        file.write('\n{"query": "问", "text": "答"}\n')
    with pytest.raises(
        CorpusError, match=r"x\.jsonl, line 3: the field 'passage' is missing or no text; .*query, text"
    ):
        read({"path": path})
    with pytest.raises(CorpusError, match="no such file"):
        read({"path": str(tmp_path / "gone.jsonl")})
    with pytest.raises(CorpusError, match="no file matches"):
        read({"path": str(tmp_path / "*.gone")})
    with pytest.raises(InputError, match=r"no pair is left of: .*not open_licence"):
        read({"path": write(tmp_path / "y.jsonl", [row("问题", "回答", open_licence=False)]), "open_licence": True})


texts = st.text(alphabet="甲乙丙 ，a", max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(texts, texts, st.booleans()), min_size=1, max_size=20), limit=st.integers(1, 10))
def test_every_row_is_accounted_for(tmp_path: Path, rows: list[tuple[str, str, bool]], limit: int) -> None:
    anchor = row("一定留下的问题", "一定留下的回答")
    path = write(tmp_path / "x.jsonl", [anchor, *(row(q, p, open_licence=o) for q, p, o in rows)])
    pairs, (account,) = read({"path": path, "open_licence": True}, limit=limit)
    assert account.rows == account.read == len(rows) + 1
    assert account.read == account.kept + sum(account.dropped.values())
    assert account.kept == len(pairs) <= limit


def test_a_split_shares_no_text() -> None:
    pairs = [Pair(f"问题{n}之{m}", f"回答{n}", "甲") for n in range(30) for m in range(3)]
    pairs.append(
        Pair("回答7", "另一段", "甲")
    )  # a held-out passage must not stand on the other side of a training pair
    for seed in range(6):
        training, held_out = split(pairs, 10, seed)
        assert 10 <= len(held_out) <= 12
        seen = {text for pair in held_out for text in pair[:2]}
        assert not seen & {text for pair in training for text in pair[:2]}
        assert (training, held_out) == split(pairs, 10, seed)
    assert split(pairs, 10, 1) != split(pairs, 10, 2)
    assert split(pairs, 0, 1) == (pairs, [])
    with pytest.raises(InputError, match="leave nothing to train on"):
        split(pairs[:3], 3, 1)


def test_no_torch_is_needed() -> None:
    heavy = "{'torch', 'transformers', 'datasets'}"
    code = f"import sys, training.pairs, training.mining, training.retriever; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.real_data
def test_the_real_pairs_hold_traces_of_the_evaluation_sets(shared_data: Path) -> None:
    """A sample; the counts of the whole are in the report of the issue."""
    file = PairFile(path=str(shared_data / "pairs" / "query_passage.jsonl.gz"), limit=2000)
    data = PairData.model_validate({"files": [file], "hygiene": {"evaluation": str(shared_data / "eval")}})
    ledger: Ledger = []
    pairs = read_pairs(data, seed=1, ledger=ledger)
    assert ledger[0].read == 87_483
    assert 0 < ledger[0].dropped["evaluation"] < 300
    assert len(pairs) == ledger[0].kept
