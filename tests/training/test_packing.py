"""Packing: every target once, rows filled well, and no text that sees another."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from chimed_rag.errors import InputError
from training.packing import IGNORED, Piece, Rows, check, pack, pieces


def test_a_long_document_is_cut_so_that_each_token_but_the_first_is_learned_once() -> None:
    assert [piece.ids for piece in pieces([[1, 2, 3, 4, 5, 6, 7]], 4)] == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert [piece.ids for piece in pieces([[1, 2, 3, 4, 5]], 4)] == [[1, 2, 3, 4], [4, 5]]
    assert [piece.ids for piece in pieces([[1, 2, 3, 4], [5], [], [6, 7]], 4)] == [[1, 2, 3, 4], [6, 7]]


def test_rows_positions_and_labels_by_hand() -> None:
    packed = pack([Piece([1, 2]), Piece([3, 4, 5]), Piece([6, 7, 8, 9, 10])], 6, pad_id=0)
    assert packed.ids.tolist() == [[6, 7, 8, 9, 10, 0], [3, 4, 5, 1, 2, 0]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 1, 0]]
    assert packed.labels.tolist() == [[IGNORED, 7, 8, 9, 10, IGNORED], [IGNORED, 4, 5, IGNORED, 2, IGNORED]]
    assert (packed.padding, packed.learned) == (2, 7)


def test_what_is_not_to_be_learned_is_no_label() -> None:
    packed = pack([Piece([1, 2, 3, 4], [True, False, True, True])], 4, pad_id=0)
    assert packed.labels.tolist() == [[IGNORED, IGNORED, 3, 4]]


def test_the_row_with_the_least_room_is_taken() -> None:
    packed = pack([Piece([n] * n) for n in (2, 3, 6, 7)], 10, pad_id=0)
    assert packed.ids.tolist() == [[7] * 7 + [3] * 3, [6] * 6 + [2] * 2 + [0] * 2]


def test_no_more_rows_than_the_packing_of_trl_and_every_target_is_there() -> None:
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl.data_utils")
    chance = random.Random(4)
    documents = [[chance.randrange(5, 99) for _ in range(chance.randrange(2, 90))] for _ in range(400)]
    whole = list(pieces(documents, 32))
    packed = pack(whole, 32, pad_id=0)
    theirs = trl.pack_dataset(datasets.Dataset.from_dict({"input_ids": [p.ids for p in whole]}), 32, "bfd")
    assert len(packed.ids) == len(theirs)
    assert packed.learned == sum(len(ids) - 1 for ids in documents)
    learned = np.bincount(packed.labels[packed.labels != IGNORED], minlength=99)
    assert (learned == np.bincount([token for ids in documents for token in ids[1:]], minlength=99)).all()
    assert packed.padding == packed.ids.size - sum(len(piece.ids) for piece in whole)


def test_nothing_to_pack_and_pieces_that_are_too_long() -> None:
    with pytest.raises(InputError, match="nothing to pack"):
        pack(pieces([[1], []], 8), 8, pad_id=0)
    with pytest.raises(InputError, match="9 tokens and a row 8"):
        pack([Piece(range(9))], 8, pad_id=0)


# --- on a model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Any:
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=99, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


PACKED = pack(pieces([list(range(5, 5 + n)) for n in (20, 9, 12, 7, 3, 16, 5)], 24), 24, pad_id=0)


def test_packed_texts_are_read_as_alone_also_while_it_is_trained(model: Any) -> None:
    assert check(model, PACKED, rows=4) < 1e-6
    assert check(model.train(), PACKED) < 1e-6
    assert model.training


@pytest.mark.parametrize("how", ["mask", "cache", "positions"])
def test_texts_that_see_each_other_are_found(model: Any, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = type(model).forward

    def contaminated(self: Any, **inputs: Any) -> Any:
        if how == "mask":
            import torch

            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        elif how == "cache":
            inputs["use_cache"] = True
        else:
            inputs.pop("position_ids", None)
        return forward(self, **inputs)

    monkeypatch.setattr(type(model), "forward", contaminated)
    with pytest.raises(InputError, match="see each other"):
        check(model, PACKED)


def test_the_loss_of_a_batch_is_that_of_its_texts_alone(model: Any) -> None:
    torch = pytest.importorskip("torch")
    batch = Rows(PACKED).collate(range(len(PACKED.ids)))
    loss = model.eval()(**batch).loss.item()
    alone = []
    for n in (20, 9, 12, 7, 3, 16, 5):
        ids = torch.arange(5, 5 + n)[None]
        alone.append((model(input_ids=ids, labels=ids).loss.item(), n - 1))
    assert loss == pytest.approx(sum(one * n for one, n in alone) / sum(n for _, n in alone), rel=1e-6)
