"""What every encoder is: its spec, the two encoding calls, how one is found by name and loaded again for an index.

Not covered: how texts become vectors (one module per kind) and the search itself (`indexing`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from chimed_rag.encoders.hub import HUB_NAME
from chimed_rag.errors import EncoderError, IndexMismatchError, InputError, UnknownNameError
from chimed_rag.records import Record
from chimed_rag.registry import encoders

Vectors = NDArray[np.float32]
_SURROGATE = re.compile("[\ud800-\udfff]")


class EncoderSpec(Record):
    """Which encoder made a set of vectors, and how to load it again.

    `kind` is a name of the registry, `fingerprint` the SHA-256 (hex) of what determines the vectors (weights and
    settings), `settings` the keyword arguments that make the same encoder again.
    """

    kind: str
    name: str
    dimension: int = Field(ge=1)
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    settings: dict[str, JsonValue] = Field(default_factory=dict)


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors whose inner product says how alike they are.

    An encoder whose cosines mean the same for every query may also say, as `cosine_weight`, what one weighs in the
    fusion beside BM25 as a share of the query's best ("cosine" in `retrieval.fusion`).

    Both calls give a C-contiguous float32 array of shape (n, spec.dimension). A row has length 1, or is all zero
    when the text holds nothing the encoder knows (an empty text, say): such a row matches nothing. The vector of a
    text does not depend on the texts beside it, and the calls may come from several threads at once.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""

    @property
    def fusion_weight(self) -> float:
        """The weight of this encoder's list when it is fused with the lexical list, whose weight is 1."""

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, one row each."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, one row each."""


def load_encoder(name_or_path: str | Path | Encoder, **settings: Any) -> Encoder:
    """The encoder that a user means.

    Args:
        name_or_path: a name of the registry ("hashing"), a folder (of model2vec or of sentence-transformers), the
            name of a model on the hub ("owner/name", or "owner/name@revision"), or an encoder, which is given back as
            it is.
        settings: keyword arguments of that encoder's class.

    Raises:
        UnknownNameError: a plain word that is neither a registry name nor a folder.
        InputError: settings that this kind of encoder does not take.
        EncoderError: the folder is not there, or holds no encoder.
        MissingExtraError: the library for this kind is not installed.
    """
    if not isinstance(name_or_path, (str, Path)):
        if settings:
            raise InputError("settings can be given with an encoder's name or folder, not with a loaded encoder")
        return name_or_path
    name = str(name_or_path)
    if isinstance(name_or_path, str) and name in encoders:
        return _make(name, settings)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _make(_kind_of(folder), {"path": str(folder), **settings})
    if isinstance(name_or_path, str) and HUB_NAME.fullmatch(name):
        return _make("sentence", {"path": name, **settings})
    if folder.name == name and not folder.suffix:
        raise UnknownNameError(
            f"no encoder is called {name!r} and no such folder is here; there are: {', '.join(encoders.names())}, "
            "any model folder, and hub models as owner/name"
        )
    raise EncoderError(f"{name} is not a folder; give the folder of an encoder, or a hub model as owner/name")


INSIDE = "encoder/"
"""How the path of an encoder begins that lies in the index itself, in a folder named by its fingerprint."""


def inside(spec: EncoderSpec) -> str | None:
    """The path of the encoder's folder within its index, if it lies there (a user's own `encoder/x` does not)."""
    path = INSIDE + spec.fingerprint[:16]
    return path if spec.kind == "ngram" and spec.settings.get("path") == path else None


