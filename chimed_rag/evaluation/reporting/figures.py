"""Drawings of results: rows with intervals, scales beside responders without a mind, curves. All as SVG (`canvas`).

Not covered: which numbers are drawn (`curves`), and the page around (`html`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chimed_rag.evaluation.reporting.canvas import EM, SIZE, Canvas, ems, shortened
from chimed_rag.evaluation.reporting.palette import SERIES, light
from chimed_rag.evaluation.statistics import Interval

_BESIDE = 14
"""Ems of a name beside a curve."""
_ROW = 0.44
_VALUE = 1.5
"""Inches of a row, name and bar, and of the values beside it."""


@dataclass(frozen=True, repr=False)
class Drawing:
    """An SVG element and what it shows, in a sentence."""

    svg: str
    caption: str

    def __repr__(self) -> str:
        return f"Drawing({self.caption!r})"

    def _repr_html_(self) -> str:
        """For a notebook: on white paper, as there is no style sheet to say otherwise."""
        return f'<div style="background:#fff;max-width:40em;font-family:sans-serif">{self.svg}</div>'


class Bar(NamedTuple):
    """A row of a drawing: a name and a value, with its interval where it has one; a quiet one is a baseline."""

    name: str
    mean: Interval | float
    quiet: bool = False


class Line(NamedTuple):
    """A curve: its name, and the points (x, y) or (x, y with its interval)."""

    name: str
    points: Sequence[tuple[float, float | Interval]]


def bars(name: str, title: str, rows: Sequence[Bar], *, caption: str = "") -> Drawing:
    """A row a system: its name, a dot at its value and a bar over its interval; baselines are hollow and grey."""
    top, bottom = 0.06, 0.32
    canvas = Canvas(_ROW * len(rows) + top + bottom)
    axes = canvas.axes(0.15, bottom, _VALUE, top)
    _rows(canvas, axes, rows)
    _limits(axes, rows)
    return Drawing(canvas.svg(name, title), caption or title)


def _rows(canvas: Canvas, axes: Any, rows: Sequence[Bar]) -> None:
    for place, row in enumerate(rows):
        color = "grey" if row.quiet else "blue"
        value = row.mean.value if isinstance(row.mean, Interval) else row.mean
        said = _short(value)
        if isinstance(row.mean, Interval):
            ends = [row.mean.low, row.mean.high]
            axes.plot(ends, [place, place], color=light(color), linewidth=2.6, solid_capstyle="butt", clip_on=False)
            said += f" [{_short(row.mean.low)}, {_short(row.mean.high)}]"
        mark = {"color": light(color), "markerfacecolor": light("paper" if row.quiet else color), "markersize": 6}
        axes.plot([value], [place], "D" if row.quiet else "o", clip_on=False, **mark)
        soft = "soft" if row.quiet else "ink"
        beside: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "ha": "left"}
        ground = {"facecolor": light("paper"), "edgecolor": "none", "pad": 0.5}  # a line does not cross the name
        canvas.write(axes, 0, place, row.name, soft, xytext=(0, 13), bbox=ground, **beside)
        canvas.write(axes, 1, place, said, soft, xytext=(9, 0), **beside)
    axes.set(ylim=(len(rows) - 0.6, -0.75), yticks=[])
    axes.grid(visible=False, axis="y")


def _limits(axes: Any, rows: Sequence[Bar]) -> None:
    """From 0 to 1 for shares, so that drawings of shares compare; else about what is there."""
    ends = [
        end
        for row in rows
        for end in ((row.mean.low, row.mean.high) if isinstance(row.mean, Interval) else (row.mean,))
    ]
    low, high = min(ends), max(ends)
    if low >= 0 and high <= 1:
        axes.set_xlim(0, 1)
    else:
        room = 0.06 * (high - low) or 0.5
        axes.set_xlim(low - room, high + room)
    axes.locator_params(axis="x", nbins=5)


def _short(value: float) -> str:
    value = round(value, 2) + 0.0
    return (
        f"{value:.2f}".replace("0.", ".", 1)
        if abs(value) < 1
        else f"{value:.2f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )


def merged(marks: Mapping[str, float]) -> dict[str, float]:
    """Names of one value as one: "always A, random", "constant A and 4 more"."""
    values: dict[float, list[str]] = {}
    for who, value in marks.items():
        values.setdefault(round(value, 6), []).append(who)
    said = {v: ", ".join(who) if len(who) < 3 else f"{who[0]} and {len(who) - 1} more" for v, who in values.items()}
    return {said[value]: value for value in values}


def scale(name: str, title: str, rows: Sequence[Bar], marks: Mapping[str, float], *, caption: str = "") -> Drawing:
    """A scale: a row a system, and a dashed line where each responder without a mind stands; those of one value share
    it. The outermost are named, and the one that most share: more names would lie over each other."""
    top, bottom = 0.45, 0.36
    canvas = Canvas(_ROW * len(rows) + top + bottom)
    axes = canvas.axes(0.15, bottom, _VALUE, top)
    _rows(canvas, axes, rows)
    _limits(axes, [*rows, *(Bar(who, value, quiet=True) for who, value in marks.items())])
    _responders(canvas, axes, marks)
    return Drawing(canvas.svg(name, title), caption or title)


def _responders(canvas: Canvas, axes: Any, marks: Mapping[str, float]) -> None:
    several = sorted(merged(marks).items(), key=lambda one: one[1])
    counts = {who: sum(round(value, 6) == at for value in marks.values()) for who, at in several}
    fullest = max(several, key=lambda one: counts[one[0]])
    for who, value in several:
        axes.axvline(value, color=light("grey"), linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        if (who, value) in (several[0], several[-1], fullest):
            low, high = axes.get_xlim()
            place = (value - low) / (high - low)
            over = (who, value) == fullest and len(several) > 1
            canvas.write(
                axes, value, 1, who, "soft", 16, ha="left" if place < 0.3 else "right" if place > 0.7 else "center",
                fontsize=SIZE - 1.5, xycoords=axes.get_xaxis_transform(), xytext=(0, 20 if over else 7),
                textcoords="offset points",
            )  # fmt: skip


def lines(
    name: str,
    title: str,
    curves: Sequence[Line],
    *,
    x: str,
    y: str,
    unit_square: bool = False,
    diagonal: bool = False,
    caption: str = "",
) -> Drawing:
    """Curves over one pair of axes, each named at its right end; an interval of a point is a thin bar."""
    canvas = Canvas(2.9)
    widest = max(ems(shortened(one.name, _BESIDE)) for one in curves) if len(curves) > 1 else 0
    axes = canvas.axes(0.6, 0.55, widest * EM + 0.2, 0.15)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=light("grey"), linewidth=1, linestyle=(0, (3, 2)))
    ends = []
    for place, one in enumerate(curves):
        color = light(SERIES[place % len(SERIES)])
        xs = [point for point, _ in one.points]
        ys = [value.value if isinstance(value, Interval) else value for _, value in one.points]
        for point, value in one.points:
            if isinstance(value, Interval):
                axes.plot([point, point], [value.low, value.high], color=color, linewidth=1.1, clip_on=False)
        axes.plot(
            xs, ys, color=color, linewidth=1.6, marker="o" if len(xs) <= 20 else "", markersize=4.5, clip_on=False
        )
        ends.append((ys[-1], xs[-1], one.name, SERIES[place % len(SERIES)]))
    if unit_square:
        axes.set(xlim=(0, 1), ylim=(0, 1))
    if len(curves) > 1:
        _name_ends(canvas, axes, ends)
    beside: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    canvas.write(axes, 0.5, 0, x, "soft", ha="center", va="top", xytext=(0, -20), **beside)
    canvas.write(axes, 0, 0.5, y, "soft", ha="center", rotation=90, xytext=(-36, 0), **beside)
    return Drawing(canvas.svg(name, title), caption or title)


def _name_ends(canvas: Canvas, axes: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside the right edge, in the order of the ends and pushed apart where these lie close."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    at = low - gap
    places = []
    for y, *_ in sorted(ends):
        at = max(y, at + gap)
        places.append(at)
    over = max(0.0, places[-1] - high)
    for place, (_, _, name, color) in zip(places, sorted(ends), strict=True):
        beside = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        canvas.write(axes, 1, place - over, name, color, _BESIDE, ha="left", xytext=(7, 0), **beside)
