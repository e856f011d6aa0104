"""Which generator a user means by a name, a folder, an address or "auto".

"auto" climbs down the ladder until a rung holds: the server that CHIMED_ENDPOINT names (with CHIMED_ENDPOINT_MODEL and
CHIMED_API_KEY, where it needs them), the model folder that CHIMED_MODEL names, the extractive generator. What was
passed over is logged as a warning; `Answer.generator` says what it came to.
Not covered: what each of them does.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from chimed_rag.config import Generation
from chimed_rag.encoders.hub import HUB_NAME
from chimed_rag.errors import ChiMedError, InputError, UnknownNameError
from chimed_rag.generation.base import Generator
from chimed_rag.registry import generators

ENDPOINT, ENDPOINT_MODEL, MODEL = "CHIMED_ENDPOINT", "CHIMED_ENDPOINT_MODEL", "CHIMED_MODEL"
"""The environment variables of "auto"."""

log = logging.getLogger(__name__)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)


def load_generator(meant: str | Path | Generator, settings: Generation) -> Generator:
    """The generator that is meant.

    Args:
        meant: a name of the registry, "auto", the folder or hub name of a causal language model, the address of an
            OpenAI-style server, or a generator, which is given back as it is.
        settings: how a language model writes.

    Raises:
        UnknownNameError: a plain word that is neither a name nor a folder.
        InputError: neither text, a path nor a generator.
        GeneratorError, MissingExtraError: the model cannot be loaded.
    """
    if not isinstance(meant, str | Path):
        if not isinstance(meant, Generator):
            raise InputError(f"a generator has `name` and `generate`; {type(meant).__name__} has not")
        return meant
    if meant == "auto":
        return _best(settings)
    word = str(meant)
    if _ADDRESS.match(word):
        return _made("endpoint", word, settings=settings)
    if isinstance(meant, Path) or Path(word).expanduser().is_dir() or HUB_NAME.fullmatch(word) or os.sep in word:
        return _made("chimed-gpt", meant, settings=settings)
    if word in _NEED_A_PLACE:
        raise InputError(f"--generator {word}: give {_NEED_A_PLACE[word]} instead of the name alone")
    if word not in generators:
        known = ", ".join(name for name in generators.names() if name not in _NEED_A_PLACE)
        raise UnknownNameError(
            f"no generator is called {word!r}, and there is no such folder; there are: {known}, auto, the folder of a "
            "model, the address of a server (http://…/v1)"
        )
    return _made(word)


_NEED_A_PLACE = {"chimed-gpt": "the folder or hub name of the model", "endpoint": "the address of the server"}


def _best(settings: Generation) -> Generator:
    if address := os.environ.get(ENDPOINT):
        try:
            return _reached(address, os.environ.get(ENDPOINT_MODEL) or None, settings)
        except ChiMedError as error:
            log.warning("the server of %s is passed over: %s", ENDPOINT, error)
    if model := os.environ.get(MODEL):
        try:
            return _made("chimed-gpt", model, settings=settings)
        except ChiMedError as error:
            log.warning("the model of %s is passed over: %s", MODEL, error)
    return _made("extractive")


def _reached(address: str, model: str | None, settings: Generation) -> Generator:
    """The server, if it answers at once; one that is asked by name may take its time."""
    from chimed_rag.generation.endpoint import EndpointGenerator

    probe = EndpointGenerator(address, model=model, attempts=1, connect_seconds=2, stall_seconds=5)
    try:
        probe.require_reachable()
        found = probe.model
    finally:
        probe.close()
    return _made("endpoint", address, model=found, settings=settings)


def _made(name: str, *given: Any, **settings: Any) -> Generator:
    generator: Generator = generators.get(name)(*given, **settings)
    return generator
