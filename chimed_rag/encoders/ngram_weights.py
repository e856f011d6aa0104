"""A weight for each n-gram of the encoder that comes with the package: what the wording of a text tells, as one number.

The weights are those of a logistic regression (L2) on tf-idf vectors: 1 + ln(count) times inverse document frequency in
the texts that the encoder was trained on, brought to length 1. Against a table of its own (strings, binary or
tf-idf) the encoder's n-grams were as good or better where this is used (`safety.answerability`,
`safety.red_flags_score`), and a file holds 120 kB. Not covered: what the number means, which is for whoever fits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chimed_rag.encoders.ngram import shipped
from chimed_rag.encoders.ngrams import Bags
from chimed_rag.errors import ConfigError

_TENSORS = {"weights": "float16", "numbers": "float64", "encoder": "uint8"}


@dataclass(frozen=True)
class NgramWeights:
    """Weights with the few numbers that go with them.

    Args:
        weights: float16 of shape (n-grams of the encoder,).
        numbers: an intercept and whatever else the user of the weights needs.
        encoder: fingerprint of the encoder, hex.
    """

    weights: NDArray[np.float16]
    numbers: tuple[float, ...]
    encoder: str

    def of(self, text: str) -> float:
        """The sum of the weights of a text's n-grams, without the intercept; 0 for a text without a known n-gram."""
        bags = shipped().vocabulary.bags([text])
        return float(self.weights[bags.ids].astype(np.float64) @ _tfidf(bags))

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        positive: Sequence[bool],
        *,
        worth: Sequence[float] | None = None,
        inverse_penalty: float = 10.0,
    ) -> NgramWeights:
        """Weights that tell the positive texts from the others; `numbers` holds the intercept alone.

        Args:
            texts, positive: as many of each.
            worth: how much each text counts, 1 by default.
            inverse_penalty: of the weights' squares (scikit-learn's C).

        Raises:
            ImportError: scikit-learn is not installed.
        """
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression

        vocabulary = shipped().vocabulary
        bags = vocabulary.bags(texts)
        seen = csr_matrix((_tfidf(bags), bags.ids, bags.offsets), shape=(len(texts), len(vocabulary)))
        model = LogisticRegression(C=inverse_penalty, max_iter=3000).fit(seen, positive, worth)
        weights = model.coef_[0].astype(np.float16)
        return cls(weights, (float(model.intercept_[0]),), shipped().spec.fingerprint)

    def save(self, path: str | Path) -> Path:
        """Writes them as safetensors."""
        from safetensors.numpy import save_file

        fingerprint = np.frombuffer(bytes.fromhex(self.encoder), np.uint8)
        save_file({"weights": self.weights, "numbers": np.array(self.numbers), "encoder": fingerprint}, path)
        Path(path).chmod(0o644)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, count: int, made_by: str) -> NgramWeights:
        """Reads what `save` wrote.

        Args:
            count: how many numbers there have to be.
            made_by: the command that makes the file again, for the errors.

        Raises:
            ConfigError: the file cannot be read, is something else, or was made for the encoder of another version.
        """
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
        except Exception as error:  # safetensors raises bare exceptions of its own
            raise ConfigError(f"{path}: cannot be read ({error}); make it again: {made_by}") from None
        kinds = {name: str(tensor.dtype) for name, tensor in tensors.items()}
        if kinds != _TENSORS or len(tensors["numbers"]) != count:
            raise ConfigError(f"{path}: does not hold weights of n-grams and {count} numbers; make it again: {made_by}")
        found = cls(tensors["weights"], tuple(tensors["numbers"].tolist()), tensors["encoder"].tobytes().hex())
        here = shipped().spec.fingerprint
        if found.encoder != here or found.weights.shape != (len(shipped().vocabulary),):
            raise ConfigError(
                f"{path}: was made for the encoder {found.encoder[:16]}, but this version comes with {here[:16]}; "
                f"make it again: {made_by}"
            )
        return found


def _tfidf(bags: Bags) -> NDArray[np.float32]:
    """The weights of the n-grams of bags, each bag of length 1; of the shape of `bags.ids`."""
    weights = bags.weights * -np.log(shipped().frequencies[bags.ids])
    lengths = np.sqrt(np.bincount(bags.rows(), np.square(weights), minlength=len(bags)))
    return (weights / np.maximum(lengths, 1e-9)[bags.rows()]).astype(np.float32)
