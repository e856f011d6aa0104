"""Sentence-passage pairs that test a proof: wrong sentences of known kinds, and right ones said in many ways.

    python -m tools.make_proof_pairs                                # of the starter entries: tests/proof_pairs.jsonl
    python -m tools.make_proof_pairs --textbooks FILE --out FILE    # of books: JSONL(.gz) with id, title, text

One JSON object a line: id, kind, template, part, entry, passage (first line "title > heading", then text), sentence,
original (the sentence it was made of), label (supported, unsupported), change ("old → new", "" if untouched).
Half of the templates of each kind are "development", on which rules may be tuned; the others are "test". The same
sources and seed give the same file. Each kind has as many pairs (`SIZES`), spread evenly over its templates and over
entries as far as their sentences allow.
Not covered: whether the sources are right; errors of reasoning; sentences that combine several passages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chimed_rag.text import sentence_spans
from tools.check_starter import STARTER, read_entry
from tools.proof_controls import controls
from tools.proof_corruptions import corruptions
from tools.proof_mixtures import mixtures
from tools.proof_records import Candidate, Passage, Spot, Template

OUT = Path(__file__).parents[1] / "tests" / "proof_pairs.jsonl"
SEED = 20261127
SIZES = {
    "number": 130, "unit": 120, "frequency": 120, "negation": 130, "strength": 130, "population": 130, "drug": 130,
    "disease": 130, "wrong_passage": 110, "untouched": 100, "paraphrase": 480,
}  # fmt: skip
LONGEST_PASSAGE = 400
ENOUGH = 120
"""Sentences that a template applies to, from which its pairs are chosen."""
_GOOD = re.compile(r"[\u4e00-\u9fff][^\n]{8,118}[。]")


def starter_passages(folder: Path = STARTER) -> list[Passage]:
    """A passage for each section of each entry, as the chunker cuts them: heading, then a sentence a line."""
    found = []
    for path in sorted(folder.glob("*.md")):
        entry = read_entry(path)
        sections: dict[str, list[str]] = {}
        for _, heading, sentence in entry.sentences:
            sections.setdefault(heading, []).append(sentence)
        whole = "\n".join([str(entry.head["title"]), *entry.head["aliases"], *(s for _, _, s in entry.sentences)])
        names = (str(entry.head["title"]), *map(str, entry.head["aliases"]))
        for heading, sentences in sections.items():
            text = "\n".join([f"## {heading}", *sentences])
            kind, group = str(entry.head["kind"]), f"{entry.head['kind']}/{entry.head['department']}"
            found.append(Passage(path.stem, names[0], names, group, kind, (heading,), text, tuple(sentences), whole))
    return found


def book_passages(file: Path) -> list[Passage]:
    """A passage for each paragraph of books: its last heading is the title, its sentences those that look whole."""
    found = []
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            text = str(row["text"])[:LONGEST_PASSAGE]
            sentences = tuple(text[a:b] for a, b in sentence_spans(text) if _GOOD.fullmatch(text[a:b]))
            path = [_unnumbered(part) for part in str(row["title"]).split(" > ")]
            if sentences and len(text) > 60:
                title = path[-1]
                found.append(
                    Passage(str(row["id"]), title, (title,), path[0], "", tuple(path[:-1]), text, sentences, text)
                )
    return found


def _unnumbered(heading: str) -> str:
    """A heading without its number, if anything is left: （二）桌面推演 -> 桌面推演."""
    bare = re.sub(r"^(?:第[^ ]{1,4}[篇章节]|[（(]?[一二三四五六七八九十\d]+[）)、.．])\s*", "", heading).strip()
    return bare or heading


def make(passages: list[Passage], sizes: dict[str, int] = SIZES) -> list[dict[str, Any]]:
    """The pairs of all kinds, in order of kind, part and template."""
    single = {**corruptions(passages), **controls()}
    templates = {**single, **mixtures(single)}
    spots = [Spot(passage, place) for passage in passages for place in range(len(passage.sentences))]
    used: Counter[str] = Counter()
    pairs: list[dict[str, Any]] = []
    for kind, size in sizes.items():
        named = {name: found for name, found in templates.items() if name.split(".")[0] == kind}
        for part in ("development", "test"):
            mine = {name: template for name, (where, template) in named.items() if where == part}
            pools = {name: _pool(name, template, spots) for name, template in mine.items()}
            taken: set[tuple[str, str]] = set()
            counts = shares({name: len(pool) for name, pool in pools.items()}, size * len(mine) // len(named))
            # Rare templates choose first, so that what they need is not taken.
            for name in sorted(pools, key=lambda name: (len(pools[name]), name)):
                for spot, candidate in _chosen(pools[name], counts[name], used, taken):
                    pairs.append(_pair(kind, name, part, spot, candidate))
    order = {kind: place for place, kind in enumerate(sizes)}
    pairs.sort(key=lambda pair: (order[pair["kind"]], pair["part"], pair["template"]))
    numbers: Counter[str] = Counter()
    for pair in pairs:
        numbers[pair["template"]] += 1
        pair["id"] = f"{pair['template']}-{numbers[pair['template']]:02}"
    return pairs


def _pool(name: str, template: Template, spots: list[Spot]) -> list[tuple[Spot, Candidate]]:
    """The sentences a template applies to, shuffled, until there are enough to choose from."""
    rng = random.Random(f"{SEED}{name}")  # noqa: S311
    shuffled = rng.sample(spots, len(spots))
    found: list[tuple[Spot, Candidate]] = []
    for spot in shuffled:
        candidates = list(template(spot))
        if candidates:
            found.append((spot, rng.choice(candidates)))
            if len(found) >= ENOUGH:
                break
    return found


def shares(available: dict[str, int], size: int) -> dict[str, int]:
    """How many pairs each template gives: as even as what they have allows, `size` together if there are so many."""
    counts = dict.fromkeys(available, 0)
    for _ in range(size):
        free = [name for name in counts if counts[name] < available[name]]
        if not free:
            break
        counts[min(free, key=lambda name: (counts[name], name))] += 1
    return counts


def _chosen(
    pool: list[tuple[Spot, Candidate]], count: int, used: Counter[str], taken: set[tuple[str, str]]
) -> Iterator[tuple[Spot, Candidate]]:
    """`count` of a pool, entries that gave little so far first; a sentence once in a kind and part."""
    kinds: Counter[str] = Counter()
    for _ in range(count):
        free = [
            (kinds[one.old], used[spot.passage.entry], place)
            for place, (spot, one) in enumerate(pool)
            if (spot.sentence, one.sentence) not in taken and (spot.sentence, "") not in taken
        ]
        if not free:
            return
        spot, candidate = pool[min(free)[2]]
        taken |= {(spot.sentence, candidate.sentence), (spot.sentence, "")}
        used[spot.passage.entry] += 1
        kinds[candidate.old] += 1
        yield spot, candidate


def _pair(kind: str, name: str, part: str, spot: Spot, candidate: Candidate) -> dict[str, Any]:
    passage = candidate.passage or spot.passage
    return {
        "id": "", "kind": kind, "template": name, "part": part, "entry": spot.passage.entry, "passage": passage.shown,
        "sentence": candidate.sentence, "original": spot.sentence,
        "label": "supported" if kind in ("untouched", "paraphrase") else "unsupported",
        "change": f"{candidate.old} → {candidate.new}" if candidate.old else "",
    }  # fmt: skip


def dumped(pairs: list[dict[str, Any]]) -> str:
    """The pairs as JSONL."""
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)


def main(arguments: list[str] | None = None) -> int:
    """Writes the file, and prints how many pairs each kind and part has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textbooks", type=Path, help="take paragraphs of this file instead of the starter entries")
    parser.add_argument("--out", type=Path, help="write there (without --textbooks: tests/proof_pairs.jsonl)")
    parser.add_argument("--size", type=float, default=1.0, help="so many times as many pairs of each kind")
    parser.add_argument("--limit", type=int, default=8000, help="of books, so many paragraphs drawn by the seed")
    options = parser.parse_args(arguments)
    if options.textbooks and not options.out:
        parser.error("--textbooks needs --out: what is made of books must not be committed")
    passages = book_passages(options.textbooks) if options.textbooks else starter_passages()
    if options.textbooks and len(passages) > options.limit:
        passages = random.Random(SEED).sample(passages, options.limit)  # noqa: S311
    pairs = make(passages, {kind: int(size * options.size) for kind, size in SIZES.items()})
    (options.out or OUT).write_text(dumped(pairs), "utf-8")
    counts = Counter((pair["kind"], pair["part"]) for pair in pairs)
    for kind in SIZES:
        print(f"{kind:14} development {counts[kind, 'development']:4}  test {counts[kind, 'test']:4}")
    print(f"{len(pairs)} pairs in {options.out or OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
