"""Writes model.safetensors beside each pytorch_model.bin of a model folder: python -m chimed_rag.encoders.convert DIR

Some models (BAAI/bge-large-zh-v1.5 among them, when it was looked at) come as pickled weights only, which this library
does not load. The pickle is read once, here, by torch's `weights_only` reader, which builds tensors and runs no code.
Not covered: sharded weights (pytorch_model-00001-of-…).
"""

from __future__ import annotations

import sys
from pathlib import Path

from chimed_rag.errors import ChiMedError, EncoderError, MissingExtraError


def to_safetensors(folder: str | Path) -> list[Path]:
    """Converts the weights in a folder and in its modules' folders; gives the files written, in order.

    A folder that has model.safetensors already is left as it is. The pickled file stays; it is not read any more.

    Raises:
        EncoderError: there is nothing to convert, or a file holds more than tensors.
        MissingExtraError: torch is not installed.
    """
    root = Path(folder).expanduser()
    files = sorted(file for part in (root, *root.glob("*/")) for file in part.glob("pytorch_model.bin"))
    if not files:
        raise EncoderError(f"{root} holds no pytorch_model.bin; there is nothing to convert")
    try:
        import torch
        from safetensors.torch import save_file
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "models") from error
    written = []
    for file in files:
        target = file.with_name("model.safetensors")
        if target.exists():
            continue
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
            # Tensors that share memory (tied weights) are written twice: the format allows no sharing.
            plain = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        except Exception as error:  # the unpickler raises a dozen kinds
            raise EncoderError(f"{file}: cannot be read as plain tensors: {error}") from error
        partial = target.with_suffix(".partial")
        save_file(plain, partial, metadata={"format": "pt"})
        partial.replace(target)
        written.append(target)
    return written


def main() -> int:
    """Converts the folders named on the command line."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)  # noqa: T201
        return 2
    try:
        for file in (file for folder in sys.argv[1:] for file in to_safetensors(folder)):
            print(file)  # noqa: T201
    except ChiMedError as error:
        print(f"chimed: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
