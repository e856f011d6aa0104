"""What can go wrong, as one family; every message names the place and the command that mends it.

Not covered: programming mistakes, which stay `TypeError` and friends.

    ChiMedError
    ├── InputError              a question, filter, option or setting that cannot be used
    │   ├── UnknownNameError    a registry was asked for a name it does not hold
    │   └── ConfigError         a configuration file or key that is not known or not valid
    ├── CorpusError             a file of the literature cannot be read; names file and line
    │   └── DuplicateError      one document id, two different texts
    ├── IndexError_             an index folder cannot be used
    │   ├── IndexMissingError   no index there, or a file of it is gone
    │   ├── IndexDamagedError   a file's bytes are not those that were committed
    │   ├── IndexMismatchError  made by another encoder, or in a newer format version
    │   └── IndexLockedError    another process is writing, or the folder is read-only
    ├── EncoderError            an encoder cannot be loaded, or gave vectors that cannot be used
    ├── GeneratorError          a language model cannot be loaded or reached, or failed while it wrote
    └── MissingExtraError       an optional library is needed; names the pip command
"""

from __future__ import annotations


class ChiMedError(Exception):
    """Base of every error that `chimed_rag` raises on purpose."""

    exit_code = 1


class InputError(ChiMedError):
    """A question, filter, option or setting cannot be used as given."""

    exit_code = 2


class UnknownNameError(InputError):
    """A registry was asked for a name that it does not hold; the message lists the names it does."""


class ConfigError(InputError):
    """A configuration file or key is not known or not valid."""


class CorpusError(ChiMedError):
    """A file of the literature cannot be read.

    Args:
        message: what is wrong and what to do.
        path: the file, as the caller named it.
        line: 1-based line in that file, where there is one.
    """

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        place = "" if path is None else (path if line is None else f"{path}, line {line}") + ": "
        super().__init__(place + message)
        self.path, self.line = path, line


class DuplicateError(CorpusError):
    """One document id came with two different texts."""


class IndexError_(ChiMedError):  # noqa: N801, N818 - the trailing underscore keeps the builtin IndexError usable
    """An index folder cannot be used."""


class IndexMissingError(IndexError_):
    """There is no index in that folder, or a file that its manifest names is gone."""


class IndexDamagedError(IndexError_):
    """The bytes of an index file are not those that were committed."""


class IndexMismatchError(IndexError_):
    """The index was made by another encoder, with other settings, or in a newer format version."""


class IndexLockedError(IndexError_):
    """The index cannot be written: another process is writing it, or the folder is read-only."""


class EncoderError(ChiMedError):
    """An encoder cannot be loaded, or gave vectors that cannot be used."""


class GeneratorError(ChiMedError):
    """A language model cannot be loaded or reached, or failed while it wrote."""


class MissingExtraError(ChiMedError):
    """An optional library is needed.

    Args:
        library: the module that is missing.
        extra: the extra of this package that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; run: pip install 'chimed-rag[{extra}]'")
        self.library, self.extra = library, extra
