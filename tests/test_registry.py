"""Registries: lazy, and every name they hold resolves."""

from __future__ import annotations

import pytest

from chimed_rag import registry
from chimed_rag.errors import UnknownNameError
from chimed_rag.registry import Registry

ALL = [value for value in vars(registry).values() if isinstance(value, Registry)]


@pytest.mark.parametrize(("held", "name"), [(held, name) for held in ALL for name in held.names()])
def test_every_name_resolves(held, name):
    assert callable(held.get(name))


def test_the_error_lists_the_names_there_are():
    held = Registry("encoder", {"b": "math:pi", "a": "math:e"})
    with pytest.raises(UnknownNameError, match="no encoder is called 'c'; there are: a, b"):
        held.get("c")


def test_registering_replaces():
    held = Registry("number", {"x": "math:pi"})
    held.register("x", "math:e")
    import math

    assert held.get("x") == math.e
    assert "x" in held
    assert "y" not in held
