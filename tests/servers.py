"""An OpenAI-style server on loopback that behaves, and misbehaves, as a test tells it to.

with ScriptedServer() as server:
    server.script = [answers(429), says("多喝水。")]   # one behaviour a reply; the last one stays
    ... server.url, server.replies, server.gone.wait(1)
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from chimed_rag.generation.base import Message

ASKED: list[Message] = [{"role": "user", "content": "发烧怎么办？"}]
"""What tests ask it."""
REPLIES = ("/v1/chat/completions", "/v1/completions")


def user(text: str) -> list[Message]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def whole(stream: Any) -> Iterator[Any]:
    """What a generator yields, and then what it returns."""
    while True:
        try:
            yield next(stream)
        except StopIteration as end:
            yield end.value
            return


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        asked = Asked(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
        self.server.scripted.behaviour(asked)(self, asked)

    # what behaviours are made of

    def begin(self, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send(self, data: bytes) -> None:
        if not data or b"[DONE]" in data:  # the client may go on from here, before this thread does
            self.server.scripted.over(self)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if data else b"0\r\n\r\n")
        self.wfile.flush()

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.send(event(piece, chat=self.path.endswith("/chat/completions")))

    def hang_up(self) -> None:
        self.close_connection = True

    def watch(self, seconds: float) -> bool:
        """Waits until the client hangs up; true if it did."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1):
            self.server.scripted.gone.set()
            self.close_connection = True
            return True
        return False


Behaviour = Callable[[_Handler, Asked], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    scripted: ScriptedServer

    def handle_error(self, *_: object) -> None: ...  # a client that hangs up is no news


class ScriptedServer:
    """`script`: behaviours of replies, in order; `pages`: of other paths, as {"GET /v1/models": answers(200, …)}."""

    def __init__(self) -> None:
        self.script: Sequence[Behaviour] = [says("多喝水。")]
        self.pages: dict[str, Behaviour] = {"GET /v1/models": lists("tiny")}
        self.asked: list[Asked] = []
        self.gone = threading.Event()
        self.most_at_once = 0
        self._begun: set[_Handler] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.scripted = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def replies(self) -> list[Asked]:
        """The requests for a reply."""
        return [one for one in self.asked if one.path in REPLIES]

    def behaviour(self, asked: Asked) -> Behaviour:
        with self._lock:
            self.asked.append(asked)
            if asked.path not in REPLIES:
                return self.pages.get(f"{asked.method} {asked.path}", answers(404))
            return self._counted(self.script[min(len(self.replies), len(self.script)) - 1])

    def _counted(self, behaviour: Behaviour) -> Behaviour:
        def counted(handler: _Handler, asked: Asked) -> None:
            with self._lock:
                self._begun.add(handler)
                self.most_at_once = max(self.most_at_once, len(self._begun))
            try:
                behaviour(handler, asked)
            finally:
                self.over(handler)

        return counted

    def over(self, handler: _Handler) -> None:
        """A reply is no longer under way."""
        with self._lock:
            self._begun.discard(handler)


def event(text: str | None = None, *, chat: bool = True, finish: str | None = None, **more: Any) -> bytes:
    """One event of a reply, as bytes."""
    said: dict[str, Any] = {"delta": {} if text is None else {"content": text}} if chat else {"text": text or ""}
    return data({"choices": [{"index": 0, **said, "finish_reason": finish}], **more})


def data(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def says(*pieces: str, finish: str = "stop", seconds: float = 0.0, usage: tuple[int, int] | None = (7, 3)) -> Behaviour:
    """A proper reply, with so many seconds before each piece."""

    def behave(handler: _Handler, asked: Asked) -> None:
        handler.begin()
        for piece in pieces:
            time.sleep(seconds)
            handler.say(piece)
        handler.send(event(chat="messages" in asked.body, finish=finish))
        if usage and "stream_options" in asked.body:
            counts = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
            handler.send(data({"choices": [], "usage": counts}))
        handler.send(data(b"[DONE]"))
        handler.send(b"")

    return behave


def echoes(seconds: float = 0.0) -> Behaviour:
    """Repeats the last message."""

    def behave(handler: _Handler, asked: Asked) -> None:
        says(asked.body["messages"][-1]["content"], seconds=seconds)(handler, asked)

    return behave


def sends(*raw: bytes, kind: str = "text/event-stream", cut: bool = False) -> Behaviour:
    """These bytes; with `cut` the connection breaks off after them, in the middle of the body."""

    def behave(handler: _Handler, asked: Asked) -> None:
        handler.begin(kind)
        for one in raw:
            handler.send(one)
        if cut:
            handler.hang_up()
        else:
            handler.send(b"")

    return behave


def stalls(*pieces: str, begin: bool = True, seconds: float = 5.0) -> Behaviour:
    """These pieces and then nothing, until the client hangs up; without `begin` not even a status."""

    def behave(handler: _Handler, asked: Asked) -> None:
        if begin:
            handler.begin()
            handler.say(*pieces)
        handler.watch(seconds)
        handler.hang_up()

    return behave


def hangs_up(handler: _Handler, asked: Asked) -> None:
    """Closes the connection without a word."""
    handler.hang_up()


def answers(status: int, body: Any = None, **headers: str) -> Behaviour:
    """A whole answer; without a body, the error that servers send."""

    def behave(handler: _Handler, asked: Asked) -> None:
        said = {"error": {"message": f"scripted {status}"}} if body is None else body(asked) if callable(body) else body
        content = json.dumps(said).encode()
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return behave


def lists(*names: str, **more: Any) -> Behaviour:
    """GET /models."""
    return answers(200, {"object": "list", "data": [{"id": name, "object": "model", **more} for name in names]})
