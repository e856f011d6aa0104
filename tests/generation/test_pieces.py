"""Pieces of text while tokens come: together the whole, never half a character, never the reader's next turn."""

from __future__ import annotations

import pytest

pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra `models`)")

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from chimed_rag.generation.pieces import Detokenizer, Pieces

END = "[human]:"


class Bytes:
    """One token a byte, as byte-level models have them for rare characters; number 256 is special."""

    def __init__(self) -> None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        self.backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
        self.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.backend.decoder = decoders.ByteLevel()
        self.backend.add_special_tokens(["<pad>"])
        self.decoded = 0

    def get_vocab(self):
        return self.backend.get_vocab()

    def decode(self, ids, **options):
        self.decoded += len(ids)
        return self.backend.decode(ids, skip_special_tokens=options["skip_special_tokens"])


class Sentencepiece(Bytes):
    """As Llama's tokenizers: words begin with ▁, rare characters are bytes, the first blank is taken away."""

    def __init__(self) -> None:
        words = ["<unk>", "▁", "▁发热", "发热", "。", "▁a", "b", "[human", "]:", "]", ":", "[bot"]
        vocabulary = [(word, 0.0) for word in words + [f"<0x{number:02X}>" for number in range(256)]]
        self.backend = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
        self.backend.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", left=1),
            ]
        )
        self.decoded = 0


def read(tokenizer, ids, end=""):
    """Every piece, and the whole."""
    text = Detokenizer(tokenizer, end)
    pieces = Pieces(text)
    return [*map(pieces.feed, ids), pieces.rest()], text.whole(ids)


def encode(tokenizer, text):
    return tokenizer.backend.encode(text).ids


@pytest.mark.parametrize("kind", [Bytes, Sentencepiece])
def test_characters_come_whole_and_as_soon_as_they_are_there(kind):
    tokenizer = kind()
    text = "发热时，体温38.5℃以上😷可用药。"
    pieces, whole = read(tokenizer, encode(tokenizer, text))
    assert "".join(pieces) == whole == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert pieces[-1] == ""  # nothing was left for the end
    assert max(map(len, pieces)) <= 2


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 256), max_size=80))
def test_pieces_together_are_the_decoded_whole_also_of_broken_bytes(ids):
    tokenizer = Bytes()
    pieces, whole = read(tokenizer, ids)
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(pieces) == whole == decoded


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(1, 11), max_size=80))
def test_blanks_of_sentencepiece_are_kept_where_the_window_moves(ids):
    tokenizer = Sentencepiece()
    pieces, whole = read(tokenizer, ids)
    assert "".join(pieces) == whole == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_reply_of_sentencepiece_that_ends_within_a_character_keeps_what_was_given():
    tokenizer = Sentencepiece()
    ids = [12 + byte for byte in "药药".encode()[:4]]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "\ufffd" * 4  # takes the first character back
    pieces, whole = read(tokenizer, ids)
    assert "".join(pieces) == whole
    assert whole.startswith("药")


def test_a_long_reply_costs_time_in_proportion():
    tokenizer = Bytes()
    ids = encode(tokenizer, "药" * 1000)
    text = Detokenizer(tokenizer)
    assert "".join(map(Pieces(text).feed, ids)) == "药" * 1000
    assert text._tokenizer.decoded < 25 * len(ids)


@pytest.mark.parametrize("kind", [Bytes, Sentencepiece])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("发热。[human]:发热", "发热。"),
        ("[human]:", ""),
        ("发热[hum发热", "发热[hum发热"),
        ("发热[[human]:b", "发热["),
        ("[human]发热[human", "[human]发热[human"),
        ("[bot]:发热", "[bot]:发热"),
        ("", ""),
    ],
)
def test_the_readers_next_turn_is_cut_off_and_no_beginning_of_it_is_given(kind, text, expected):
    tokenizer = kind()
    pieces, whole = read(tokenizer, encode(tokenizer, text), END)
    assert "".join(pieces) == whole == expected


def test_the_token_that_completes_the_end_is_noticed_and_no_other():
    tokenizer = Bytes()
    text = Detokenizer(tokenizer, END)
    ids = encode(tokenizer, "剂量:1[human]:2:")
    noticed = [place for place in range(len(ids) + 1) if text.ends(ids[:place])]
    assert noticed == [len("剂量".encode()) + len(":1[human]:")]
    assert not Detokenizer(tokenizer).ends(ids)
