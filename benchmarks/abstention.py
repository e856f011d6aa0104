"""What a calibrated refusal is worth: risk and coverage of the fitted rule beside plain thresholds; does it hold?

    python benchmarks/abstention.py --json benchmarks/results/abstention.json [--plot curve.png] [--work DIR]

Questions whose evidence was taken out of the index: 2,984 patient questions of huatuo_retrieval_dev over the disease
encyclopedia and their answers, without the answers to half of them (of 600, `--questions 600`, hardly a rule comes);
and the development questions of the starter literature, without the entries that answer half of them (another half in
each split), and with all entries (a question drawn without its entries is asked with a filter that leaves them out).
An answer is wrong if it cites no document that the judgements name; for the consultations, where one document in
80,000 is judged for each question, that calls many a fair answer wrong.

In each of 20 splits one half of the questions calibrates and the other half measures (each of these with its entries
and without). AURC: the mean, over the answers ordered by score, of the error so far (Geifman, Uziel, El-Yaniv, ICLR
2019), lower is better; all scores order the same answers, those that `abstention.judge` and the proof let through.
"exceeds": splits in which the measured error among answered questions lies above the stated risk. A right guarantee
expects 20 * (1 - confidence) of them at most, and in 95 % of cases no more than "allowed" (the binomial quantile). The
splits share their questions and the measured error of few answers strays by itself, so the count is rough;
tests/safety/test_calibration.py counts true errors. A split without a rule answers nothing. Test questions are not
read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import ROOT, Row, corpus_file, parser, report, rows_of

sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chimed_rag import MedQA
    from chimed_rag.safety.calibration import Trial

EVAL = "eval/huatuo_retrieval_dev"
SEED, SPLITS = 20260101, 20
RISKS = (0.05, 0.1, 0.2, 0.3, 0.5)
CURVE = np.linspace(0.02, 1, 50)
Versions = list[list["Trial"]]
"""Of each question its trials: with its documents, and without them where that can be chosen."""
COLUMNS = ["questions", "what", "risk", "rules", "coverage", "error", "exceeds", "allowed", "AURC", "AUROC"]


# --- questions, asked without a rule ---------------------------------------------------------------------------------


def asked(qa: MedQA, questions: Sequence[tuple[str, tuple[str, ...], Any]]) -> list[Trial]:
    """The trials of (question, documents that answer it, filter)."""
    from functools import cache

    from chimed_rag.query.rewriting import understood
    from chimed_rag.safety.calibration import Question, trial

    weight = cache(qa._view.index.lexical.inverse_document_frequency)
    return [
        trial(Question(question=text, documents=documents), understood(qa._query(text)), answer, weight)
        for text, documents, filter in questions
        for answer in [qa.ask(text, filter=filter)]
    ]


def consultations(data: Path, work: Path, limit: int | None, n: int) -> Versions:
    """Patient questions over the encyclopedia and their answers, half of these left out."""
    from chimed_rag import Document, MedQA
    from chimed_rag.evaluation.beir import read_qrels, read_queries

    queries, qrels = (
        read(data / EVAL / f"{name}.jsonl.gz") for read, name in ((read_queries, "queries"), (read_qrels, "qrels"))
    )
    chosen = [sorted(queries)[place] for place in np.random.default_rng(SEED).permutation(len(queries))[:n]]
    gone = {document for query in chosen[: n // 2] for document in qrels[query]}
    sources = [corpus_file(data, "corpora/disease_encyclopedia.jsonl.gz", limit, work), data / EVAL / "corpus.jsonl.gz"]
    index = work / f"without-{n // 2}-of-{n}"
    if not (index / "manifest.json").is_file():
        print("... building", index.name, file=sys.stderr)
        rows = (row for source in sources for row in rows_of(source))
        named = ((row.get("id") or row["_id"], row) for row in rows)
        documents = (
            Document(id=key, title=row.get("title", ""), text=row["text"]) for key, row in named if key not in gone
        )
        MedQA.build(documents, index, adapt=False).close()
    with MedQA.load(index) as qa:
        return [[one] for one in asked(qa, [(queries[q], tuple(set(qrels[q]) - gone), None) for q in chosen])]


def starter(removed: bool) -> Versions:
    """The development questions of the starter literature, with and (if asked) without the entries that answer them."""
    from chimed_rag import MedQA

    lines = (ROOT / "tests" / "starter_questions.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "development"]
    with MedQA() as qa:
        folder = Path(qa.search("高血压", 1)[0].document_id).parent
        documents = [tuple(str(folder / f"{slug}.md") for slug in row["entries"]) for row in rows]
        if lost := [one for each in documents for one in each if qa.document(one) is None]:
            sys.exit(f"the starter literature has no {lost[0]}")
        full = asked(qa, [(row["question"], each, None) for row, each in zip(rows, documents, strict=True)])
        if not removed:
            return [[one] for one in full]
        without = [
            (row["question"], (), {"id": {"$nin": list(each)}} if each else None)
            for row, each in zip(rows, documents, strict=True)
        ]
        return [list(pair) for pair in zip(full, asked(qa, without), strict=True)]


# --- measures --------------------------------------------------------------------------------------------------------


def risks_so_far(scores: NDArray[np.float64], wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Error among the i answers with the highest scores, i from 1, as expected where equal scores come in any order."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    shares = np.bincount(group, wrong) / sizes
    return np.cumsum(shares[np.sort(group)]) / np.arange(1, len(wrong) + 1)


def auroc(scores: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    """The chance that a right answer scores higher than a wrong one."""
    pairs = scores[~wrong][:, None] - scores[wrong][None, :]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2) if pairs.size else float("nan")


def plain_threshold(trials: Sequence[Trial], feature: str, risk: float, confidence: float, seed: int) -> float | None:
    """The threshold on one feature that the same test grants, with the same parts of the same questions."""
    from chimed_rag.safety.calibration import FITTING_SHARE
    from chimed_rag.safety.risk import control, sequence

    order = np.random.default_rng(seed).permutation(len(trials))
    cut = round(FITTING_SHARE * len(trials))
    fitting, testing = ([trials[i] for i in part if trials[i].answered] for part in (order[:cut], order[cut:]))
    scores = np.array([getattr(one.features, feature) for one in fitting])
    levels = sequence(scores, np.array([one.wrong for one in fitting]), risk, len(testing))
    tested = [getattr(one.features, feature) for one in testing]
    return control(tested, [one.wrong for one in testing], levels, risk=risk, confidence=confidence)


def split(versions: Versions, seed: int) -> tuple[list[Trial], list[Trial]]:
    """One half that calibrates, of each question one version, drawn; and one that measures, with all versions."""
    rng = np.random.default_rng([SEED, seed])
    drawn = [each[rng.integers(len(each))] for each in versions]
    order = rng.permutation(len(drawn))
    half = len(drawn) // 2
    return [drawn[i] for i in order[:half]], [one for i in order[half:] for one in versions[i]]


def most_by_chance(n: int, chance: float) -> int:
    """The 95 % quantile of Bin(n, chance)."""
    from chimed_rag.safety.risk import binomial_tail

    return next(k for k in range(n + 1) if binomial_tail(k, n, chance) >= 0.95)


def kept_by_rule(calibrating: list[Trial], measuring: list[Trial], risk: float, confidence: float, seed: int) -> Any:
    """Which answers of the measuring half the rule lets through; None without a rule."""
    from chimed_rag.errors import InputError
    from chimed_rag.safety.calibration import fit, score

    try:
        rule = fit(calibrating, risk=risk, confidence=confidence, seed=seed)
    except InputError:
        return None
    return np.array([one.answered and score(rule, one.features) >= rule.threshold for one in measuring])


def kept_by(feature: str) -> Callable[[list[Trial], list[Trial], float, float, int], Any]:
    def kept(calibrating: list[Trial], measuring: list[Trial], risk: float, confidence: float, seed: int) -> Any:
        threshold = plain_threshold(calibrating, feature, risk, confidence, seed)
        if threshold is None:
            return None
        return np.array([one.answered and getattr(one.features, feature) >= threshold for one in measuring])

    return kept


WAYS: dict[str, Callable[[list[Trial], list[Trial], float, float, int], Any]] = {
    "fitted rule": kept_by_rule,
    "threshold on the fused score": kept_by("fused"),
    "threshold on aboutness": kept_by("about"),
}


def score_of(way: str, calibrating: list[Trial], answered: list[Trial]) -> NDArray[np.float64]:
    """What orders the answers: a regression fitted on the calibrating half, or a feature."""
    from chimed_rag.regression import logistic
    from chimed_rag.safety.risk import PENALTY

    x = np.array([one.features for one in answered])
    if way != "fitted rule":
        place = answered[0].features._fields.index("about" if "about" in way else "fused")
        return x[:, place]
    fitting = [one for one in calibrating if one.answered]
    features, right = np.array([one.features for one in fitting]), np.array([not one.wrong for one in fitting])
    intercept, weights = logistic(features, right, PENALTY)
    return intercept + x @ weights


def measured(name: str, versions: Versions, confidence: float) -> tuple[list[Row], dict[str, list[float]]]:
    """The rows of one set of questions, and the mean risk at each share of the answers (`CURVE`) by way."""
    splits = [split(versions, seed) for seed in range(SPLITS)]
    halves = [(calibrating, [one for one in rest if one.answered]) for calibrating, rest in splits]
    drawn = [one for _, rest in splits for one in rest]
    answered = sum(one.answered for one in drawn)
    error = sum(one.wrong for one in drawn) / answered
    rows: list[Row] = [{"questions": name, "what": "judge alone", "coverage": answered / len(drawn), "error": error}]
    curves: dict[str, list[float]] = {}
    for way, kept_by_way in WAYS.items():
        found = [
            (score_of(way, calibrating, rest), np.array([one.wrong for one in rest])) for calibrating, rest in halves
        ]
        risks = [risks_so_far(*each) for each in found]
        curves[way] = [
            float(np.mean([each[max(0, round(share * len(each)) - 1)] for each in risks])) for share in CURVE
        ]
        areas = {"AURC": float(np.mean([each.mean() for each in risks])), "AUROC": np.mean([auroc(*e) for e in found])}
        for risk in RISKS:
            outcomes = []
            for seed, (calibrating, rest) in enumerate(splits):
                kept = kept_by_way(calibrating, rest, risk, confidence, seed)
                wrong = np.array([one.wrong for one in rest])
                outcomes.append(None if kept is None else (float(kept.mean()), int(wrong[kept].sum()), int(kept.sum())))
            ruled = [each for each in outcomes if each is not None]
            n = sum(each[2] for each in ruled)
            rows.append(
                {
                    "questions": name, "what": way, "risk": risk, "rules": len(ruled),
                    "coverage": sum(each[0] for each in ruled) / SPLITS,
                    "error": sum(each[1] for each in ruled) / n if n else None,
                    "exceeds": sum(each[1] > risk * each[2] for each in ruled),
                    "allowed": most_by_chance(SPLITS, 1 - confidence),
                    **{key: float(value) for key, value in areas.items() if risk == RISKS[0]},
                }
            )  # fmt: skip
    return rows, curves


def draw(file: Path, curves: dict[str, dict[str, list[float]]]) -> None:
    """The risk-coverage curves as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 4), squeeze=False)
    for axis, (name, ways) in zip(axes[0], curves.items(), strict=True):
        for way, values in ways.items():
            axis.plot(CURVE, values, label=way)
        axis.set(title=name, xlabel="share of the answers kept", ylabel="error among them", ylim=(0, 1))
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--questions", type=int, default=2984, help="patient questions; half of them lose their answer"
    )
    options.add_argument("--confidence", type=float, default=0.9)
    options.add_argument("--plot", type=Path, help="draw the risk-coverage curves into this picture")
    given = options.parse_args()
    with TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        sets = {
            "consultations": consultations(given.data, work, given.limit, given.questions),
            "starter, half removed": starter(removed=True),
            "starter": starter(removed=False),
        }
    rows: list[Row] = []
    curves: dict[str, dict[str, list[float]]] = {}
    for name, versions in sets.items():
        found, curves[name] = measured(name, versions, given.confidence)
        rows += found
    if given.plot:
        draw(given.plot, curves)
    report(
        f"Refusal calibrated on half of the questions, measured on the other half, {SPLITS} splits",
        COLUMNS,
        rows,
        about={**{name: f"n {len(each)}" for name, each in sets.items()}, "confidence": given.confidence, "seed": SEED},
        notes=[
            "coverage: share of the questions answered, mean of all splits; 0 where there is no rule",
            "error: of all answers given in the splits with a rule; judge alone: of all that it lets through",
            f"AURC, AUROC: means over the splits; exceeds, allowed: of {SPLITS} splits, "
            f"{SPLITS * (1 - given.confidence):g} expected at most, allowed by chance in 95 % of cases",
        ],
        json_file=given.json_file,
    )


if __name__ == "__main__":
    sys.exit(main())
