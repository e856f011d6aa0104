"""The command line as a person or a script meets it: output, exit codes, one message and no traceback."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CHIMED = Path(sys.executable).parent / "chimed"


def chimed(*arguments: object, stdin: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        [CHIMED, *map(str, arguments)],
        capture_output=True, encoding="utf-8", input=stdin, cwd=cwd, env=environment, check=False, timeout=99,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One clear message, exit code 1 or 2, nothing on standard output, no traceback."""
    assert done.returncode in (1, 2), done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.fixture(scope="module")
def literature(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("literature")
    for document in documents:
        head = f"---\ntitle: {document.title}\ndepartment: {document.metadata['department']}\n---\n"
        (folder / f"{document.id}.md").write_text(head + document.text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def index(literature, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "index"
    done = chimed("build", literature, "--out", path)
    assert done.returncode == 0, done.stderr
    assert "4 documents" in done.stdout
    return path


def test_ask_the_starter():
    done = chimed("ask", "孕妇感冒发烧能吃布洛芬吗？")
    assert done.returncode == 0
    assert "布洛芬" in done.stdout
    assert "[1]" in done.stdout
    assert done.stderr == ""


def test_ask_json_is_the_answer_and_nothing_else(index):
    done = chimed("ask", "孕晚期能吃布洛芬吗", "--index", index, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["schema_version"] == 1
    assert answer["citations"][0]["quote"]
    assert done.stderr == ""


def test_ask_from_standard_input(index):
    assert "禁用布洛芬" in chimed("ask", "-", "--index", index, stdin="孕晚期能吃布洛芬吗\n").stdout


def test_ask_as_a_stream(index):
    asked = chimed("ask", "布洛芬孕晚期能吃吗", "--index", index)
    done = chimed("ask", "布洛芬孕晚期能吃吗", "--index", index, "--stream")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("【禁忌】孕晚期妇女禁用布洛芬。[")
    assert done.stdout.rstrip().endswith(asked.stdout[asked.stdout.index("\n\n出处") :].rstrip())
    lines = chimed("ask", "布洛芬孕晚期能吃吗", "--index", index, "--stream", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["kind"] for event in events][:2] == ["evidence", "sentence"]
    assert events[-1]["answer"]["question"] == "布洛芬孕晚期能吃吗"


def test_ask_without_an_answer_exits_1_and_says_why(index):
    done = chimed("ask", "How do I repair my bicycle?", "--index", index)
    assert done.returncode == 1
    assert "未能回答" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("question", ["", "？？！", "病" * 20_000])
def test_ask_what_cannot_be_asked(index, question):
    refused(chimed("ask", question, "--index", index), "chimed: the question")


def test_search(index):
    done = chimed("search", "血钾", "--index", index, "--k", 2, "--json")
    found = json.loads(done.stdout)
    assert found["query"] == "血钾"
    assert [e["number"] for e in found["evidence"]] == [1, 2]
    assert found["evidence"][0]["title"] == "血钾"
    assert "血钾" in chimed("search", "血钾", "--index", index).stdout
    filtered = chimed("search", "血钾", "--index", index, "--filter", '{"department": "心内科"}', "--json")
    assert {e["title"] for e in json.loads(filtered.stdout)["evidence"]} == {"高血压"}
    refused(chimed("search", "血钾", "--index", index, "--filter", "{"), "--filter is not JSON")


def test_inspect_and_a_flipped_byte(index, tmp_path):
    done = chimed("inspect", index, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["whole"] is True
    assert told["counts"]["documents"] == 4
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(index, copy)
    database = next((copy / "segments").glob("*.sqlite"))
    data = bytearray(database.read_bytes())
    data[len(data) // 2] ^= 1
    database.write_bytes(data)
    done = chimed("inspect", copy)
    assert done.returncode == 1
    assert database.name in done.stdout
    assert "DAMAGED" in done.stdout


def test_doctor():
    done = chimed("doctor", "--json")
    findings = {f["what"]: f["state"] for f in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0
    assert findings["dense search"] == "ready"
    assert findings["starter literature"] == "ready"
    assert "ok" in chimed("doctor").stdout


@pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed (extra `models`)")
def test_a_model_that_is_not_here(literature, index, tmp_path):
    environment = {"HF_HUB_OFFLINE": "1", "SENTENCE_TRANSFORMERS_HOME": str(tmp_path)}
    advice = "hf download BAAI/bge-m3 --local-dir bge-m3"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        refused(chimed("build", literature, "--out", tmp_path / "i", "--encoder", "BAAI/bge-m3"), advice)
        refused(chimed("ask", "高血压怎么诊断", "--index", index, "--reranker", "BAAI/bge-m3"), advice)
        found = {f["what"]: f for f in json.loads(chimed("doctor", "--json").stdout)["findings"]}
        assert found["known encoders"]["state"] == "missing"
        assert "hf download" in found["known encoders"]["remedy"]
        (tmp_path / "models--BAAI--bge-m3" / "snapshots").mkdir(parents=True)
        found = {f["what"]: f for f in json.loads(chimed("doctor", "--json").stdout)["findings"]}
        assert "--encoder BAAI/bge-m3" in found["known encoders"]["detail"]
    assert not (tmp_path / "i").exists()
    refused(chimed("search", "高血压", "--index", index, "--reranker", "nobody"), "no reranker is called 'nobody'")


def test_build_from_a_recipe(literature, tmp_path):
    recipe = tmp_path / "ward.yaml"
    recipe.write_text(f"sources: [{literature}]\nchunking: {{max_chars: 100}}\nmetadata: {{ward: A}}\n", "utf-8")
    done = chimed("build", "--recipe", recipe, "--out", tmp_path / "i", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["documents"] == 4
    (tmp_path / "pairs.jsonl").write_text('{"query": "头痛", "passage": ""}\n', "utf-8")
    recipe.write_text(f"sources: [{literature}]\npairs: pairs.jsonl\n", "utf-8")  # beside the recipe
    refused(chimed("build", "--recipe", recipe, "--out", tmp_path / "j"), "pairs.jsonl, line 1", '"query"')
    recipe.write_text("sauces: [x]\n")
    refused(chimed("build", "--recipe", recipe, "--out", tmp_path / "j"), "ward.yaml", "sauces", "sources")


def test_build_refuses_and_leaves_nothing(tmp_path, literature, index):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "好"}\n{"text": \n')
    refused(chimed("build", broken, "--out", tmp_path / "a"), "broken.jsonl, line 2")
    refused(chimed("ask", "好吗", "--index", tmp_path / "a"), "no index here")
    refused(chimed("build", tmp_path / "none", "--out", tmp_path / "b"), "none")
    refused(chimed("build", literature), "--out")
    refused(chimed("build", literature, "--out", tmp_path / "b", "--no-adapt", "--pairs", broken), "--no-adapt")
    refused(chimed("build", literature, "--out", index), "already holds an index", "--overwrite")
    refused(chimed("build", literature, "--out", literature), "holds other files")
    column = tmp_path / "table.csv"
    column.write_text("name,content\n甲,乙\n", "utf-8")
    refused(chimed("build", column, "--out", tmp_path / "c"), "table.csv", "content", "--field text=")
    assert chimed("build", column, "--out", tmp_path / "c", "--field", "text=content").returncode == 0


def test_usage_errors_exit_2():
    assert chimed("ask").returncode == 2
    assert chimed("fly").returncode == 2
    assert chimed("--version").stdout.strip() == "0.1.0"


def test_evaluate_retrieval(tmp_path):
    rows = {
        "q": [{"_id": "q1", "text": "血钾正常值"}, {"_id": "q2", "text": "布洛芬禁忌"}],
        "c": [
            {"_id": "a", "title": "", "text": "血钾正常值为3.5~5.5mmol/L"},
            {"id": "b", "title": "布洛芬", "text": "禁忌：孕晚期", "section": "禁忌"},
        ],
        "r": [
            {"query-id": "q1", "corpus-id": "a", "score": 1},
            {"query-id": "q2", "corpus-id": "b", "score": 1},
        ],
    }
    for name, lines in rows.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    arguments = ["evaluate", "retrieval"]
    for option, name in (("--queries", "q"), ("--corpus", "c"), ("--qrels", "r")):
        arguments += [option, tmp_path / f"{name}.jsonl.gz"]
    for retriever in ("hybrid", "dense", "lexical"):
        done = chimed(*arguments, "--retriever", retriever, "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["task"], result["protocol"], result["n"]) == ("retrieval", "beir", 2)
        assert result["system"] == retriever
        assert set(result["metrics"]) == {"ndcg@10", "recall@10", "recall@100", "mrr@10"}
        assert result["metrics"]["recall@100"]["value"] == 1.0
        assert set(result["latency_ms"]) == {"p50", "p95"}
    refused(chimed(*arguments, "--retriever", "magic"), "hybrid, dense, lexical")
    assert "ndcg@10" in chimed(*arguments).stdout.lower()


def test_bad_files_can_be_left_out_and_are_named(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "a.txt").write_bytes("高血压患者应限盐，每日不超过5g。".encode("gbk"))
    (folder / "b.txt").write_bytes(b"")
    refused(chimed("build", folder, "--out", tmp_path / "i"), "b.txt", "empty")
    done = chimed("build", folder, "--out", tmp_path / "i", "--skip-errors")
    assert done.returncode == 0
    assert "gbk 1" in done.stdout
    assert "b.txt" in done.stderr
