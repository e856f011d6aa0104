"""The audit log: what is recorded, what every kind of tampering looks like, crashes, retention, replay."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from chimed_rag import Answer, Evidence, MedQA
from chimed_rag.config import Config
from chimed_rag.errors import InputError
from chimed_rag.records import Abstention, Check, Citation, Notice, Sentence, TraceEntry
from chimed_rag.safety import audit_append
from chimed_rag.safety.audit import AuditError, AuditLog, entries, find, index_details, prune, replay, verify
from chimed_rag.safety.audit_chain import GENESIS, Head, canonical, expiry, read_head, seal, sha256, write_head

ORIGINAL = "我叫王小明，身份证11010519491231002X，布洛芬一天吃几次？"
REDACTED = "我叫【姓名1】，身份证【证件1】，布洛芬一天吃几次？"


def _answer(question: str = ORIGINAL, text: str = "24小时内不超过4次。") -> Answer:
    quote = Citation(number=1, document_id="d", chunk_id="d#1", quote=text, start=0, end=len(text))
    sentence = Sentence(
        text=text,
        citations=(quote,),
        verdict="supported",
        checks=(Check(name="quote_found", verdict="passed", detail="王小明"),),
    )
    return Answer(
        question=question,
        text=text,
        sentences=(sentence,),
        citations=(quote,),
        evidence=(Evidence(number=1, chunk_id="d#1", document_id="d", text=text, start=0, end=len(text), score=1.0),),
        notices=(Notice(kind="disclaimer", text="王小明请注意", rule="disclaimer_patient"),),
        generator="extractive",
        trace=(TraceEntry(step="rewriting", detail={"question": question}),),
    )


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def set_to(moment: str) -> None:
        monkeypatch.setattr(audit_append, "now", lambda: datetime.fromisoformat(moment).replace(tzinfo=timezone.utc))
        monkeypatch.setattr(
            "chimed_rag.safety.audit.now", lambda: datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)
        )

    return set_to


def _fill(log: AuditLog, count: int) -> list[str]:
    return [log.record(_answer(), question=f"问题{n}") for n in range(count)]


def _files(log: AuditLog) -> list[Path]:
    return sorted(log.folder.glob("*.jsonl"))


def _complaints(log: AuditLog, **options: Any) -> list[str]:
    return [str(problem) for problem in verify(log.folder, **options).problems]


class TestWhatIsRecorded:
    def test_an_entry_holds_what_a_replay_needs(self, log: AuditLog) -> None:
        config = Config(unsupported="flag").model_dump(mode="json")
        id = log.record(
            _answer(), question=REDACTED, details={"user": "心内科", "generation": 7, "config": config, "seed": 3}
        )
        entry = find(log.folder, id)
        assert entry["question"] == REDACTED
        assert (entry["user"], entry["generation"], entry["seed"]) == ("心内科", 7, 3)
        assert Config.model_validate(entry["config"]) == Config(unsupported="flag")
        assert entry["answer_sha256"] == hashlib.sha256("24小时内不超过4次。".encode()).hexdigest()
        assert entry["evidence"] == [{"chunk_id": "d#1", "sha256": entry["answer_sha256"]}]
        assert entry["sentences"][0]["checks"] == [["quote_found", "passed"]]
        assert entry["notices"] == [{"kind": "disclaimer", "rule": "disclaimer_patient"}]
        assert entry["time"].endswith("Z")

    def test_nothing_of_the_original_question_is_anywhere_in_the_folder(self, log: AuditLog) -> None:
        log.record(_answer(text="王小明，24小时内不超过4次。"), question=REDACTED)
        written = b"".join(path.read_bytes() for path in log.folder.iterdir())
        for planted in ("王小明", "11010519491231002X"):
            assert planted.encode() not in written
            assert json.dumps(planted)[1:-1].encode() not in written

    def test_the_hash_is_the_one_of_the_docstring(self, log: AuditLog) -> None:
        _fill(log, 2)
        previous = hashlib.sha256(b"chimed_rag audit log 1").hexdigest()
        for line in _files(log)[0].read_text("utf-8").splitlines():
            entry = json.loads(line)
            claimed = entry.pop("hash")
            assert entry["previous"] == previous
            plain = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            previous = hashlib.sha256(plain.encode()).hexdigest()
            assert claimed == previous
        assert json.loads((log.folder / "head.json").read_bytes())["hash"] == previous

    def test_an_abstention_is_recorded_by_its_reason(self, log: AuditLog) -> None:
        silent = Answer(question="？", text="无", abstention=Abstention(reason="no_evidence", text="无"))
        assert find(log.folder, log.record(silent, question="？"))["abstention"] == "no_evidence"

    def test_where_the_log_lies_is_not_part_of_the_configuration(self, log: AuditLog) -> None:
        id = log.record(_answer(), question="问", details={"config": {"audit": "there", "audience": "doctor"}})
        assert find(log.folder, id)["config"] == {"audience": "doctor"}

    @pytest.mark.parametrize(
        ("details", "said"),
        [
            ({"original": ORIGINAL}, "original"),
            ({"generation": "x"}, "generation"),
            ({"config": {"a": 1e999}}, "config"),
        ],
    )
    def test_unknown_or_unusable_details_are_refused(self, log: AuditLog, details: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said) as raised:
            log.record(_answer(), question="问", details=details)
        assert "王小明" not in str(raised.value)
        assert list(entries(log.folder)) == []

    @pytest.mark.parametrize("question", ["", "\ud800", "\ud83d\ude00", "a\nb\u2028c\x00d", "😀" * 3, "长" * 100_000])
    def test_any_question_can_be_recorded_and_verified(self, log: AuditLog, question: str) -> None:
        id = log.record(_answer(), question=question)
        log.record(_answer(), question="下一个")
        assert verify(log.folder).whole
        assert find(log.folder, id)["question"].encode("utf-16", "surrogatepass") == question.encode(
            "utf-16", "surrogatepass"
        )


class TestTampering:
    """Twelve entries in three files; each test harms one copy."""

    @pytest.fixture
    def log(self, log: AuditLog, clock: Callable[[str], None]) -> AuditLog:
        for month in (9, 10, 11):
            clock(f"2026-{month:02d}-15T08:00:00")
            _fill(log, 4)
        assert [path.name for path in _files(log)] == [f"00000{n}-2026-{n + 8:02d}.jsonl" for n in (1, 2, 3)]
        return log

    def _lines(self, log: AuditLog, file: int) -> list[bytes]:
        return _files(log)[file].read_bytes().splitlines(keepends=True)

    def _put(self, log: AuditLog, file: int, lines: list[bytes]) -> None:
        _files(log)[file].write_bytes(b"".join(lines))

    def test_untouched_it_is_whole(self, log: AuditLog) -> None:
        report = verify(log.folder)
        assert (report.whole, report.entries, report.files, report.notes) == (True, 12, 3, ())
        assert report.first.startswith("2026-09-15")
        assert report.last.startswith("2026-11-15")

    def test_a_byte_changed_anywhere_is_found_at_its_line(self, log: AuditLog) -> None:
        for file in range(3):
            raw = _files(log)[file].read_bytes()
            for place in range(0, len(raw), 97):
                changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
                _files(log)[file].write_bytes(changed)
                line = raw[:place].count(b"\n") + 1
                places = [
                    problem.line for problem in verify(log.folder).problems if problem.file == _files(log)[file].name
                ]
                assert line in places or line + 1 in places, (file, place)
            _files(log)[file].write_bytes(raw)
        assert verify(log.folder).whole

    def test_a_blank_more_or_a_key_twice_is_a_change(self, log: AuditLog) -> None:
        lines = self._lines(log, 0)
        for changed in (
            lines[1].replace(b'","', b'", "', 1),
            b'{"abstention":1,' + lines[1][1:],
            lines[1][:-1] + b" \n",
        ):
            self._put(log, 0, [lines[0], changed, *lines[2:]])
            assert any(":2: " in text for text in _complaints(log))

    def test_a_line_rewritten_with_its_own_new_hash_breaks_the_next(self, log: AuditLog) -> None:
        lines = self._lines(log, 0)
        entry = json.loads(lines[1])
        entry["question"] = "另一个问题"
        entry["hash"] = seal(entry)
        self._put(log, 0, [lines[0], canonical(entry) + b"\n", *lines[2:]])
        assert _complaints(log) == [
            "000001-2026-09.jsonl:3: it does not follow the line before: that one was changed, or this one is not of"
            " this log"
        ]

    @pytest.mark.parametrize(("file", "line", "where"), [(0, 0, ":1"), (0, 2, ":3"), (1, 3, "000003-2026-11.jsonl:1")])
    def test_a_missing_line_is_found(self, log: AuditLog, file: int, line: int, where: str) -> None:
        lines = self._lines(log, file)
        self._put(log, file, lines[:line] + lines[line + 1 :])
        (problem,) = _complaints(log)
        assert where in problem
        assert "missing" in problem

    def test_reordered_lines_are_found(self, log: AuditLog) -> None:
        a, b, c, d = self._lines(log, 1)
        self._put(log, 1, [a, c, b, d])
        assert [text.partition(": ")[0] for text in _complaints(log)] == [
            f"000002-2026-10.jsonl:{line}" for line in (2, 3, 4)
        ]

    def test_an_inserted_line_is_found(self, log: AuditLog) -> None:
        a, b, *rest = self._lines(log, 1)
        for extra in (a, b, b"{}\n", b"\n", b"[" * 50_000 + b"\n", b"\xff\xfe\n"):
            self._put(log, 1, [a, b, extra, *rest])
            assert any("000002-2026-10.jsonl:3" in text for text in _complaints(log)), extra[:20]

    @pytest.mark.parametrize("file", [0, 1, 2])
    def test_a_missing_file_is_found(self, log: AuditLog, file: int) -> None:
        _files(log)[file].unlink()
        assert any("missing" in text or "were recorded" in text for text in _complaints(log))

    def test_swapped_files_are_found(self, log: AuditLog) -> None:
        first, second, _ = _files(log)
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
        assert any("000002-2026-10.jsonl:1" in text for text in _complaints(log))

    def test_a_file_of_another_log_is_found(self, log: AuditLog, tmp_path: Path) -> None:
        other = AuditLog(tmp_path / "other")
        _fill(other, 5)
        shutil.copy(_files(other)[0], log.folder / "000004-2026-12.jsonl")
        assert "000004-2026-12.jsonl:1" in _complaints(log)[0]
        (log.folder / "000004-2026-12.jsonl").rename(log.folder / "extra.jsonl")
        assert _complaints(log) == ["extra.jsonl: this file is not of this log"]

    @pytest.mark.parametrize("kept", [0, 1, 3])
    def test_an_end_cut_off_is_found_by_the_head(self, log: AuditLog, kept: int) -> None:
        self._put(log, 2, self._lines(log, 2)[:kept])
        assert _complaints(log) == [
            f"head.json: the end was cut off: 12 entries were recorded, the last one here is entry {8 + kept}"
        ]

    def test_an_end_cut_off_within_a_line_is_found_by_the_head(self, log: AuditLog) -> None:
        self._put(log, 2, [*self._lines(log, 2)[:3], self._lines(log, 2)[3][:50]])
        assert "the end was cut off" in _complaints(log)[0]

    def test_lines_behind_the_head_and_a_head_that_is_gone_are_found(self, log: AuditLog) -> None:
        write_head(log.folder, Head(count=10, hash=json.loads(self._lines(log, 2)[1])["hash"]))
        assert "its last 2 entries are not known" in _complaints(log)[0]
        (log.folder / "head.json").unlink()
        assert "its last 12 entries are not known" in _complaints(log)[0]
        (log.folder / "head.json").write_text("{}")
        assert _complaints(log)[0].startswith("head.json: ")

    def test_an_anchor_kept_elsewhere_finds_a_chain_written_anew(self, log: AuditLog) -> None:
        anchor = verify(log.folder).head
        _fill(log, 1)
        assert verify(log.folder, expected_head=anchor).whole
        shutil.rmtree(log.folder)
        forged = AuditLog(log.folder)
        _fill(forged, 13)
        assert verify(log.folder).whole
        assert _complaints(forged, expected_head=anchor) == [
            "expected head: entry 12 has another hash than was recorded"
        ]

    def test_an_anchor_finds_an_end_cut_off_with_its_head(self, log: AuditLog) -> None:
        anchor = verify(log.folder).head
        lines = self._lines(log, 2)
        self._put(log, 2, lines[:2])
        write_head(log.folder, Head(count=10, hash=json.loads(lines[1])["hash"]))
        assert verify(log.folder).whole
        assert "the log does not go on from it" in _complaints(log, expected_head=anchor)[0]

    @pytest.mark.parametrize("text", ["", "12", "12:abc", "x:" + "a" * 64, "-1:" + "a" * 64])
    def test_what_is_no_head_is_refused(self, log: AuditLog, text: str) -> None:
        with pytest.raises(InputError, match="is no head"):
            verify(log.folder, expected_head=text)

    def test_nobody_writes_behind_an_end_that_was_changed(self, log: AuditLog) -> None:
        self._put(log, 2, self._lines(log, 2)[:2])
        before = _files(log)[2].read_bytes()
        with pytest.raises(AuditError, match="chimed audit verify"):
            _fill(log, 1)
        assert _files(log)[2].read_bytes() == before

    def test_a_changed_line_is_never_listed_as_if_it_were_true(self, log: AuditLog) -> None:
        lines = self._lines(log, 1)
        self._put(log, 1, [lines[0].replace("问题0".encode(), "问题9".encode()), *lines[1:]])
        with pytest.raises(AuditError, match=r"000002-2026-10\.jsonl:1"):
            list(entries(log.folder))


class TestCrashes:
    def test_a_torn_line_is_set_aside_and_told(self, log: AuditLog) -> None:
        ids = _fill(log, 3)
        (path,) = _files(log)
        torn = b'{"seq":4,"question":"\xe5\xb8'
        with path.open("ab") as file:
            file.write(torn)
        report = verify(log.folder)
        assert report.whole
        assert "cut short" in str(report.notes[0])
        ids += _fill(log, 1)
        (aside,) = log.folder.glob("*.torn")
        assert aside.read_bytes() == torn
        report = verify(log.folder)
        assert report.whole
        assert aside.name in str(report.notes[0])
        assert [entry["id"] for entry in entries(log.folder) if entry["kind"] == "answer"] == ids
        aside.write_bytes(b"")
        assert not verify(log.folder).whole
        aside.unlink()
        assert _complaints(log) == [f"{aside.name}: the line that was set aside here is gone"]

    def test_a_crash_at_any_byte_of_the_first_or_a_later_line_loses_nothing(self, tmp_path: Path) -> None:
        whole = AuditLog(tmp_path / "whole")
        _fill(whole, 2)
        raw = _files(whole)[0].read_bytes()
        first_line = raw.index(b"\n") + 1
        first = json.loads(raw[:first_line])
        for cut in (0, 1, first_line - 1, first_line, first_line + 1, len(raw) - 1):
            log = AuditLog(tmp_path / f"cut{cut}")
            (log.folder / _files(whole)[0].name).write_bytes(raw[:cut])
            if cut > first_line:
                write_head(log.folder, Head(count=1, hash=first["hash"]))
            _fill(log, 1)
            assert verify(log.folder).whole, cut
            answers = sum(entry["kind"] == "answer" for entry in entries(log.folder))
            assert answers == 1 + (cut >= first_line)

    def test_a_crash_between_line_and_head_is_a_note_and_mended(self, log: AuditLog) -> None:
        _fill(log, 1)
        head = read_head(log.folder)
        assert head is not None
        _fill(log, 1)
        write_head(log.folder, head)
        report = verify(log.folder)
        assert report.whole
        assert "a crash in between" in str(report.notes[0])
        _fill(log, 1)
        report = verify(log.folder)
        assert (report.whole, report.notes, report.entries) == (True, (), 3)

    def test_a_crash_after_a_new_file_was_made_is_no_harm(self, log: AuditLog, clock: Callable[[str], None]) -> None:
        clock("2026-11-01T00:00:00")
        _fill(log, 1)
        (log.folder / "000002-2026-12.jsonl").touch()
        clock("2026-12-01T00:00:00")
        _fill(log, 1)
        assert verify(log.folder).whole
        assert (log.folder / "000002-2026-12.jsonl").stat().st_size > 0

    def test_what_cannot_be_written_whole_is_taken_back(self, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
        _fill(log, 1)
        before = _files(log)[0].read_bytes()

        def full(descriptor: int, data: bytes) -> int:
            if len(data) < 300:
                raise OSError(28, "No space left on device")
            return real(descriptor, data[:200])

        real = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(AuditError, match="No space left on device"):
                _fill(log, 1)
        assert _files(log)[0].read_bytes() == before
        _fill(log, 1)
        assert verify(log.folder).whole

    def test_files_that_are_gone_are_not_begun_anew(self, log: AuditLog) -> None:
        _fill(log, 2)
        _files(log)[0].unlink()
        with pytest.raises(AuditError, match="2 entries were recorded and none is here"):
            _fill(log, 1)


def _record_some(folder: Path, name: str, count: int) -> None:
    log = AuditLog(folder)
    for number in range(count):
        log.record(_answer(), question=f"{name}-{number}")


class TestMany:
    def test_threads_and_processes_write_one_chain(self, tmp_path: Path) -> None:
        folder = tmp_path / "audit"
        log = AuditLog(folder, max_bytes=4_000)
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_record_some, args=(folder, f"p{n}", 15)) for n in range(3)]
        for worker in workers:
            worker.start()
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(lambda n: log.record(_answer(), question=f"t-{n}"), range(20)))
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        report = verify(folder)
        assert (report.whole, report.entries, report.notes) == (True, 65, ())
        asked = {entry["question"] for entry in entries(folder)}
        assert asked == {f"t-{n}" for n in range(20)} | {f"p{n}-{m}" for n in range(3) for m in range(15)}
        assert len(set(ids)) == 20
        assert report.files > 1

    def test_a_reader_beside_a_writer_sees_a_whole_log(self, log: AuditLog) -> None:
        _fill(log, 1)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(_fill, log, 60)
            reports = [verify(log.folder)]
            while not writing.done():
                reports.append(verify(log.folder))
        assert [report.problems for report in reports] == [()] * len(reports)
        assert verify(log.folder).entries == 61

    def test_a_file_that_is_full_is_followed_by_another(self, tmp_path: Path) -> None:
        log = AuditLog(tmp_path / "audit", max_bytes=1)
        _fill(log, 3)
        assert [path.name[:6] for path in _files(log)] == ["000001", "000002", "000003"]
        assert verify(log.folder).whole

    def test_a_clock_set_back_breaks_nothing(self, log: AuditLog, clock: Callable[[str], None]) -> None:
        for month in ("2026-11", "2026-10", "2026-11"):
            clock(f"{month}-01T00:00:00")
            _fill(log, 1)
        assert verify(log.folder).whole


class TestRetention:
    @pytest.fixture
    def old(self, tmp_path: Path, clock: Callable[[str], None]) -> AuditLog:
        clock("2020-01-10T00:00:00")
        log = AuditLog(tmp_path / "audit", retention="3y")
        for month in ("2020-01", "2020-02", "2023-05"):
            clock(f"{month}-15T00:00:00")
            _fill(log, 2)
        return log

    def test_only_whole_files_past_it_go_and_the_chain_holds(self, old: AuditLog, clock: Callable[[str], None]) -> None:
        clock("2023-02-14T00:00:00")  # January is over, 15 February not yet
        anchor = verify(old.folder).head
        assert prune(old.folder, by="信息科") == ["000001-2020-01.jsonl"]
        report = verify(old.folder, expected_head=anchor)
        assert report.whole
        assert any("1 files with 3 entries were removed by 信息科" in str(note) for note in report.notes)
        _fill(old, 1)
        assert verify(old.folder).whole
        assert prune(old.folder, by="信息科") == []

    def test_everything_can_be_past_it(self, old: AuditLog, clock: Callable[[str], None]) -> None:
        clock("2036-01-01T00:00:00")
        assert len(prune(old.folder)) == 3
        report = verify(old.folder)
        assert (report.whole, report.entries, report.files) == (True, 8, 1)
        clock("2040-01-01T00:00:00")
        _fill(old, 1)
        assert prune(old.folder) == ["000004-2036-01.jsonl"]  # the record of the first removal is itself past it
        assert verify(old.folder).whole

    def test_a_removal_that_a_crash_cut_short_is_finished(self, old: AuditLog, clock: Callable[[str], None]) -> None:
        clock("2036-01-01T00:00:00")
        kept = {path.name: path.read_bytes() for path in _files(old)}
        prune(old.folder)
        for left in (list(kept), list(kept)[2:]):
            for name in left:
                (old.folder / name).write_bytes(kept[name])
            assert verify(old.folder).whole
            assert prune(old.folder) == left
            assert verify(old.folder).whole

    def test_files_removed_by_hand_are_missed(self, old: AuditLog) -> None:
        _files(old)[0].unlink()
        assert _complaints(old) == [
            "000002-2020-02.jsonl:1: entries 1 to 3 are missing, and no entry says that they were pruned"
        ]

    def test_a_removal_too_early_shows(self, old: AuditLog, clock: Callable[[str], None]) -> None:
        clock("2036-01-01T00:00:00")
        prune(old.folder)
        path = _files(old)[0]
        entry = json.loads(path.read_bytes())
        entry["time"] = "2021-01-01T00:00:00.000Z"
        entry["hash"] = seal(entry)
        path.write_bytes(canonical(entry) + b"\n")
        write_head(old.folder, read_head(old.folder).model_copy(update={"hash": entry["hash"]}))  # type: ignore[union-attr]
        assert "the newest only of 2023-05-15" in _complaints(old)[0]

    def test_a_log_that_does_not_hold_is_not_pruned(self, old: AuditLog, clock: Callable[[str], None]) -> None:
        clock("2036-01-01T00:00:00")
        lines = _files(old)[0].read_bytes().splitlines(keepends=True)
        _files(old)[0].write_bytes(b"".join(lines[:1] + lines[2:]))
        with pytest.raises(AuditError, match="nothing was removed"):
            prune(old.folder)
        assert len(_files(old)) == 3

    def test_without_a_retention_everything_is_kept(self, log: AuditLog, clock: Callable[[str], None]) -> None:
        clock("1999-01-01T00:00:00")
        _fill(log, 1)
        clock("2036-01-01T00:00:00")
        with pytest.raises(InputError, match="no retention was set"):
            prune(log.folder)

    def test_a_change_is_an_entry_and_none_keeps_what_was_set(self, tmp_path: Path) -> None:
        folder = tmp_path / "audit"
        AuditLog(folder, retention="15y")
        AuditLog(folder, retention="15y")
        _fill(AuditLog(folder), 1)
        AuditLog(folder, retention="3y")
        kinds = [(entry["kind"], entry.get("retention")) for entry in entries(folder)]
        assert kinds == [("retention", "15y"), ("answer", None), ("retention", "3y")]
        head = read_head(folder)
        assert head is not None
        assert head.retention == "3y"

    def test_an_unknown_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="3y, 15y"):
            AuditLog(tmp_path, retention="1y")  # type: ignore[arg-type]

    def test_the_29th_of_february(self) -> None:
        assert expiry(datetime(2028, 2, 29, tzinfo=timezone.utc), "3y") == "2025-02-28T00:00:00.000Z"
        assert expiry(datetime(2026, 11, 27, tzinfo=timezone.utc), "15y") == "2011-11-27T00:00:00.000Z"


class TestReplay:
    @pytest.fixture
    def recorded(self, log: AuditLog, qa: MedQA) -> str:
        return self._record(log, qa, "布洛芬一天最多吃几次？")

    def _record(self, log: AuditLog, qa: MedQA, question: str) -> str:
        manifest = qa._view.index.manifest
        assert qa.reranker is not None
        made_with = {"reranker": qa.reranker.name, "config": qa.config.model_dump(mode="json")}
        details = {**index_details(manifest, "ward"), **made_with}
        return log.record(qa.ask(question), question=question, details=details)

    def test_the_manifest_hash_is_the_one_in_the_manifest(self, qa: MedQA) -> None:
        manifest = qa._view.index.manifest
        sealed = json.loads((qa.path / "manifest.json").read_bytes())["sha256"]
        assert index_details(manifest, "ward")["manifest_sha256"] == sealed

    @pytest.mark.parametrize("question", ["布洛芬一天最多吃几次？", "高血压怎么诊断", "火星上的天气怎么样"])
    def test_a_deterministic_answer_comes_again(self, log: AuditLog, qa: MedQA, question: str) -> None:
        id = self._record(log, qa, question)
        report = replay(log.folder, id, lambda asked, config: MedQA(qa.path, config=config).ask(asked))
        assert (report.same, report.causes, report.why) == (True, (), "")

    def test_another_generation_is_named_as_the_cause(
        self, log: AuditLog, qa: MedQA, recorded: str, tmp_path: Path
    ) -> None:
        changed = MedQA.load(qa.save(tmp_path / "copy"))
        changed.delete(ids=["ibuprofen"])
        now = index_details(changed._view.index.manifest, "copy")
        report = replay(log.folder, recorded, lambda asked, config: changed.ask(asked), now=now)
        assert not report.same
        assert "answer" in {difference.what for difference in report.differences}
        assert "generation" in report.why
        assert "manifest_sha256" in report.why

    def test_the_trace_alone_tells_the_generation(
        self, log: AuditLog, qa: MedQA, recorded: str, tmp_path: Path
    ) -> None:
        changed = MedQA.load(qa.save(tmp_path / "copy"))
        changed.delete(ids=["ibuprofen"])
        report = replay(log.folder, recorded, lambda asked, config: changed.ask(asked))
        assert [cause.what for cause in report.causes] == ["generation"]

    def test_each_part_that_differs_is_named(self, log: AuditLog) -> None:
        id = log.record(_answer(), question="问")

        def ask(question: str, config: Config) -> Answer:
            other = _answer(text="每日3次。")
            return other.model_copy(update={"notices": (), "generator": "extractive"})

        report = replay(log.folder, id, ask)
        assert {difference.what for difference in report.differences} == {
            "sentences", "notices", "answer", "text of passages",
        }  # fmt: skip
        assert "the installation or the log was changed" in report.why

    def test_a_generator_without_a_seed_is_told(self, log: AuditLog) -> None:
        id = log.record(_answer().model_copy(update={"generator": "llm"}), question="问")
        report = replay(log.folder, id, lambda q, c: _answer(text="不同。").model_copy(update={"generator": "llm"}))
        assert "without a seed" in report.why

    def test_another_version_is_named(
        self, log: AuditLog, qa: MedQA, recorded: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chimed_rag.__version__", "9.9")
        report = replay(log.folder, recorded, lambda asked, config: _answer(text="不同。"))
        assert "library_version: recorded with 0.1.0, now 9.9" in report.why

    def test_a_setting_that_this_version_does_not_know(self, log: AuditLog) -> None:
        id = log.record(_answer(), question="问", details={"config": {"retrieval": {"warp": 9}}})
        with pytest.raises(AuditError, match=r"retrieval\.warp"):
            replay(log.folder, id, lambda question, config: _answer())

    def test_an_unknown_id_and_no_log(self, log: AuditLog, tmp_path: Path) -> None:
        with pytest.raises(AuditError, match="chimed audit list"):
            find(log.folder, "20260101-0000000000")
        for folder in (tmp_path / "nothing", tmp_path):
            with pytest.raises(AuditError, match="no audit log here"):
                verify(folder)


def test_a_folder_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be made a folder"):
        AuditLog(tmp_path / "file")


def test_only_the_owner_reads_a_folder_that_the_log_made(log: AuditLog) -> None:
    _fill(log, 1)
    assert log.folder.stat().st_mode & 0o077 == 0
    assert _files(log)[0].stat().st_mode & 0o077 == 0
    assert sha256(b"") == hashlib.sha256().hexdigest()
    assert len(GENESIS) == 64
