"""Which files a path stands for: the file, a folder with its subfolders, or a glob, in the order of their names.

Not covered: reading them.
"""

# Names may be too long or not UTF-8, on which pathlib raises, or does something else in each version of Python.
# ruff: noqa: PTH110, PTH112, PTH113, PTH118, PTH119, PTH122, PTH207

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from chimed_rag.corpus.loaders.base import LoadOptions, SourceFile, Tally, readable
from chimed_rag.errors import CorpusError

SUFFIXES = {
    ".txt": "txt",
    ".text": "txt",
    ".md": "md",
    ".markdown": "md",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
}
"""Suffix to loader; those of `PACKED` may be followed by `.gz`."""

PACKED = frozenset(("txt", "md", "jsonl", "csv"))
_HIDDEN = (".", "~$")  # the latter is Word's mark on files that are open
_CONVERT = {
    ".doc": "save it as .docx",
    ".wps": "save it as .docx",
    ".xls": "save it as CSV",
    ".xlsx": "save it as CSV",
    ".zip": "unpack it first",
}


def loader_of(name: str) -> str | None:
    """The name of the loader for a file, if there is one."""
    return _kind(name)[0]


def _kind(name: str) -> tuple[str | None, str]:
    """The loader for a file name, if there is one, and its suffix."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix == ".gz":
        inner = os.path.splitext(stem)[1]
        loader = SUFFIXES.get(inner)
        return (loader if loader in PACKED else None), inner + suffix
    return SUFFIXES.get(suffix), suffix


def require(path: str) -> None:
    """Checks that a path or the folder of a glob is there.

    Raises:
        CorpusError: it is not.
    """
    if not os.path.exists(path) and not glob.has_magic(path):
        shown = path if len(path) <= 200 else f"{path[:100]}…"
        message = 'there is no such file or folder; a text itself is given as {"text": "..."}'
        raise CorpusError(message, path=readable(shown))


def find_files(path: str, options: LoadOptions, tally: Tally) -> Iterator[SourceFile]:
    """The readable files of a path, in the order of their names.

    Raises:
        CorpusError: the path does not exist, or there is nothing readable.
    """
    if os.path.isfile(path):
        file = SourceFile(Path(path), readable(os.path.basename(path)), options, tally)
        loader, suffix = _kind(path)
        if loader is None:
            advice = _CONVERT.get(suffix, "convert it to one of these")
            raise file.error(f"files named {suffix or 'without a suffix'} are not read, only {_known()}; {advice}")
        yield file
        return
    if os.path.isdir(path):
        root = path
        found: Iterable[str] = _walk(path, "", tally)
    elif glob.has_magic(path):
        root, found = _glob(path, tally)
    else:
        require(path)
        raise CorpusError("is no file and no folder", path=readable(path))
    wanted = []
    ignored: dict[str, int] = {}
    for relative, name in sorted((readable(name), name) for name in set(found)):
        loader, suffix = _kind(relative)
        if loader is None:
            reason = f"unknown suffix {suffix}" if suffix else "no suffix"
            ignored[reason] = ignored.get(reason, 0) + 1
        else:
            wanted.append(SourceFile(Path(root) / name, relative, options, tally))
    tally.skipped.update(ignored)
    if not wanted:
        counts = ", ".join(f"{count} with {reason}" for reason, count in sorted(ignored.items()))
        message = f"there is nothing to read here ({counts or 'no files'}); known are {_known()}"
        raise CorpusError(message, path=readable(path))
    yield from wanted


def _walk(root: str, inside: str, tally: Tally) -> Iterator[str]:
    """The files under `root/inside`, as paths relative to `root`; hidden ones are counted and left out.

    Links are followed, but no folder is entered twice.
    """

    def fail(error: OSError) -> None:
        where = readable(str(error.filename or root))
        raise CorpusError(f"cannot be listed: {error.strerror}", path=where) from None

    entered = set()
    top = os.path.join(root, inside) if inside else root
    for folder, folders, names in os.walk(top, followlinks=True, onerror=fail):
        entered.add(os.path.realpath(folder))
        hidden = [name for name in (*folders, *names) if name.startswith(_HIDDEN)]
        tally.skipped.update({"hidden": len(hidden)} if hidden else {})
        folders[:] = sorted(
            name
            for name in folders
            if name not in hidden and os.path.realpath(os.path.join(folder, name)) not in entered
        )
        for name in names:
            path = os.path.join(folder, name)
            if name in hidden:
                continue
            if os.path.isfile(path):
                yield os.path.relpath(path, root)
            else:
                tally.skipped["broken link or device"] += 1


def _glob(pattern: str, tally: Tally) -> tuple[str, list[str]]:
    """The folder before the first wildcard, and the files that match, relative to it; folders are walked."""
    parts = Path(pattern).parts
    plain = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = str(Path(*parts[:plain]))
    found: list[str] = []
    for name in glob.glob(str(Path(*parts[plain:])), root_dir=root, recursive=True):
        path = Path(root) / name
        if path.name.startswith(_HIDDEN):
            tally.skipped["hidden"] += 1
        elif path.is_file():
            found.append(os.path.normpath(name))
        elif path.is_dir() and "**" not in pattern:  # which finds the files of all subfolders by itself
            found.extend(_walk(root, name, tally))
    return root, found


def _known() -> str:
    return " ".join(SUFFIXES)
