"""The colours of a report, each for light and for dark paper.

Series are blue, orange, green, purple, yellow and grey after Okabe and Ito (2008), shaded so that each mark stands at
least 3:1 against its paper and each text 4.5:1 (WCAG 2.2). No series is told by colour alone: each also has its name
beside it. Not covered: fonts and spacing (`html`).
"""

from __future__ import annotations

PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#17191c"),
    "tint": ("#f4f6f8", "#22262b"),
    "ink": ("#1d242c", "#e8eaed"),
    "soft": ("#5a6672", "#a9b3bd"),
    "rule": ("#d9dfe5", "#3a4149"),
    "blue": ("#0069a6", "#56b4e9"),
    "orange": ("#bf5200", "#f09a4a"),
    "green": ("#00805e", "#2fc49a"),
    "purple": ("#a23b78", "#e08fc0"),
    "yellow": ("#8a6d00", "#e3c63b"),
    "grey": ("#6b7680", "#98a2ac"),
    "bad": ("#a8201a", "#ff9a8f"),
    "bad-tint": ("#fdeeec", "#3a2321"),
    "warn": ("#7a4d00", "#e9c07a"),
    "warn-tint": ("#fdf4df", "#332a17"),
}
"""Name to (light, dark). In a page each is a variable of the style sheet, `--NAME`."""

SERIES = ("blue", "orange", "green", "purple", "yellow", "grey")
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
