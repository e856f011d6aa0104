"""Adapting to a made-up literature: it helps where there is something to learn, and says so honestly where not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimed_rag.encoders import adapt as module
from chimed_rag.encoders.adapt import (
    Passage,
    adapt,
    consultations,
    heading_pairs,
    mean_reciprocal_rank,
    sentence_pairs,
)
from chimed_rag.encoders.characters import folded_characters
from chimed_rag.encoders.contrastive import Pairs
from chimed_rag.encoders.hashing import HashingEncoder
from chimed_rag.encoders.ngram import NgramEncoder
from chimed_rag.errors import InputError
from chimed_rag.evaluation.grams import grams
from tests.tiny_ngrams import literature, tiny_encoder
from training.files import lines

LITERATURE = literature()
REPLIES = [(f"请问第{n}种药怎么吃", f"第{n}种药一天{n % 4}次，饭后吃。") for n in range(30)]


@pytest.fixture
def encoder() -> NgramEncoder:
    return tiny_encoder([p.whole() for p in LITERATURE])


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pairs]:
    """The tasks that were trained on; few consultations, in small batches, so that a small literature has many."""
    seen: dict[str, Pairs] = {}
    train = module.train

    def watched(trainer: Any, tasks: dict[str, Pairs], **options: Any) -> Any:
        seen.update(tasks)
        return train(trainer, tasks, batch=32, **options)

    monkeypatch.setattr(module, "train", watched)
    monkeypatch.setattr(module, "consultations", lambda: REPLIES)
    return seen


def test_it_learns_what_stands_for_what(encoder: NgramEncoder, tasks: dict[str, Pairs]) -> None:
    weights = encoder.table()
    told: list[tuple[str, int]] = []
    outcome = adapt(encoder, LITERATURE, progress=lambda *stage: told.append(stage))
    assert outcome.kept and outcome.encoder is not encoder
    assert outcome.after > 3 * outcome.before and outcome.after > 0.3
    assert outcome.passages == 600 and outcome.held_out == 30 and outcome.pool == 600
    assert outcome.pairs == sum(map(len, tasks.values())) == 570 + 285 + 2 * 570 + 30
    np.testing.assert_array_equal(encoder.table(), weights)  # the one given is not changed
    assert told[-1] == ("adapt", outcome.pairs) and told == sorted(told)
    card = outcome.encoder.card
    assert card["base"] == encoder.spec.fingerprint and card["seed"] == 0
    assert card["held_out"] == {"before": round(outcome.before, 4), "after": round(outcome.after, 4)}
    assert card["pairs"] == {"headings": 855, "sentences": 1140, "consultations": 30}
    assert outcome.report().endswith(f"{outcome.before:.3f} -> {outcome.after:.3f}, kept")
    assert "600 passages" in outcome.report() and "30 held-out" in outcome.report()
    frequencies = outcome.encoder.frequencies
    assert frequencies.shape == (len(encoder.vocabulary),) and (frequencies > 0).all() and (frequencies <= 1).all()


def test_replies_are_told_from_articles(tasks: dict[str, Pairs]) -> None:
    encoder = tiny_encoder([p.whole() for p in LITERATURE] + [text for pair in REPLIES for text in pair])
    adapted = adapt(encoder, LITERATURE).encoder
    assert adapted.manner is not None and encoder.manner is None
    asked, replies = adapted.encode_queries([q for q, _ in REPLIES]), adapted.encode_documents([r for _, r in REPLIES])
    articles = adapted.encode_documents([p.whole() for p in LITERATURE])
    told = [adapted.manner.replied(these @ adapted.manner.passage[:-1]) for these in (replies, articles)]
    assert told[0].min() > 0.5 > 0.1 > told[1].mean() and adapted.manner.asked(asked).min() > 0.5
    assert adapt(encoder, [p._replace(title="") for p in LITERATURE]).encoder.manner is None  # nothing is an article


def test_it_learns_from_the_pairs_of_a_user(
    encoder: NgramEncoder, tasks: dict[str, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the documents without their titles, whose words nothing but the pairs then ties to the texts."""
    bare = [p._replace(title="") if n % 4 < 2 else p for n, p in enumerate(LITERATURE)]
    pairs = [(p.title, p.text) for p in LITERATURE if p not in bare]
    asked, pool = pairs[::9], [p.text for p in LITERATURE]
    outcome, without = adapt(encoder, bare, pairs=pairs), adapt(encoder, bare)
    assert outcome.encoder.card["pairs"]["pairs"] == len(pairs) == outcome.pairs - without.pairs
    found = mean_reciprocal_rank(outcome.encoder, asked, pool)
    assert found > 1.5 * mean_reciprocal_rank(without.encoder, asked, pool)
    monkeypatch.setattr(module, "MOST_PAIRS", 40)
    assert adapt(encoder, bare, pairs=pairs).encoder.card["pairs"]["pairs"] == 40


