"""A server on loopback that a test scripts, and endpoint generators that are closed after it."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator

import pytest

from chimed_rag.generation import wire
from chimed_rag.generation.endpoint import EndpointGenerator
from tests.servers import ScriptedServer

_SSL_CONTEXT = functools.cache(ssl.create_default_context)


@pytest.fixture
def quick(monkeypatch):
    """Short pauses between attempts, and certificates that are read once for all clients."""
    monkeypatch.setattr(ssl, "create_default_context", _SSL_CONTEXT)
    monkeypatch.setattr(wire, "_BACKOFF", lambda state: 0.01)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "CHIMED_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(quick) -> Iterator[ScriptedServer]:
    with ScriptedServer() as one:
        yield one


@pytest.fixture
def make(server):
    made = []

    def maker(url: str = "", **arguments) -> EndpointGenerator:
        made.append(EndpointGenerator(url or server.url, **arguments))
        return made[-1]

    yield maker
    for one in made:
        one.close()
