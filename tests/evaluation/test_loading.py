"""Rows of files in every form, and what a task says about a file that it cannot use."""

from __future__ import annotations

import gzip
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chimed_rag.errors import CorpusError, DuplicateError, InputError, MissingExtraError, UnknownNameError
from chimed_rag.evaluation.beir import data_sha256
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks import loading
from chimed_rag.evaluation.tasks.loading import Source, load_card, load_task, register_card, task_names
from chimed_rag.evaluation.tasks.sources import FileSource, find_files


def read(source: Source, card: Card) -> Iterator[Sample]:
    """What the tests' cards name as their reader: id, question, answer."""
    for row in source.rows():
        yield Sample(id=str(row.value["id"]), text=row.value["question"], answer=row.value["answer"])


def choosy(source: Source, card: Card) -> Iterator[Sample]:
    """Leaves a row out, and says so as readers do."""
    yield next(read(source, card))
    logging.getLogger("chimed_rag.evaluation.readers.toy").warning("%d row is left out", 1)


def own_items(source: Source, card: Card) -> Iterator[Sample]:
    assert not list(source.rows())
    yield from (Sample(id=str(n), text="你好") for n in range(3))


def card(**changes) -> Card:
    given = {
        "name": "toy", "title": "玩具题", "kind": "choice", "reader": f"{__name__}:read", "source": "made up",
        "licence": "Apache-2.0", "split": "test", "main_metric": "accuracy", "contamination": "none",
    }  # fmt: skip
    return Card(**{**given, **changes})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "_registered", {})

    def made(**changes) -> Card:
        register_card(one := card(**changes))
        return one

    return made


ROWS = [{"id": "1", "question": "甲？", "answer": "A"}, {"id": "2", "question": "乙？", "answer": "B"}]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
FORMS = {
    "a.jsonl": JSONL,
    "bom.jsonl": "\ufeff" + JSONL,
    "a.txt": JSONL,
    "array.json": json.dumps(ROWS, ensure_ascii=False, indent=1),
    "line.json": json.dumps(ROWS),
    "rows.json": JSONL,
    "a.csv": "id,question,answer\n1,甲？,A\n2,乙？,B\n",
    "bom.csv": "\ufeffid,question,answer\r\n1,甲？,A\r\n\r\n2,乙？,B\r\n",
    "a.tsv": "id\tquestion\tanswer\n1\t甲？\tA\n2\t乙？\tB\n",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rows(tmp_path, name, zipped):
    content = FORMS[name].encode()
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(content) if zipped else content)
    assert [row.value for row in FileSource([path]).rows()] == ROWS


def test_a_row_knows_the_line_it_begins_on(tmp_path):
    quoted, array = tmp_path / "a.csv", tmp_path / "a.json"
    quoted.write_text('id,question\n1,"两\n行"\n2,一行\n', encoding="utf-8")
    array.write_text('[\n {"id": 1,\n  "b": 2},\n\n {"id": 2}, {"id": 3}\n]\n', encoding="utf-8")
    assert [row.line for row in FileSource([quoted]).rows()] == [2, 4]
    assert [row.line for row in FileSource([array]).rows()] == [2, 5, 5]


def test_one_object_spread_over_lines_is_one_row(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{\n "x": {"id": 1}\n}', encoding="utf-8")
    assert [row.value for row in FileSource([path]).rows()] == [{"x": {"id": 1}}]


BAD = {
    "cut.jsonl": ('{"id": 1}\n{"id": ', "line 2: not a usable JSON object"),
    "list.jsonl": ('{"id": 1}\n[1]\n', "line 2: not a JSON object but list"),
    "cut.json": ('[{"id": 1},\n{"id": 2}', "line 2: not usable JSON: the array has no end"),
    "item.json": ('[{"id": 1},\n7]', "line 2: not a JSON object but int"),
    "tail.json": ('[{"id": 1}]\n[]', "something follows the array"),
    "half.json": ('[{"id": "\\ud800"}]', "line 1: not usable JSON"),
    "wide.csv": ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells under 2 columns (a, b)"),
    "short.csv": ("a,b\n1\n", "line 2: 1 cells under 2 columns"),
    "twice.csv": ("a,a\n1,2\n", "line 1: two columns have one name"),
    "open.csv": ('a,b\n1,"2\n', "line 2: not a usable table"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_is_named_with_its_line(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        list(FileSource([path]).rows())
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_cut_gzip_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(JSONL.encode())[:-9])
    with pytest.raises(CorpusError, match="cannot be read"):
        list(FileSource([path]).rows())


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (JSONL.encode("gb18030"), 1, "reads as GB18030: convert with iconv -f GB18030 -t UTF-8 "),
        (JSONL.encode("utf-16"), 1, "reads as UTF-16: convert with iconv -f UTF-16"),
        (JSONL.encode() + JSONL.encode("gb18030"), 3, "while 2 other lines are: mixed encodings"),
        (b"{}\n\xff\xff\n", 2, "not GB18030 either"),
    ],
)
def test_other_encodings_are_named_and_not_guessed(tmp_path, content, line, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught:
        list(FileSource([path]).rows())
    assert caught.value.line == line


def test_the_command_that_converts_does(tmp_path):
    import subprocess

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(FORMS["a.csv"].encode("gb18030")))
    with pytest.raises(CorpusError) as caught:
        list(FileSource([tmp_path / "a.csv.gz"]).rows())
    subprocess.run(str(caught.value).partition("convert with ")[2], shell=True, check=True, cwd=tmp_path)
    assert [row.value for row in FileSource([tmp_path / "a.utf8.csv"]).rows()] == ROWS


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(JSONL, encoding="utf-8")


def found(folder: Path, **changes) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_files(folder, card(**changes))]


