"""Drawings of a chain of models: who was made of whom, losses, gates with their intervals. PNG bytes, by matplotlib.

Names that its own font cannot write are written with question marks; the page (`report`) has them whole. Not covered:
where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from chimed_rag.errors import MissingExtraError
from training.card import Point
from training.gates import Gate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, RULE, GOOD, BAD = "#1f2933", "#66717d", "#d5dae0", "#0b7a75", "#b3261e"
FILL = {"done": "#e5f2f1", "failed": "#fbe9e7", "skipped": "#f2f3f5", "waiting": "#f2f3f5", "running": "#fff6dd"}
_DPI = 160


class Box(NamedTuple):
    """A model in the drawing of a chain: name, a line or two about it, its parents' names by key."""

    name: str
    lines: list[str]
    state: str
    parents: Mapping[str, str]
    judge: bool = False


def figure(width: float, height: float) -> Figure:
    """An empty figure (inches).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "notebook") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def png(drawn: Figure) -> bytes:
    """Its picture."""
    stream = BytesIO()
    drawn.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _plain(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")


def chain(boxes: Sequence[Box]) -> bytes:
    """Models from left to right, policies above, judges below; an arrow from each parent."""
    from matplotlib.patches import FancyBboxPatch

    wide, high, step = 1.75, 1.0, 2.3
    places = {box.name: (n * step, -1.45 if box.judge else 0.0) for n, box in enumerate(boxes)}
    low = min(y for _, y in places.values()) - 0.35
    arcs = any(_passes_over(box, parent, boxes) for box in boxes for parent in box.parents.values())
    top = high + (0.75 if arcs else 0.25)
    drawn = figure(max(4.0, 0.78 * len(boxes) * step), 0.78 * (top - low))
    axes = drawn.add_subplot()
    axes.set(xlim=(-0.15, (len(boxes) - 1) * step + wide + 0.15), ylim=(low, top), aspect="equal")
    axes.axis("off")
    for box in boxes:
        x, y = places[box.name]
        edge = BAD if box.state == "failed" else GOOD if box.state == "done" else RULE
        axes.add_patch(
            FancyBboxPatch(
                (x, y), wide, high, boxstyle="round,pad=0,rounding_size=0.08", facecolor=FILL.get(box.state, "white"),
                edgecolor=edge, linewidth=1.1,
            )
        )  # fmt: skip
        axes.text(x + 0.1, y + high - 0.13, _plain(box.name), va="top", fontsize=9, fontweight="bold", color=INK)
        axes.text(
            x + 0.1,
            y + high - 0.40,
            _plain("\n".join(box.lines)),
            va="top",
            fontsize=6.3,
            color=QUIET,
            linespacing=1.35,
        )
        for key, parent in box.parents.items():
            if parent in places:
                _arrow(axes, places[parent], (x, y), key, (wide, high), _passes_over(box, parent, boxes))
    return png(drawn)


def _passes_over(box: Box, parent: str, boxes: Sequence[Box]) -> bool:
    """Whether a straight arrow would cross another model of the same row."""
    names = [other.name for other in boxes]
    if parent not in names:
        return False
    begin, end = names.index(parent), names.index(box.name)
    return boxes[begin].judge == box.judge and any(other.judge == box.judge for other in boxes[begin + 1 : end])


def _arrow(
    axes: Any, begin: tuple[float, float], end: tuple[float, float], key: str, size: tuple[float, float], over: bool
) -> None:
    wide, high = size
    if over:
        start, stop, bend = (
            (begin[0] + wide * 0.8, begin[1] + high),
            (end[0] + wide * 0.2, end[1] + high),
            "arc3,rad=-0.25",
        )
    elif begin[1] == end[1]:
        start, stop, bend = (begin[0] + wide, begin[1] + high / 2), (end[0], end[1] + high / 2), "arc3,rad=0"
    elif begin[1] > end[1]:
        start, stop, bend = (begin[0] + wide * 0.5, begin[1]), (end[0], end[1] + high / 2), "angle3,angleA=-90,angleB=0"
    else:
        start, stop, bend = (
            (begin[0] + wide, begin[1] + high / 2),
            (end[0] + wide * 0.5, end[1]),
            "angle3,angleA=0,angleB=90",
        )
    style = "-" if key == "base" else (0, (3, 2))
    how = {
        "arrowstyle": "-|>",
        "color": QUIET,
        "linewidth": 1.0,
        "connectionstyle": bend,
        "linestyle": style,
        "shrinkA": 0,
        "shrinkB": 1,
    }
    axes.annotate("", xy=stop, xytext=start, arrowprops=how)
    if key != "base":
        axes.text(stop[0] + 0.06, stop[1] - 0.06, _plain(key), fontsize=6, color=QUIET, va="top")


def curves(losses: Mapping[str, Sequence[Point]]) -> bytes:
    """The loss of each phase by optimizer steps, a small drawing a stage."""
    shown = {name: points for name, points in losses.items() if len(points) > 1}
    columns = min(3, max(1, len(shown)))
    rows = -(-len(shown) // columns) or 1
    drawn = figure(3.4 * columns, 2.2 * rows)
    for n, (name, points) in enumerate(shown.items(), 1):
        axes = drawn.add_subplot(rows, columns, n)
        phases = list(dict.fromkeys(point.phase for point in points))
        for m, phase in enumerate(phases):
            line = [(point.step, point.loss) for point in points if point.phase == phase]
            shade = 1 - 0.6 * (len(phases) - 1 - m) / max(1, len(phases) - 1) if len(phases) > 1 else 1
            axes.plot(
                *zip(*line, strict=True),
                color=GOOD,
                alpha=shade,
                linewidth=1.3,
                marker="." if len(line) < 3 else "",
                label=_plain(phase),
            )
        if len(phases) > 1:
            axes.legend(fontsize=6, frameon=False, labelcolor=QUIET)
        axes.set_title(_plain(name), fontsize=9, fontweight="bold", color=INK, loc="left")
        axes.set_xlabel("optimizer steps", fontsize=7, color=QUIET)
        axes.set_ylabel("loss", fontsize=7, color=QUIET)
        _bare(axes)
        axes.grid(axis="y", color=RULE, linewidth=0.5)
    return png(drawn)


def gates(found: Mapping[str, Sequence[Gate]]) -> bytes:
    """Each gate with its interval beside its bound, a row each with a scale of its own; what is allowed is shaded."""
    rows = [(name, gate) for name, several in found.items() for gate in several]
    drawn = figure(8.6, 0.25 + 0.46 * max(1, len(rows)))
    for n, (name, gate) in enumerate(rows, 1):
        axes = drawn.add_subplot(max(1, len(rows)), 1, n)
        color = GOOD if gate.passed else BAD
        numbers = [x for x in (gate.value, gate.low, gate.high, gate.bound) if abs(x) < float("inf")]
        room = 0.15 * (max(numbers) - min(numbers)) or 0.1 * abs(gate.bound) or 1.0
        left, right = min(numbers) - room, max(numbers) + room
        allowed = (gate.bound, right) if gate.direction == "at_least" else (left, gate.bound)
        axes.axvspan(*allowed, color="#e5f2f1", linewidth=0)
        axes.axvline(gate.bound, color=QUIET, linewidth=0.9)
        axes.plot([gate.low, gate.high], [0, 0], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot([gate.value], [0], "o", color=color, markersize=5)
        axes.set(xlim=(left, right), ylim=(-1, 1), yticks=[])
        axes.set_ylabel(_plain(f"{name}: {gate.name}"), rotation=0, ha="right", va="center", fontsize=7, color=INK)
        axes.annotate(
            f"{gate.value:.3g}" + ("" if gate.passed else "  failed"), (1.01, 0.5), xycoords="axes fraction",
            va="center", fontsize=7, color=color, annotation_clip=False,
        )  # fmt: skip
        _bare(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(labelsize=5.5)
        axes.locator_params(axis="x", nbins=5)
    return png(drawn)


def _bare(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(labelsize=6.5, colors=QUIET, length=2)
