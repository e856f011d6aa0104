"""The stage "pretrain" from a configuration to a model that foretells better: resumed, extended, judged, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chimed_rag.errors import ConfigError, InputError

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training import fitting, language, packing  # noqa: E402
from training.checkpoints import TrainingError, file_sha256  # noqa: E402
from training.gates import GateError  # noqa: E402
from training.language import load_policy  # noqa: E402
from training.measures import bits_per_character  # noqa: E402
from training.settings import ROOT  # noqa: E402
from training.stages import run_stage  # noqa: E402

CAUSES = ["受凉", "熬夜", "过敏", "劳累", "饮酒", "紧张", "久坐", "感染"]


def texts(kind: str, count: int) -> list[str]:
    """Made-up sentences with a form that can be learned; no row of them is medical knowledge."""
    subjects = [f"{a}{b}症" for a in "甲乙丙丁戊己庚辛" for b in "春夏秋冬"]
    return [
        f"{subjects[n % 32]}多因{CAUSES[n % 8]}引起，第{n}号{kind}建议休息{n % 7 + 1}天后复查，必要时到门诊就诊。" * 2
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for domain, kind in (("medical", "病人"), ("general", "读者")):
        rows = [
            {"id": f"{domain} {n}", "text": text, "domain": domain, "source": "made up", "licence": "Apache-2.0"}
            for n, text in enumerate(texts(kind, 60))
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{domain}.jsonl").write_text("".join(lines), "utf-8")
    (folder / "words.txt").write_text("多因受凉引起\n必要时到门诊就诊\n", "utf-8")
    return folder


def configuration(made_up: Path, out: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "output_dir": str(out),
        "seed": 3,
        "shape": {"vocabulary": 400, "hidden": 16, "layers": 2, "heads": 2, "feed_forward": 24, "context": 128},
        "max_tokens": 64,
        "data": {
            "sources": [{"path": str(made_up / "medical.jsonl"), "form": "texts", "licence": "Apache-2.0"}],
            "hygiene": {"evaluation": None, "near_duplicates": None},
            "held_out": 8,
        },
        "fit": {"batch_size": 4, "max_steps": 12, "learning_rate": 5e-3, "save_every": 4, "log_every": 4},
        "device": "cpu",
    }
    settings |= changes
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}), "utf-8")
    return path


def run(config: Path, *overrides: str, **how: Any) -> tuple[Path, list[str]]:
    said: list[str] = []
    return run_stage("pretrain", config, overrides, say=said.append, **how), said


@pytest.fixture(scope="module")
def new(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A model made new and trained, which tests only read, and what was said."""
    return run(configuration(data, tmp_path_factory.mktemp("runs") / "new"))


def test_a_new_model_foretells_better_and_its_card_says_how_much(new: tuple[Path, list[str]]) -> None:
    folder, said = new
    model, tokenizer = load_policy(folder)
    assert len(tokenizer) <= 400
    assert model.config.use_cache
    card = json.loads((folder / "card.json").read_text("utf-8"))
    before, after = (card["scores"][name]["bits per character, medical"] for name in ("start", "model"))
    assert after["high"] < before["low"]
    assert [gate["name"] for gate in card["gates"]] == ["bits per character, medical, change"]
    assert card["gates"][0]["n"] == 8
    assert card["parameters"] == model.num_parameters()
    assert [point["step"] for point in card["curve"]] == [4, 8, 12]
    assert card["curve"][-1]["loss"] < card["curve"][0]["loss"]
    assert not (folder / "work").exists()
    assert any("packed and separate" in line for line in said)
    # Texts that it has not seen, measured here: what it learned is not only in its card.
    unseen = texts("病人", 70)[60:]
    bits, characters = bits_per_character(model, tokenizer, unseen)
    assert bits.sum() / characters.sum() == pytest.approx(after["value"], rel=0.2)


