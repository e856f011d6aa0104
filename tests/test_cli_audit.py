"""`chimed audit` and `chimed replay`: output, exit codes, one JSON object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from chimed_rag import MedQA
from chimed_rag.cli_audit import audit, replay
from chimed_rag.config import Audit, Config, Retrieval
from chimed_rag.errors import ChiMedError
from chimed_rag.indexing.manifest import read_manifest
from chimed_rag.safety.audit import AuditLog, index_details

app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(audit, name="audit")
app.command()(replay)

QUESTIONS = ["布洛芬一天最多吃几次？", "火星上的天气怎么样"]


def chimed(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def recorded(ward: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A log of two answers over the small documents, and their ids."""
    folder = tmp_path / "audit"
    log = AuditLog(folder)
    with MedQA.load(ward) as qa:
        details = {
            **index_details(read_manifest(ward), ward.name),
            "reranker": qa.reranker.name,
            "config": qa.config.model_dump(mode="json"),
        }
        ids = [
            log.record(qa.ask(question), question=question, details={**details, "user": user})
            for question, user in zip(QUESTIONS, ("甲", "乙"), strict=True)
        ]
    return folder, ids


def _harm(folder: Path) -> None:
    (path,) = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace("布洛芬一天".encode(), "布洛芬两天".encode()))


class TestVerify:
    def test_a_whole_log(self, recorded: tuple[Path, list[str]]) -> None:
        done = chimed("audit", "verify", recorded[0])
        assert done.exit_code == 0
        assert "2 entries, 1 files" in done.stdout
        assert "head 2:" in done.stdout

    def test_a_changed_line_is_named_and_the_exit_code_is_1(self, recorded: tuple[Path, list[str]]) -> None:
        _harm(recorded[0])
        done = chimed("audit", "verify", recorded[0])
        assert done.exit_code == 1
        assert ".jsonl:1: the line was changed" in done.stdout
        assert "head 2:" not in done.stdout

    def test_json_is_one_object(self, recorded: tuple[Path, list[str]]) -> None:
        report = json.loads(chimed("audit", "verify", recorded[0], "--json").stdout)
        assert (report["whole"], report["entries"], report["problems"], report["schema_version"]) == (True, 2, [], 1)
        assert chimed("audit", "verify", recorded[0], "--expected-head", report["head"]).exit_code == 0
        _harm(recorded[0])
        done = chimed("audit", "verify", recorded[0], "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout)["problems"][0]["line"] == 1

    def test_another_chain_than_the_one_that_was_kept(self, recorded: tuple[Path, list[str]]) -> None:
        done = chimed("audit", "verify", recorded[0], "--expected-head", "1:" + "a" * 64)
        assert done.exit_code == 1
        assert "entry 1 has another hash" in done.stdout

    def test_no_log_is_an_error_of_the_library(self, tmp_path: Path) -> None:
        for command in ("verify", "list"):
            done = chimed("audit", command, tmp_path / "nothing")
            assert isinstance(done.exception, ChiMedError)
            assert done.stdout == ""


class TestList:
    def test_the_newest_come_last(self, recorded: tuple[Path, list[str]]) -> None:
        folder, ids = recorded
        lines = chimed("audit", "list", folder).stdout.splitlines()
        assert [line.split()[0] for line in lines] == ids
        assert "甲  布洛芬一天最多吃几次？" in lines[0]
        assert "abstained: " in lines[1]
        assert chimed("audit", "list", folder, "--last", 1).stdout.splitlines() == lines[1:]
        assert chimed("audit", "list", folder, "--user", "甲").stdout.splitlines() == lines[:1]

    def test_json_is_one_object(self, recorded: tuple[Path, list[str]]) -> None:
        listed = json.loads(chimed("audit", "list", recorded[0], "--json").stdout)
        assert [answer["question"] for answer in listed["answers"]] == QUESTIONS


class TestPrune:
    def test_nothing_is_old(self, recorded: tuple[Path, list[str]]) -> None:
        AuditLog(recorded[0], retention="3y")
        done = chimed("audit", "prune", recorded[0], "--by", "信息科", "--json")
        assert json.loads(done.stdout)["removed"] == []
        assert "nothing is older" in chimed("audit", "prune", recorded[0], "--by", "信息科").stdout

    def test_someone_must_answer_for_it(self, recorded: tuple[Path, list[str]]) -> None:
        assert chimed("audit", "prune", recorded[0]).exit_code == 2


class TestReplay:
    def test_the_same_answer(self, recorded: tuple[Path, list[str]], ward: Path) -> None:
        folder, ids = recorded
        for id in ids:
            done = chimed("replay", id, "--audit", folder, "--index", ward)
            assert done.exit_code == 0, done.stdout
            assert "the same answer" in done.stdout

    def test_the_recorded_filter_and_configuration_are_used_again(
        self, recorded: tuple[Path, list[str]], ward: Path
    ) -> None:
        folder, _ = recorded
        question, condition = "对乙酰氨基酚能退热吗", {"year": {"$lt": 2022}}
        config = Config(retrieval=Retrieval(mode="lexical"))
        with MedQA.load(ward, config=config) as qa:
            answer = qa.ask(question, filter=condition)
            assert [item.document_id for item in answer.evidence] != [
                item.document_id for item in qa.ask(question).evidence
            ]
        details = {"config": config.model_dump(mode="json"), "filter": condition}
        id = AuditLog(folder).record(answer, question=question, details=details)
        done = chimed("replay", id, "--audit", folder, "--index", ward, "--json")
        assert json.loads(done.stdout)["differences"] == []

    def test_what_was_asked_without_a_reranker_is_asked_again_without(self, ward: Path, tmp_path: Path) -> None:
        folder = tmp_path / "log"
        config = Config(audit=Audit(folder=str(folder)))
        with MedQA.load(ward, reranker="none", config=config) as qa:
            qa.ask("布洛芬一天最多吃几次")
        (one,) = json.loads(chimed("audit", "list", folder, "--json").stdout)["answers"]
        done = chimed("replay", one["id"], "--audit", folder, "--index", ward, "--json")
        report = json.loads(done.stdout)
        assert report["same"] and report["causes"] == []

    def test_another_index_differs_and_says_why(
        self, recorded: tuple[Path, list[str]], ward: Path, tmp_path: Path
    ) -> None:
        folder, ids = recorded
        with MedQA.load(ward) as qa, MedQA.load(qa.save(tmp_path / "other")) as other:
            other.delete(ids=["ibuprofen"])
        done = chimed("replay", ids[0], "--audit", folder, "--index", tmp_path / "other")
        assert done.exit_code == 1
        assert "DIFFERS answer" in done.stdout
        assert "generation: recorded" in done.stdout
        told = json.loads(chimed("replay", ids[0], "--audit", folder, "--index", tmp_path / "other", "--json").stdout)
        assert told["same"] is False
        assert "manifest_sha256" in told["why"]
        assert {cause["what"] for cause in told["causes"]} == {"generation", "index", "manifest_sha256"}

    def test_an_unknown_id_and_a_changed_line_are_refused(self, recorded: tuple[Path, list[str]], ward: Path) -> None:
        folder, ids = recorded
        done = chimed("replay", "nothing", "--audit", folder, "--index", ward)
        assert "chimed audit list" in str(done.exception)
        _harm(folder)
        done = chimed("replay", ids[1], "--audit", folder, "--index", ward)
        assert "chimed audit verify" in str(done.exception)
