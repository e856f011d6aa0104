"""Kind `distilled`: a small transformer learns from a large encoder where that puts questions and windows of passages.

The reranker in the wheel (`chimed_rag.retrieval.windows`). It begins as some of the teacher's layers (as DistilBERT
does: Sanh et al. 2019, arXiv:1910.01108), with the feed-forward units that weigh most and the tokens that the texts
use, and learns to give the teacher's vectors less their mean, and the cosines between the vectors of a batch
("Relational Knowledge Distillation": Park et al. 2019, arXiv:1904.05068). Texts are all it needs: which question
belongs to which passage is what the teacher knows. GELU becomes ReLU, since numpy has no erf.

Teachers are BERTs with a unigram tokenizer, as `intfloat/multilingual-e5-small`. Not covered: other architectures.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chimed_rag.encoders.base import load_encoder
from chimed_rag.encoders.compact import CARD, PASSAGE, QUESTION, TOKENIZER, WEIGHTS
from chimed_rag.encoders.hub import find_model
from chimed_rag.errors import InputError
from chimed_rag.retrieval.windows import WindowReranker, readable
from training.card import Point
from training.fitting import Device, Optimisation, arguments, device_name, fit, quiet
from training.measure import HeldOut
from training.pairs import Pair
from training.retriever import Kind, RetrieverSettings, pairs_of
from training.run import Run
from training.settings import located

Floats = NDArray[np.float32]
_SPECIAL = 4  # <s>, <pad>, </s>, <unk>
_RELATIONS = 5.0  # weight of the cosines within a batch beside the vectors themselves


class DistilledSettings(RetrieverSettings):
    """Keys of the kind `distilled`.

    Args:
        teacher: an encoder: its name on the hub, or a folder.
        layers: those of the teacher that the student begins with, from 0.
        feed_forward: how many units of each it keeps.
        least: a token of the teacher's that stands in fewer texts is left out, if it is no single Chinese character of
            GB 2312 and no ASCII character.
        longest: tokens that the student can read.
        longest_question: characters of a question that count.
        windows, window: of a passage that are read at most, drawn by chance; and how many characters each has.
        tokens: of a batch, padding included; a batch holds texts of like length.
        learning: how long and how fast; its `batch_size` stays 1, a batch being what `tokens` says.
        device: `auto`, `cpu` or `cuda`.
    """

    kind: Literal["distilled"]
    teacher: str = Field(min_length=1)
    layers: list[int] = Field(min_length=1)
    feed_forward: int = Field(768, ge=8)
    least: int = Field(8, ge=1)
    longest: int = Field(96, ge=8)
    longest_question: int = Field(120, ge=8)
    windows: int = Field(2, ge=1)
    window: int = Field(64, ge=8)
    tokens: int = Field(2600, ge=64)
    learning: Optimisation = Optimisation(batch_size=1, epochs=3.0, learning_rate=5e-4, warmup=0.03)
    device: Device = "auto"


class Texts(NamedTuple):
    """What is read, each once."""

    questions: list[str]
    windows: list[str]


def train(settings: DistilledSettings, run: Run) -> None:
    """The teacher's vectors, the student, scores, card."""
    if settings.learning.batch_size != 1:
        raise InputError("learning.batch_size: stays 1; `tokens` says how much a batch holds")
    _teacher(settings)  # one that will not do is refused before it reads all texts
    pairs, held_out = pairs_of(settings, run)
    texts = _texts(settings, pairs)

    def teach(folder: Path) -> list[Point]:
        (folder / "model").mkdir(exist_ok=True)
        teacher = load_encoder(_place(settings.teacher), device=device_name(settings.device))
        questions, windows = teacher.encode_queries(texts.questions), teacher.encode_documents(texts.windows)
        np.savez(folder / "model" / "vectors.npz", questions=questions, windows=windows)
        run.say(f"{len(questions):,} questions and {len(windows):,} windows read by the teacher")
        return []

    with np.load(run.phase("teach", teach) / "vectors.npz") as vectors:
        targets = _centred(vectors["questions"], vectors["windows"])

    def learn(folder: Path) -> list[Point]:
        return _learn(settings, texts, targets, folder, run)

    place = run.phase("learn", learn)
    run.card.parameters = sum(tensor.size for tensor in _stored(place).values())
    if held_out:
        test = HeldOut(held_out, [pair.passage for pair in pairs])
        run.card.scores = dict(test.reranked(WindowReranker(place).score))
        run.card.scores_of = f"The 30 best of BM25, as they are and reranked; {test}, at most 200 of the queries."
    run.finish(place)


