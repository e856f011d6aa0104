"""A conversation: follow-ups are made to stand alone, and turns are kept, saved and resumed.

    qa.session() -> ask("孕妇能吃布洛芬吗？") -> ask("那儿童呢？")

What a follow-up means is worked out by `condensing`, or by `rephrasing` where the generator is a language model; the
question is redacted before that, triaged and answered after it. Turns hold pseudonyms, never identifiers.
Not covered: answering (`medqa`), and several readers in one conversation.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from chimed_rag.condensing import LOOKED_BACK, Condensed, Kind, condense
from chimed_rag.errors import InputError
from chimed_rag.generation.base import is_language_model
from chimed_rag.records import Answer, DoneEvent, Event, Notice, Record
from chimed_rag.rephrasing import rephrased
from chimed_rag.safety.redaction import Redactor
from chimed_rag.threads import from_thread, in_thread

if TYPE_CHECKING:
    from chimed_rag.indexing.filters import Filter
    from chimed_rag.medqa import MedQA

RESUMED = "本对话由文件恢复；其中的假名（如〔姓名1〕）不再能还原为原来的信息。"


class Turn(Record):
    """A question and its answer, with pseudonyms in the place of identifiers.

    `kind` and `changes` say how `standalone` came about (`condensing.Condensed`), `by` who did it: "rule", "model", or
    why the rule stood in for the model. `citations` are the ids of the passages cited.
    """

    question: str
    standalone: str
    kind: Kind = "stands_alone"
    changes: tuple[str, ...] = ()
    by: str = "rule"
    answer: str
    citations: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    label: str = ""


class Conversation(Record):
    """What a session saves."""

    turns: tuple[Turn, ...] = Field(default=())


class Session:
    """A conversation with one `MedQA`; made by `MedQA.session`.

    One question at a time: a second thread waits. Sessions of one `MedQA` run side by side. A question that fails, or
    that nobody waits for to the end, leaves the turns as they were.

    Args:
        qa: answers.
    """

    def __init__(self, qa: MedQA) -> None:
        self._qa = qa
        self._lock = Lock()
        self._owner: int | None = None
        self._redactor = Redactor()
        self._turns: list[Turn] = []
        self.resumed = False
        """Whether turns come from a file; pseudonyms in those can no longer be restored."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was asked and answered so far, oldest first."""
        return tuple(self._turns)

    # -- asking -------------------------------------------------------------------------------------------------------

    def ask(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Answer:
        """`MedQA.ask`, but a follow-up is understood from the turns before it; the trace step `conversation` says how.

        Raises:
            InputError: as `MedQA.ask`; or a `stream` of this session is still open in this thread.
        """
        with self._alone():
            turn = _Begun(self)
            answer = self._qa._ask_in(
                question, redactor=self._redactor, standalone=turn.standalone, filter=filter, user=user
            )
            turn.end(answer)
            return answer

    async def aask(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Answer:
        """`ask` without blocking the event loop; a cancelled one adds no turn."""
        cancel = Flag()

        def answered() -> Answer:
            with closing(self._events(question, filter, user, cancel)) as events:
                return next(event.answer for event in events if isinstance(event, DoneEvent))

        return await in_thread(answered, self._qa._threads, cancel)

    def stream(self, question: str, *, filter: Filter | None = None, user: str | None = None) -> Iterator[Event]:
        """`ask`, with each part as soon as it is there, as `MedQA.stream`; read it to its end, or close it."""
        return self._events(question, filter, user, Flag())

    async def astream(
        self, question: str, *, filter: Filter | None = None, user: str | None = None
    ) -> AsyncIterator[Event]:
        """`stream` without blocking the event loop."""
        cancel = Flag()
        events = self._events(question, filter, user, cancel)
        async with aclosing(from_thread(events, self._qa._threads, cancel)) as arriving:
            async for event in arriving:
                yield event

    def _events(
        self, question: str, filter: Filter | None, user: str | None, cancel: Flag
    ) -> Generator[Event, None, None]:
        with self._alone():
            turn = _Begun(self)
            events = self._qa._stream_in(
                question,
                redactor=self._redactor,
                standalone=turn.standalone,
                filter=filter,
                user=user,
                cancel=cancel,
            )
            try:
                for event in events:
                    if isinstance(event, DoneEvent) and not cancel.is_set():
                        turn.end(event.answer)
                    yield event
            finally:
                if close := getattr(events, "close", None):
                    close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._owner == get_ident():
            raise InputError("a stream of this session is still open here; read it to its end or close() it first")
        with self._lock:
            self._owner = get_ident()
            try:
                yield
            finally:
                self._owner = None

    def _condensed(self, question: str) -> tuple[Condensed, str]:
        recent = self._turns[-LOOKED_BACK:]
        history, answers = [turn.standalone for turn in recent], [turn.answer for turn in recent]
        if is_language_model(self._qa.generator):
            return rephrased(question, history, answers, self._qa.generator)
        return condense(question, history, answers), "rule"

    # -- keeping ------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forgets all turns, and what every pseudonym stands for."""
        with self._alone():
            self._turns = []
            self._redactor = Redactor()
            self.resumed = False

    def save(self, path: str | Path) -> None:
        """Writes the turns as JSON, in one step: a reader sees the file before or after it, never half.

        Raises:
            InputError: the file cannot be written.
        """
        path = Path(path)
        text = Conversation(turns=self.turns).model_dump_json(indent=1)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}.tmp")
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise InputError(f"{path}: cannot be written ({error})") from None

    @classmethod
    def resume(cls, qa: MedQA, path: str | Path) -> Session:
        """A session that goes on where `save` wrote; its `resumed` is true, and its pseudonyms stay pseudonyms.

        Raises:
            InputError: the file cannot be read, or holds no conversation.
        """
        try:
            kept = Conversation.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(f"{path}: is no saved conversation ({place}: {first['msg']})") from None
        session = cls(qa)
        session._turns, session.resumed = list(kept.turns), True
        for turn in kept.turns:  # their pseudonyms are taken: nobody new gets one of them
            for text in (turn.question, turn.standalone, turn.answer):
                session._redactor.redact(text)
        return session

    def __repr__(self) -> str:
        return f"Session({len(self._turns)} turns{', resumed' if self.resumed else ''})"

    def _repr_html_(self) -> str:
        from chimed_rag.rendering import conversation_html

        back = self._redactor.restore
        return conversation_html(
            [(back(turn.question), back(turn.standalone), turn.notices, back(turn.answer)) for turn in self.turns],
            labels=list(dict.fromkeys(turn.label for turn in self.turns if turn.label)),
            note=RESUMED if self.resumed else "",
        )


class _Begun:
    """A turn whose answer is not there yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._said: dict[str, Any] = {}

    def standalone(self, question: str) -> str:
        condensed, by = self._session._condensed(question)
        self._said = {"question": question, "standalone": condensed.text, "kind": condensed.kind, "by": by}
        self._said["changes"] = condensed.changes
        return condensed.text

    def end(self, answer: Answer) -> None:
        """Adds the turn; what the answer says is redacted again, for it was restored for its reader."""
        hidden = {
            key: self._session._redactor.redact(text).text
            for key, text in (
                ("question", self._said["question"]),
                ("standalone", self._said["standalone"]),
                ("answer", answer.text),
            )
        }
        changes = tuple(self._session._redactor.redact(change).text for change in self._said["changes"])
        turn = Turn.model_validate(
            {
                **self._said,
                **hidden,
                "changes": changes,
                "citations": tuple(dict.fromkeys(one.chunk_id for one in answer.citations)),
                "notices": answer.notices,
                "label": answer.label.text,
            }
        )
        self._session._turns.append(turn)
