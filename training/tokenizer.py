"""A tokenizer trained from scratch: Chinese by characters or by WordPieces, everything else by WordPieces.

Not covered: tokenizers of models that exist already, which come with them. Needs tokenizers and transformers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from training.settings import Settings

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class TokenizerSettings(Settings):
    """How texts are cut.

    Args:
        pieces: `characters`, each Chinese character a token (as BERT does); `words`, runs of Chinese characters cut
            into the WordPieces learned from the texts, fewer and longer tokens.
        vocabulary: tokens at most; characters beyond it become [UNK], commonest first.
        sample: texts that the vocabulary is learned from, spread evenly over all.
    """

    pieces: Literal["characters", "words"] = "characters"
    vocabulary: int = Field(8000, ge=50)
    sample: int = Field(100_000, ge=1)


def train_tokenizer(texts: Sequence[str], settings: TokenizerSettings, max_length: int, *, types: bool = True) -> Any:
    """A fast tokenizer of transformers with [CLS] text [SEP] and pairs [CLS] a [SEP] b [SEP]; the same one every time.

    Args:
        texts: what it learns from.
        settings: see there.
        max_length: tokens at which it cuts, the special ones included.
        types: give the model token_type_ids (BERT reads them, ModernBERT has none).
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    # Without the usual prefix ## of pieces inside a word: the trainer numbers those in the order of a hash table, which
    # changes from run to run, and breaks ties by number.
    tokenizer: Any = Tokenizer(models.WordPiece(unk_token=_SPECIAL[1], continuing_subword_prefix=""))
    by_character = settings.pieces == "characters"
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.BertNormalizer(handle_chinese_chars=by_character, lowercase=True)]
    )
    # WordPiece gives up on words of more than 100 characters, and learning long runs costs memory.
    runs = pre_tokenizers.Split(Regex(r"[\u4e00-\u9fff]{1,16}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), runs])
    sample = texts[:: max(1, len(texts) // settings.sample)]
    alphabet = _alphabet((tokenizer.normalizer.normalize_str(text) for text in sample), settings.vocabulary * 9 // 10)
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=list(_SPECIAL),
        min_frequency=2,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),  # its own limit of 1,000 characters leaves most of Chinese out
        continuing_subword_prefix="",
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    numbers = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=numbers
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in _SPECIAL}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
        **names,
    )


def _alphabet(texts: Iterable[str], most: int) -> list[str]:
    """The commonest characters, ties by code point."""
    counts = Counter(char for text in texts for char in text if not char.isspace())
    return sorted(counts, key=lambda char: (-counts[char], char))[:most]