def test_the_first_pattern_that_is_there_wins(tmp_path):
    put(tmp_path, "b.jsonl", "c.jsonl", "deep/d.jsonl", "deep/er/e.jsonl")
    assert found(tmp_path, files=("a.jsonl", "c.jsonl", "b.jsonl")) == ["c.jsonl"]
    assert found(tmp_path, files=("*.jsonl",)) == ["b.jsonl", "c.jsonl"]
    assert found(tmp_path, files=("**/e.jsonl",)) == ["deep/er/e.jsonl"]
    assert found(tmp_path, files=("*/d.jsonl",)) == ["deep/d.jsonl"]
    assert found(tmp_path, files=("**/{name}*", "x")) == ["b.jsonl", "c.jsonl", "deep/d.jsonl", "deep/er/e.jsonl"]


def test_a_file_may_be_there_with_gz_and_is_read_once(tmp_path):
    put(tmp_path, "a.jsonl.gz")
    assert found(tmp_path, files=("a.jsonl",)) == ["a.jsonl.gz"]
    put(tmp_path, "a.jsonl")
    assert found(tmp_path, files=("a.jsonl",)) == ["a.jsonl"]


def test_the_split_and_the_subjects_of_the_card_are_looked_for(tmp_path):
    put(tmp_path, "dev/anatomy.csv", "test/anatomy.csv", "test/law.csv", "test/virology.csv")
    files, subjects = ("{split}/{subject}.csv",), {"anatomy": "解剖学", "virology": "病毒学"}
    assert found(tmp_path, files=files, settings={"subjects": subjects}) == ["test/anatomy.csv", "test/virology.csv"]
    assert len(found(tmp_path, files=files)) == 3
    with pytest.raises(CorpusError, match="the split 'val' is missing; here are: dev, test"):
        found(tmp_path, files=files, split="val (the test answers are hidden)")
    with pytest.raises(CorpusError, match="the subject 'surgery' is missing; here are: anatomy, law, virology"):
        found(tmp_path, files=files, settings={"subjects": ["surgery"]})
    assert found(tmp_path, files=("dev/{split}.csv", "test/law.csv")) == ["test/law.csv"]


def test_nothing_found_says_what_was_looked_for_and_what_is_there(tmp_path):
    put(tmp_path, "other.txt", "folder/x.txt")
    with pytest.raises(CorpusError, match=r"looked for: a\.jsonl, b\.csv; here are: folder/, other\.txt"):
        found(tmp_path, files=("a.jsonl", "b.csv"))


def test_a_file_and_its_folder_are_one_task(toy, tmp_path):
    toy(files=("a.jsonl",))
    put(tmp_path, "a.jsonl")
    whole, file = load_task("toy", tmp_path), load_task("toy", tmp_path / "a.jsonl")
    assert whole.samples == file.samples
    assert [sample.id for sample in whole.samples] == ["1", "2"]
    assert whole.data_sha256 == file.data_sha256 == data_sha256([tmp_path / "a.jsonl"])
    assert whole.name in task_names()


