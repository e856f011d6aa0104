"""MedQA inside LangChain: a retriever over `search`, and a runnable from a question to an `Answer`.

    chain = qa.as_retriever(k=5) | format | model | StrOutputParser()    # LangChain's answer on our passages
    chain = qa.as_runnable() | (lambda answer: answer.to_markdown())     # our answer, checked, with its notices

Imported through the registry only, so that `langchain-core` is needed by nobody else. Not covered: token streaming
(`stream` gives the answer as one chunk, because a sentence is shown only when checked) and LangChain's own tracing,
which sends questions to wherever its environment variables (`LANGSMITH_TRACING`) point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chimed_rag.errors import InputError, MissingExtraError
from chimed_rag.records import Answer, Evidence

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnableConfig, RunnableSerializable
except ModuleNotFoundError as error:
    raise MissingExtraError("langchain_core", "langchain") from error

if TYPE_CHECKING:
    from chimed_rag.indexing.filters import Filter
    from chimed_rag.medqa import MedQA

_NOT_METADATA: dict[str, Any] = {
    "text": True,
    "metadata": True,
    "runs": True,
    "schema_version": True,
    "ranks": {"__all__": {"schema_version"}},
}


def make_retriever(qa: MedQA, k: int = 10, filter: Filter | None = None) -> ChiMedRetriever:
    """A retriever over `qa.search`; `k` and `filter` are its defaults."""
    return ChiMedRetriever(qa=qa, k=k, filter=filter)


def make_runnable(qa: MedQA) -> ChiMedRunnable:
    """A runnable over `qa.ask`: question in, `Answer` out."""
    return ChiMedRunnable(qa=qa)


def to_langchain(evidence: Evidence) -> Document:
    """A passage as a LangChain document: its text, `id` = chunk id, and `metadata` of plain JSON values.

    `metadata` holds the document's own metadata and the fields of `Evidence` (number, chunk_id, document_id, title,
    headings, source, url, date, licence, page, start, end, score, ranks); where names clash, `Evidence` wins.
    """
    fields = evidence.model_dump(mode="json", exclude=_NOT_METADATA)
    return Document(page_content=evidence.text, id=evidence.chunk_id, metadata={**evidence.metadata, **fields})


class ChiMedRetriever(BaseRetriever):  # type: ignore[misc]  # langchain_core is not followed by mypy
    """Passages of a `MedQA` as LangChain documents, best first.

    `k` and `filter` can be given per call, `retriever.invoke(query, k=3, filter={"year": {"$gte": 2020}})`, bound with
    `retriever.bind(k=3)`, or opened to `config` with `retriever.configurable_fields(k=ConfigurableField("k"))`.
    In `EnsembleRetriever`, `id_key="chunk_id"` finds duplicates by passage instead of by text.

    Raises:
        InputError: on a call, whatever `MedQA.search` refuses: an empty query, k below 1, an unreadable filter.
    """

    qa: Any = Field(exclude=True)
    k: int = 10
    filter: Any = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return self._search(query, **options)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return await asyncio.to_thread(partial(self._search, query, **options))

    def _search(self, query: str, **options: Any) -> list[Document]:
        settings = {"k": self.k, "filter": self.filter, **options}
        return [to_langchain(evidence) for evidence in self.qa.search(query, **settings)]


class ChiMedRunnable(RunnableSerializable[str | dict[str, Any], Answer]):  # type: ignore[misc]  # as above
    """A `MedQA` as a runnable: a question, or `{"question": ..., "filter": ...}`, becomes an `Answer`.

    A filter for all questions can be given per call or bound: `runnable.bind(filter={"department": "心内科"})`; a
    question's own filter replaces it. `batch` retrieves once for all questions that share a filter.

    Raises:
        InputError: on a call, whatever `MedQA.ask` refuses, or an input of another shape.
    """

    qa: Any = Field(exclude=True)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Answer:
        """Answers one question; `options`: filter."""
        return self._call_with_config(self._ask, input, config, **options)  # type: ignore[no-any-return]

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Answer:
        """`invoke` without blocking the event loop."""
        return await self._acall_with_config(self._aask, input, config, **options)  # type: ignore[no-any-return]

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Answer]:
        """Answers many questions, in order; with `return_exceptions`, a bad question costs only its own answer."""
        ask = partial(self._ask_many, return_exceptions=return_exceptions)
        return self._batch_with_config(  # type: ignore[no-any-return]
            ask, inputs, config, return_exceptions=return_exceptions, **options
        )

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Answer]:
        """`batch` without blocking the event loop."""

        async def ask(inputs: list[Any], **options: Any) -> list[Answer | Exception]:
            work = partial(self._ask_many, inputs, return_exceptions=return_exceptions, **options)
            return await asyncio.to_thread(work)

        return await self._abatch_with_config(  # type: ignore[no-any-return]
            ask, inputs, config, return_exceptions=return_exceptions, **options
        )

    def _ask(self, given: Any, *, filter: Filter | None = None) -> Answer:
        question, own = _question(given, filter)
        return self.qa.ask(question, filter=own)  # type: ignore[no-any-return]

    async def _aask(self, given: Any, *, filter: Filter | None = None) -> Answer:
        question, own = _question(given, filter)
        return await self.qa.aask(question, filter=own)  # type: ignore[no-any-return]

    def _ask_many(
        self, inputs: Sequence[Any], *, return_exceptions: bool, filter: Filter | None = None
    ) -> list[Answer | Exception]:
        """The answers in order, one `ask_many` for each filter; after a failure one by one, if errors are wanted."""
        try:
            asked = [_question(given, filter) for given in inputs]
            places: dict[str, list[int]] = {}
            for place, (_, own) in enumerate(asked):
                places.setdefault(repr(own), []).append(place)
            answers: dict[int, Answer | Exception] = {}
            for group in places.values():
                questions, own = [asked[place][0] for place in group], asked[group[0]][1]
                answers.update(zip(group, self.qa.ask_many(questions, filter=own), strict=True))
            return [answers[place] for place in range(len(asked))]
        except Exception as error:
            if not return_exceptions:
                raise
            if len(inputs) == 1:
                return [error]
            return [self._ask_many([given], return_exceptions=True, filter=filter)[0] for given in inputs]


def _question(given: Any, default: Filter | None) -> tuple[str, Filter | None]:
    """The question and its filter.

    Raises:
        InputError: neither a text nor a mapping of question and filter.
    """
    if isinstance(given, str):
        return given, default
    if not isinstance(given, Mapping):
        raise InputError(f"a question is text or {{'question': ..., 'filter': ...}}, not {type(given).__name__}")
    if "question" not in given or not given.keys() <= {"question", "filter"}:
        raise InputError(
            f"a question has the keys 'question' and, if wanted, 'filter', not {', '.join(map(repr, given))}; "
            "to take one key of many: itemgetter('question') | qa.as_runnable()"
        )
    return given["question"], given.get("filter", default)
