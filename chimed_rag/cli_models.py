"""The commands that look after language models.

Not covered: asking one (`cli`), training one (`python -m training`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chimed_rag.console import JsonOption, print_json, progress, say


def convert(
    folder: Annotated[Path, typer.Argument(help="The model's folder, with pytorch_model.bin or its shards.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder for the whole model; beside the old files if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Makes safetensors of a language model's pickled weights, once; the old files stay and are not read any more."""
    from chimed_rag.generation.convert import convert as converted

    with progress("converting", "MiB") as told:
        written = converted(folder, out, progress=told)
    if as_json:
        print_json({"written": [str(file) for file in written], "schema_version": 1})
        return
    say("\n".join(map(str, written)) if written else f"{folder}: safetensors are there already")
