"""What others have published on our tasks, with sources: ChiMed-GPT's tables and today's anchors.

The paper's denominators are not in its text; they are recovered from the values, which are shares of 41 (C-Eval, two
subjects of the val split) and of 1,166 (CMMLU, seven subjects), from the authors' evaluation code, and so is that the
C-Eval rows of GPT-3.5 and GPT-4 are means over subjects. MedQA's values are shares of 200 but for three.

Not covered: whether a number can be compared with ours. Prompts, shots, splits and readings differ; a row says what is
known of them. Nothing here was measured by this project.
"""

from __future__ import annotations

from pydantic import Field

from chimed_rag.evaluation.statistics import Interval, proportion
from chimed_rag.packaged import rows
from chimed_rag.records import Record

SOURCES = {
    "paper": "ChiMed-GPT (arXiv 2311.06025), tables of its README",
    "sfmed": "SFMed, README",
    "dpfcm": "DPF-CM (arXiv 2509.01354), table 9",
    "huatuo-o1": "HuatuoGPT-o1, table 4",
    "camec": "CAMEC, README",
    "cmexam": "CMExam (arXiv 2306.03030)",
    "baichuan-m1": "Baichuan-M1, README",
    "quarkmed": "QuarkMed, technical report, by a third party's note",
    "jmir": "JMIR 2025, e73469",
    "mteb": "embeddings-benchmark/results at f4cc6c8, 20 August 2026",
}


class Published(Record):
    """A number that somebody printed.

    Attributes:
        tasks: our tasks that it may stand beside.
        metric: by our name, where the measure is ours.
        value: as printed, in percent.
        n: the questions, where known.
        k: those that were right, where the value is 100 k / n.
        source: a key of `SOURCES` spelt out.
        note: what keeps it from being compared.
    """

    tasks: tuple[str, ...]
    system: str
    metric: str
    value: float
    n: int | None = Field(default=None, ge=1)
    k: int | None = Field(default=None, ge=0)
    source: str
    note: str = ""

    @property
    def interval(self) -> Interval | None:
        """The share with Wilson's interval (95 %), where k and n are known; its value is k / n, not percent."""
        return None if self.n is None or self.k is None else proportion(self.k, self.n)


def published(task: str | None = None) -> list[Published]:
    """The rows that may stand beside a task, in the order of their sources; all of them without a task."""
    return [row for row in _rows() if task is None or task in row.tasks]


def macro(*parts: tuple[int, int]) -> float:
    """The mean in percent of shares (k, n), as GPT-3.5's C-Eval is made: 12 of 19 and 11 of 22.

    >>> round(macro((12, 19), (11, 22)), 2)
    56.58
    """
    return sum(100 * k / n for k, n in parts) / len(parts)


def _rows() -> list[Published]:
    return [
        Published(
            tasks=tuple(tasks.split()),
            system=system,
            metric=metric,
            value=float(value),
            n=int(n) if n else None,
            k=int(k) if k else None,
            source=SOURCES[source],
            note=note,
        )
        for tasks, system, metric, value, n, k, source, note in rows("chimed_rag.evaluation", "published.tsv")
    ]
