"""Gates: what a stage must have reached, measured with an interval, before the next one may build on it.

A stage measures, then calls `judge` in its middle (nothing more is spent if a gate fails) or `conclude` at its end (the
model and its card are there when the error comes). Either way the gates go to `gates.json` and into the card. Not
covered: what is measured (`measures`, `overlap`, the stages). Needs numpy, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from chimed_rag.errors import InputError
from chimed_rag.evaluation.statistics import SEED, Interval, bootstrap_means, bootstrap_ratios

if TYPE_CHECKING:
    from training.run import Run

FILE = "gates.json"


class GateError(InputError):
    """A gate failed; the message names each that did, with its numbers."""


class Gate(BaseModel):
    """One thing that was to be reached, and whether it was.

    Args:
        name: what was measured ("bits per character, medical, change").
        value, low, high: the measurement and its 95 % interval; without an interval, all three alike.
        bound: what it is compared with.
        direction: on which side of the bound it should be.
        passed: whether it is; `Gate.of` decides.
        n: rows (prompts, pairs, texts) that were measured.
        detail: what a reader should know besides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    name: str
    value: float
    low: float
    high: float
    bound: float
    direction: Literal["at_least", "at_most"]
    passed: bool
    n: int = Field(ge=0)
    detail: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        measured: Interval | float,
        *,
        n: int,
        at_least: float | None = None,
        at_most: float | None = None,
        clear: bool = False,
        detail: str = "",
    ) -> Gate:
        """The gate with its verdict; what is not a number fails.

        Args:
            name, n, detail: as above.
            measured: the value with its interval, or alone.
            at_least, at_most: the bound; exactly one of them.
            clear: the whole interval has to lie beyond the bound, not the value alone: "better than", not "as good
                as". An interval of a single row has no width and is never clear.

        Raises:
            TypeError: not exactly one bound.
        """
        if (at_least is None) == (at_most is None):
            raise TypeError("give at_least or at_most")
        value, low, high = (
            (measured.value, measured.low, measured.high) if isinstance(measured, Interval) else (float(measured),) * 3
        )
        if at_least is not None:
            bound, passed = at_least, low > at_least if clear else value >= at_least
        else:
            assert at_most is not None
            bound, passed = at_most, high < at_most if clear else value <= at_most
        if clear:
            detail = "; ".join([*([detail] if detail else []), "with its whole interval"])
        return cls(
            name=name, value=value, low=low, high=high, bound=bound, n=n, detail=detail,
            direction="at_most" if at_least is None else "at_least", passed=bool(passed and not (clear and n < 2)),
        )  # fmt: skip

    def __str__(self) -> str:
        side = "at least" if self.direction == "at_least" else "at most"
        interval = "" if self.low == self.high else f" [{self.low:.4g}, {self.high:.4g}]"
        verdict = "passed" if self.passed else "FAILED"
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"gate {verdict}: {self.name} {self.value:.4g}{interval}, {side} {self.bound:.4g}, n = {self.n:,}{detail}"
        )


_GATES = TypeAdapter(list[Gate])


def paired(before: Any, after: Any, seed: int = SEED) -> Interval:
    """The mean of `after − before` over the rows, with its 95 % interval: a bootstrap of the rows' differences.

    Both have shape (n,), the same rows in the same order.

    Raises:
        InputError: no rows, or columns of different lengths.
    """
    import numpy as np

    one, other = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise InputError(f"compared rows have to be the same ones: {one.shape} before, {other.shape} after")
    return bootstrap_means({"difference": other - one}, seed=seed)["difference"]


def relative(before: Any, after: Any) -> Interval:
    """`sum(after) / sum(before) − 1` with its 95 % interval, rows resampled together: +0.03 is 3 % up.

    For sums over the same texts, such as bits, it is the change of bits per character as well.

    Raises:
        InputError: no rows, or columns of different lengths.
    """
    import numpy as np

    one, other = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    ratio = bootstrap_ratios({"ratio": other}, one)["ratio"]
    return Interval(value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)


def judge(run: Run, gates: Sequence[Gate], enforce: bool) -> None:
    """Says each gate with its interval and keeps it with the run; stops there if one failed.

    Raises:
        GateError: one failed, and `enforce` is set.
    """
    for gate in gates:
        run.say(str(gate))
    run.note_gates(gates)
    if enforce:
        require(gates, run.folder)


def conclude(run: Run, model: Path, gates: Sequence[Gate], enforce: bool) -> None:
    """The end of a stage: as `judge`, but the model and its card are in the run's folder before the error comes.

    Raises:
        GateError: one failed, and `enforce` is set.
    """
    judge(run, gates, False)
    run.finish(model)
    if enforce:
        require(gates, run.folder)


def require(gates: Sequence[Gate], folder: Path) -> None:
    """
    Raises:
        GateError: one failed; names each, and what can be done.
    """
    if failed := [str(gate).removeprefix("gate FAILED: ") for gate in gates if not gate.passed]:
        raise GateError(
            f"{folder}: {len(failed)} of {len(gates)} gates failed: {'; '.join(failed)}. Nothing may build on this; "
            "change data or settings, or write gates: false to go on in spite of it"
        )


def read_gates(folder: Path) -> list[Gate]:
    """The gates of a run's folder; none if it has no file of them."""
    file = folder / FILE
    return _GATES.validate_json(file.read_bytes()) if file.is_file() else []


def write_gates(gates: Sequence[Gate], folder: Path) -> None:
    """Writes them at once; the folder is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (FILE + ".partial")
    partial.write_bytes(_GATES.dump_json(list(gates), indent=1) + b"\n")
    partial.replace(folder / FILE)
