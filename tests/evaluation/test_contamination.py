"""How much of a task stands in an index, in the data of a training run, or in files."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimed_rag import MedQA
from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import CorpusError, InputError
from chimed_rag.evaluation.beir import data_sha256
from chimed_rag.evaluation.contamination import noted, overlap
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.exam_evidence import read_items
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.records import Document

CARD = Card(
    name="made_up", title="", kind="choice", reader="", source="", licence="", split="", main_metric="accuracy",
    contamination="",
)  # fmt: skip
STEM = "患者男性六十岁反复胸痛三年加重一周首选的检查是"  # 23 characters: 14 grams of 10, 11 of 13
OPTIONS = {"A": "冠状动脉造影检查及血流储备分数测定", "B": "心电图"}  # 17 characters: 8 grams of 10; too short


def task(*samples: Sample, name: str = "made_up") -> Task:
    return Task(card=CARD.model_copy(update={"name": name}), samples=samples, data_sha256="0")


QUESTION = Sample(id="1", text=STEM, options=OPTIONS)


def file(folder: Path, *texts: str) -> Path:
    path = folder / "source.jsonl"
    path.write_text("\n".join(json.dumps({"text": one}, ensure_ascii=False) for one in texts), "utf-8")
    return path


@pytest.mark.parametrize(
    ("texts", "seen", "touched"),
    [
        ([STEM, OPTIONS["A"]], 1, 1),  # 22 of 22 grams
        ([f"问：{STEM}？答：A．{OPTIONS['A']}。"], 1, 1),  # signs between them
        ([STEM], 0, 1),  # 14 of 22
        ([STEM, OPTIONS["A"][:13]], 1, 1),  # 14 + 4 of 22 are .82
        ([STEM, OPTIONS["A"][:12]], 0, 1),  # 14 + 3 of 22 are .77
        ([STEM[:12]], 0, 0),  # three grams of 10, none of 13
        ([STEM[:13]], 0, 1),
        ([STEM[:9], STEM[9:]], 0, 1),  # no gram spans two texts: 5 of 22
        (["毫不相干的一段文字，讲的是别的事情。"], 0, 0),
    ],
)
def test_by_hand(tmp_path: Path, texts: list[str], seen: int, touched: int) -> None:
    found = overlap(task(QUESTION), file(tmp_path, *texts))
    assert (found.n, found.short, found.texts) == (1, 0, len(texts))
    assert found.seen is not None
    assert found.touched is not None
    assert (found.seen.value, found.touched.value) == (seen, touched)
    assert found.ids == (("1",) if seen else ())


def test_short_stems_are_counted_apart(tmp_path: Path) -> None:
    short = Sample(id="2", text="首选药物是", options={"A": STEM})
    found = overlap(task(QUESTION, short), file(tmp_path, STEM, *OPTIONS.values()))
    assert (found.n, found.short) == (1, 1)
    none = overlap(task(short), file(tmp_path, STEM))
    assert (none.n, none.seen, none.ids) == (0, None, ())
    assert "no question of 10 characters" in none.note()
    assert overlap(task(), file(tmp_path, STEM)).n == 0


def test_neither_order_nor_repetition_matters(tmp_path: Path) -> None:
    samples = [Sample(id=str(n), text=f"第{n}题：{STEM}") for n in range(6)]
    texts = [f"第{n}题：{STEM}" for n in (1, 3)] + ["甲" * 30]
    one = overlap(task(*samples), file(tmp_path, *texts))
    other = overlap(task(*samples[::-1]), file(tmp_path, *texts[::-1], *texts))
    assert (one.seen, one.touched, set(one.ids)) == (other.seen, other.touched, set(other.ids))


@given(st.lists(st.text("甲乙丙", min_size=0, max_size=40), max_size=5), st.text("甲乙丙", min_size=10, max_size=30))
def test_agrees_with_sets_of_strings(texts: list[str], stem: str) -> None:
    """Parity with plain sets of n-grams."""
    from tempfile import TemporaryDirectory

    there = {n: {one[i : i + n] for one in texts for i in range(len(one) - n + 1)} for n in (10, 13)}
    tens = [stem[i : i + 10] for i in range(len(stem) - 9)]
    thirteens = [stem[i : i + 13] for i in range(len(stem) - 12)]
    with TemporaryDirectory() as folder:
        found = overlap(task(Sample(id="1", text=stem)), file(Path(folder), *texts))
    assert found.seen is not None
    assert found.touched is not None
    assert found.seen.value == (sum(one in there[10] for one in tens) / len(tens) >= 0.8)
    assert found.touched.value == any(one in there[13] for one in thirteens)


# --- sources ----------------------------------------------------------------------------------------------------


def test_an_index(tmp_path: Path) -> None:
    documents = [
        Document(id="a", title="胸痛", text=f"{STEM}冠状动脉造影。"),
        Document(id="b", title="别的", text="多喝水。"),
    ]
    MedQA.build(documents, tmp_path / "ward").close()
    found = overlap(task(Sample(id="1", text=STEM)), tmp_path / "ward")
    assert (found.kind, found.source, found.ids, found.texts) == ("index", "ward", ("1",), 2)
    assert found.note().startswith(
        "overlap with ward (index, 2 texts): 1 of 1 questions have 80% of their 10-grams there (100.00% ["
    )


def test_a_result_says_what_it_overlaps_with(tmp_path: Path) -> None:
    asked = task(QUESTION)
    found = overlap(asked, file(tmp_path, STEM, *OPTIONS.values()))
    result = TaskResult(
        task="made_up", system="x", protocol="strict-v1", n=1, data_sha256="0", metrics={}, counts={}, card=CARD,
        notes=("a trial",),
    )  # fmt: skip
    assert noted(result, found).notes == ("a trial", found.note())
    assert noted(result) == result
    with pytest.raises(InputError, match="is of made_up, not of the other"):
        noted(result.model_copy(update={"task": "other"}), found)


def run_folder(folder: Path, paths: Sequence[str]) -> Path:
    folder.mkdir()
    data = [{"path": path, "sha256": "0", "read": 1, "kept": 1} for path in paths]
    (folder / "manifest.json").write_text(json.dumps({"stage": "sft", "data": data}), "utf-8")
    return folder


def test_a_training_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are read again, gzip too; what is gone is named."""
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "pairs.jsonl.gz", "wt", encoding="utf-8") as rows:
        rows.write(json.dumps({"turns": [{"user": STEM}, {"doctor": "冠脉造影"}]}) + "\n")
    monkeypatch.setenv("CHIMED_SHARED", str(tmp_path))
    run = run_folder(tmp_path / "run", ["$CHIMED_SHARED/data/pairs.jsonl.gz", "gone.jsonl"])
    found = overlap(task(Sample(id="1", text=STEM)), run)
    assert (found.kind, found.ids, found.texts, found.missing) == ("training", ("1",), 2, ("gone.jsonl",))
    assert found.note().endswith("not there, so not looked at: gone.jsonl")
    with pytest.raises(InputError, match=r"none of the files it was trained on is there any more: gone\.jsonl"):
        overlap(task(QUESTION), run_folder(tmp_path / "other", ["gone.jsonl"]))


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(f"第一行\n{STEM}\n", "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.md").write_text(OPTIONS["A"], "utf-8")
    assert overlap(task(QUESTION), tmp_path).ids == ("1",)
    assert overlap(task(QUESTION), tmp_path / "notes.txt").ids == ()
    assert overlap(task(QUESTION), [tmp_path / "notes.txt", tmp_path / "more" / "x.md"]).ids == ("1",)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        overlap(task(QUESTION), tmp_path / "none")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(CorpusError, match=r"cut\.jsonl\.gz: cannot be read"):
        overlap(task(QUESTION), tmp_path / "cut.jsonl.gz")
    (tmp_path / "manifest.json").write_text("{", "utf-8")
    with pytest.raises(CorpusError, match=r"manifest\.json"):
        overlap(task(QUESTION), tmp_path)


# --- real data --------------------------------------------------------------------------------------------------


def exam(path: Path, most: int) -> Task:
    samples = []
    for n, item in enumerate(random.Random(0).sample(read_items(path), most)):
        options = dict(zip("ABCDE", item.options, strict=False))
        samples.append(Sample(id=str(n), text=item.question, options=options))
    return Task(
        card=CARD.model_copy(update={"name": path.name}), samples=tuple(samples), data_sha256=data_sha256([path])
    )


@pytest.mark.real_data
def test_questions_of_a_set_are_found_in_it_and_not_in_text_of_another_kind(shared_data: Path) -> None:
    path = shared_data / "eval" / "cmexam_dev.jsonl.gz"
    asked = exam(path, 200)
    itself = overlap(asked, path)
    assert itself.seen is not None
    assert itself.seen.value == 1.0
    assert itself.n + itself.short == 200
    leaflets = overlap(asked, shared_data / "corpora" / "drug_leaflets.jsonl.gz")
    assert leaflets.seen is not None
    assert leaflets.seen.value < 0.02
    assert sum(1 for _ in json_rows(shared_data / "corpora" / "drug_leaflets.jsonl.gz")) <= leaflets.texts
