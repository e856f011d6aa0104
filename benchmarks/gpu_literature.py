"""What a few minutes of one GPU make of a literature: an encoder from scratch on its passages, without labels.

A BERT of 6 layers and 384 columns learns the literature's language (masked tokens), then which question leads to which
passage (InfoNCE in batches of 1,024 of one kind: questions made of headings, sentences with the passage they were cut
from, this project's consultations and questions, natural questions with an open licence). It never sees a query or a
judgement of the set it is measured on. Beside it: the n-gram encoder adapted on a CPU, on the same passages, with the
same BM25 lists. `retriever_literature.yaml` (training/configs) is the same recipe for `python -m training retriever`,
with checkpoints and a card; its loops are those of transformers and sentence-transformers and were not timed on a GPU.

    python benchmarks/gpu_literature.py --prepare .gpu --index INDEX     # here: an adapted index of the eval's passages
    PYTHONPATH=. python3 benchmarks/gpu_literature.py .gpu --json "$OUT/gpu_literature.json"     # on the GPU

The second needs torch, transformers, tokenizers and numpy alone. The files of `--prepare` take 30 MB, those of the
literature most of it. `--seconds 120 80` sets how long the two parts learn, `--tiny` runs all of it in minutes on a CPU
and measures nothing. Not measured: other seeds, sizes and literatures.

What was tried in the same ten minutes of an H200 (results/gpu_literature.json), without a script here:

- A cross-encoder on top (75 s, lists of a passage and seven that the encoder ranks high): .4147 -> .4347 over the
  encoder's 50 best, .3172 -> .3854 over those of the n-grams. 3 layers of 192 columns taught by it: .3172 -> .3217.
- The same without the literature, on openly licensed pairs, classics and own text alone (2.4 million tokens of today's
  language): the masked tokens are learned by heart only (loss 6.0 against 3.1) and a cross-encoder gives
  .3172 -> .3187. That is why no transformer ships: what it lacks is text, which the user has.
- As a judge of whether a passage supports a sentence, fine-tuned on 9,050 pairs (`training/proof_pairs` and templates):
  area under the curve .93 on pairs of other writers on the same passages, .84 on other passages, .76 on hand-made pairs
  of real textbooks, .57 on the test templates of tests/proof_pairs.jsonl. It learns its writers' register; on the last
  two the rules are far better.
"""

from __future__ import annotations

import json
import lzma
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _common import ROOT, Row, parser, report

COLUMNS = ["system", "nDCG@10", "R@100", "among replies", "replies in ten", "seconds"]
DEPTH, CANDIDATES = 400, 300
QUERY, PASSAGE, BLOCK = 48, 160, 128  # tokens that count
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
NGRAM_WEIGHT, UNFOUND = 1.75, 0.85  # as `chimed_rag.retrieval.fusion` fuses the n-gram encoder's cosines
WEIGHTS = (0.75, 1.0, 1.5, 2.0, 3.0)
SHARES = {"headings": 6.0, "sentences": 4.0, "replies": 1.5, "consultations": 1.5, "others": 1.0}
"""How often a batch is of each kind."""
NATURAL = {"toyhom_internal": "replies", "medicalgpt_1k": "replies", "consultations": "consultations"}
Ids = Any  # int32 token ids
Tasks = dict[str, tuple[list[Ids], Callable[[int], Ids]]]


# --- here: what the machine with the GPU gets ----------------------------------------------------------------------


