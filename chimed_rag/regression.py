"""Logistic regression small enough for numpy: scores that calibrate a refusal, and what texts are written like.

Not covered: features, and regressions over thousands of words, which scikit-learn fits where training does
(`encoders.ngram_weights`).
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]


def logistic(x: Floats, right: Booleans, penalty: float) -> tuple[float, Floats]:
    """Intercept and weights of logistic regression with a ridge on standardised features, by Newton's method.

    Args:
        x: features, shape (n, d).
        right: shape (n,); where all are alike, the weights are (nearly) zero.
        penalty: of the squared weights, halved; none on the intercept to speak of.
    """
    import numpy as np

    mean, scale = x.mean(0), x.std(0)
    scale[scale < 1e-9] = 1.0
    z = np.c_[np.ones(len(x)), (x - mean) / scale]
    w = np.zeros(z.shape[1])
    w[0] = log((right.sum() + 0.5) / ((~right).sum() + 0.5))
    ridge = np.diag([1e-3, *[penalty] * x.shape[1]])
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(z @ w, -30, 30)))
        step = np.linalg.solve((z.T * (p * (1 - p))) @ z + ridge, z.T @ (right - p) - ridge @ w)
        w += step
        if np.abs(step).max() < 1e-8:
            break
    weights = w[1:] / scale
    return float(w[0] - weights @ mean), weights
