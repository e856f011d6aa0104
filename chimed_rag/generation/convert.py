"""Makes safetensors of a language model's pickled weights, once, before it is used.

ChiMed-GPT-1.0 is published as three pickled shards (26 GB); this library loads safetensors only.
Not covered: how (`encoders.convert`, which does the same for encoders).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chimed_rag.encoders.convert import to_safetensors
from chimed_rag.errors import GeneratorError


def convert(
    folder: str | Path, out: str | Path | None = None, *, progress: Callable[[str, int], None] | None = None
) -> list[Path]:
    """Writes safetensors, and their index, of pytorch_model.bin or its shards; gives the files written, in order.

    Nothing is written, and an empty list given, if they are there already. A run that was interrupted goes on with the
    next shard. It takes the memory of one shard at most, and as much room on the disk as the weights.

    Args:
        folder: of the model.
        out: where a whole model folder goes, tokenizer and configuration too; None writes beside the pickled files.
        progress: called with the name of each file and the MiB converted so far.

    Raises:
        GeneratorError: there is nothing to convert; a file is missing, damaged or holds more than tensors; there is no
            room on the disk, or no right to write. The message names the file and what to do.
        MissingExtraError: torch is not installed.
    """
    return to_safetensors(folder, out, progress=progress, error=GeneratorError)
