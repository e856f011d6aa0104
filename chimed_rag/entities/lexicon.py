"""Names of drugs, diseases, tests and herbs, found in text by an Aho-Corasick automaton and made one for each thing.

What is covered: `query/trade_names.tsv`, `query/abbreviations.tsv`, the titles and aliases of the starter literature,
`names.tsv` beside this module, and drug names of common endings (-西林, -沙坦, -洛尔). What is not covered: finding
names by their context (the tagger does), dosage forms as different things, and aliases of diseases as equal (an alias
there is often a wider word: 胸痛 for an infarction).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

from chimed_rag import packaged
from chimed_rag.query.tables import rows
from chimed_rag.text import fold


class Name(NamedTuple):
    """What a name stands for: `canonical` is equal for names of one thing; `kind`: drug, disease, test, herb, term."""

    canonical: str
    kind: str


_CLASS = re.compile("[类药]$|阻滞剂|拮抗剂|抑制剂|激动剂|ccb$")
_ODD = re.compile("怎么|什么|了|吗|吃|喝|打|看|能|服|药$|没|不|，|、| ")
_SEVERAL = re.compile("[与和及、，]|^口服|[类药]$")
_KINDS = {"drug": "drug", "disease": "disease", "emergency": "disease", "test": "test", "tcm": "herb"}
_ENDINGS = (
    "西林|沙坦|洛尔|地平|普利|他汀|拉唑|替丁|沙星|霉素|环素|洛韦|夫定|昔布|昔康|双胍|噻嗪|唑仑|西泮|他定|司琼|单抗|替尼|肝素|胰岛素|康唑|芬净"
    "|硝唑|格列[齐吡美喹本瑞那]?[特嗪脲酮奈]|列汀|列净|鲁肽|沙班|格雷|膦酸|西汀|拉西坦|西平|卡因|奈德|米松|泼尼松|可的松|铵|碱|嘌呤|磺胺|培南|头孢[\u4e00-\u9fff]{2}"
)
_UNKNOWN_DRUG = re.compile(rf"[\u4e00-\u9fff]{{1,3}}?(?:{_ENDINGS})|头孢[\u4e00-\u9fff]{{2}}")


@cache
def names() -> Mapping[str, Name]:
    """Every known name, folded (of two characters and more), with what it stands for."""
    found: dict[str, Name] = {}
    for kind, listed in _listed():
        for group in listed.split():
            first, *same = group.split("=")
            for name in (first, *same):
                found.setdefault(name, Name(first, kind))
    for trade, generic in rows("trade_names.tsv"):
        found.setdefault(trade, Name(generic.split()[0], "drug"))
    for first, others in rows("abbreviations.tsv"):
        kept = found.get(first) or next(
            (found[other] for other in others.split() if other in found), Name(first, "term")
        )
        for name in (first, *others.split()):
            found.setdefault(name, kept)
    for title, aliases, kind in starter_names():
        if _SEVERAL.search(title):  # 维生素D与钙剂 are two things, their aliases are not one
            continue
        kept = found.setdefault(title, Name(title, kind)) if _usable(title) else Name(title, kind)
        for alias in filter(_usable, aliases):
            is_same = kind == "drug" and not _CLASS.search(alias)
            found.setdefault(alias, kept if is_same else Name(alias, kind))
    # 美林 -> 布洛芬混悬液 -> 布洛芬: followed to the end, a few steps at most
    for name, meant in found.items():
        seen = {name}
        while (further := found.get(meant.canonical)) and further.canonical not in seen:
            seen.add(meant.canonical)
            meant = further
        found[name] = meant
    return {name: meant for name, meant in found.items() if len(name) > 1}


def unknown_drugs(text: str) -> list[tuple[int, int]]:
    """Spans (half-open) of what ends as names of drugs do, with up to three characters before the ending."""
    return [match.span() for match in _UNKNOWN_DRUG.finditer(text)]


def _usable(name: str) -> bool:
    return 1 < len(name) <= 14 and not _ODD.search(name)


def _listed() -> list[tuple[str, str]]:
    return [(kind, fold(listed)) for kind, listed in packaged.rows("chimed_rag.entities", "names.tsv")]


@cache
def starter_names() -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """(title, aliases, kind) of the entries of the starter literature, folded; from their front matter alone."""
    found = []
    folder = resources.files("chimed_rag.corpus.starter")
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if not entry.name.endswith(".md"):
            continue
        with entry.open(encoding="utf-8") as lines:
            head = fold("".join(line for _, line in zip(range(12), lines, strict=False)))
        fields = dict(re.findall(r"^(title|aliases|kind): (.*)$", head, re.M))
        aliases = tuple(part.strip(" '\"") for part in fields.get("aliases", "").strip("[]").split(","))
        found.append((fields.get("title", "").strip(" '\""), aliases, _KINDS.get(fields.get("kind", ""), "term")))
    return tuple(found)