def test_many_pairs_move_rows_as_if_they_knew_nothing(
    encoder: NgramEncoder, tasks: dict[str, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder.squares = np.full(len(encoder.vocabulary), 4.0, dtype=np.float32)
    begun: list[Any] = []
    trainer = module.Trainer
    monkeypatch.setattr(
        module, "Trainer", lambda *how, squares: (begun.append(squares), trainer(*how, squares=squares))[1]
    )
    monkeypatch.setattr(module, "MANY_PAIRS", 20)
    for n in (19, 20):
        adapt(encoder, LITERATURE, pairs=[("哪里疼", "这里疼。")] * n)
    assert begun[0] is encoder.squares and begun[1] is None


def test_the_same_seed_gives_the_same_encoder(encoder: NgramEncoder, tasks: dict[str, Pairs]) -> None:
    one, two, other = (adapt(encoder, LITERATURE, seed=seed) for seed in (5, 5, 6))
    assert one.encoder.spec == two.encoder.spec and one._replace(encoder=encoder) == two._replace(encoder=encoder)
    assert other.encoder.spec.fingerprint != one.encoder.spec.fingerprint


@pytest.mark.parametrize(
    "passages",
    [LITERATURE, literature(places=5, complaints=5), literature(places=3, complaints=4), LITERATURE[:30]],
    ids=["300 documents", "25 documents", "12 documents", "15 documents"],
)
def test_what_is_held_out_is_in_no_pair(
    encoder: NgramEncoder, tasks: dict[str, Pairs], passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def watched(model: NgramEncoder, pairs: Pairs, pool: Sequence[str]) -> float:
        asked[:] = pairs
        assert {text for _, text in pairs} <= set(pool) and len(set(pool)) == len(pool)
        return mean_reciprocal_rank(model, pairs, pool)

    monkeypatch.setattr(module, "mean_reciprocal_rank", watched)
    outcome = adapt(encoder, passages)
    texts = {text for _, text in asked}
    held = [p for p in passages if p.text in texts]
    assert len(held) == outcome.held_out == len(asked) > 0
    assert len(held) <= max(2, len(passages) // 10)
    sentences = [sentence for p in held for sentence in p.text.split("。") if sentence]
    learnt = "\n".join(text for name in ("questions", "sentences") for pair in tasks[name] for text in pair)
    assert not any(sentence in learnt for sentence in sentences)
    titles = {p.title for p in passages}
    if len(titles) >= 20:  # whole documents, title and all
        assert not any(p.title in learnt for p in held)
        assert {p.title for p in held}.isdisjoint({p.title for p in passages if p.text not in texts})


def test_books_are_held_out_whole_and_long_ones_last() -> None:
    def cut(sizes: Sequence[int]) -> tuple[list[Passage], list[Passage]]:
        passages = [Passage(f"书{n}", "", f"{n} {page}") for n, size in enumerate(sizes) for page in range(size)]
        return module._held_out(passages, random.Random(0))

    held, rest = cut([300] * 45)  # each longer than half of what is asked about
    assert len(held) == 600 and len(rest) == 43 * 300
    held, rest = cut([1000] + [10] * 25)
    assert 62 <= len(held) <= 70 and sum(p.title == "书0" for p in rest) == 1000
    held, rest = cut([1] * 20)
    assert (len(held), len(rest)) == (1, 19)
    assert {p.title for p in held}.isdisjoint(p.title for p in rest)


def test_what_cannot_be_learnt_is_told_honestly(
    encoder: NgramEncoder, tasks: dict[str, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random characters: whatever the verdict, its numbers are those of the ranks counted one by one."""
    chance = random.Random(1)
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 800)]

    def noise(length: int) -> str:
        return "".join(chance.choices(characters, k=length))

    passages = [Passage(noise(4), noise(2), f"{noise(15)}。{noise(15)}。") for _ in range(400)]
    seen: list[tuple[NgramEncoder, Pairs, Sequence[str]]] = []

    def watched(model: NgramEncoder, pairs: Pairs, pool: Sequence[str]) -> float:
        seen.append((model, pairs, pool))
        return mean_reciprocal_rank(model, pairs, pool)

    monkeypatch.setattr(module, "mean_reciprocal_rank", watched)
    base = tiny_encoder([p.whole() for p in passages])
    outcome = adapt(base, passages)
    found = []
    for model, pairs, pool in seen:
        vectors, total = model.encode_documents(pool), 0.0
        for question, right in pairs:
            scores = (vectors @ model.encode_queries([question])[0]).tolist()
            own = scores[list(pool).index(right)]
            rank = sum(score >= own - 1e-7 for score in scores)
            total += 1 / rank if rank <= 10 else 0
        found.append(total / len(pairs))
    assert found == pytest.approx([outcome.before, outcome.after], abs=1e-6)
    assert outcome.after < 0.2  # chance gives about ln(10) / 400
    assert outcome.kept == (outcome.after > outcome.before)
    assert (outcome.encoder is base) == (not outcome.kept)


def test_what_does_not_help_is_not_kept(
    encoder: NgramEncoder, tasks: dict[str, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = adapt(encoder, LITERATURE).encoder
    monkeypatch.setattr(module, "FRESH_LEARNING_RATE", 50.0)  # tears apart what was learnt
    outcome = adapt(good, LITERATURE)
    assert not outcome.kept and outcome.encoder is good and outcome.after < outcome.before
    assert outcome.report().endswith("not kept")


def test_reciprocal_ranks_by_hand() -> None:
    class Given:
        def __init__(self, scores: list[float]) -> None:
            self.scores = np.array(scores, dtype=np.float32)

        def encode_documents(self, texts: Sequence[str]) -> Any:
            return self.scores[: len(texts), None]

        def encode_queries(self, texts: Sequence[str]) -> Any:
            return np.ones((len(texts), 1), dtype=np.float32)

    pool, scores = list("abcde"), [5.0, 4.0, 4.0, 2.0, 1.0]
    for right, rank in (("a", 1), ("b", 3), ("c", 3), ("d", 4)):  # what scores the same counts against it
        assert mean_reciprocal_rank(Given(scores), [("?", right)], pool) == pytest.approx(1 / rank)  # type: ignore[arg-type]
    assert mean_reciprocal_rank(Given(scores), [("?", "e")], pool, depth=4) == 0  # type: ignore[arg-type]
    assert mean_reciprocal_rank(Given([0.0] * 5), [("?", "a")], pool, depth=4) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "passages", [[], LITERATURE[:19], [Passage("", "", "没有句子")] * 50], ids=["none", "19", "no titles, no sentences"]
)
def test_too_little_is_refused(encoder: NgramEncoder, tasks: dict[str, Pairs], passages: list[Passage]) -> None:
    with pytest.raises(InputError, match="--no-adapt") as caught:
        adapt(encoder, passages)
    assert f"{len(passages)} passages" in str(caught.value)
    assert not tasks


def test_another_encoder_is_refused() -> None:
    with pytest.raises(InputError, match=r"hashing.*cannot be adapted"):
        adapt(HashingEncoder(32), LITERATURE)


def test_untitled_passages_are_learnt_by_their_sentences(encoder: NgramEncoder, tasks: dict[str, Pairs]) -> None:
    outcome = adapt(encoder, [Passage("", "", p.text) for p in LITERATURE])
    assert tasks["questions"] == REPLIES and len(tasks["sentences"]) == 1140
    assert outcome.held_out == 30


def test_pairs_of_headings_and_sentences() -> None:
    passage = Passage("胃痛", "治疗", "先要休息并且吃清淡食物。再看医生并做胃镜检查。")
    for named, text in ((True, passage.whole()), (False, passage.text)):
        ((asked, found),) = heading_pairs([passage, passage._replace(title="")], random.Random(0), named=named)
        assert asked and found == text
    assert passage.whole() == "胃痛\n治疗\n" + passage.text
    both = {heading_pairs([passage], random.Random(seed))[0][1] for seed in range(20)}
    assert both == {passage.whole(), passage.text}
    sentences = ("先要休息并且吃清淡食物。", "再看医生并做胃镜检查。")
    cut = 0
    for seed in range(50):
        ((chosen, rest),) = sentence_pairs([passage.text, "只有一句话而已。"], random.Random(seed), ["胃痛", "x"])
        assert chosen in sentences
        other = sentences[chosen == sentences[0]]
        assert rest in (f"胃痛\n{passage.text}", f"胃痛\n{other}")
        cut += chosen not in rest
    assert 35 <= cut < 50  # nine of ten


# --- the project's own consultations ----------------------------------------------------------------------------


def _lines() -> list[tuple[str, str]]:
    folder = Path(module.__file__).parent / "consultations"
    return [
        (f"{file.name}:{number}", line)
        for file in sorted(folder.glob("*.tsv"))
        for number, line in enumerate(file.read_text("utf-8").split("\n")[:-1], 1)
    ]


def test_consultations_are_well_formed() -> None:
    lines = _lines()
    assert len(lines) > 4000
    wrong = [
        place
        for place, line in lines
        if len(fields := line.split("\t")) != 4 or any(not f.strip() or f != f.strip() for f in fields)
    ]
    assert wrong == []
    assert [place for place, line in lines if not line.replace("\t", "").isprintable()] == []
    pairs = consultations()
    assert len(pairs) == 3 * len(lines)
    assert all(question and reply and question != reply for question, reply in pairs)
    assert pairs[0][1] == lines[0][1].split("\t")[0]


def test_no_consultation_comes_twice() -> None:
    seen: dict[str, str] = {}
    twice = [(place, seen[line]) for place, line in _lines() if seen.setdefault(line, place) != place]
    replies: dict[str, str] = {}
    twice += [
        (place, replies[reply])
        for place, line in _lines()
        if replies.setdefault(reply := line.split("\t")[0], place) != place
    ]
    assert twice == []


def _grams(texts: Sequence[str]) -> tuple[Any, Any]:
    """The hashes of all 13-grams of the skeletons of texts, and the number of the text of each."""
    codes, rows = folded_characters(texts)
    codes, rows = codes[codes != 0], rows[codes != 0]
    hashes = grams(codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass"), 13)
    within = rows[: len(hashes)] == rows[len(rows) - len(hashes) :]
    return hashes[within], rows[: len(hashes)][within]


def _texts(path: Path) -> Iterator[str]:
    for _, line in lines(path):
        stack = [json.loads(line)]
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict | list):
                stack.extend(value.values() if isinstance(value, dict) else value)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["eval", "pairs"])
def test_no_consultation_was_taken_from_the_data(shared_data: Path, name: str) -> None:
    """No run of 13 characters of any line stands in the evaluation sets; fixed phrases may meet a few of the pairs."""
    files = [path for path in sorted((shared_data / name).rglob("*")) if path.is_file()]
    if not files:
        pytest.skip(f"{shared_data / name} is not here")
    everything = [(place, field) for place, line in _lines() for field in line.split("\t")]
    ours, numbers = _grams([field for _, field in everything])
    assert len(ours) > 100_000
    low = np.uint64((1 << 24) - 1)
    marked = np.zeros(1 << 24, dtype=bool)  # sorts out nearly all at once
    marked[ours & low] = True
    found, seen = [ours[:0]], 0
    for path in files:
        texts = _texts(path)
        while batch := list(islice(texts, 5000)):
            theirs, _ = _grams(batch)
            seen += len(theirs)
            found.append(theirs[marked[theirs & low]])
    taken = {everything[number][0] for number in numbers[np.isin(ours, np.concatenate(found))]}
    assert seen > 1_000_000
    most = {"eval": 0, "pairs": len(_lines()) // 100}[name]
    assert len(taken) <= most, f"{len(taken)} of {len(_lines())} lines share a run: {', '.join(sorted(taken))}"
