"""A linear reward model: a Bradley–Terry model over character n-grams of the reply and its outward measures.

It learns from a few thousand pairs in a minute on a CPU. (A Llama of 2.4 million random weights, 160 steps over the 777
pairs of at most 384 tokens, learned length: .746 beside the longer reply's .742, n = 126.) It knows words, length, form
and what a reply takes over from its prompt; it does not know what is right for a prompt, so it must not be the only
judge of what a policy writes. Logistic regression on differences of features, without an intercept, is Bradley
and Terry's model (1952); its strength of regularisation is chosen on folds that share no prompt.

Not covered: word order beyond three characters. Needs scikit-learn, which comes with sentence-transformers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chimed_rag.errors import InputError
from chimed_rag.evaluation.grams import skeleton
from training.contracts import Preference
from training.settings import Settings

if TYPE_CHECKING:
    from training.scoring import Conversation

_FILE, _WEIGHTS = "linear_reward.json", "linear_reward.safetensors"
_GRAM_WEIGHT = 3.0
"""Of all n-grams of a reply together (a vector of length 1) beside each measure (standard deviation 1)."""
_SENTENCE_END = tuple("。！？!?.")


class Linear(Settings):
    """The size of a linear reward model, and how it is regularised.

    Args:
        gram: characters of the longest n-grams; 0 leaves them out.
        bits: n-grams are hashed into 2**bits places.
        strengths: inverse strengths of regularisation (C of scikit-learn) to choose from.
        folds: of the choice; no prompt is in two of them.
    """

    gram: int = Field(3, ge=0, le=5)
    bits: int = Field(16, ge=8, le=22)
    strengths: list[float] = Field(default=[0.1, 0.3, 1.0], min_length=1)
    folds: int = Field(3, ge=2)


class LinearReward:
    """Weights over features; a `scoring.Scorer`."""

    def __init__(
        self, settings: Linear, weights: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> None:
        self.settings, self.weights, self.mean, self.scale = settings, weights, mean, scale

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """See `scoring.Scorer`; reads the last reply, and all before it as its prompt."""
        if not conversations:
            return []
        prompts, replies = [], []
        for place, messages in enumerate(conversations):
            if not messages or messages[-1]["role"] != "assistant":
                raise InputError(f"conversation {place + 1} does not end with a reply")
            prompts.append(_text(messages[:-1]))
            replies.append(messages[-1]["content"])
        features = _features(self.settings, prompts, replies, self.mean, self.scale)
        return [float(one) for one in features @ self.weights]

    def save(self, folder: Path) -> None:
        """Writes settings and weights."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weights": self.weights, "mean": self.mean, "scale": self.scale}, folder / _WEIGHTS)
        shown = {"measures": list(MEASURES), "settings": self.settings.model_dump(mode="json")}
        (folder / _FILE).write_text(json.dumps(shown, indent=1) + "\n", "utf-8")


def is_one(folder: Path) -> bool:
    """Whether the folder holds a linear reward model."""
    return (folder / _FILE).is_file()


def load(folder: Path) -> LinearReward:
    """
    Raises:
        InputError: its files are missing or damaged, or were made with other measures.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        shown = json.loads((folder / _FILE).read_text("utf-8"))
        tensors = load_file(folder / _WEIGHTS)
        found = LinearReward(Linear(**shown["settings"]), *(tensors[name] for name in ("weights", "mean", "scale")))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{folder}: no whole linear reward model ({error}); train it anew") from None
    if shown.get("measures") != list(MEASURES):
        raise InputError(f"{folder}: was trained with other measures of a reply than this version takes; train it anew")
    return found


def fit(pairs: Sequence[Preference], settings: Linear, seed: int) -> tuple[LinearReward, dict[float, float]]:
    """The model, and the pair accuracy on held-out folds of each strength; the best one was taken.

    Args:
        pairs: with their weights.
        settings: see there.
        seed: of the folds.

    Raises:
        InputError: fewer prompts than folds.
    """
    from sklearn.model_selection import GroupKFold

    prompts = [_text(pair.prompt) for pair in pairs]
    groups = [skeleton(prompt) for prompt in prompts]
    if len(set(groups)) < settings.folds:
        raise InputError(f"{len(set(groups))} prompts cannot be parted into linear.folds = {settings.folds}")
    measured = np.array(
        [[_measures(p, text) for text in (pair.chosen, pair.rejected)] for p, pair in zip(prompts, pairs, strict=True)]
    )
    mean, scale = measured.mean(axis=(0, 1)), measured.std(axis=(0, 1))
    scale = np.where(scale == 0, 1.0, scale)
    chosen, rejected = (
        _features(settings, prompts, [getattr(pair, side) for pair in pairs], mean, scale, measured[:, place])
        for place, side in enumerate(("chosen", "rejected"))
    )
    differences = (chosen - rejected).tocsr()
    weights = np.array([pair.weight for pair in pairs])
    weights /= weights.mean()
    right = dict.fromkeys(settings.strengths, 0.0)
    if len(right) > 1:
        for known, new in GroupKFold(settings.folds, shuffle=True, random_state=seed).split(differences, groups=groups):
            for strength in right:
                found = _regression(differences[known], weights[known], strength)
                right[strength] += float(((differences[new] @ found) > 0).sum())
    best = max(right, key=lambda strength: (right[strength], -strength))
    model = LinearReward(settings, _regression(differences, weights, best), mean, scale)
    return model, {strength: count / len(pairs) for strength, count in right.items()}


def _regression(differences: Any, weights: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Weights w that make σ(w·(chosen − rejected)) likely."""
    from scipy.sparse import diags_array
    from sklearn.linear_model import LogisticRegression

    # scikit-learn wants two classes: every second pair is turned round, which changes nothing without an intercept.
    signs = np.where(np.arange(differences.shape[0]) % 2, 1.0, -1.0)
    turned = (diags_array(signs) @ differences).tocsr()
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=300, tol=1e-3)
    found: NDArray[np.float64] = model.fit(turned, signs, sample_weight=weights).coef_[0]
    return found


