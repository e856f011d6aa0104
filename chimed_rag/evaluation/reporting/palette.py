"""The colours of a report, each for light and for dark paper.

Every text, and every name beside a curve in the curve's colour, stands 4.5:1 against its paper (WCAG 2.2). The
colours of series were searched for so that any two of them stay apart (CIE 1976, 20 at least) for eyes without red,
green or blue cones too (Machado et al. 2009); Okabe and Ito's, shaded to that contrast, do not: 4.5. No series is told
by colour alone: each has its name beside it. Not covered: fonts and spacing (`page.css`).
"""

from __future__ import annotations

PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#17191c"),
    "tint": ("#f4f6f8", "#22262b"),
    "ink": ("#1d242c", "#e8eaed"),
    "soft": ("#5a6672", "#a9b3bd"),
    "rule": ("#d9dfe5", "#3a4149"),
    "blue": ("#0066b3", "#33b3e6"),
    "rose": ("#cc3366", "#e64d80"),
    "gold": ("#806600", "#ffcc33"),
    "fourth": ("#801a66", "#cce699"),
    "fifth": ("#80001a", "#cc8033"),
    "grey": ("#6b7680", "#98a2ac"),
    "bad": ("#a8201a", "#ff9a8f"),
    "bad-tint": ("#fdeeec", "#3a2321"),
    "warn": ("#7a4d00", "#e9c07a"),
    "warn-tint": ("#fdf4df", "#332a17"),
}
"""Name to (light, dark). In a page each is a variable of the style sheet, `--NAME`."""

SERIES = ("blue", "rose", "gold", "fourth", "fifth")
"""Colours of systems in one drawing, in order."""


def light(name: str) -> str:
    """The colour on light paper, by which a drawing is made before the page takes over (`variables_for`)."""
    return PALETTE[name][0]


def variables_for(svg: str) -> str:
    """The drawing with each colour given by its variable; without a style sheet the light colour stands."""
    for name, (shade, _) in PALETTE.items():
        svg = svg.replace(shade, f"var(--{name}, {shade})")
    return svg


def style(dark: bool) -> str:
    """The variables as declarations of a style sheet."""
    return " ".join(f"--{name}: {shades[dark]};" for name, shades in PALETTE.items())