@pytest.mark.parametrize("how", ["new", "adapters on a base that was taught words"])
def test_killed_and_started_again_it_ends_with_the_same_weights(
    new: tuple[Path, list[str]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    whole, changes = new[0], {}
    if how != "new":
        words, adapters = [str(data / "words.txt")], {"rank": 4, "alpha": 8, "dropout": 0.1}
        changes = {"base": str(new[0]), "shape": None, "extend": words, "lora": adapters, "gates": False}
        whole, _ = run(configuration(data, tmp_path / "whole", **changes))
    seal, killed = fitting.seal, configuration(data, tmp_path / "killed", **changes)

    def seal_then_die(checkpoint: Path) -> None:
        seal(checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "seal", seal_then_die)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    monkeypatch.setattr(fitting, "seal", seal)
    folder, said = run(killed)
    assert any("goes on from checkpoint-4" in line for line in said)
    assert file_sha256(folder / "model.safetensors") == file_sha256(whole / "model.safetensors")
    assert json.loads((folder / "card.json").read_text("utf-8"))["resumed"] == 1


def test_a_base_taught_words_and_trained_by_adapters_loads_as_a_plain_model(data: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    sources = [
        {"path": str(data / f"{domain}.jsonl"), "form": "texts", "licence": "Apache-2.0", "domain": domain}
        for domain in ("medical", "general")
    ]
    config = configuration(
        data,
        tmp_path / "taught",
        base=str(base),
        shape=None,
        extend=[str(data / "words.txt")],
        lora={"rank": 4, "alpha": 8},
        data={
            "sources": sources,
            "hygiene": {"evaluation": None, "near_duplicates": None},
            "held_out": 6,
        },
    )
    folder, said = run(config)
    model, tokenizer = load_policy(folder)
    old = load_policy(base)[1]
    assert any("2 of 2 words added" in line for line in said)
    assert len(tokenizer) == len(old) + 2 == model.get_input_embeddings().num_embeddings
    assert tokenizer("多因受凉引起", add_special_tokens=False)["input_ids"] == [len(old)]
    assert not list(folder.glob("adapter*"))
    gates = {gate["name"]: gate for gate in json.loads((folder / "card.json").read_text("utf-8"))["gates"]}
    assert list(gates) == ["bits per character, medical, change", "bits per character, general, change"]
    assert gates["bits per character, general, change"]["bound"] == 0.03
    assert all(gate["passed"] and gate["n"] == 6 for gate in gates.values())


def test_what_was_unlearned_fails_the_gate_and_the_model_is_there(
    new: tuple[Path, list[str]], data: Path, tmp_path: Path
) -> None:
    config = configuration(data, tmp_path / "spoilt", base=str(new[0]), shape=None)
    too_fast = ("fit.learning_rate=1.0", "fit.warmup=0")
    with pytest.raises(GateError, match="bits per character, medical"):
        run(config, *too_fast)
    assert (tmp_path / "spoilt" / "model.safetensors").is_file()
    assert run(config, *too_fast, "gates=false")[0].is_dir()


def test_a_loss_that_is_no_number_stops_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="learning_rate"):
        run(configuration(data, tmp_path / "burst"), "fit.learning_rate=1e38", "fit.save_every=100")
    assert not (tmp_path / "burst" / "card.json").exists()
    assert not list((tmp_path / "burst").glob("*.safetensors"))


def test_texts_that_would_see_each_other_stop_it_before_a_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collate = packing.Rows.collate

    def without_positions(self: packing.Rows, numbers: Any) -> dict[str, Any]:
        batch = collate(self, numbers)
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        return batch

    monkeypatch.setattr(packing.Rows, "collate", without_positions)
    with pytest.raises(InputError, match="see each other"):
        run(configuration(data, tmp_path / "contaminated"))
    assert not list((tmp_path / "contaminated").rglob("checkpoint-*"))


def test_without_bfloat16_in_the_processor_it_computes_in_float32_and_says_so(
    new: tuple[Path, list[str]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert not language.fast_bf16("cpu")
    asked, said = run(configuration(data, tmp_path / "asked"), "fit.bf16=true")
    assert any("no bfloat16" in line for line in said)
    assert "no bfloat16" in json.loads((asked / "card.json").read_text("utf-8"))["description"]
    assert file_sha256(new[0] / "model.safetensors") == file_sha256(asked / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": None}, "either shape"),
        ({"base": "models/any"}, "either shape"),
        ({"lora": {"rank": 4}}, "for a base"),
        ({"max_tokens": 256}, "more than shape.context"),
        ({"shape": {"hidden": 20, "heads": 4}}, "even multiple"),
        ({"max_token": 64}, "there are: .*max_tokens"),
        ({"data": {"sources": [], "hygiene": {"evaluation": None}}}, "data.sources"),
    ],
)
def test_settings_that_do_not_fit_are_refused(data: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(configuration(data, tmp_path / "refused", **changes))
    assert not (tmp_path / "refused").exists()


def test_data_that_leave_nothing_and_a_base_that_reads_less(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="held_out"):
        run(configuration(data, tmp_path / "none"), "data.held_out=60")
    base = make_tiny_model(tmp_path / "base")
    with pytest.raises(InputError, match="reads 4,096 at most"):
        run(configuration(data, tmp_path / "long", base=str(base), shape=None, max_tokens=5000))


def test_the_tiny_configuration_learns_from_the_starter_literature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = ROOT / "training/configs/pretrain_tiny.yaml"
    folder, _ = run(config, f"output_dir={tmp_path}/out", "fit.max_steps=12")
    card = json.loads((folder / "card.json").read_text("utf-8"))
    assert 200_000 < card["parameters"] < 400_000
    assert all(gate["passed"] for gate in card["gates"])


def test_shares_are_of_the_base_s_tokens(data: Path, tmp_path: Path) -> None:
    """A sign that the tokenizer has never seen is four tokens: shares of characters would give another mixture."""
    from training.contracts import Text
    from training.measures import tokens_of
    from training.pretrain import PretrainSettings, _counter
    from training.settings import read_yaml, validated
    from training.sources import read_rows

    base = tmp_path / "base"
    make_tiny_model(base)
    rows = [{"id": f"e{n}", "text": f"{'🍵' * 12}{n}"} for n in range(90)]  # of four bytes each
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    sources = [
        {"path": str(data / "medical.jsonl"), "form": "texts", "licence": "Apache-2.0", "share": 0.5},
        {"path": str(tmp_path / "other.jsonl"), "form": "texts", "licence": "Apache-2.0", "share": 0.5},
    ]
    hygiene = {"evaluation": None, "near_duplicates": None}
    wanted = {"sources": sources, "hygiene": hygiene, "held_out": 0, "tokens": 2000}
    path = configuration(data, tmp_path / "out", shape=None, base=str(base), data=wanted)
    settings = validated(PretrainSettings, read_yaml(path), path)
    counted = _counter(settings)
    assert counted is not None
    mixed = read_rows(settings.data, Text, seed=1, ledger=[], count=counted)
    _, tokenizer = load_policy(str(base))
    given = {"e": 0, "m": 0}
    for row in mixed:
        given[row.id[0]] += len(tokens_of(tokenizer, [row.text])[0]) + 2
    assert sum(given.values()) == pytest.approx(2000, rel=0.1)
    assert given["e"] / sum(given.values()) == pytest.approx(0.5, abs=0.05)
    of_characters = {"e": 0, "m": 0}
    for row in read_rows(settings.data, Text, seed=1, ledger=[]):
        of_characters[row.id[0]] += len(tokens_of(tokenizer, [row.text])[0]) + 2
    assert abs(of_characters["e"] / sum(of_characters.values()) - 0.5) > 0.1
    plain = configuration(data, tmp_path / "plain", shape=None, base=str(base))
    assert _counter(validated(PretrainSettings, read_yaml(plain), plain)) is None  # nothing is mixed