# --- features --------------------------------------------------------------------------------------------------


def _text(messages: Conversation) -> str:
    return "\n".join(message["content"] for message in messages)


def _features(
    settings: Linear,
    prompts: Sequence[str],
    replies: Sequence[str],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    measured: NDArray[np.float64] | None = None,
) -> Any:
    """A sparse matrix, shape (replies, measures + 2**bits)."""
    from scipy.sparse import csr_array, hstack

    if measured is None:
        measured = np.array([_measures(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)])
    parts = [csr_array((measured - mean) / scale)]
    if settings.gram:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.preprocessing import normalize

        hashed = HashingVectorizer(
            analyzer="char", ngram_range=(1, settings.gram), n_features=2**settings.bits, norm=None
        ).transform(replies)
        hashed.data = np.sign(hashed.data) * np.log1p(np.abs(hashed.data))
        parts.append(csr_array(normalize(hashed)) * _GRAM_WEIGHT)
    return hstack(parts, format="csr")


MEASURES = (
    "log characters", "its square", "fewer than 15 characters", "log ratio to the prompt",
    "of its pairs of characters, in the prompt", "of the prompt's, in the reply", "of its fours, in the prompt",
    "of the prompt's fours, in the reply", "log lines", "numbered list", "Chinese", "Latin", "digits",
    "different fours", "ends as a sentence", "begins with an option", "commas", "full stops",
)  # fmt: skip
"""What of a reply is measured beside its n-grams."""
_NUMBERED = re.compile(r"^\s{0,8}\d{1,2}[.、)]", re.M)
_OPTION = re.compile(r"\s{0,8}[A-F](?![A-Za-z])")


def _measures(prompt: str, reply: str) -> list[float]:
    reply = reply.strip()
    size, one = max(1, len(reply)), math.log1p(len(reply))
    two, asked_two = _grams(reply, 2), _grams(prompt, 2)
    four, asked_four = _grams(reply, 4), _grams(prompt, 4)
    return [
        one,
        one * one / 10,
        float(len(reply) < 15),
        math.log((len(reply) + 5) / (len(prompt) + 5)),
        len(two & asked_two) / max(1, len(two)),
        len(two & asked_two) / max(1, len(asked_two)),
        len(four & asked_four) / max(1, len(four)),
        len(four & asked_four) / max(1, len(asked_four)),
        math.log1p(reply.count("\n")),
        float(bool(_NUMBERED.search(reply))),
        sum("\u4e00" <= char <= "\u9fff" for char in reply) / size,
        sum(char.isascii() and char.isalpha() for char in reply) / size,
        sum(char.isdigit() for char in reply) / size,
        len({reply[n : n + 4] for n in range(size - 3)}) / max(1, size - 3),
        float(reply.endswith(_SENTENCE_END)),
        float(bool(_OPTION.match(reply))),
        20 * reply.count("，") / size,
        20 * reply.count("。") / size,
    ]


def _grams(text: str, n: int) -> set[str]:
    bones = skeleton(text)
    return {bones[place : place + n] for place in range(len(bones) - n + 1)}
