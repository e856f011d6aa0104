"""Building with an adapted encoder: it lies in the index, moves and stays with it, and survives kills and damage."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimed_rag import MedQA
from chimed_rag.corpus.sources import load
from chimed_rag.encoders import adapt as learning
from chimed_rag.encoders.base import INSIDE
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.errors import ChiMedError, CorpusError, IndexDamagedError, InputError
from chimed_rag.indexing import adaptation, commit
from chimed_rag.indexing.manifest import damaged_files, read_manifest
from chimed_rag.indexing.writer import repair
from chimed_rag.records import Document
from tests.tiny_ngrams import documents, literature, tiny_encoder

PASSAGES = literature(places=12, complaints=10)
DOCUMENTS = documents(PASSAGES)
OTHER_PASSAGES = literature(1, places=8, complaints=8)
OTHERS = documents(OTHER_PASSAGES)
ASKED = PASSAGES[0].title
QUESTIONS = [passage.title for passage in PASSAGES[::17]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few consultations, and small batches, so that a small literature has many."""
    monkeypatch.setattr(learning, "consultations", lambda: [("药怎么吃", "一天三次，饭后吃。")] * 3)
    monkeypatch.setattr(learning, "train", partial(learning.train, batch=32))


@pytest.fixture
def encoder() -> NgramEncoder:
    return tiny_encoder([p.whole() for p in PASSAGES + OTHER_PASSAGES])


@pytest.fixture
def index(folder: Path, encoder: NgramEncoder) -> Path:
    MedQA.build(DOCUMENTS, folder / "index", encoder=encoder, adapt=True).close()
    return folder / "index"


def found(path: Path | MedQA) -> list[list[tuple[str, float]]]:
    qa = path if isinstance(path, MedQA) else MedQA.load(path)
    hits = [[(hit.document_id, round(hit.score, 6)) for hit in qa.search_keys(question, 5)] for question in QUESTIONS]
    if qa is not path:
        qa.close()
    return hits


def own(path: Path) -> list[str]:
    """The encoder folders of an index."""
    return sorted(place.name for place in (path / "encoder").glob("*"))


def require_whole(path: Path) -> None:
    """The manifest names one encoder, it lies there with every byte, and beside it none."""
    manifest = read_manifest(path)
    assert manifest.encoder.settings == {"path": INSIDE + manifest.encoder.fingerprint[:16]}
    named = {name for name in manifest.files if name.startswith(INSIDE)}
    assert named == {f"{manifest.encoder.settings['path']}/{name}" for name in ("config.json", "model.safetensors")}
    assert damaged_files(path, manifest, hashes=True) == []


def test_the_encoder_lies_in_the_index(folder: Path, encoder: NgramEncoder) -> None:
    path = folder / "index"
    with MedQA.build(DOCUMENTS, path, encoder=encoder, adapt=True) as qa:
        told = qa.adaptation
        assert told is not None and told.kept and told.encoder is qa.encoder
        expected = found(qa)
    require_whole(path)
    assert own(path) == [told.encoder.spec.fingerprint[:16]]
    assert read_manifest(path).encoder.fingerprint == told.encoder.spec.fingerprint != encoder.spec.fingerprint
    with MedQA.load(path) as again:
        assert again.adaptation is None and again.encoder.spec == told.encoder.spec
        assert found(again) == expected
        assert "dense" in again.search(ASKED, 1)[0].ranks
    with MedQA.build(DOCUMENTS, folder / "plain", encoder=encoder, adapt=False) as plain:
        assert plain.adaptation is None and found(plain) != expected
        assert plain.encoder is encoder