def test_a_limit_is_a_trial_and_says_so(toy, tmp_path):
    toy()
    put(tmp_path, "a.jsonl")
    task = load_task("toy", tmp_path / "a.jsonl", limit=1)
    assert len(task.samples) == 1
    assert task.notes == ("a trial on the first 1 of 2 samples, not a result",)
    assert task.data_sha256 == load_task("toy", tmp_path / "a.jsonl", limit=2).data_sha256
    assert load_task("toy", tmp_path / "a.jsonl", limit=2).notes == ()
    with pytest.raises(InputError, match="at least 1"):
        load_task("toy", tmp_path / "a.jsonl", limit=0)


def test_what_a_reader_warns_of_is_a_note(toy, tmp_path):
    toy(reader=f"{__name__}:choosy")
    put(tmp_path, "a.jsonl")
    assert load_task("toy", tmp_path / "a.jsonl").notes == ("1 row is left out",)
    assert load_task("toy", tmp_path / "a.jsonl").notes == ("1 row is left out",)


def test_a_repeated_id_is_named_with_both_lines(toy, tmp_path):
    toy()
    (tmp_path / "a.jsonl").write_text(JSONL + JSONL.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(DuplicateError, match=r"a\.jsonl, line 3: sample '1' came before \(line 1\)"):
        load_task("toy", tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 3, "query": "丙", "answer": "A"}, "line 3: not a row of toy: it has no 'question'"),
        ({"id": 3, "question": 7, "answer": "A"}, "line 3: not a row of toy: text: Input should be a valid string"),
        ({"id": "", "question": "丙", "answer": "A"}, "line 3: not a row of toy: id: String should have at least 1"),
    ],
)
def test_a_row_that_the_reader_cannot_use_is_named(toy, tmp_path, row, message):
    toy()
    (tmp_path / "a.jsonl").write_text(JSONL + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        load_task("toy", tmp_path / "a.jsonl")
    assert message in str(caught.value)


def test_an_empty_file_is_no_task(toy, tmp_path):
    toy()
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match=r"a\.jsonl: holds no sample of toy"):
        load_task("toy", tmp_path / "a.jsonl")


def test_items_of_the_package_need_no_data(toy):
    toy(reader=f"{__name__}:own_items")
    task = load_task("toy")
    assert (len(task.samples), task.path) == (3, "")
    assert task.data_sha256 == load_task("toy", limit=1).data_sha256


def test_a_task_without_items_asks_for_its_files(toy, tmp_path):
    toy(files=("a.jsonl",), url="https://example.org/a")
    with pytest.raises(CorpusError, match=r"chimed evaluate toy --data PATH \(they are at https://example\.org/a\)"):
        load_task("toy")
    with pytest.raises(CorpusError, match="no such file or folder"):
        load_task("toy", tmp_path / "gone.jsonl")


def test_an_unknown_task_lists_those_there_are(toy):
    toy()
    with pytest.raises(UnknownNameError, match=r"no task is called 'toys'; there are: .*toy"):
        load_card("toys")


def test_every_card_is_valid_and_its_protocols_are_there():
    from chimed_rag.evaluation.protocols.base import PROTOCOLS

    for name in task_names():
        one = load_card(name)
        assert one.name == name
        assert all(f"{protocol}/{one.kind}" in PROTOCOLS for protocol in one.protocols)


def hub(monkeypatch: pytest.MonkeyPatch, given: object) -> list[tuple[object, ...]]:
    asked: list[tuple[object, ...]] = []

    def load_dataset(name, config, *, split, revision):
        asked.append((name, config, split, revision))
        if isinstance(given, Exception):
            raise given
        return given if split else {"dev": given}

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_a_hub_gives_rows_at_the_revision_of_the_card(toy, monkeypatch):
    asked = hub(monkeypatch, ROWS)
    toy(hub="org/toy", hub_config="zh", hub_split="test", revision="abc")
    task = load_task("toy")
    assert [sample.id for sample in task.samples] == ["1", "2"]
    assert task.path == "org/toy"
    assert load_task("toy", "other/toy@main").data_sha256 == task.data_sha256
    assert asked == [("org/toy", "zh", "test", "abc"), ("other/toy", "zh", "test", "main")]


def test_a_hub_that_fails_says_so_and_what_to_do(toy, monkeypatch):
    hub(monkeypatch, ConnectionError("offline\nmore"))
    toy()
    with pytest.raises(CorpusError, match=r"org/toy: neither .* \(ConnectionError: offline\); download"):
        load_task("toy", "org/toy")


def test_a_hub_needs_its_package(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    toy()
    with pytest.raises(MissingExtraError, match="pip install"):
        load_task("toy", "org/toy")
