"""The slot for a reranker: names, what it is given to read, and what it must not give back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from chimed_rag import Document, MedQA, registry
from chimed_rag.errors import EncoderError, InputError, UnknownNameError
from chimed_rag.retrieval.rerank import load_reranker


class Recorder:
    """Notes what it reads; the first passage is the best."""

    name = "recorder"
    read: list[str]

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        type(self).read = list(passages)
        return [-float(i) for i in range(len(passages))]


def test_it_reads_names_and_headings_with_the_text(tmp_path: Path) -> None:
    text = "# 用药\n\n## 禁忌\n\n孕晚期妇女禁用。\n"
    source = tmp_path / "ibuprofen.md"
    source.write_text(f"---\ntitle: 布洛芬\naliases: [芬必得]\n---\n{text}", "utf-8")
    with MedQA.build(source, tmp_path / "i", reranker=Recorder()) as qa:
        qa.search("芬必得的禁忌", k=1)
    (read,) = Recorder.read
    lines = read.splitlines()
    assert lines[:2] == ["布洛芬", "芬必得"]
    assert "禁忌" in lines[2:-1]
    assert lines[-1] == "孕晚期妇女禁用。"


def test_names_are_those_of_the_registry(ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.rerankers._entries, "recorder", f"{__name__}:Recorder")
    with MedQA.load(ward, reranker="recorder") as qa:
        assert [e.ranks["recorder"].rank for e in qa.search("布洛芬", k=3)] == [1, 2, 3]
    with pytest.raises(UnknownNameError, match=r"no reranker is called 'interactoin'.*cross-encoder, recorder"):
        load_reranker("interactoin")
    with pytest.raises(EncoderError, match="is not a folder"):
        load_reranker(tmp_path / "gone" / "model")


def test_a_wrong_name_is_told_before_an_index_is_built(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no reranker"):
        MedQA.build([Document(id="a", text="高血压。")], tmp_path / "i", reranker="nobody")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("given", [[], [1.0], [float("nan")] * 4, [float("inf")] * 4, [1.0] * 5])
def test_scores_that_cannot_be_used(ward: Path, given: list[float]) -> None:
    class Broken:
        name = "broken"

        def score(self, query: str, passages: Sequence[str]) -> list[float]:
            return given

    with MedQA.load(ward, reranker=Broken()) as qa, pytest.raises(InputError, match="reranker 'broken' gave"):
        qa.search("布洛芬", k=4, filter={"department": "药学"})
    with MedQA.load(ward) as qa:
        assert qa.search("布洛芬", k=4)