def encoder_from_spec(spec: EncoderSpec, *, path: str | Path | None = None, index: str | Path | None = None) -> Encoder:
    """Loads the encoder of an index again and makes sure it is the same one.

    Args:
        spec: as the index keeps it.
        path: where the model lies now, if its folder moved since the index was built.
        index: the folder of the index, for an encoder that lies in it; its spec goes on saying so, wherever it was
            read, so that what is written with it lies in an index again.

    Raises:
        IndexMismatchError: what was found gives other vectors than those of the index.
        EncoderError: the model is not there any more.
    """
    settings = dict(spec.settings)
    within = inside(spec) if path is None and index is not None else None
    if path is not None:
        if "path" not in settings:
            raise InputError(f"the index was made by encoder {spec.name}, which has no folder; leave `encoder` out")
        settings["path"] = str(path)
        settings.pop("revision", None)  # the fingerprint says whether it is the same
    elif index is not None and within is not None:
        settings["path"] = str(Path(index) / within)
    encoder = _make(spec.kind, settings)
    require_same(encoder, spec)
    if within is not None:
        cast("Any", encoder).spec = spec
    return encoder


def require_same(encoder: Encoder, spec: EncoderSpec) -> None:
    """Makes sure that an encoder gives the vectors of an index.

    Raises:
        IndexMismatchError: it does not; the message names both sides and the command that mends it.
    """
    found = encoder.spec
    if (found.fingerprint, found.dimension) == (spec.fingerprint, spec.dimension):
        return
    source = found.settings.get("path", found.kind)
    raise IndexMismatchError(
        f"the index was made by encoder {_side(spec)}, but {_side(found)} was found; give the first one, or build the "
        f"index again: chimed build SOURCE... --out DIR --encoder {source}"
    )


def checked(vectors: Any, n: int, dimension: int, name: str) -> Vectors:
    """The vectors as a C-contiguous float32 array of shape (n, dimension), if they can be used.

    Raises:
        EncoderError: no array of numbers, another shape, or a value that is not a finite number; the message names the
            encoder.
    """
    try:
        array: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:  # None, rows of different lengths, words
        raise EncoderError(f"encoder {name} gave no array of numbers ({error})") from None
    if array.shape != (n, dimension):
        raise EncoderError(f"encoder {name} gave vectors of shape {array.shape} where {(n, dimension)} was due")
    finite = np.isfinite(array).all(axis=1) if array.size else np.ones(n, dtype=bool)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise EncoderError(f"encoder {name} gave NaN or infinity in {int((~finite).sum())} of {n} vectors (row {bad})")
    return array


def normalised(vectors: Any) -> Vectors:
    """Rows brought to length 1 (L2), as C-contiguous float32 of shape (n, dimension); zero rows stay zero.

    The sum of squares is taken in float64, so that neither large nor small weights overflow or vanish.
    """
    array = np.asarray(vectors, dtype=np.float64)
    lengths = np.sqrt(np.square(array).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(array / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def well_formed(texts: Sequence[str]) -> list[str]:
    """The texts with each lone surrogate (a broken file name, a cut emoji) as U+FFFD: tokenizers refuse them."""
    return [_SURROGATE.sub("\ufffd", text) for text in texts]


def fingerprint(settings: dict[str, Any], root: Path | None = None, files: Iterable[Path] = ()) -> str:
    """SHA-256 (hex) of the settings that determine the vectors and of the files beneath `root`, by name and content."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=True).encode())
    for file in sorted(files):
        name = file.name if root is None else file.relative_to(root).as_posix()
        digest.update(f"\0{name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _kind_of(folder: Path) -> str:
    from chimed_rag.encoders.ngram import is_ngram_folder
    from chimed_rag.encoders.static import is_static_folder

    if is_ngram_folder(folder):
        return "ngram"
    return "static" if is_static_folder(folder) else "sentence"


def _make(kind: str, settings: dict[str, Any]) -> Encoder:
    return cast("Encoder", encoders.make(kind, settings))


def _side(spec: EncoderSpec) -> str:
    return f"{spec.name} ({spec.kind}, dimension {spec.dimension}, fingerprint {spec.fingerprint[:16]})"


def says_kind(folder: Path, kind: str) -> bool:
    """Whether the config.json of a folder says that it holds a model of this kind of ours."""
    try:
        card = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and card.get("kind") == kind
