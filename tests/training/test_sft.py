"""The stage "sft" from a configuration to a model that replies and stops: tokens, batches, gates; resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chimed_rag import MedQA
from chimed_rag.errors import ConfigError, InputError
from chimed_rag.generation.chat import Rendered, Renderer

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("sacrebleu")

from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training import fitting  # noqa: E402
from training.answers import answers  # noqa: E402
from training.batches import Padded, audit, labels, packed, render, without_earliest  # noqa: E402
from training.checkpoints import file_sha256  # noqa: E402
from training.contracts import Dialogue  # noqa: E402
from training.gates import GateError, read_gates  # noqa: E402
from training.language import Shape, load_policy, new_model  # noqa: E402
from training.settings import ROOT  # noqa: E402
from training.stages import run_stage  # noqa: E402

CONFIG = ROOT / "training" / "configs" / "sft_tiny.yaml"
STARTER = ROOT / "chimed_rag" / "corpus" / "starter"


def starter_dialogues(count: int) -> list[dict[str, Any]]:
    """Questions about the starter literature, each with the first sentence of the section that answers it."""
    rows = []
    for file in sorted(STARTER.glob("*.md")):
        text = file.read_text("utf-8")
        title = text.partition("title: ")[2].partition("\n")[0]
        for heading, question in (("适应症", "{}治什么？"), ("禁忌", "谁不能用{}？")):
            reply = text.partition(f"\n## {heading}\n")[2].partition("\n")[0]
            messages = [{"role": "user", "content": question.format(title)}, {"role": "assistant", "content": reply}]
            if reply and len(rows) < count:
                rows.append({"id": f"{file.stem} {heading}", "messages": messages, "licence": "Apache-2.0"})
    return rows


def dialogue(*said: str, system: str = "") -> Dialogue:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return Dialogue.model_validate({"id": "1", "source": "made-up", "messages": messages})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty dialogues, and the model to begin with: half a million random weights."""
    folder = tmp_path_factory.mktemp("sft")
    rows = starter_dialogues(60)
    assert len(rows) == 60
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "dialogues.jsonl").write_text("".join(lines), "utf-8")
    make_tiny_model(folder / "base")
    make_tiny_model(folder / "chatml", chat_template=True)
    return folder


@pytest.fixture(scope="module")
def native(data: Path) -> Renderer:
    return Renderer(load_policy(data / "base")[1])


@pytest.fixture(scope="module")
def chatml(data: Path) -> Renderer:
    return Renderer(load_policy(data / "chatml")[1])


def run(data: Path, out: Path, *overrides: str) -> tuple[Path, list[str]]:
    """The stage with the tiny configuration."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY", str(data))
        folder = run_stage("sft", CONFIG, [f"output_dir={out}", *overrides], say=said.append)
    return folder, said


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A model that has learned to reply, which tests only read, and what was said."""
    return run(data, tmp_path_factory.mktemp("runs") / "trained")


# -- the stage ----------------------------------------------------------------------------------------------------


def test_it_learns_to_reply_and_to_stop(trained: tuple[Path, list[str]], data: Path) -> None:
    folder, said = trained
    names = ["BLEU-2 of characters, change", "ROUGE-L of characters, change", "stop rate"]
    assert [gate.name for gate in read_gates(folder)] == [*names, "repetition beyond the references'"]
    assert all(gate.passed and gate.n == 12 for gate in read_gates(folder))
    card = json.loads((folder / "card.json").read_text("utf-8"))
    base, model = card["scores"]["base"], card["scores"]["model"]
    assert base["stop rate"]["value"] == 0 and model["stop rate"]["value"] == 1
    assert model["BLEU-1"]["low"] > base["BLEU-1"]["value"] and model["ROUGE-L"]["low"] > base["ROUGE-L"]["high"]
    assert card["scores_of"].startswith("Trained on 48 of 48 conversations (0 too long")
    assert "part of one of the 48 replies or the token that ends it" in card["scores_of"]
    assert [point["step"] for point in card["curve"]] == [20, 40, 60]
    assert any("packed and separate logits differ by" in line for line in said)
    # Served by its folder it writes what it wrote when it was measured: the card is of this very model.
    rows = [Dialogue.model_validate(row) for row in starter_dialogues(60)]
    written = answers(*load_policy(folder), rows, 40)
    lengths = sum(len(one.text) for one in written) / sum(len(row.messages[-1]["content"]) for row in rows)
    assert lengths < 1.2 and sum(one.finish == "stop" for one in written) >= 59


def test_adapters_are_merged_verified_and_answer_in_medqa(data: Path, tmp_path: Path, ward: Path) -> None:
    rate = ("lora={rank: 8, alpha: 16, dropout: 0.1}", "fit.max_steps=8", "gates=false", "data.held_out=0")
    folder, said = run(data, tmp_path / "adapters", *rate)
    assert any(line.startswith("merged, verified on 4 texts: logits differ by") for line in said)
    assert "nothing is held out, so replies are not measured" in said
    assert sorted(file.suffix for file in folder.glob("*.safetensors")) == [".safetensors"]
    with MedQA.load(ward, generator=folder) as qa:
        answer = qa.ask("布洛芬一天最多吃几次？")
    assert answer.generator == "chimed-gpt:adapters"
    assert answer.text


