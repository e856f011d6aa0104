"""A model made in seconds, so that every path runs with no download: python -m chimed_rag.generation.tiny DIR

A Llama of half a million weights and a context of 4,096, with a tokenizer trained on the starter literature. As it is
made its weights are random: it writes nonsense. With lessons it has learned a few replies by heart, for tests and
notebooks that have to show a particular one. It knows nothing, and no number it gives says anything of a real model.
Not covered: a model of any use (`training`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from chimed_rag.errors import ChiMedError, GeneratorError, MissingExtraError
from chimed_rag.generation.base import Message

VOCABULARY = 3_072
CONTEXT = 4_096
SURE = 0.9
"""A reply is learned when each of its tokens is this probable: rounding does not change which is likeliest."""
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, BOS, EOS, "<human>", "<bot>")
"""The first tokens, 0, 1 and 2 as in ChiMed-GPT, whose vocabulary has <human> and <bot> too; its form uses neither."""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

Lesson = tuple[Sequence[Message], str]
"""A conversation that ends with the user's turn, and the reply to it."""


def make_tiny_model(
    folder: str | Path,
    *,
    lessons: Sequence[Lesson] = (),
    seed: int = 0,
    passes: int = 200,
    chat_template: bool = False,
) -> Path:
    """Makes the model and gives its folder, which `transformers` loads; the same arguments make the same model.

    With lessons it is trained until greedy decoding writes each reply to exactly that conversation, and stops. To any
    other conversation it writes nonsense, or a reply that belongs elsewhere: it has learned by heart and knows nothing.

    Args:
        folder: made if it is not there.
        lessons: conversations and replies; eight, with prompts of up to 1,477 tokens, took 26 s on one core of an
            EPYC. Each step sees one whole prompt, as serving does; one step for all of them took twice as long.
        seed: of the weights.
        passes: over the lessons, at the most.
        chat_template: with a ChatML template and its tokens instead of ChiMed-GPT's own form.

    Raises:
        GeneratorError: the lessons were not learned within `passes`, or are longer than the context.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        import torch
        from safetensors.torch import save_file
        from transformers import LlamaConfig, LlamaForCausalLM
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "transformers", "models") from error
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(chat_template)
    pad, bos, eos = tokenizer.convert_tokens_to_ids([PAD, BOS, tokenizer.eos_token])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=CONTEXT, initializer_range=0.1, tie_word_embeddings=False,
        pad_token_id=pad, bos_token_id=bos, eos_token_id=eos,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        if lessons:
            _learn(model, tokenizer, lessons, passes)
    for part in (config, model.generation_config, tokenizer):
        part.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _literature() -> Iterator[str]:
    """The texts of the starter literature, in an order that does not depend on the machine."""
    files = resources.files("chimed_rag.corpus.starter").iterdir()
    for file in sorted((file for file in files if file.name.endswith(".md")), key=lambda file: file.name):
        yield file.read_text("utf-8")


@cache
def _trained(special: tuple[str, ...]) -> str:
    """The tokenizer of the starter literature; once in a process, for its two seconds."""
    return byte_pairs(_literature(), special, VOCABULARY)


def byte_pairs(texts: Iterable[str], special: Sequence[str], vocabulary: int) -> str:
    """Learns a tokenizer of bytes and their pairs, which can write any text; as JSON, the same for the same texts.

    Args:
        texts: what it learns from.
        special: tokens 0, 1, 2 and so on; `BOS` among them.
        vocabulary: tokens at most; 256 of them are bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    # Llama's tokenizers put <s> before whatever they are given unless told not to; so does this one.
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, special.index(BOS))])
    serialized: str = bpe.to_str()
    return serialized


def tokenizer_of(serialized: str, *, context: int, eos: str = EOS) -> Any:
    """A tokenizer of transformers, of what `byte_pairs` gave; it pads on the left.

    Args:
        serialized: its JSON.
        context: tokens that its model can read.
        eos: the token that ends a text.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(serialized), bos_token=BOS, eos_token=eos, pad_token=PAD,
        padding_side="left", model_max_length=context, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _tokenizer(chat_template: bool) -> Any:
    special = (*SPECIAL[:3], *(("<|im_start|>", "<|im_end|>") if chat_template else SPECIAL[3:]))
    tokenizer = tokenizer_of(_trained(special), context=CONTEXT, eos="<|im_end|>" if chat_template else EOS)
    if chat_template:
        tokenizer.chat_template = CHATML
    return tokenizer


def _learn(model: Any, tokenizer: Any, lessons: Sequence[Lesson], passes: int) -> None:
    """Fits the replies until each of their tokens has nearly all of the probability."""
    import torch
    from torch.nn.functional import cross_entropy

    from chimed_rag.generation.chat import Renderer

    renderer = Renderer(tokenizer)
    rows, replies = [], []
    for messages, reply in lessons:
        ids, mask = renderer.training([*messages, {"role": "assistant", "content": reply}], last_only=True)
        if len(ids) > CONTEXT:
            raise GeneratorError(f"a lesson has {len(ids)} tokens; the context has {CONTEXT}")
        end = len(mask) - mask[::-1].index(True)  # a template may go on with a line break
        rows.append(torch.tensor([ids[: end - 1]]))
        replies.append(torch.tensor(ids[end - sum(mask) : end]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    model.train()
    for _ in range(passes):
        learned = 0
        for row, reply in zip(rows, replies, strict=True):  # one by one: as it will be asked, without padding
            logits = model(input_ids=row, use_cache=False, logits_to_keep=len(reply)).logits[0]
            losses = cross_entropy(logits, reply, reduction="none")
            if math.exp(-losses.max().item()) > SURE:
                learned += 1
                continue
            optimizer.zero_grad()
            losses.mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if learned == len(rows):
            return
    raise GeneratorError(f"{len(rows)} lessons were not learned in {passes} passes; give fewer, or more passes")


def main() -> int:
    """Makes a model with random weights in the folder named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)  # noqa: T201
        return 2
    try:
        print(make_tiny_model(sys.argv[1]))  # noqa: T201
    except ChiMedError as error:
        print(f"chimed: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
