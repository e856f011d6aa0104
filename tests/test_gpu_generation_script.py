"""`benchmarks/gpu_generation.py`: its arithmetic, its own decoding step, and that all of it runs without a GPU."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[None]:
    """The folder of the scripts, where their imports look."""
    if not FOLDER.is_dir():
        pytest.skip("benchmarks/ is not beside tests/ here")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield
        for name in [name for name, one in sys.modules.items() if str(FOLDER) in str(getattr(one, "__file__", ""))]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def bench(scripts: None) -> Any:
    """The small model on the CPU."""
    import torch
    from _gpu_bench import SMALL, Bench
    from _random_model import TINY, Shape, make_model, make_tokenizer

    model, tokenizer = make_model(TINY, "cpu", torch.float32), make_tokenizer(TINY["vocab_size"])
    return Bench(model, tokenizer, Shape.of(TINY, 4), "cpu", SMALL, repeat=1, seconds=100)


def test_shape_of_chimed_gpt_is_that_of_its_published_files() -> None:
    from _random_model import CHIMED_GPT, Shape

    from chimed_rag.generation.memory import plan

    shape = Shape.of(CHIMED_GPT, element=2)
    # A layer: 4 × 5120² + 3 × 5120 × 13824 + 2 × 5120 = 317,204,480; 40 of them, a norm, and 2 × 39410 × 5120.
    assert shape.parameters == 40 * 317_204_480 + 5_120 + 403_558_400 == 13_091_742_720
    assert shape.parameters * 2 / 1e9 == pytest.approx(26.18, abs=0.01)  # its three files: 9.97 + 9.96 + 6.25 GB
    assert shape.kv_bytes == 2 * 40 * 40 * 128 * 2 == 819_200
    planned = plan(CHIMED_GPT | {"model_type": "llama"}, batch=3, context=7)
    assert (planned.weights, planned.cache) == (shape.parameters * 2, 3 * 7 * shape.kv_bytes)


def test_parameters_are_those_of_the_model_that_is_made(bench: Any) -> None:
    assert sum(one.numel() for one in bench.model.parameters()) == bench.shape.parameters


def test_floors_by_hand() -> None:
    from _random_model import Shape

    config = {"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    shape = Shape.of(config | {"intermediate_size": 8, "vocab_size": 10}, element=2)
    # A layer: q and o 2 × 16, k and v 2 × 4 × 2, feed-forward 3 × 32, norms 8: 152. Two, and the last norm: 308.
    assert shape.layer_parameters == 308
    assert shape.kv_bytes == 2 * 2 * 2 * 2
    assert shape.step_bytes(batch=3, context=5) == (308 + 40) * 2 + 3 * 5 * 16
    assert shape.prefill_operations(7) == 2 * 308 * 7 + 2 * 49 * 4 * 2 + 2 * 40


def test_a_step_of_our_own_writes_what_generate_writes(bench: Any) -> None:
    from _decoding import captured, generate

    prompts = bench.prompts([21, 21, 21])
    expected = generate(bench.model, prompts, 30).tokens
    assert captured(bench.model, prompts, 30).tokens.tolist() == expected.tolist()
    assert len(set(expected.flatten().tolist())) > 10  # not one token over and over


def test_replies_end_only_at_their_limit(bench: Any) -> None:
    from _decoding import generate
    from _random_model import EOS

    tokens = generate(bench.model, bench.mixed(), 40).tokens
    assert tokens.shape == (bench.sizes.many, 40)
    assert EOS not in tokens


def test_a_token_is_a_character_and_some_end_sentences() -> None:
    from _random_model import CHIMED_GPT, ENDS_EVERY, make_tokenizer

    tokenizer = make_tokenizer(CHIMED_GPT["vocab_size"])
    text = "[human]:一天三次，饭后。\n[bot]:"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 39_410
    assert tokenizer.decode(list(range(len(tokenizer)))).count("。") == pytest.approx(
        39_410 / (ENDS_EVERY + 1), rel=0.01
    )


def test_difference_of_replies() -> None:
    from _gpu_bench import first_difference

    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 9, 3]) == 1
    assert first_difference([1, 2], [1, 2, 3]) == 2


def test_all_parts_run_on_the_cpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = importlib.import_module("gpu_generation")
    script.main(["--tiny", "--repeat", "1", "--json", str(tmp_path / "out" / "found.json")])
    rows = json.loads((tmp_path / "out" / "found.json").read_text("utf-8"))["rows"]
    assert [row for row in rows if str(row.get("note", "")).startswith("failed")] == []
    for name in ("ceilings", "prefill", "decode", "batch", "chimed", "sentence", "static", "continuous"):
        assert any(row.get("rate", 0) > 0 for row in rows if row["part"] == name), name
    assert [row["way"] for row in rows if row["part"] == "sentence"][1] == "first sentence of MedQA.stream, proven"
    assert {row["part"] for row in rows} == set(script.PARTS)
    assert "no measurement" in capsys.readouterr().out


def test_a_part_that_fails_says_why_and_the_rest_goes_on(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = importlib.import_module("gpu_generation")

    def breaks(bench: Any) -> list[Any]:
        raise RuntimeError("no room\nfor this")

    monkeypatch.setitem(script.PARTS, "prefill", breaks)
    rows = script.measured(bench, ["prefill", "ceilings"], tmp_path / "found.json")
    assert rows[0] == {"part": "prefill", "note": "failed: RuntimeError: no room for this"}
    assert any(row["part"] == "ceilings" and row.get("rate") for row in rows)
    assert json.loads((tmp_path / "found.json").read_text("utf-8"))["rows"] == rows


def test_no_part_begins_without_time(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("gpu_generation")
    monkeypatch.setattr(bench, "seconds", 0.0)
    [row, _] = script.measured(bench, ["ceilings"], None)
    assert "no time left" in row["note"]
