"""Learns from search queries with typing errors what is written for what: the tables of `query.spelling`.

    python -m tools.learn_typos PAIRS.jsonl.gz [--half learning|noise|both]

Writes `confusions.tsv`, `pairs.tsv` and `sounds.tsv` into `chimed_rag/query`; the sounds come from pypinyin, which is
not needed at run time.

PAIRS holds rows with query (as typed), passage (as meant, of the same length) and source; those of the source
`mcscset_typo` are read (MCSCSet, Jiang et al., CIKM 2022, Apache-2.0). The shipped tables come from the half of the
rows called "learning"; `benchmarks/typos.py` makes its typing errors from the other half. Not learnt: inserted or
dropped characters.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter, defaultdict
from math import log
from pathlib import Path
from unicodedata import combining, normalize
from zlib import crc32

from chimed_rag.query.spelling import MAX_COST, SEEN, SMOOTHING
from chimed_rag.text import fold

SOURCE = "mcscset_typo"
FOLDER = Path(__file__).parents[1] / "chimed_rag" / "query"
MEDICAL = ("trade_names.tsv", "lay_terms.tsv", "abbreviations.tsv")
MIN_CONFUSIONS = 2
"""A confusion seen once is chance more often than habit."""
LEARNT = "# Learnt by tools/learn_typos.py from {rows:,} pairs of MCSCSet (Apache-2.0). {what}\n"
MADE = "# Made by tools/learn_typos.py with pypinyin (MIT). A sound without its tone, and its characters.\n"


def read_pairs(path: str | Path, half: str = "both") -> list[tuple[str, str]]:
    """(as typed, as meant) of one half of the rows, told apart by the CRC-32 of what is meant.

    Args:
        path: the gzipped JSON lines.
        half: "learning", "noise" or "both".
    """
    parts = {"learning": (0,), "noise": (1,), "both": (0, 1)}[half]
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if SOURCE in line]
    found = [(fold(row["query"]), fold(row["passage"])) for row in rows if row["source"] == SOURCE]
    return [(typed, meant) for typed, meant in found if crc32(meant.encode()) % 2 in parts]


def confusions(pairs: list[tuple[str, str]]) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """What was typed for each character, with counts, and how often each character was meant."""
    typed_for: dict[str, Counter[str]] = defaultdict(Counter)
    meant_often: Counter[str] = Counter()
    for typed, meant in pairs:
        meant_often.update(meant)
        for wrong, right in zip(typed, meant, strict=True):
            if wrong != right:
                typed_for[right][wrong] += 1
    return typed_for, meant_often


def confusion_rows(pairs: list[tuple[str, str]]) -> list[str]:
    """A row for each typed character: the character, and each that it may stand for with its cost as a digit.

    The cost is the rounded -ln P(typed | meant), P = n / (n of the meant character + SMOOTHING).
    """
    typed_for, meant_often = confusions(pairs)
    stands_for: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for right, counts in typed_for.items():
        for wrong, n in counts.items():
            cost = round(-log(n / (meant_often[right] + SMOOTHING)))
            if n >= MIN_CONFUSIONS and cost <= MAX_COST and _is_han(wrong) and _is_han(right):
                stands_for[wrong].append((cost, right))
    return [
        f"{wrong}\t{''.join(f'{right}{cost}' for cost, right in sorted(meant))}"
        for wrong, meant in sorted(stands_for.items())
    ]


def pair_rows(pairs: list[tuple[str, str]]) -> list[str]:
    """A row for each character: the character, and those that follow it at least SEEN times in what is meant."""
    counts = Counter(meant[i : i + 2] for _, meant in pairs for i in range(len(meant) - 1))
    following: dict[str, list[str]] = defaultdict(list)
    for pair, n in counts.items():
        if n >= SEEN and all(map(_is_han, pair)):
            following[pair[0]].append(pair[1])
    return [f"{first}\t{''.join(sorted(second))}" for first, second in sorted(following.items())]


def sound_rows() -> list[str]:
    """A row for each sound, without tone: the sound, and its characters, those most used in our medical tables first.

    The characters are those of GB 2312 and of the tables.
    """
    from pypinyin.pinyin_dict import pinyin_dict

    used = Counter("".join((FOLDER / name).read_text("utf-8") for name in MEDICAL))
    simplified = [
        bytes((high, low)).decode("gb2312", "ignore") for high in range(0xB0, 0xF8) for low in range(0xA1, 0xFF)
    ]
    characters: dict[str, list[str]] = defaultdict(list)
    for char in dict.fromkeys((*filter(None, simplified), *filter(_is_han, used))):
        # The first two readings: further ones are rare. ü is written as u.
        for toned in pinyin_dict.get(ord(char), "").split(",")[:2]:
            sound = "".join(letter for letter in normalize("NFD", toned) if not combining(letter))
            if sound and char not in characters[sound]:
                characters[sound].append(char)
    return [
        f"{sound}\t{''.join(sorted(found, key=lambda char: -used[char]))}"
        for sound, found in sorted(characters.items())
    ]


def _is_han(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"


def main() -> None:
    """Writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--half", choices=("learning", "noise", "both"), default="learning")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    pairs = read_pairs(options.pairs, options.half)
    tables = {
        "confusions.tsv": (confusion_rows(pairs), "What is typed, and what may be meant, with -ln of its probability."),
        "pairs.tsv": (pair_rows(pairs), "A character, and those that often follow it in what patients ask."),
    }
    for name, (rows, what) in tables.items():
        _write(options.out / name, LEARNT.format(rows=len(pairs), what=what), rows)
    _write(options.out / "sounds.tsv", MADE, sound_rows())


def _write(file: Path, head: str, rows: list[str]) -> None:
    text = head + "".join(row + "\n" for row in rows)
    file.write_text(text, "utf-8")
    print(f"{file}: {len(rows):,} rows, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
