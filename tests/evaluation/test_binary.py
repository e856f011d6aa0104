from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from chimed_rag.errors import InputError
from chimed_rag.evaluation.metrics.binary import auc, best_threshold, f1
from chimed_rag.evaluation.statistics import bootstrap_ratios, proportion


def test_auc_by_hand_and_by_a_second_library() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.1])
    labels = np.array([True, True, False, False])
    # Of four pairs of a yes and a no, three are in order and one ties.
    assert auc(scores, labels).value == pytest.approx(3.5 / 4)
    rng = np.random.default_rng(3)
    labels = rng.random(200) < 0.4
    scores = np.round(rng.normal(size=200) + labels, 1)
    found = auc(scores, labels, resamples=200)
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    assert 0.5 < found.low < found.value < found.high < 1
    with pytest.raises(InputError, match="two of each"):
        auc(np.array([1.0, 2.0]), np.array([True, False]))


def test_the_threshold_with_the_best_f1() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.2])
    # At 0.9: P 1, R 1/2, F1 2/3. At 0.5, which takes both: P 2/3, R 1, F1 4/5. At 0.2: P 1/2, R 1, F1 2/3.
    assert best_threshold(scores, np.array([True, True, False, False])) == 0.5
    rng = np.random.default_rng(4)
    labels = rng.random(60) < 0.5
    scores = np.round(rng.normal(size=60) + labels, 1)
    by_library = {cut: f1_score(labels, scores >= cut) for cut in np.unique(scores)}
    assert by_library[best_threshold(scores, labels)] == max(by_library.values())
    with pytest.raises(InputError):
        best_threshold(np.array([]), np.array([], dtype=bool))


def test_f1_by_hand() -> None:
    said = np.array([True, True, False, False, True])
    labels = np.array([True, False, True, False, True])
    assert f1(said, labels).value == pytest.approx(4 / 6)  # 2 hits, 1 false alarm, 1 miss
    assert f1(~labels & False, labels & False).value == 0.0


def test_ratios_resample_groups() -> None:
    found = bootstrap_ratios({"a": np.array([2.0, 0.0])}, np.array([2.0, 6.0]))["a"]
    assert (found.value, found.low, found.high) == (0.25, 0.0, 1.0)  # two groups: 1/1, 0/6 or both
    assert bootstrap_ratios({"a": np.array([1.0])}, np.array([0.0]))["a"].value == 0.0


def test_wilson_by_hand() -> None:
    # (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = 1/2, n = 100, z = 1.96
    found = proportion(50, 100)
    assert (found.value, round(found.low, 4), round(found.high, 4)) == (0.5, 0.4038, 0.5962)
    with pytest.raises(InputError):
        proportion(3, 2)
