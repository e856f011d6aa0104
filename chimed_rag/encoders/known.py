"""Encoders that are known by their hub name: what to put before a question, how to pool, how long, whose licence.

`SentenceEncoder` looks here for what a model's own files leave open: a prompt that only its model card names, the
pooling of a copy that came without modules.json, and whether the model is wrong without code of its own. What the files
do say comes first. Not covered: models that are not listed (they load as their files say) and API services.

Sources, by the letters in `facts`:
    M  mteb 2.26.24, mteb/models/model_implementations/*.py (dimension, tokens, licence, prompts, remote code)
    F  FlagEmbedding, inference/embedder/model_mapping.py @ 3c2d321 (pooling, remote code)
    C  a file of the model on the hub, or a copy of its card (1_Pooling/config.json and config.json of gte-*-zh,
       m3e-base, Dmeta-embedding-zh; 2_Dense/config.json of Conan-embedding-v1)
    R  recalled, without a source at hand: look at the model card before relying on it
M gives other dimensions for gte-small-zh and gte-base-zh (1024), Conan-embedding-v1, xiaobu-embedding-v2 and m3e-large
(768) and gte-Qwen2-1.5B-instruct (8960): C or R stand here instead. A dimension only serves to recognise copies
in folders.
Scores are nDCG@10 of CmedqaRetrieval and MedicalRetrieval as published in embeddings-benchmark/results @ f4cc6c8
(20 Aug 2026); none was measured here, those marked "card" are the authors' own, and nearly all of these models were
trained on cMedQA data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from chimed_rag.errors import UnknownNameError

Pooling = Literal["cls", "mean", "lasttoken"]


class KnownEncoder(NamedTuple):
    """What is known of a model.

    `facts` names the source of each field in letters (see the module); `scores` are (CmedqaRetrieval,
    MedicalRetrieval), `scored` who reported them: "card", "run" (submitted as result files), "third party" or unknown.
    `more_modules` says that further layers follow the pooling, so that a copy without modules.json is not the model.
    """

    name: str
    dimension: int
    tokens: int
    pooling: Pooling
    licence: str
    facts: dict[str, str]
    query_prefix: str = ""
    document_prefix: str = ""
    remote_code: bool = False
    more_modules: bool = False
    scores: tuple[float | None, float | None] = (None, None)
    scored: str = ""


_BGE_ZH = "为这个句子生成表示以用于检索相关文章："
_QWEN3 = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
_E5 = ("query: ", "passage: ")
_FLAG = {"dimension": "M", "tokens": "M", "pooling": "F", "licence": "M", "prefix": "M"}
_XLMR = {**_FLAG, "tokens": "M, less the 2 positions that XLM-R keeps"}
_GTE = {"dimension": "C", "tokens": "M", "pooling": "F", "licence": "M", "prefix": "M"}
_QWEN = {"dimension": "M", "tokens": "M", "pooling": "R", "licence": "M", "prefix": "M, its instruction R"}
_MOST = {"dimension": "M", "tokens": "M", "pooling": "R", "licence": "M", "prefix": "M"}
_M3E_LICENCE = "see the model card (no SPDX licence is given)"

_TABLE = (
    KnownEncoder("BAAI/bge-small-zh-v1.5", 512, 512, "cls", "MIT", _FLAG, _BGE_ZH, scores=(35.11, 49.80)),
    KnownEncoder("BAAI/bge-base-zh-v1.5", 768, 512, "cls", "MIT", _FLAG, _BGE_ZH, scores=(41.61, 56.51)),
    KnownEncoder("BAAI/bge-large-zh-v1.5", 1024, 512, "cls", "MIT", _FLAG, _BGE_ZH, scores=(42.57, 59.59)),
    KnownEncoder("BAAI/bge-m3", 1024, 8192, "cls", "MIT", _FLAG, scores=(33.78, 54.27), scored="run, third party"),
    KnownEncoder("thenlper/gte-small-zh", 512, 512, "cls", "MIT", _GTE, scores=(42.46, 62.64), scored="card"),
    KnownEncoder("thenlper/gte-base-zh", 768, 512, "cls", "MIT", _GTE, scores=(44.38, 64.94), scored="card"),
    KnownEncoder("thenlper/gte-large-zh", 1024, 512, "cls", "MIT", _GTE, scores=(43.15, 62.88), scored="card"),
    KnownEncoder(
        "Qwen/Qwen3-Embedding-0.6B", 1024, 32768, "lasttoken", "Apache-2.0", _QWEN, _QWEN3,
        scores=(41.09, 56.04), scored="run",
    ),
    KnownEncoder(
        "Qwen/Qwen3-Embedding-4B", 2560, 32768, "lasttoken", "Apache-2.0", _QWEN, _QWEN3,
        scores=(50.65, 63.94), scored="run",
    ),
    KnownEncoder(
        "Qwen/Qwen3-Embedding-8B", 4096, 32768, "lasttoken", "Apache-2.0", _QWEN, _QWEN3,
        scores=(52.52, 65.47), scored="run",
    ),
    KnownEncoder(
        "TencentBAC/Conan-embedding-v1", 1792, 512, "mean", "CC-BY-NC-4.0", {**_MOST, "dimension": "C"},
        more_modules=True, scores=(47.61, 67.94), scored="card",
    ),
    KnownEncoder(
        "IEITYuan/Yuan-embedding-2.0-zh", 1792, 512, "mean", "Apache-2.0", _MOST,
        more_modules=True, scores=(57.43, 76.27), scored="run",
    ),
    KnownEncoder(
        "lier007/xiaobu-embedding-v2", 1792, 512, "mean", "not specified", {**_MOST, "dimension": "R"},
        more_modules=True, scores=(47.14, 68.19), scored="card",
    ),
    KnownEncoder(
        "richinfoai/ritrieve_zh_v1", 1792, 512, "mean", "MIT", _MOST, more_modules=True, scores=(47.68, 68.27)
    ),
    KnownEncoder(
        "DMetaSoul/Dmeta-embedding-zh", 768, 1024, "cls", "Apache-2.0",
        {"dimension": "C", "tokens": "R", "pooling": "C", "licence": "C", "prefix": "R"},
    ),
    KnownEncoder("DMetaSoul/Dmeta-embedding-zh-small", 768, 1024, "cls", "Apache-2.0", _MOST, scores=(42.69, 59.95)),
    KnownEncoder("moka-ai/m3e-small", 512, 512, "mean", _M3E_LICENCE, _MOST),
    KnownEncoder("moka-ai/m3e-base", 768, 512, "mean", _M3E_LICENCE, {**_MOST, "pooling": "C"}, scores=(30.33, 42.80)),
    KnownEncoder(
        "moka-ai/m3e-large", 1024, 512, "mean", _M3E_LICENCE, {**_MOST, "dimension": "R"}, scores=(30.73, 48.66)
    ),
    KnownEncoder(
        "shibing624/text2vec-base-chinese", 768, 512, "mean", "Apache-2.0", _MOST, scores=(15.91, 27.56)
    ),
    KnownEncoder("intfloat/multilingual-e5-small", 384, 512, "mean", "MIT", _FLAG, *_E5),
    KnownEncoder("intfloat/multilingual-e5-base", 768, 512, "mean", "MIT", _XLMR, *_E5),
    KnownEncoder("intfloat/multilingual-e5-large", 1024, 512, "mean", "MIT", _XLMR, *_E5, scores=(28.66, 51.44)),
    KnownEncoder("maidalun1020/bce-embedding-base_v1", 768, 512, "cls", "Apache-2.0",
        {"dimension": "R", "tokens": "R", "pooling": "F", "licence": "R", "prefix": "R"}),
    KnownEncoder("Alibaba-NLP/gte-multilingual-base", 768, 8192, "cls", "Apache-2.0", _FLAG, remote_code=True),
    KnownEncoder(
        "Alibaba-NLP/gte-Qwen2-1.5B-instruct", 1536, 32768, "lasttoken", "Apache-2.0",
        {**_FLAG, "dimension": "R", "prefix": "F, its instruction R"}, _QWEN3 + " ", remote_code=True,
        scores=(46.97, 58.65),
    ),
    KnownEncoder(
        "Alibaba-NLP/gte-Qwen2-7B-instruct", 3584, 32768, "lasttoken", "Apache-2.0",
        {"dimension": "R", "tokens": "R", "pooling": "F", "licence": "R", "prefix": "F, its instruction R"},
        _QWEN3 + " ", remote_code=True, scores=(48.69, 65.59), scored="card",
    ),
)  # fmt: skip

KNOWN: dict[str, KnownEncoder] = {entry.name: entry for entry in _TABLE}
"""The table, by hub name."""


def known_encoder(name: str) -> KnownEncoder | None:
    """The entry of a hub name, whatever its upper and lower case."""
    folded = name.casefold()
    return next((entry for key, entry in KNOWN.items() if key.casefold() == folded), None)


def require_known(name: str) -> KnownEncoder:
    """The entry of a hub name.

    Raises:
        UnknownNameError: it is not listed; the message lists those that are.
    """
    entry = known_encoder(name)
    if entry is None:
        raise UnknownNameError(f"no known encoder is called {name!r}; there are: {', '.join(sorted(KNOWN))}")
    return entry


def recognised(folder: Path, config: dict[str, object]) -> KnownEncoder | None:
    """The known model that a folder says it is a copy of.

    In this order: a folder named NAME (in one named OWNER or not) or OWNER--NAME, a hub cache
    (models--OWNER--NAME/snapshots/COMMIT), `_name_or_path` in config.json. A name is a claim: the caller compares
    dimension and pooling.
    """
    places = [folder.name, f"{folder.parent.name}/{folder.name}"]
    if folder.parent.name == "snapshots":
        places.append(folder.parent.parent.name.removeprefix("models--"))
    said = config.get("_name_or_path")
    claims = [place.replace("--", "/", 1) for place in places] + ([said] if isinstance(said, str) else [])
    for claim in claims:
        if entry := known_encoder(claim) or _by_folder(claim):
            return entry
    return None


def _by_folder(name: str) -> KnownEncoder | None:
    if "/" in name:
        return None
    return next((entry for key, entry in KNOWN.items() if key.partition("/")[2].casefold() == name.casefold()), None)
