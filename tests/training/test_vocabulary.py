"""Tokenizers learned and extended; bits per character against sums by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.errors import InputError

torch = pytest.importorskip("torch")

from chimed_rag.generation.tiny import make_tiny_model  # noqa: E402
from training.language import load_policy, save_model, with_lora  # noqa: E402
from training.measures import bits_per_character, windows  # noqa: E402
from training.stages import Lora  # noqa: E402
from training.vocabulary import extend, fertility, learn_tokenizer, read_words  # noqa: E402

TEXTS = ["布洛芬用于缓解轻至中度疼痛。", "对布洛芬过敏的患者禁用布洛芬。", "Aspirin 100mg 每日一次，饭后服用。"] * 20
WORDS = ["脊髓灰质炎", "布洛芬缓释胶囊", "非甾体抗炎药"]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


# --- learned ---------------------------------------------------------------------------------------------------


def test_a_tokenizer_writes_what_it_read_and_is_the_same_every_time() -> None:
    one, again = (learn_tokenizer(TEXTS, vocabulary=400, context=64, sample=9) for _ in range(2))
    assert one.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    assert len(one) <= 400
    assert one.convert_tokens_to_ids(["<pad>", "<s>", "</s>"]) == [0, 1, 2]
    for text in [*TEXTS[:3], "从未见过的字：龘\n\t🙂 é"]:
        assert one.decode(one(text, add_special_tokens=False)["input_ids"]) == text
    assert one.padding_side == "left"
    assert fertility(one, TEXTS) < fertility(learn_tokenizer(TEXTS, vocabulary=300, context=64, sample=9), TEXTS)
    with pytest.raises(InputError, match="no text"):
        learn_tokenizer([], vocabulary=400, context=64, sample=9)


def test_the_sample_is_spread_over_all_texts() -> None:
    texts = ["甲甲甲甲"] * 50 + ["乙乙乙乙"] * 50
    tokenizer = learn_tokenizer(texts, vocabulary=400, context=64, sample=10)
    assert len(tokenizer("甲甲甲甲乙乙乙乙", add_special_tokens=False)["input_ids"]) <= 2


def test_words_are_read_once_each(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("发热\t10\n咳嗽\n\n发热\n", "utf-8")
    (tmp_path / "two.txt").write_text("咳嗽\n胸痛\n", "utf-8")
    assert read_words([tmp_path / "one.txt", tmp_path / "two.txt"]) == ["发热", "咳嗽", "胸痛"]
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    with pytest.raises(InputError, match="no word"):
        read_words([tmp_path / "empty.txt"])


# --- extended --------------------------------------------------------------------------------------------------


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_new_words_are_one_token_and_begin_as_the_mean_of_their_pieces(tiny_model: Path) -> None:
    model, tokenizer = load_policy(tiny_model)
    old, old_tokenizer = load_policy(tiny_model)
    assert extend(model, tokenizer, [*WORDS, WORDS[0], "的"]) == WORDS  # 的 is a token already
    assert extend(model, tokenizer, WORDS) == []
    text = "怀疑脊髓灰质炎时，服用布洛芬缓释胶囊。"
    assert tokenizer.decode(ids_of(tokenizer, text)) == text
    assert ids_of(tokenizer, text).count(3072) == ids_of(tokenizer, text).count(3073) == 1
    assert ids_of(tokenizer, "孕妇慎用，每日三次。") == ids_of(old_tokenizer, "孕妇慎用，每日三次。")
    for now, before in zip(_both(model), _both(old), strict=True):
        assert now.shape == (3075, 64)
        assert torch.equal(now[:3072], before)
        for n, word in enumerate(WORDS):
            assert torch.allclose(now[3072 + n], before[ids_of(old_tokenizer, word)].mean(dim=0), atol=1e-7)
    assert fertility(tokenizer, [text]) < fertility(old_tokenizer, [text])


def _both(model: Any) -> list[Any]:
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


def test_extended_then_adapters_then_merged_then_loaded_gives_the_same_logits(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load_policy(tiny_model)
    extend(model, tokenizer, WORDS)
    model = with_lora(model, Lora(rank=4, alpha=8), vocabulary=True)
    batch = tokenizer(f"治疗{WORDS[0]}感染，{WORDS[2]}要慎用。", return_tensors="pt", return_token_type_ids=False)
    rows = model.get_input_embeddings().weight
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    start = rows[3072].clone()
    for _ in range(3):
        model(**batch, labels=batch["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.allclose(rows[3072], start)  # the new rows do learn
    with torch.no_grad():
        trained = model.eval()(**batch).logits
    save_model(model, tokenizer, tmp_path / "out")
    loaded, its_tokenizer = load_policy(tmp_path / "out")
    assert ids_of(its_tokenizer, WORDS[0]) == [3072]
    with torch.no_grad():
        assert (loaded(**batch).logits - trained).abs().max() < 1e-5


def test_a_tokenizer_that_puts_blanks_beside_new_words_is_refused(tiny_model: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def llama_like(scheme: str) -> Any:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        bpe.decoder = decoders.Metaspace(prepend_scheme=scheme)
        bpe.train_from_iterator([*TEXTS, *WORDS, "对的认识"], trainers.BpeTrainer(vocab_size=90, show_progress=False))
        return PreTrainedTokenizerFast(tokenizer_object=bpe)

    with pytest.raises(InputError, match="legacy"):
        extend(load_policy(tiny_model)[0], llama_like("always"), ["布洛芬用于缓解"])
    model = load_policy(tiny_model)[0]
    assert extend(model, llama_like("first"), ["布洛芬用于缓解"]) == ["布洛芬用于缓解"]
    assert model.get_input_embeddings().num_embeddings == 3072  # more rows than tokens: they stay as they are


# --- bits per character ----------------------------------------------------------------------------------------


def test_windows_foretell_each_token_once_from_half_a_context_at_least() -> None:
    document = list(range(10, 27))
    found = windows([document], 1, 8)
    assert [window.new for window in found] == [7, 4, 4, 2]
    assert [token for window in found for token in window.ids[-window.new :]] == document
    assert found[0].ids == [1, *range(10, 17)]
    assert all(len(window.ids) == 8 for window in found)
    assert all(len(window.ids) - window.new >= 4 for window in found[1:])


def test_bits_are_the_sum_of_what_each_token_takes(tiny_model: Path) -> None:
    model, tokenizer = load_policy(tiny_model)
    texts = ["布洛芬用于退热。", "孕妇慎用。\n每日三次，一次0.2g，饭后服用；对本品过敏者禁用。", "热"]
    bits, characters = bits_per_character(model, tokenizer, texts, batch=2)
    assert characters.tolist() == [len(text) for text in texts]
    for text, taken in zip(texts, bits, strict=True):
        ids, by_hand = [1, *ids_of(tokenizer, text)], 0.0
        for n in range(1, len(ids)):  # one token after the other, no batch, no padding
            with torch.no_grad():
                chances = torch.softmax(model(input_ids=torch.tensor([ids[:n]])).logits[0, -1].double(), 0)
            by_hand -= math.log2(chances[ids[n]])
        assert taken == pytest.approx(by_hand, rel=1e-5)


def test_a_model_without_a_clue_takes_the_logarithm_of_its_vocabulary(tiny_model: Path) -> None:
    model, tokenizer = load_policy(tiny_model)
    model.get_output_embeddings().weight.data.zero_()
    text = "布洛芬用于退热。" * 30
    count = len(ids_of(tokenizer, text))
    for context in (16, 64, None):
        bits, _ = bits_per_character(model, tokenizer, [text], context=context, batch=3)
        assert bits[0] == pytest.approx(count * math.log2(3072), rel=1e-5)


def test_no_text_is_no_measurement(tiny_model: Path) -> None:
    model, tokenizer = load_policy(tiny_model)
    with pytest.raises(InputError, match="no text"):
        bits_per_character(model, tokenizer, [])
    with pytest.raises(InputError, match="text 1 has no token"):
        bits_per_character(model, tokenizer, ["热", ""])