@pytest.mark.parametrize("how", [[], ["packing=false", "lora={rank: 4, alpha: 8, dropout: 0.1}"]])
def test_killed_and_started_again_it_ends_with_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: list[str]
) -> None:
    short = (*how, "fit.max_steps=6", "fit.save_every=4", "gates=false", "data.held_out=0")
    whole, _ = run(data, tmp_path / "whole", *short)
    seal = fitting.seal

    def seal_then_die(checkpoint: Path) -> None:
        seal(checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "seal", seal_then_die)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "killed", *short)
    monkeypatch.setattr(fitting, "seal", seal)
    folder, said = run(data, tmp_path / "killed", *short)
    assert any("goes on from checkpoint-4" in line for line in said)
    assert file_sha256(folder / "model.safetensors") == file_sha256(whole / "model.safetensors")


def test_what_learned_nothing_fails_the_gate_and_the_model_is_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"3 of 4 gates failed: BLEU-2.*ROUGE-L.*stop rate"):
        run(data, tmp_path / "lazy", "fit.max_steps=1", "fit.learning_rate=1.0e-9", "max_new_tokens=8")
    assert (tmp_path / "lazy" / "model.safetensors").is_file()


def test_what_cannot_be_trained_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no conversation is left to learn from, of 48; the longest has \d+ tokens"):
        run(data, tmp_path / "out", "max_tokens=16")
    with pytest.raises(InputError, match=r"max_tokens is 9,999 and \$TINY/base reads 4,096 at most"):
        run(data, tmp_path / "out", "max_tokens=9999")
    with pytest.raises(ConfigError, match="base is missing"):
        run(data, tmp_path / "out", "base=null")
    assert not (tmp_path / "out").exists()


# -- rows and batches ---------------------------------------------------------------------------------------------


def test_earliest_exchanges_are_left_out_whole_and_rows_without_room_are_counted(native: Renderer) -> None:
    long = dialogue("甲" * 30, "乙" * 30, "问", "答", "再问", "再答")
    last_two = len(native.training(long.messages[2:]).ids)
    found = render(native, [long, dialogue("问", "答" * 50), dialogue("问", "答")], last_two)
    assert [len(row.messages) for row in found.dialogues] == [4, 2]
    assert found.dialogues[0].messages == long.messages[2:]
    assert {name: found.counts[name] for name in ("read", "kept", "too long", "shortened")} == {
        "read": 3, "kept": 2, "too long": 1, "shortened": 1,
    }  # fmt: skip
    for row in found.rendered:
        assert len(row.ids) <= last_two and row.mask[-1] and row.ids[-1] in native.stop_ids


def test_the_system_message_stays_when_an_exchange_goes() -> None:
    messages = dialogue("一", "二", "三", "四", system="你是医生").messages
    assert [message["content"] for message in without_earliest(messages)] == ["你是医生", "三", "四"]
    assert without_earliest(messages[:3]) == []


@pytest.mark.parametrize("form", ["native", "chatml"])
def test_the_audit_passes_replies_with_their_end_and_nothing_else(form: str, request: pytest.FixtureRequest) -> None:
    renderer: Renderer = request.getfixturevalue(form)
    row = dialogue(
        "孕妇能吃吗？", " 孕晚期禁用。\n请就医。 ", "为什么？", "见[bot]:与</s>、<|im_end|>。", system="只答一句"
    )
    rendered = renderer.training(row.messages)
    assert dict(audit(renderer, row, rendered)) == {"replies as written": 1, "replies made harmless": 1}
    last = renderer.training(row.messages, last_only=True)
    assert dict(audit(renderer, row, last, last_only=True)) == {"replies made harmless": 1}

    place = rendered.mask.index(True)
    end = place + rendered.mask[place:].index(False)
    for spoilt, said in (
        ([*rendered.mask[: end - 1], False, *rendered.mask[end:]], "the token that ends reply 1 would not be learned"),
        ([*rendered.mask[: place - 1], True, *rendered.mask[place:]], "reply 1 is not what the reply says"),
        ([*rendered.mask[:place], False, *rendered.mask[place + 1 :]], "reply 1 is not what the reply says"),
        ([False] * end + rendered.mask[end:], "1 stretches would be learned, of 2 replies"),
    ):
        with pytest.raises(InputError, match=f"made-up, row 1: .*{said}"):
            audit(renderer, row, Rendered(rendered.ids, spoilt))


def test_padded_batches_by_hand() -> None:
    rows = Padded([Rendered([5, 6, 7], [False, True, True]), Rendered([8], [True])], pad_id=0)
    batch = rows.collate([rows[0], rows[1]])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 6, 7], [8, -100, -100]],
    }
    assert labels(Rendered([1, 2], [False, True])) == [-100, 2]


def test_packed_and_padded_rows_are_learned_alike(native: Renderer) -> None:
    from training.packing import Rows

    dialogues = [Dialogue.model_validate(row) for row in starter_dialogues(6)]
    found = render(native, dialogues, 64)
    model = new_model(Shape(hidden=16, layers=2, heads=2, feed_forward=24, context=128), native.tokenizer, 1).eval()
    together, padded = packed(found.rendered, 128, 0), Padded(found.rendered, 0)
    assert len(together.ids) < len(found.rendered)
    assert together.learned == sum(sum(row.mask) for row in found.rendered)
    with torch.no_grad():
        one = model(**Rows(together).collate(range(len(together.ids)))).loss
        other = model(**padded.collate([padded[n] for n in range(len(padded))])).loss
    assert float(one) == pytest.approx(float(other), abs=1e-5)