def prepare(folder: Path, index_folder: Path, data: Path) -> None:
    """Writes passages, pairs, and both searches' lists for the patient questions, from an index that was adapted."""
    import yaml

    from chimed_rag.encoders.adapt import Passage, heading_pairs, sentence_pairs
    from chimed_rag.evaluation.beir import judged_queries, read_qrels, read_queries
    from chimed_rag.indexing.lexical import index_text
    from chimed_rag.medqa import MedQA
    from chimed_rag.query.rewriting import asked, corrected
    from training.pairs import PairData, read_pairs

    folder.mkdir(parents=True, exist_ok=True)
    qa = MedQA.load(index_folder)
    index, searcher = qa._view.index, qa._view.retriever
    rows = index.store.rows.tolist()
    stored = [one for at in range(0, len(rows), 2000) for one in _in_order(index, rows[at : at + 2000])]
    passages = [
        Passage(one.document.title, one.chunk.headings[0] if one.chunk.headings else "", one.chunk.text)
        for one in stored
    ]
    numbers: dict[str, int] = {}
    documents = [numbers.setdefault(one.document.id, len(numbers)) for one in stored]
    rng, place = random.Random(7), {passage: n for n, passage in enumerate(passages)}
    headings = [
        (question, place[passage])
        for _ in range(3)
        for passage in passages
        if passage.title
        for question, _ in heading_pairs([passage], rng)
    ]
    sentences = [
        (sentence, place[passage])
        for _ in range(2)
        for passage in passages
        for sentence, _ in sentence_pairs([passage.text], rng)
    ]
    config = yaml.safe_load((ROOT / "training/configs/retriever_static.yaml").read_text("utf-8"))
    pairs = [pair for pair in read_pairs(PairData(**config["data"]), seed=1) if pair.source != "tcm_classics"]
    base = data / "eval" / "huatuo_retrieval_dev"
    queries, qrels = judged_queries(read_queries(base / "queries.jsonl.gz"), read_qrels(base / "qrels.jsonl.gz"))
    gold = [[numbers[d] for d, grade in qrels[key].items() if grade > 0 and d in numbers] for key in queries]
    read = [asked(qa._query(text)) for text in queries.values()]
    at_row = {row: n for n, row in enumerate(rows)}
    found = [hits for at in range(0, len(read), 256) for hits in searcher.lexical.search(read[at : at + 256], DEPTH)]
    lexical = np.full((len(read), DEPTH), -1, np.int32), np.zeros((len(read), DEPTH), np.float32)
    for n, hits in enumerate(found):
        lexical[0][n, : len(hits)] = [at_row[row] for _, row in hits]
        lexical[1][n, : len(hits)] = [score for score, _ in hits]
    meant = [str(corrected(one)) for one in read]
    vectors = qa.encoder.encode_documents([index_text(one.document, one.chunk) for one in stored])
    cosines = qa.encoder.encode_queries(meant) @ vectors.T
    np.savez_compressed(folder / "lists.npz", rows=lexical[0], scores=lexical[1], **_ngrams(lexical, cosines))
    for name, content in {
        "passages": passages,
        "documents": documents,
        "headings": headings,
        "sentences": sentences,
        "pairs": pairs,
        "queries": {"meant": meant, "gold": gold},
    }.items():
        with lzma.open(folder / f"{name}.json.xz", "wt", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
    _tokenizer([text for pair in pairs for text in pair[:2]]).save(str(folder / "tokenizer.json"))


def _in_order(index: Any, rows: Sequence[int]) -> list[Any]:
    stored = index.passages(rows)
    return [stored[row] for row in rows]


def _ngrams(lexical: tuple[Any, Any], cosines: Any) -> dict[str, Any]:
    """Rows and totals of the `CANDIDATES` best by BM25 and the n-grams' cosines."""
    gains, leasts = shares(*lexical)
    totals = NGRAM_WEIGHT * cosines + leasts[:, None]
    for n, (rows, gain) in enumerate(zip(lexical[0], gains, strict=True)):
        totals[n, rows[rows >= 0]] += gain[rows >= 0]
    best = np.argsort(-totals, axis=1, kind="stable")[:, :CANDIDATES]
    return {"best": best.astype(np.int32)}


def shares(rows: Any, scores: Any) -> tuple[Any, Any]:
    """BM25 as a share of each query's best: (what each listed passage has beyond one that is not listed, that one)."""
    there = rows >= 0
    best = np.maximum(scores[:, :1], 1e-6)
    leasts = np.where(there.all(axis=1), UNFOUND * scores[:, -1] / best[:, 0], 0.0)
    return np.where(there, scores / best - leasts[:, None], 0.0).astype(np.float32), leasts.astype(np.float32)


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    split = [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    trainer = trainers.UnigramTrainer(
        vocab_size=16_000, special_tokens=SPECIAL, unk_token=SPECIAL[UNK], max_piece_length=5, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


# --- there: learning -----------------------------------------------------------------------------------------------


class Bench(NamedTuple):
    """What all parts share."""

    torch: Any
    device: str
    batch: int
    tiny: bool


class Clock:
    """Learning rate by the clock: up in 6 % of the seconds, then down along a cosine."""

    def __init__(self, bench: Bench, model: Any, rate: float, seconds: float) -> None:
        self._parameters = list(model.parameters())
        self._optimizer = bench.torch.optim.AdamW(self._parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
        self._rate, self._seconds, self._begin, self._torch = rate, seconds, time.perf_counter(), bench.torch
        self.steps = 0

    def step(self, loss: Any) -> bool:
        """Whether there is time for another."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self.steps += 1
        if self._torch.cuda.is_available() and self.steps % 10 == 0:
            self._torch.cuda.synchronize()
        done = min(1.0, (time.perf_counter() - self._begin) / self._seconds)
        share = done / 0.06 if done < 0.06 else 0.5 * (1 + math.cos(math.pi * (done - 0.06) / 0.94))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * max(0.01, min(share, self.steps / 20))
        return done < 1


def bert(bench: Bench, vocabulary: int) -> Any:
    """The untrained model."""
    from transformers import BertConfig, BertModel

    columns, layers = (48, 2) if bench.tiny else (384, 6)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=columns, num_hidden_layers=layers, num_attention_heads=6,
        intermediate_size=4 * columns, max_position_embeddings=256, attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).to(bench.device)


def learn_language(bench: Bench, model: Any, texts: list[Ids], seconds: float) -> tuple[int, float]:
    """Masked tokens, a fifth of them, in full blocks. Returns steps and the mean of the last losses."""
    torch, size = bench.torch, model.config.hidden_size
    stream = np.concatenate([part for text in texts for part in (text, np.array([SEP], np.int32))])
    rows = stream[: len(stream) // (BLOCK - 1) * (BLOCK - 1)].reshape(-1, BLOCK - 1)
    blocks = torch.from_numpy(np.insert(rows, 0, CLS, axis=1)).to(bench.device)
    head = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.GELU(), torch.nn.LayerNorm(size)).to(bench.device)
    words = model.embeddings.word_embeddings
    bias = torch.nn.Parameter(torch.zeros(words.num_embeddings, device=bench.device))
    head.register_parameter("bias", bias)
    clock = Clock(bench, torch.nn.ModuleList([model, head]), 7e-4, seconds)
    losses: list[Any] = []
    model.train()
    going = True
    while going:
        for chosen in torch.randperm(len(blocks), device=bench.device).split(bench.batch):
            block = blocks[chosen]
            guessed = (torch.rand(block.shape, device=bench.device) < 0.2) & (block > MASK)
            how = torch.rand(block.shape, device=bench.device)
            shown = torch.where(guessed & (how < 0.8), MASK, block)
            other = torch.randint_like(block, len(SPECIAL), words.num_embeddings)
            shown = torch.where(guessed & (how > 0.9), other, shown)
            with torch.autocast(bench.device, dtype=torch.bfloat16):
                states = head(model(input_ids=shown).last_hidden_state[guessed])
                scores = (states @ words.weight.T + bias).float()
            loss = torch.nn.functional.cross_entropy(scores, block[guessed].long())
            losses.append(loss.detach())
            going = clock.step(loss)
            if not going:
                break
    return clock.steps, float(torch.stack(losses[-50:]).mean())


def learn_questions(bench: Bench, model: Any, tasks: Tasks, seconds: float) -> int:
    """InfoNCE both ways; a batch is of one kind, and equal passages of it are no negatives. Returns steps."""
    torch, rng = bench.torch, np.random.default_rng(0)
    names = list(tasks)
    chances = np.array([SHARES[name] for name in names])
    decks: dict[str, list[int]] = {name: [] for name in names}
    clock = Clock(bench, model, 3e-4, seconds)
    model.train()
    going = True
    while going:
        name = names[rng.choice(len(names), p=chances / chances.sum())]
        questions, passage = tasks[name]
        size = min(bench.batch, len(questions))
        if len(decks[name]) < size:
            decks[name] = rng.permutation(len(questions)).tolist()
        chosen = [decks[name].pop() for _ in range(size)]
        passages = [passage(n) for n in chosen]
        seen: dict[bytes, int] = {}
        same = torch.tensor([seen.setdefault(text.tobytes(), n) for n, text in enumerate(passages)])
        twice = ((same[:, None] == same) & ~torch.eye(size, dtype=torch.bool)).to(bench.device)
        with torch.autocast(bench.device, dtype=torch.bfloat16):
            asked = embedded(bench, model, [questions[n] for n in chosen], QUERY)
            found = embedded(bench, model, passages, PASSAGE)
        scores = (asked @ found.T / 0.05).masked_fill(twice, -1e4)
        right = torch.arange(size, device=bench.device)
        loss = torch.nn.functional.cross_entropy(scores, right) + torch.nn.functional.cross_entropy(scores.T, right)
        going = clock.step(loss / 2)
    return clock.steps


def embedded(bench: Bench, model: Any, texts: Sequence[Ids], most: int) -> Any:
    """Unit vectors: the mean of the tokens."""
    length = min(most, max(8, -(-(max(map(len, texts)) + 2) // 8) * 8))
    ids = np.full((len(texts), length), PAD, np.int32)
    for row, text in zip(ids, texts, strict=True):
        kept = text[: length - 2]
        row[0], row[1 : len(kept) + 1], row[len(kept) + 1] = CLS, kept, SEP
    tokens = bench.torch.from_numpy(ids).to(bench.device)
    there = (tokens != PAD).unsqueeze(-1)
    states = model(input_ids=tokens, attention_mask=there.squeeze(-1)).last_hidden_state
    return bench.torch.nn.functional.normalize((states * there).sum(1).float() / there.sum(1), dim=-1)


def vectors(bench: Bench, model: Any, texts: Sequence[Ids], most: int) -> Any:
    """The vectors of many texts, on the device."""
    torch, order = bench.torch, sorted(range(len(texts)), key=lambda n: len(texts[n]))
    found = torch.zeros(len(texts), model.config.hidden_size, device=bench.device)
    model.eval()
    with torch.no_grad(), torch.autocast(bench.device, dtype=torch.bfloat16):
        for at in range(0, len(order), 2 * bench.batch):
            part = order[at : at + 2 * bench.batch]
            found[part] = embedded(bench, model, [texts[n] for n in part], most)
    return found


# --- there: measuring ----------------------------------------------------------------------------------------------


class Judged:
    """Rankings of passages against the judgements, by document."""

    def __init__(self, documents: Sequence[int], gold: Sequence[Sequence[int]]) -> None:
        self._documents, self._gold = np.array(documents), [set(found) for found in gold]
        self._replies = np.isin(self._documents, [d for found in gold for d in found])

    def row(self, system: str, rankings: Sequence[Any], seconds: float | None = None) -> Row:
        """nDCG@10, recall@100; nDCG@10 with the encyclopedia taken out; the share of replies in the first ten."""
        ranked = [self._first(rows) for rows in rankings]
        among = [self._first(rows[self._replies[rows]]) for rows in rankings]
        replies = set(self._documents[self._replies].tolist())
        return {
            "system": system,
            "nDCG@10": float(np.mean([_ndcg(r, g) for r, g in zip(ranked, self._gold, strict=True)])),
            "R@100": float(np.mean([len(g & set(r)) / len(g) for r, g in zip(ranked, self._gold, strict=True)])),
            "among replies": float(np.mean([_ndcg(r, g) for r, g in zip(among, self._gold, strict=True)])),
            "replies in ten": float(np.mean([sum(d in replies for d in r[:10]) / 10 for r in ranked])),
            "seconds": seconds,
        }

    def _first(self, rows: Any, most: int = 100) -> list[int]:
        return list(dict.fromkeys(self._documents[rows].tolist()))[:most]


def _ndcg(ranked: Sequence[int], gold: set[int], depth: int = 10) -> float:
    ideal = sum(1 / math.log2(n + 2) for n in range(min(depth, len(gold))))
    return sum(1 / math.log2(n + 2) for n, d in enumerate(ranked[:depth]) if d in gold) / ideal


def rankings(bench: Bench, queries: Any, passages: Any, lists: Any, weight: float | None) -> Iterator[Any]:
    """The best passages of each query, by cosine, or by BM25's share and the weighted cosine."""
    torch = bench.torch
    gains = torch.from_numpy(shares(lists["rows"], lists["scores"])[0]).to(bench.device)
    rows = torch.from_numpy(lists["rows"].astype(np.int64)).clamp_min(0).to(bench.device)
    for at in range(0, len(queries), 256):
        totals = queries[at : at + 256] @ passages.T
        if weight is not None:
            totals = (weight * totals).scatter_add_(1, rows[at : at + 256], gains[at : at + 256])
        yield from totals.topk(CANDIDATES, dim=1).indices.cpu().numpy()


def run(arguments: Any) -> None:
    """Reads what was prepared, learns, measures."""
    import torch
    from tokenizers import Tokenizer

    folder: Path = arguments.folder
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = Bench(torch, device, 64 if arguments.tiny else 1024, arguments.tiny)
    names = ("passages", "documents", "headings", "sentences", "pairs", "queries")
    passages, documents, headings, sentences, pairs, queries = (
        json.loads(lzma.decompress((folder / f"{name}.json.xz").read_bytes())) for name in names
    )
    if bench.tiny:
        headings, sentences, pairs = headings[:2000], sentences[:2000], pairs[::50]
    lists = dict(np.load(folder / "lists.npz"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def ids(texts: Sequence[str]) -> list[Ids]:
        encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in encoded]

    whole = ids(["\n".join(filter(None, passage)) for passage in passages])
    body = ids([passage[2] for passage in passages])
    cut = ids([f"{passages[n][0]}\n{passages[n][2].replace(sentence, '', 1)}" for sentence, n in sentences])
    tasks: Tasks = {
        "headings": (ids([q for q, _ in headings]), lambda n: (whole if n % 2 else body)[headings[n][1]]),
        "sentences": (ids([sentence for sentence, _ in sentences]), cut.__getitem__),
    }
    for kind in ("replies", "consultations", "others"):
        chosen = [(q, p) for q, p, source in pairs if NATURAL.get(source, "others") == kind]
        if chosen:
            tasks[kind] = ids([q for q, _ in chosen]), ids([p for _, p in chosen]).__getitem__
    judged = Judged(documents, queries["gold"])
    rows = [judged.row("n-grams, adapted on a CPU, with BM25", lists["best"])]
    model, seconds = bert(bench, tokenizer.get_vocab_size()), arguments.seconds
    steps, loss = learn_language(bench, model, whole * 2 + ids([t for pair in pairs for t in pair[:2]]), seconds[0])
    print(f"language: {steps:,} steps, loss {loss:.2f}", flush=True)
    print(f"questions: {learn_questions(bench, model, tasks, seconds[1]):,} steps", flush=True)
    begin = time.perf_counter()
    found = vectors(bench, model, whole, 8 if bench.tiny else 192)
    asked = vectors(bench, model, ids(queries["meant"]), QUERY)
    read = time.perf_counter() - begin
    rows.append(judged.row("transformer alone", list(rankings(bench, asked, found, lists, None)), sum(seconds)))
    for weight in WEIGHTS:
        ranked = list(rankings(bench, asked, found, lists, weight))
        rows.append(judged.row(f"transformer with BM25, cosine × {weight}", ranked, sum(seconds)))
    report(
        "An encoder from scratch on the literature it searches",
        COLUMNS,
        rows,
        about={
            "gpu": torch.cuda.get_device_name() if device == "cuda" else "none",
            "questions": len(queries["gold"]),
            "passages": len(passages),
            "parameters": sum(one.numel() for one in model.parameters()),
            "all passages in s": round(read, 1),
        },
        packages=("torch", "transformers", "tokenizers"),
        notes=["among replies: the encyclopedia's passages taken out of each ranking"],
        json_file=arguments.json_file,
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", type=Path, nargs="?", help="what --prepare wrote")
    options.add_argument("--prepare", type=Path, help="write what the other machine needs there")
    options.add_argument("--index", type=Path, help="an adapted index of the evaluation's passages")
    options.add_argument("--seconds", type=float, nargs=2, default=[120.0, 80.0], help="of the two parts")
    options.add_argument("--tiny", action="store_true", help="a model that learns nothing, on a CPU")
    arguments = options.parse_args()
    if arguments.prepare is not None:
        if arguments.index is None:
            sys.exit("--prepare needs --index: chimed build EVAL-PASSAGES --out INDEX --adapt")
        prepare(arguments.prepare, arguments.index, arguments.data)
    elif arguments.folder is None:
        sys.exit("name the folder that --prepare wrote")
    else:
        run(arguments)


if __name__ == "__main__":
    main()