def _texts(settings: DistilledSettings, pairs: Sequence[Pair]) -> Texts:
    questions = dict.fromkeys(pair.query[: settings.longest_question] for pair in pairs)
    rng, windows = random.Random(settings.seed), dict[str, None]()  # noqa: S311
    for passage in dict.fromkeys(pair.passage for pair in pairs):
        found = readable(passage, settings.window)
        windows |= dict.fromkeys(rng.sample(found, min(settings.windows, len(found))))
    return Texts(list(questions), list(windows))


def _centred(questions: Floats, windows: Floats) -> Floats:
    """The vectors of both, less the mean of the two kinds' means, brought to length 1: a teacher's lie in a cone."""
    vectors = np.concatenate([questions, windows]) - (questions.mean(axis=0) + windows.mean(axis=0)) / 2
    centred: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return centred


# --- the student -----------------------------------------------------------------------------------------------------


def _learn(settings: DistilledSettings, texts: Texts, targets: Floats, folder: Path, run: Run) -> list[Point]:
    from transformers import BertModel, Trainer, TrainingArguments

    device = device_name(settings.device)
    quiet(settings.seed)
    place, tokenizer = _teacher(settings)
    model = BertModel.from_pretrained(place, add_pooling_layer=False, local_files_only=True, use_safetensors=True)
    kept = _kept(tokenizer, [*texts.questions, *texts.windows], settings.least)
    tokenizer = _pruned(tokenizer, kept)
    tokenizer.enable_truncation(settings.longest)
    ids = [entry.ids for entry in tokenizer.encode_batch([*texts.questions, *texts.windows])]
    segments = [QUESTION] * len(texts.questions) + [PASSAGE] * len(texts.windows)
    student = _student(model, kept, settings, targets.shape[1])
    batches = _Batches(ids, segments, targets, settings.tokens, settings.seed)
    run.say(f"{folder.name}: {len(kept):,} tokens in the vocabulary, {sum(map(len, ids)):,} in the texts")
    trainer = Trainer(
        model=student,
        args=TrainingArguments(
            **arguments(settings.learning, folder, seed=settings.seed, device=device), remove_unused_columns=False
        ),
        train_dataset=batches,
        data_collator=_alone,
    )
    points = fit(trainer, folder, run.say)
    _save(student, tokenizer, settings, folder / "model")
    return points


