"""A figure of matplotlib (without pyplot) that becomes SVG with the colours and letters of the page around it.

Names may be in any script: matplotlib measures stand-ins of like width, and the names are put in afterwards as text,
so that the reader's own fonts write them. Not covered: what is drawn (`figures`).
"""

from __future__ import annotations

import re
import unicodedata
from html import escape
from io import StringIO
from typing import Any

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.reporting.palette import light, variables_for
from chimed_rag.rendering import one_line

WIDTH = 4.8
"""Inches; the page scales drawings, on a telephone to about two thirds."""
SIZE = 9.5
"""Points of a letter."""
EM = SIZE / 72
"""Inches of an em."""
LONGEST = 30
"""Ems of a name in a drawing; the tables have it whole."""


class Canvas:
    """A figure with one way to write on it."""

    def __init__(self, height: float) -> None:
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise MissingExtraError("matplotlib", "evaluation") from error
        self.figure = Figure(figsize=(WIDTH, height), facecolor="none")
        self.height = height
        self._texts: list[str] = []

    def axes(self, left: float, bottom: float, right: float, top: float) -> Any:
        """Axes with these margins in inches, bare but for a line below."""
        wide, high = WIDTH, self.height
        axes = self.figure.add_axes(
            (left / wide, bottom / high, (wide - left - right) / wide, (high - bottom - top) / high)
        )
        axes.set_facecolor("none")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(light("rule"))
        axes.tick_params(labelsize=SIZE - 1, colors=light("soft"), length=3, color=light("rule"))
        axes.grid(axis="both", color=light("rule"), linewidth=0.6)
        axes.set_axisbelow(True)
        return axes

    def write(
        self, axes: Any, x: float, y: float, text: str, color: str = "ink", longest: float = LONGEST, **how: Any
    ) -> None:
        """A text of so many ems at most at a place of the axes; `how` as matplotlib's `annotate` takes it."""
        shown = shortened(text, longest)
        stand_in = "n" * max(1, round(ems(shown) / 0.63))  # an n of matplotlib's own font is 0.63 em
        how = {"fontsize": SIZE, "color": light(color), "annotation_clip": False, "va": "center"} | how
        axes.annotate(stand_in, (x, y), gid=f"text-{len(self._texts)}", parse_math=False, **how)
        self._texts.append(shown)

    def svg(self, name: str, title: str) -> str:
        """The drawing; `name` keeps its ids apart from those of other drawings on the page."""
        import matplotlib

        stream = StringIO()
        # Settings of the whole process, put back at once: letters stay text, and the same drawing has the same ids.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
            self.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        drawn = stream.getvalue()
        drawn = drawn[drawn.index("<svg") :].strip()
        drawn = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", drawn, flags=re.DOTALL)
        drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
        drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawn, count=1)
        for place, text in enumerate(self._texts):
            held = re.compile(rf'(<g id="text-{place}">.*?<text[^>]*>)[^<]*(</text>)', re.DOTALL)
            drawn = held.sub(lambda found, text=text: found[1] + escape(text) + found[2], drawn, count=1)  # type: ignore[misc]
        drawn = re.sub(r"font: ((?:\d+ )?[\d.]+px) [^;\"]*", r"font: \1 var(--sans, sans-serif)", drawn)
        drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawn)
        label = f'<svg role="img" aria-label="{escape(one_line(title))}"'
        return variables_for(drawn.replace("<svg", label, 1))


def ems(text: str) -> float:
    """About how wide a text is, in ems: full-width characters 1, others .58."""
    return sum(1.0 if unicodedata.east_asian_width(one) in "WF" else 0.58 for one in text)


def shortened(text: str, longest: float = LONGEST) -> str:
    """One line, cut where it is wider than so many ems."""
    text = one_line(text)
    if ems(text) <= longest:
        return text
    while ems(text) > longest - 1:
        text = text[:-1]
    return text + "…"
