"""A name becomes an object: `name -> "module:attribute"`, imported when asked for.

This is where laziness lives: rooms that need numpy, faiss or torch are imported here, on first use, so that
`import chimed_rag` stays light. Not covered: discovery of third-party plug-ins; register a name by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from chimed_rag.errors import InputError, UnknownNameError


class Registry:
    """The implementations of one kind, by name.

    Args:
        kind: what they are, as an error should call it ("encoder").
        entries: name to "module:attribute".
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """The names this registry holds, sorted."""
        return sorted(self._entries)

    def register(self, name: str, target: str) -> None:
        """Adds or replaces an entry; `target` reads "module:attribute"."""
        self._entries[name] = target

    def get(self, name: str) -> Any:
        """The object behind a name, imported now.

        Raises:
            UnknownNameError: the name is not here; the message lists those that are.
        """
        if name not in self._entries:
            raise UnknownNameError(f"no {self.kind} is called {name!r}; there are: {', '.join(self.names())}")
        module, _, attribute = self._entries[name].partition(":")
        return getattr(import_module(module), attribute)

    def make(self, name: str, settings: Mapping[str, Any]) -> Any:
        """What the object behind a name makes of keyword arguments.

        Raises:
            UnknownNameError: as `get`. InputError: it does not take these arguments; the message says which it takes.
        """
        made = self.get(name)
        try:
            inspect.signature(made).bind(**settings)
        except TypeError as error:
            raise InputError(f"{self.kind} {name!r}: {error}; it takes {inspect.signature(made)}") from None
        return made(**settings)


encoders = Registry(
    "encoder",
    {
        "ngram": "chimed_rag.encoders.ngram:ngram_encoder",
        "hashing": "chimed_rag.encoders.hashing:HashingEncoder",
        "static": "chimed_rag.encoders.static:StaticEncoder",
        "sentence": "chimed_rag.encoders.sentence:SentenceEncoder",
    },
)

rerankers = Registry(
    "reranker",
    {
        "cross-encoder": "chimed_rag.retrieval.cross_encoder:CrossEncoderReranker",
        "windows": "chimed_rag.retrieval.windows:WindowReranker",
    },
)

generators = Registry(
    "generator",
    {
        "extractive": "chimed_rag.generation.extractive:ExtractiveGenerator",
        "echo": "chimed_rag.generation.echo:EchoGenerator",
        "chimed-gpt": "chimed_rag.generation.chimed_gpt:ChiMedGPT",
        "endpoint": "chimed_rag.generation.endpoint:EndpointGenerator",
    },
)

loaders = Registry(
    "loader",
    {
        "txt": "chimed_rag.corpus.loaders.plain:load_text",
        "md": "chimed_rag.corpus.loaders.plain:load_markdown",
        "html": "chimed_rag.corpus.loaders.html:load_html",
        "pdf": "chimed_rag.corpus.loaders.pdf:load_pdf",
        "docx": "chimed_rag.corpus.loaders.docx:load_docx",
        "jsonl": "chimed_rag.corpus.loaders.tables:load_jsonl",
        "csv": "chimed_rag.corpus.loaders.tables:load_csv",
    },
)

adapters = Registry(
    "adapter",
    {
        "retriever": "chimed_rag.integrations.langchain:make_retriever",
        "runnable": "chimed_rag.integrations.langchain:make_runnable",
    },
)
