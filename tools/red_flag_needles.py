"""Makes chimed_rag/safety/red_flags/needles.json again, after a change of the red flags; a test tells when it is due.

    python -m tools.red_flag_needles

What is kept is what `safety.expressions.needles` finds; without it, loading the rules takes 0.1 s longer.
Not covered: the rules themselves.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from chimed_rag.safety.triage import read_red_flags

FILE = Path(__file__).parents[1] / "chimed_rag" / "safety" / "red_flags" / "needles.json"


def found() -> dict[str, str | None]:
    """The needles of the shipped rules, found anew, each as one text with blanks between them."""
    folder = resources.files("chimed_rag.safety").joinpath("red_flags")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    rules = read_red_flags(*(file.read_text("utf-8") for file in files))
    return {
        key: None if needles is None else " ".join(sorted(needles)) for key, needles in sorted(rules.needles().items())
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(found(), ensure_ascii=False, indent=0) + "\n", "utf-8")