def test_pairs_of_a_user_are_learnt_from(folder: Path, encoder: NgramEncoder, tmp_path: Path) -> None:
    rows = [{"query": " 哪里疼 ", "passage": "这里疼。", "source": "ward"}, {"query": "怎么办", "passage": "等一等。"}]
    file = tmp_path / "pairs.jsonl"
    file.write_text(
        "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", "utf-8-sig"
    )  # as Windows writes it
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt", encoding="utf-8") as out:
        out.write(file.read_text("utf-8"))
    pairs = [("哪里疼", "这里疼。"), ("怎么办", "等一等。")]
    assert adaptation.read_pairs(file) == adaptation.read_pairs(f"{file}.gz") == pairs
    specs = []
    for n, given in enumerate((file, f"{file}.gz", iter(pairs))):
        with MedQA.build(DOCUMENTS, folder / f"index{n}", encoder=encoder, pairs=given) as qa:  # type: ignore[arg-type]
            assert qa.adaptation is not None and qa.adaptation.encoder.card["pairs"]["pairs"] == 2
            assert len(qa._view.index) == len(DOCUMENTS)  # they are not indexed
            specs.append(qa.encoder.spec.fingerprint)
    assert len(set(specs)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no pair; a line reads"),
        ('{"query": "头痛", "passage": "休息"}\n{"query": "头痛"}\n', r"bad\.jsonl.*2.*no pair; a line reads"),
        ('{"query": "头痛", "passage": "  "}\n', "no pair"),
        ('["头痛", "休息"]\n', "not a JSON object"),
        ('{"query": null, "passage": "休息"}\n', "no pair"),
        ('{"query": "\\ud83d", "passage": "休息"}\n', "not a usable JSON object"),
        ("头痛\n", "not a usable JSON object"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_pairs_that_is_none_is_told_so(
    folder: Path, encoder: NgramEncoder, tmp_path: Path, text: str | bytes | None, said: str
) -> None:
    file = tmp_path / "bad.jsonl"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorpusError, match=said):
        MedQA.build(DOCUMENTS, folder / "index", encoder=encoder, pairs=file)
    assert not (folder / "index").exists()


def test_pairs_need_an_encoder_that_learns(folder: Path, encoder: NgramEncoder) -> None:
    with pytest.raises(InputError, match="leave --no-adapt out, or --pairs"):
        MedQA.build(DOCUMENTS, folder / "index", encoder=encoder, adapt=False, pairs=[("头痛", "休息")])
    for wrong in [("头痛",)], [("头痛", "休息"), ("头痛", " ")], ["头痛"]:
        with pytest.raises(InputError, match=f"pair {len(wrong)} is not a question"):
            MedQA.build(DOCUMENTS, folder / "index", encoder=encoder, pairs=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave --adapt and --pairs out"):
        MedQA.build(DOCUMENTS, folder / "index", encoder="hashing", pairs=[("头痛", "休息")])


def test_copies_and_moves_need_nothing_else(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = found(index)
    with MedQA.load(index) as qa:
        qa.save(tmp_path / "copy")
    shutil.rmtree(index)
    require_whole(tmp_path / "copy")
    assert found(tmp_path / "copy") == expected
    moved = (tmp_path / "copy").rename(tmp_path / "moved")
    assert found(moved) == expected
    monkeypatch.chdir(tmp_path)
    assert found(Path("moved")) == expected  # a relative path, too


def test_a_folder_that_cannot_be_written_is_read(index: Path) -> None:
    expected, places = found(index), [index, *index.rglob("*")]
    for place in places:
        place.chmod(stat.S_IRUSR | (stat.S_IXUSR if place.is_dir() else 0))
    try:
        assert found(index) == expected
        if os.getuid():  # root may write anywhere
            with MedQA.load(index) as qa, pytest.raises(ChiMedError, match="cannot be written"):
                qa.add(OTHERS[:1])
    finally:
        for place in places:
            place.chmod(stat.S_IRWXU)


CHANGES: dict[str, Callable[[MedQA], object]] = {
    "add": lambda qa: qa.add([Document(id="new", title="新", text="新加的一篇。")]),
    "upsert": lambda qa: qa.upsert([Document(id="d0001", title="新", text="换过的一篇。")]),
    "delete": lambda qa: qa.delete(["d0002"]),
    "compact": lambda qa: qa.compact(),
}


@pytest.mark.parametrize("loaded", [False, True], ids=["built", "loaded"])
def test_every_change_keeps_the_encoder(folder: Path, encoder: NgramEncoder, loaded: bool) -> None:
    path = folder / "index"
    built = MedQA.build(DOCUMENTS, path, encoder=encoder, adapt=True)
    spec = read_manifest(path).encoder
    qa = MedQA.load(path) if loaded else built
    for _ in range(2):  # what only the generation before the last needs is removed: go on long enough
        for change in CHANGES.values():
            change(qa)
            require_whole(path)
            assert read_manifest(path).encoder == spec and own(path) == [spec.fingerprint[:16]]
    found(qa)
    qa.close()
    built.close()
    moved = path.rename(folder / "moved")
    with MedQA.load(moved) as again:
        assert again.search("新加的一篇", 1)[0].document_id == "new"


def test_an_encoder_read_from_elsewhere_stays_in_the_index(index: Path, folder: Path) -> None:
    spec = read_manifest(index).encoder
    elsewhere = Path(shutil.copytree(index / str(spec.settings["path"]), folder / "elsewhere"))
    with MedQA.load(index, encoder=elsewhere) as qa:
        qa.add([Document(id="x", text="另一篇文字。")])
    shutil.rmtree(elsewhere)
    require_whole(index)
    assert found(index)


def test_the_encoder_of_an_index_makes_another_index(index: Path, folder: Path) -> None:
    with MedQA.load(index) as qa:
        MedQA.build(OTHERS, folder / "other", encoder=qa.encoder, adapt=False).close()
    shutil.rmtree(index)
    require_whole(folder / "other")
    assert found(folder / "other")


def test_a_users_folder_called_encoder_is_not_ours(
    folder: Path, encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    encoder.save(Path("encoder/mine"))
    MedQA.build(DOCUMENTS[:5], Path("index"), encoder="encoder/mine").close()
    assert read_manifest(Path("index")).encoder.settings == {"path": "encoder/mine"}
    assert not Path("index/encoder").exists()
    assert found(Path("index"))


def test_building_over_it_leaves_no_orphan(index: Path, encoder: NgramEncoder) -> None:
    (first,) = own(index)
    reader = MedQA.load(index)
    with MedQA.build(OTHERS, index, encoder=encoder, adapt=True, overwrite=True) as qa:
        second = qa.encoder.spec.fingerprint[:16]
        assert own(index) == sorted([first, second])  # readers may just be opening the generation before
        found(reader)
        qa.add([Document(id="x", text="另一篇文字。")])
        assert own(index) == [second]
    reader.close()
    require_whole(index)
    MedQA.build(OTHERS, index, encoder=encoder, adapt=False, overwrite=True).close()
    with MedQA.load(index, encoder=encoder) as qa:
        qa.delete(["d0000"])
    assert own(index) == []


def test_building_the_same_again(index: Path, encoder: NgramEncoder) -> None:
    expected, before = found(index), own(index)
    MedQA.build(DOCUMENTS, index, encoder=encoder, adapt=True, overwrite=True).close()
    assert found(index) == expected and own(index) == before
    require_whole(index)


# --- kills ------------------------------------------------------------------------------------------------------


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_killed_between_encoder_and_manifest(
    index: Path, encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, manifest = found(index), read_manifest(index)
    again = partial(MedQA.build, OTHERS, index, encoder=encoder, adapt=True, overwrite=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(commit, "write_manifest", _killed)
        again()
    assert len(own(index)) == 2
    assert read_manifest(index) == manifest and found(index) == expected
    require_whole(index)
    again().close()
    require_whole(index)
    assert read_manifest(index).generation == manifest.generation + 1


@pytest.mark.parametrize("moment", ["fsync_file", "fsync_folder", "write_manifest"])
def test_a_first_build_that_was_killed_succeeds_when_run_again(
    folder: Path, encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    again = partial(MedQA.build, DOCUMENTS, folder / "index", encoder=encoder, adapt=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(commit, moment, _killed)
        again()
    with pytest.raises(ChiMedError, match="did not finish"):
        MedQA.load(folder / "index")
    for weights in (folder / "index").glob("encoder/*/model.safetensors"):
        weights.write_bytes(b"cut by a power loss")  # what nothing names may be anything
    again().close()
    require_whole(folder / "index")
    assert len(own(folder / "index")) == 1


def test_killed_while_encoding_goes_on_where_it_was(
    folder: Path, encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 50)  # 240 passages: 50, 50, 50, 50, 40
    encode, seen, limit = NgramEncoder.encode_documents, 0, 170

    def counting(self: NgramEncoder, texts: Any) -> Any:
        nonlocal seen
        if any(text.count("\n") for text in texts):  # with their titles: indexed, not tried out
            seen += len(texts)
            if limit is not None and seen > limit:
                raise KeyboardInterrupt
        return encode(self, texts)

    monkeypatch.setattr(NgramEncoder, "encode_documents", counting)
    again = partial(MedQA.build, DOCUMENTS, folder / "index", encoder=encoder, adapt=True)
    with pytest.raises(KeyboardInterrupt):
        again()
    seen, limit = 0, None
    again().close()
    assert seen == 90  # three segments were there
    require_whole(folder / "index")
    monkeypatch.undo()
    with MedQA.load(folder / "index") as qa:
        vectors = qa.encoder.encode_documents([f"{p.title}\n{p.heading}\n{p.text}" for p in PASSAGES])
        best = qa._view.index.search_dense(vectors, 1)
        right = np.mean([hits[0].document_id == d.id for hits, d in zip(best, DOCUMENTS, strict=True)])
    assert right > 0.95  # those that were taken up have the vectors of the same encoder


# --- damage -----------------------------------------------------------------------------------------------------


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("at", [0, 300, -1])
def test_a_flipped_byte_of_the_encoder_is_noticed(index: Path, name: str, at: int) -> None:
    (file,) = index.glob(f"encoder/*/{name}")
    _flip(file, min(at, file.stat().st_size // 2))
    with pytest.raises(IndexDamagedError, match=rf"encoder/.*{name}.*inspect"):
        MedQA.load(index)
    with pytest.raises(IndexDamagedError, match=rf"encoder/.*{name}.*--overwrite"):
        repair(index)


def test_a_missing_encoder_is_noticed(index: Path) -> None:
    shutil.rmtree(index / "encoder")
    with pytest.raises(ChiMedError, match=r"encoder/.*missing"):
        MedQA.load(index)


@pytest.mark.parametrize("damage", ["flipped", "gone", "manifest"])
def test_building_over_a_damaged_one_mends_it(index: Path, encoder: NgramEncoder, damage: str) -> None:
    expected, names = found(index), sorted(read_manifest(index).files)
    (file,) = index.glob("encoder/*/model.safetensors")
    if damage == "flipped":
        _flip(file, -1)
    elif damage == "gone":
        shutil.rmtree(file.parent)
    else:
        (index / "manifest.json").write_text("{")
    MedQA.build(DOCUMENTS, index, encoder=encoder, adapt=True, overwrite=True).close()
    require_whole(index)
    assert found(index) == expected
    (aside,) = (index / "quarantine").iterdir()
    kept = {path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()}
    lost = {name for name in names if name.startswith(INSIDE)} if damage == "gone" else set()
    assert kept >= set(names) - lost


# --- whether, and from what --------------------------------------------------------------------------------------


def test_only_the_ngram_encoder_is_adapted(folder: Path) -> None:
    with pytest.raises(InputError, match=r"hashing.*cannot be adapted"):
        MedQA.build(DOCUMENTS, folder / "index", encoder="hashing", adapt=True)
    assert not (folder / "index").exists()
    with MedQA.build(DOCUMENTS, folder / "index", encoder="hashing") as qa:
        assert qa.adaptation is None


def test_a_small_literature_is_adapted_to_when_asked_for(
    folder: Path, encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(DOCUMENTS) < adaptation.LEAST_PASSAGES
    with MedQA.build(DOCUMENTS, folder / "one", encoder=encoder) as qa:
        assert qa.adaptation is None and qa.encoder is encoder and not (folder / "one" / "encoder").exists()
    monkeypatch.setattr(adaptation, "LEAST_PASSAGES", len(DOCUMENTS))
    with MedQA.build(DOCUMENTS, folder / "two", encoder=encoder) as qa:
        assert qa.adaptation is not None and qa.adaptation.kept
    monkeypatch.setattr(adaptation, "LEAST_PASSAGES", 0)
    with MedQA.build(DOCUMENTS[:5], folder / "three", encoder=encoder) as qa:
        assert qa.adaptation is None  # nothing to learn from; nobody asked for it
    with pytest.raises(InputError, match="5 passages are fewer"):
        MedQA.build(DOCUMENTS[:5], folder / "four", encoder=encoder, adapt=True)
    assert not (folder / "four").exists()


def test_what_is_not_kept_is_not_stored(folder: Path, encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "mean_reciprocal_rank", lambda *_: 0.5)
    with MedQA.build(DOCUMENTS, folder / "index", encoder=encoder, adapt=True) as qa:
        assert qa.adaptation is not None and not qa.adaptation.kept and qa.adaptation.encoder is encoder
        assert qa.encoder is encoder
    assert not (folder / "index" / "encoder").exists()


def test_documents_that_come_once_and_a_report_that_is_made_once(folder: Path, encoder: NgramEncoder) -> None:
    reads = 0

    def once() -> Iterator[Document]:
        nonlocal reads
        reads += 1
        yield from DOCUMENTS

    reports: list[Any] = []
    with MedQA.build(once(), folder / "index", encoder=encoder, adapt=True, on_report=reports.append) as qa:
        assert {document.id for document in qa._view.index.store.documents()} == {d.id for d in DOCUMENTS}
        assert qa.document("d0007") == DOCUMENTS[7]
    expected: list[Any] = []
    assert len(list(load(DOCUMENTS, on_report=expected.append))) == len(DOCUMENTS)
    assert reads == 1 and reports == expected and len(reports) == 1


def test_every_document_is_as_it_was_given(folder: Path, encoder: NgramEncoder) -> None:
    odd = [
        Document(
            id="odd", text="甲\r\n乙\u2028丙\x85丁\u3000🙂。", metadata={"a": [1, {"b": None}], "n": 10**18, "x": 0.1}
        ),
        Document(id="pages", title="书", text="第一页。\n第二页。", pages=(0, 5), date="2020", url="u", licence="CC0"),
        Document(id="nan", text="没有数。", metadata={"value": float("nan")}),
    ]
    with adaptation.adapted(iter([*DOCUMENTS, *odd]), encoder, adaptation.Chunking(), wanted=True) as (
        documents,
        _,
        told,
    ):
        assert told is not None
        again = list(documents)
    assert again[:-1] == [*DOCUMENTS, *odd[:-1]]
    assert np.isnan(again[-1].metadata["value"])  # type: ignore[arg-type]


@pytest.mark.parametrize("adapt", [False, True])
def test_what_cannot_be_stored_is_told_alike(folder: Path, encoder: NgramEncoder, adapt: bool) -> None:
    torn = [*DOCUMENTS, Document(id="torn", text="半个字符\ud83d。")]
    with pytest.raises(InputError, match=r"'torn': character 4 of its text"):
        MedQA.build(torn, folder / "index", encoder=encoder, adapt=adapt)


def test_an_error_of_the_source_is_the_callers(folder: Path, encoder: NgramEncoder) -> None:
    def broken() -> Iterator[Document]:
        yield from DOCUMENTS[:50]
        raise OSError("the tape is torn")

    with pytest.raises(OSError, match="the tape is torn"):
        MedQA.build(broken(), folder / "index", encoder=encoder, adapt=True)
    assert not (folder / "index").exists()


def test_a_folder_that_is_taken_is_refused_before_anything_is_read(index: Path, encoder: NgramEncoder) -> None:
    def never() -> Iterator[Document]:
        raise AssertionError("read in vain")
        yield

    with pytest.raises(InputError, match="already holds an index"):
        MedQA.build(never(), index, encoder=encoder, adapt=True)
    (index.parent / "mine").mkdir()
    (index.parent / "mine" / "letter.txt").touch()
    with pytest.raises(InputError, match="other files"):
        MedQA.build(never(), index.parent / "mine", encoder=encoder, adapt=True)


def test_a_large_literature_is_represented_by_a_fair_sample(
    encoder: NgramEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[list[Any]] = []

    def seen(_: Any, passages: list[Any], **__: Any) -> Any:
        taken.append(passages)
        raise InputError("enough")

    monkeypatch.setattr(adaptation, "adapt", seen)
    monkeypatch.setattr(adaptation, "MOST_PASSAGES", 40)
    monkeypatch.setattr(adaptation, "LEAST_PASSAGES", 1)
    for seed in range(60):
        with adaptation.adapted(DOCUMENTS, encoder, adaptation.Chunking(), wanted=None, seed=seed) as (
            read,
            kept,
            told,
        ):
            assert list(read) == DOCUMENTS and kept is encoder and told is None
    assert {len(passages) for passages in taken} == {40}
    titles = [[passage for passage in PASSAGES if passage in set(passages)] for passages in taken]
    assert all(len(found) == 40 for found in titles)
    # 240 passages, 60 samples of 40: each is expected ten times; the second half as often as the first.
    late = sum(passage in PASSAGES[120:] for passages in taken for passage in passages)
    assert late == pytest.approx(1200, abs=120)
