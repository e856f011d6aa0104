"""Makes safetensors of the pickled weights of a model folder: python -m chimed_rag.encoders.convert DIR

Some models (ChiMed-GPT and BAAI/bge-large-zh-v1.5 among them, when they were looked at) come as pickled weights only,
which this library does not load. A pickle is read once, here, by torch's `weights_only` reader, which builds tensors
and runs no code. Shards are read one by one, from disk where the format allows it; what was written is read back and
compared byte by byte before it gets its name; the index of shards comes last. What was interrupted goes on.
Not covered: other formats of weights (TensorFlow, Flax, GGUF), optimizer states, other precisions.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from chimed_rag.errors import ChiMedError, EncoderError, MissingExtraError

SINGLE, SHARDS = "pytorch_model.bin", "pytorch_model.bin.index.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"pytorch_model(-\d+-of-\d+)\.bin")
_LEFT_BEHIND = re.compile(r"\.(bin|safetensors|pt|pth|ckpt|h5|msgpack|ot|onnx|gguf|partial)$|\.index\.json$|^\.")
_AGAIN = "download it again"


class _Job(NamedTuple):
    """One pickled file, what it becomes, and the names it has to hold where an index says them."""

    source: Path
    target: Path
    names: frozenset[str] | None = None


def to_safetensors(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    progress: Callable[[str, int], None] | None = None,
    error: type[ChiMedError] = EncoderError,
) -> list[Path]:
    """Converts the weights in a folder and in its modules' folders; gives the files written, in order.

    A folder that has safetensors already is left as it is. The pickled files stay; they are not read any more. Tensors
    that share memory (tied weights) are each written whole: the format allows no sharing.

    Args:
        folder: of the model.
        out: where the whole model goes, tokenizer and configuration too; None writes beside the pickled files.
        progress: called with the name of each file and the MiB converted so far.
        error: what is raised.

    Raises:
        EncoderError: (or `error`) there is nothing to convert; a file is missing, damaged or holds more than tensors;
            there is no room on the disk, or no right to write.
        MissingExtraError: torch is not installed.
    """
    root = Path(folder).expanduser()
    into = root if out is None else Path(out).expanduser()
    parts = [part for part in (root, *sorted(root.glob("*/"))) if part.resolve() != into.resolve() or part == root]
    parts = [part for part in parts if (part / SINGLE).is_file() or any(part.glob("pytorch_model-*.bin"))]
    if not parts:
        raise error(f"{root} holds no {SINGLE}; there is nothing to convert")
    try:
        import safetensors.torch  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as missing:
        raise MissingExtraError("torch", "models") from missing
    written: list[Path] = []
    try:
        if into != root:
            into.mkdir(parents=True, exist_ok=True)
            _copy_the_rest(root, into)
        plans = [(part, into / part.relative_to(root)) for part in parts]
        jobs = [(part, place, _jobs(part, place, error)) for part, place in plans if not _is_done(place)]
        _require_room(into, [job for _, _, some in jobs for job in some], error)
        done = 0
        for part, place, some in jobs:
            for job in some:
                if not _holds(job.target, job.names):
                    _convert(job, error)
                    written.append(job.target)
                done += job.source.stat().st_size
                if progress is not None:
                    progress(job.source.name, done >> 20)
            if some[0].names is not None:
                written.append(_write_index(part / SHARDS, place / INDEX))
    except OSError as failed:
        raise error(
            f"{into}: cannot be written ({failed}); give another folder (chimed convert DIR --out OTHER)"
        ) from failed
    return written


def _is_done(place: Path) -> bool:
    return (place / WEIGHTS).exists() or (place / INDEX).exists()


def _jobs(part: Path, place: Path, error: type[ChiMedError]) -> list[_Job]:
    """What there is to convert in one folder: the one file, or the shards that its index names."""
    if (part / SINGLE).is_file():
        return [_Job(part / SINGLE, place / WEIGHTS)]
    index = part / SHARDS
    try:
        table = json.loads(index.read_text("utf-8"))["weight_map"]
        names: dict[str, set[str]] = {}
        for name, file in table.items():
            names.setdefault(file, set()).add(name)
    except FileNotFoundError:
        raise error(f"{part} holds shards of weights, but no {SHARDS}; {_AGAIN}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as damaged:
        raise error(f"{index} is damaged ({type(damaged).__name__}: {damaged}); {_AGAIN}") from damaged
    jobs = []
    for file in sorted(names):
        shard = _SHARD.fullmatch(file)
        if shard is None:
            raise error(f"{index} names {file!r}, which is no shard of weights (pytorch_model-00001-of-00002.bin)")
        if not (part / file).is_file():
            raise error(f"{part} holds no {file}, which {SHARDS} names; {_AGAIN}")
        jobs.append(_Job(part / file, place / f"model{shard[1]}.safetensors", frozenset(names[file])))
    return jobs


def _require_room(into: Path, jobs: list[_Job], error: type[ChiMedError]) -> None:
    needed = sum(job.source.stat().st_size for job in jobs if not _holds(job.target, job.names))
    free = shutil.disk_usage(into).free
    if needed > free:
        raise error(
            f"{into}: {needed / 2**30:.1f} GiB are needed and {free / 2**30:.1f} GiB are free; make room, or give "
            "another folder (chimed convert DIR --out OTHER)"
        )


def _holds(target: Path, names: frozenset[str] | None) -> bool:
    """Whether a former run has written this file: it bears its name only once it has been compared."""
    from safetensors import SafetensorError, safe_open

    if not target.is_file():
        return False
    try:
        with safe_open(target, "pt") as stored:
            return names is None or names == set(stored.keys())
    except SafetensorError:
        return False


def _convert(job: _Job, error: type[ChiMedError]) -> None:
    from safetensors.torch import save_file

    tensors = _read(job.source, error)
    if job.names is not None and job.names != set(tensors):
        other = sorted(job.names ^ set(tensors))[0]
        raise error(
            f"{job.source} and {SHARDS} disagree about {len(job.names ^ set(tensors))} tensors ({other}); {_AGAIN}"
        )
    partial = job.target.with_suffix(".partial")
    try:
        save_file(tensors, partial, metadata={"format": "pt"})
        if differs := _first_difference(tensors, partial):
            raise error(f"{partial}: {differs} was not written as it was read; is the disk in order?")
        partial.replace(job.target)
    finally:
        partial.unlink(missing_ok=True)


def _read(file: Path, error: type[ChiMedError]) -> dict[str, Any]:
    """The tensors of a pickled file, left on disk until they are used where its format is a zip archive."""
    import torch

    with file.open("rb") as opened:
        if opened.read(16).startswith(b"version https://"):
            raise error(f"{file} is a pointer of Git LFS, not the weights; run: git lfs pull")
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        plain: dict[str, Any] = {}
        seen: set[int] = set()
        for name, tensor in tensors.items():
            memory = tensor.untyped_storage().data_ptr()
            plain[name] = tensor.contiguous() if memory not in seen else tensor.contiguous().clone()
            seen.add(memory)
    except Exception as failed:  # the unpickler raises a dozen kinds
        raise error(f"{file}: cannot be read as plain tensors: {failed}") from failed
    return plain


def _first_difference(tensors: dict[str, Any], file: Path) -> str | None:
    """The first name under which a file does not give the same bytes, shape and type; None if there is none."""
    import torch
    from safetensors import safe_open

    with safe_open(file, "pt") as stored:
        if other := sorted(set(stored.keys()) ^ set(tensors)):
            return str(other[0])
        for name, tensor in tensors.items():
            read = stored.get_tensor(name)
            same = read.shape == tensor.shape and read.dtype == tensor.dtype
            if not same or not torch.equal(*(one.reshape(-1).view(torch.uint8) for one in (read, tensor))):
                return name
    return None


def _write_index(source: Path, target: Path) -> Path:
    """The index of the shards, under their new names; it makes the model one that can be loaded."""
    body = json.loads(source.read_text("utf-8"))
    names = {name: _SHARD.sub(r"model\1.safetensors", file) for name, file in body["weight_map"].items()}
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps({**body, "weight_map": names}, indent=2) + "\n", "utf-8")
    partial.replace(target)
    return target


def _copy_the_rest(root: Path, into: Path) -> None:
    """Tokenizer, configurations, cards: whatever is no weights, of the folder and its modules' folders."""
    for file in _files(root, into):
        place = into / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copyfile(file, place)


def _files(root: Path, into: Path) -> Iterator[Path]:
    for folder in (root, *sorted(root.glob("*/"))):
        if folder.resolve() != into.resolve() and not (folder != root and folder.name.startswith(".")):
            yield from (
                file for file in sorted(folder.iterdir()) if file.is_file() and not _LEFT_BEHIND.search(file.name)
            )


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
