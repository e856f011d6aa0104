"""Which documents a source stands for, in which order, under which ids, and what is reported."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.corpus.sources import LoadReport, load
from chimed_rag.errors import CorpusError, DuplicateError, InputError
from chimed_rag.records import Document


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def report(sources: Any, **options: Any) -> LoadReport:
    reports: list[LoadReport] = []
    list(load(sources, on_report=reports.append, **options))
    return reports[0]


def ids(sources: Any, **options: Any) -> list[str]:
    return [document.id for document in load(sources, **options)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "literature"
    write(root / "b.md", "乙")
    write(root / "a.txt", "甲")
    write(root / "guides" / "心.md", "心脏")
    write(root / "guides" / "deep" / "t.jsonl", '{"text": "一"}\n\n{"text": "二"}\n')
    write(root / "guides" / "photo.PNG", b"\x89PNG")
    write(root / "README", "no suffix")
    write(root / ".git" / "x.md", "hidden")
    write(root / "guides" / "~$draft.docx", "lock")
    return root


def test_folder_in_order_of_names(folder: Path) -> None:
    expected = ["a.txt", "b.md", "guides/deep/t.jsonl:1", "guides/deep/t.jsonl:3", "guides/心.md"]
    assert ids(folder) == expected
    assert [document.source for document in load(str(folder))][2:4] == ["guides/deep/t.jsonl"] * 2


def test_report_of_a_folder(folder: Path) -> None:
    found = report(folder)
    assert (found.files, found.documents) == (4, 5)
    assert found.skipped == {"hidden": 2, "no suffix": 1, "unknown suffix .png": 1}
    assert found.encodings == {"utf-8": 4}
    # 甲 and 乙 have three bytes each, 心脏 has six; the lines of the table have 16 with their ends, the blank one 1.
    assert found.bytes == 3 + 3 + 6 + 16 + 1 + 16


def test_glob(folder: Path) -> None:
    assert ids(f"{folder}/**/*.md") == ["b.md", "guides/心.md"]
    assert ids(folder / "*.txt") == ["a.txt"]
    assert ids(f"{folder}/g*") == ["guides/deep/t.jsonl:1", "guides/deep/t.jsonl:3", "guides/心.md"]
    assert ids(f"{folder}/**") == ids(folder)


def test_relative_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert ids("guides/心.md") == ["心.md"]
    assert ids("*.md") == ["b.md"]
    assert ids(".") == ids(folder)


def test_a_file_name_with_wildcards_in_it(tmp_path: Path) -> None:
    assert ids(write(tmp_path / "a[1].txt", "甲")) == ["a[1].txt"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "a.txt", "甲")
    write(tmp_path / "elsewhere" / "b.txt", "乙")
    os.symlink(tmp_path / "elsewhere", root / "linked")
    os.symlink(root, root / "circle")
    os.symlink(tmp_path / "gone.txt", root / "broken.txt")
    assert ids(root) == ["a.txt", "linked/b.txt"]
    assert report(root).skipped == {"broken link or device": 1}


def test_names_in_gbk(tmp_path: Path) -> None:
    name = os.fsdecode("高血压.txt".encode("gbk"))
    try:
        write(tmp_path / name, "甲")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert ids(tmp_path) == ["高血压.txt"]


@pytest.mark.parametrize("missing", ["nothing.md", "nothing/", "糖尿病" * 500])
def test_missing_path(tmp_path: Path, missing: str) -> None:
    with pytest.raises(CorpusError, match=r"there is no such file or folder"):
        load([{"text": "甲"}, str(tmp_path / missing)])  # before anything is read


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is nothing to read here \(no files\); known are \.txt"):
        list(load(tmp_path))
    write(tmp_path / "a.png", b"1")
    with pytest.raises(CorpusError, match=r"\(1 with unknown suffix \.png\)"):
        list(load(tmp_path))
    with pytest.raises(CorpusError, match=r"nothing to read here \(no files\)"):
        list(load(f"{tmp_path}/**/*.md"))


@pytest.mark.parametrize(
    ("name", "advice"), [("a.doc", "save it as .docx"), ("a", "without a suffix"), ("a.pdf.gz", "")]
)
def test_file_of_unknown_kind(tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(CorpusError, match=rf"are not read, only .txt .*{advice}|{advice} are not read"):
        list(load(write(tmp_path / name, "x")))


# --- records given by the caller


def test_documents_dicts_and_paths_mixed(folder: Path) -> None:
    def stream() -> Iterator[Any]:
        yield Document(id="d1", text="文")
        yield {"text": "甲", "id": "x", "department": "心内科", "source": "书", "pages": [0]}
        yield folder / "a.txt"
        yield {"text": "乙", "title": None}
        yield {"text": ""}

    first, second, third, fourth = load(stream())
    assert first == Document(id="d1", text="文")
    assert (second.metadata, second.source, second.pages) == ({"department": "心内科"}, "书", (0,))
    assert third.id == "a.txt"
    assert (fourth.id, fourth.source) == ("record:4", "record:4")
    assert report(stream()).skipped == {"empty text": 1}
    assert ids(Document(id="d1", text="文")) == ids({"_id": "d1", "text": "文"}) == ["d1"]
    assert ids([]) == []


def test_a_document_as_a_dict_is_the_document() -> None:
    document = Document(id="d", text="甲", title="题", metadata={"a": 1}, pages=(0,), licence="CC0")
    (again,) = load(document.model_dump())
    assert again == document.model_copy(update={"source": "record:1"})


def test_dict_errors() -> None:
    with pytest.raises(CorpusError, match=r"^record 2: has no column 'text'"):
        list(load([{"text": "a"}, {"content": "b"}]))
    with pytest.raises(CorpusError, match="record 1: holds half a surrogate pair"):
        list(load({"text": "a\ud800"}))
    with pytest.raises(TypeError, match="cannot load a int"):
        list(load([1]))  # type: ignore[list-item]


def test_metadata_for_all(folder: Path) -> None:
    sources = [{"text": "a", "department": "儿科"}, Document(id="d", text="b"), folder / "a.txt"]
    found = [document.metadata for document in load(sources, metadata={"department": "心内科", "year": 2020})]
    assert found == [
        {"department": "儿科", "year": 2020},
        {"department": "心内科", "year": 2020},
        {"department": "心内科", "year": 2020},
    ]
    tagged = next(load(Document(id="d", text="b"), metadata={"a": 1}))
    assert tagged.content_hash == Document(id="d", text="b", metadata={"a": 1}).content_hash


def test_options_are_checked_at_once() -> None:
    with pytest.raises(InputError, match="on_error must be"):
        load([], on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the fields are: text, id, title"):
        load([], fields={"txt": "a"})


# --- the same id twice


def test_the_same_document_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"id": "a", "text": "甲"}\n{"id": "a", "text": "甲"}\n')
    assert ids([path, path]) == ["a"]
    assert report([path, path]).skipped == {"duplicate": 3}


def test_one_id_two_texts(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", '{"id": "x", "text": "甲"}\n')
    second = write(tmp_path / "b.jsonl", '{"id": "y", "text": "丙"}\n\n{"id": "x", "text": "乙"}\n')
    with pytest.raises(DuplicateError) as info:
        list(load(tmp_path))
    assert str(info.value).startswith(f"{second}, line 3: id 'x' is also that of {first}, line 1, ")
    assert 'fields={"id": ""}' in str(info.value)
    assert ids(tmp_path, fields={"id": ""}) == ["a.jsonl:1", "b.jsonl:1", "b.jsonl:3"]
    with pytest.raises(DuplicateError):  # never skipped
        list(load(tmp_path, on_error="skip"))


def test_one_name_in_two_folders(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a" / "心.md", "甲"), write(tmp_path / "b" / "心.md", "乙")
    with pytest.raises(DuplicateError, match="when the folder is loaded") as info:
        list(load([first, second]))
    assert str(first) in str(info.value)
    assert str(second) in str(info.value)
    assert ids(tmp_path) == ["a/心.md", "b/心.md"]


def test_one_id_in_two_items(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{"id": "x", "text": "甲"}, {"id": "x", "text": "乙"}]')
    with pytest.raises(DuplicateError, match=r"a\.json, item 2: id 'x' is also that of .*a\.json, item 1, "):
        list(load(path))


def test_one_id_in_two_records() -> None:
    with pytest.raises(DuplicateError, match=r"^record 2: id 'a' is also that of record 1, "):
        list(load([{"id": "a", "text": "甲"}, {"id": "a", "text": "乙"}]))


# --- files that cannot be read


def test_bad_files_stop_or_are_skipped(folder: Path) -> None:
    empty = write(folder / "empty.md", "")
    broken = write(folder / "t.jsonl", '{"text": "好"}\n{"text": \n')
    with pytest.raises(CorpusError, match=r"empty\.md: is empty"):
        list(load(folder))
    found = report(folder, on_error="skip")
    assert found.skipped["bad file"] == 2
    assert [error.split(":")[0] for error in found.errors] == [str(empty), f"{broken}, line 2"]
    assert found.documents == 6  # with the line before the broken one


def test_all_files_bad(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "")
    with pytest.raises(CorpusError, match=r"none of the files could be read; the first error: .*a\.txt: is empty"):
        list(load(tmp_path, on_error="skip"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "甲")
    path.chmod(0)
    with pytest.raises(CorpusError, match="cannot be read: Permission denied"):
        list(load(path))


# --- size and speed


def test_tables_are_streamed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", b"".join(b'{"text": "%06d %s"}\n' % (i, b"x" * 1000) for i in range(20_000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in load(path)) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000  # of a file of 20 MB; 1 MB of it to find the encoding, the rest is the ids


@pytest.mark.real_data
def test_encyclopedia(shared_data: Path) -> None:
    start = time.perf_counter()
    found = report(shared_data / "corpora" / "disease_encyclopedia.jsonl.gz")
    assert (found.documents, found.skipped, found.encodings) == (77_704, {}, {"utf-8": 1})
    assert time.perf_counter() - start < 20  # 2 s on an idle machine


@pytest.mark.real_data
def test_encyclopedia_fields(shared_data: Path) -> None:
    document = next(load(shared_data / "corpora" / "disease_encyclopedia.jsonl.gz"))
    assert document.title
    assert set(document.metadata) == {"section", "department"}