def _alone(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return batch[0]


class _Batches:
    """Batches of texts of like length, questions and windows apart, as torch wants a dataset."""

    def __init__(
        self, ids: Sequence[list[int]], segments: Sequence[int], targets: Floats, tokens: int, seed: int
    ) -> None:
        self._ids, self._segments, self._targets = ids, segments, targets
        jitter = np.random.default_rng(seed).random(len(ids)) * 6  # lest the same texts always meet
        order = sorted(range(len(ids)), key=lambda n: (segments[n], len(ids[n]) + jitter[n]))
        self._batches = list(_filled(order, ids, segments, tokens))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        import torch

        places = self._batches[number]
        width = max(len(self._ids[place]) for place in places)
        ids, mask = torch.zeros(len(places), width, dtype=torch.long), torch.zeros(len(places), width)
        for row, place in enumerate(places):
            ids[row, : len(self._ids[place])] = torch.tensor(self._ids[place])
            mask[row, : len(self._ids[place])] = 1
        segments = torch.full_like(ids, self._segments[places[0]])
        return {"ids": ids, "mask": mask, "segments": segments, "targets": torch.from_numpy(self._targets[places])}


def _filled(
    order: Sequence[int], ids: Sequence[list[int]], segments: Sequence[int], tokens: int
) -> Iterator[list[int]]:
    batch: list[int] = []
    width = 0
    for place in order:
        wide = max(width, len(ids[place]))
        if batch and ((len(batch) + 1) * wide > tokens or segments[place] != segments[batch[0]]):
            yield batch
            batch, wide = [], len(ids[place])
        batch.append(place)
        width = wide
    if batch:
        yield batch


def _place(teacher: str) -> str:
    """The folder on this machine if there is one, else the name as it stands."""
    folder = located(teacher)
    return str(folder) if folder.is_dir() else teacher


def _teacher(settings: DistilledSettings) -> tuple[Path, Any]:
    """The teacher's folder, and its tokenizer of the library tokenizers.

    Raises:
        InputError: it is of another kind, or has less than the student is to take from it; names the key.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = find_model(_place(settings.teacher), revision=None, local_files_only=False).folder
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    form = json.loads(tokenizer.to_str())["model"].get("type")
    if config.model_type != "bert" or form != "Unigram":
        what = f"a {config.model_type} with a {form} tokenizer"
        raise InputError(f"teacher: {settings.teacher} is {what}, not a BERT with a Unigram one")
    if wrong := [n for n in settings.layers if not 0 <= n < config.num_hidden_layers]:
        raise InputError(f"layers: {wrong[0]} is none of the teacher's; it has {config.num_hidden_layers}, from 0")
    for key, asked, there in (
        ("feed_forward", settings.feed_forward, config.intermediate_size),
        ("longest", settings.longest, config.max_position_embeddings),
        ("teacher: kinds of text", 2, config.type_vocab_size),
    ):
        if asked > there:
            raise InputError(f"{key}: {asked} is more than the teacher's {there}")
    return folder, tokenizer


def _kept(tokenizer: Any, texts: Sequence[str], least: int) -> list[int]:
    """The numbers of the tokens that a student gets."""
    counts: Counter[int] = Counter()
    for entry in tokenizer.encode_batch(list(texts)):
        counts.update(set(entry.ids))
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    return [
        number
        for number, (piece, _) in enumerate(pieces)
        if number < _SPECIAL or counts[number] >= least or (len(piece) == 1 and _is_plain(piece))
    ]


def _is_plain(character: str) -> bool:
    try:
        return character.isascii() or bool(character.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def _pruned(tokenizer: Any, kept: Sequence[int]) -> Any:
    """The tokenizer with these tokens alone, numbered anew; what they do not cover is cut into smaller ones."""
    from tokenizers import Tokenizer

    form = json.loads(tokenizer.to_str())
    pieces = form["model"]["vocab"]
    form["model"]["vocab"] = [pieces[number] for number in kept]
    places = {number: place for place, number in enumerate(kept)}
    form["added_tokens"] = [
        entry | {"id": places[entry["id"]]} for entry in form["added_tokens"] if entry["id"] in places
    ]
    form["truncation"] = form["padding"] = None
    return Tokenizer.from_str(json.dumps(form))


def _student(teacher: Any, kept: Sequence[int], settings: DistilledSettings, dimension: int) -> Any:
    import torch
    from transformers import BertModel

    config = type(teacher.config).from_dict(teacher.config.to_dict())
    config.vocab_size, config.num_hidden_layers = len(kept), len(settings.layers)
    config.intermediate_size, config.max_position_embeddings = settings.feed_forward, settings.longest
    config.hidden_act, config.hidden_dropout_prob, config.attention_probs_dropout_prob = "relu", 0.0, 0.0
    config.layer_norm_eps = 1e-12  # as `chimed_rag.encoders.compact` reads it
    bert = BertModel(config, add_pooling_layer=False)
    weights = teacher.state_dict()
    with torch.no_grad():
        for name, parameter in bert.named_parameters():
            parameter.copy_(_inherited(name, weights, kept, settings))

    class Student(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.bert, self.head = bert, torch.nn.Linear(config.hidden_size, dimension)
            torch.nn.init.eye_(self.head.weight)
            torch.nn.init.zeros_(self.head.bias)

        def forward(self, ids: Any, mask: Any, segments: Any, targets: Any) -> dict[str, Any]:
            states = self.bert(input_ids=ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
            means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors = torch.nn.functional.normalize(self.head(means), dim=-1)
            relations = (vectors @ vectors.T - targets @ targets.T).square().mean()
            return {"loss": (1 - (vectors * targets).sum(1)).mean() + _RELATIONS * relations}

    return Student()


def _inherited(name: str, weights: Any, kept: Sequence[int], settings: DistilledSettings) -> Any:
    """The teacher's values for a parameter of the student."""
    if name.startswith("encoder.layer."):
        _, _, number, rest = name.split(".", 3)
        layer = f"encoder.layer.{settings.layers[int(number)]}."
        values = weights[layer + rest]
        up, down = weights[layer + "intermediate.dense.weight"], weights[layer + "output.dense.weight"]
        units = (up.norm(dim=1) * down.norm(dim=0)).argsort(descending=True)[: settings.feed_forward]
        if rest.startswith("intermediate."):
            return values[units]
        return values[:, units] if rest == "output.dense.weight" else values
    values = weights[name]
    if "word_embeddings" in name:
        return values[list(kept)]
    return values[: settings.longest] if "position_embeddings" in name else values


# --- its files -------------------------------------------------------------------------------------------------------


def _save(student: Any, tokenizer: Any, settings: DistilledSettings, folder: Path) -> None:
    from safetensors.numpy import save_file

    weights = {name: value.detach().cpu().numpy() for name, value in student.state_dict().items()}
    tensors: dict[str, NDArray[Any]] = {}

    def matrix(name: str, values: Floats) -> None:
        scales = np.maximum(np.abs(values).max(axis=1), 1e-9).astype(np.float32) / np.float32(127)
        tensors[name], tensors[f"{name}.scales"] = np.rint(values / scales[:, None]).astype(np.int8), scales

    def dense(name: str, *parts: str) -> None:
        matrix(name, np.concatenate([weights[f"{part}.weight"] for part in parts]))
        tensors[f"{name}_bias"] = np.concatenate([weights[f"{part}.bias"] for part in parts])

    matrix("words", weights["bert.embeddings.word_embeddings.weight"])
    tensors["positions"] = weights["bert.embeddings.position_embeddings.weight"]
    tensors["segments"] = weights["bert.embeddings.token_type_embeddings.weight"]
    tensors["norm"] = weights["bert.embeddings.LayerNorm.weight"]
    tensors["shift"] = weights["bert.embeddings.LayerNorm.bias"]
    for number in range(len(settings.layers)):
        layer, name = f"bert.encoder.layer.{number}.", f"layers.{number}."
        dense(name + "qkv", *(f"{layer}attention.self.{part}" for part in ("query", "key", "value")))
        dense(name + "out", layer + "attention.output.dense")
        dense(name + "up", layer + "intermediate.dense")
        dense(name + "down", layer + "output.dense")
        for place, norm in (("first", "attention.output.LayerNorm"), ("second", "output.LayerNorm")):
            tensors[f"{name}{place}_norm"] = weights[f"{layer}{norm}.weight"]
            tensors[f"{name}{place}_shift"] = weights[f"{layer}{norm}.bias"]
    dense("head", "head")
    folder.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER))
    card = {
        "kind": "compact",
        "version": 1,
        "name": Path(settings.output_dir).name,
        "licence": settings.licence,
        "layers": len(settings.layers),
        "heads": int(student.bert.config.num_attention_heads),
        "longest": settings.longest,
    }
    (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _stored(folder: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return {name: value for name, value in load_file(folder / WEIGHTS).items() if not name.endswith(".scales")}


KIND = Kind(DistilledSettings, train)
