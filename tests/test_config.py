"""Settings: YAML both ways; an unknown key is an error that names file and key."""

from __future__ import annotations

import pytest

from chimed_rag.config import Config, Recipe, Retrieval
from chimed_rag.errors import ConfigError


def test_yaml_both_ways(tmp_path):
    config = Config(retrieval=Retrieval(mode="lexical", candidates=50), audience="doctor")
    config.to_yaml(tmp_path / "c.yaml")
    assert Config.from_yaml(tmp_path / "c.yaml") == config


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("")
    assert Config.from_yaml(tmp_path / "c.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retrieval:\n  moed: dense\n", r"c\.yaml: retrieval\.moed: .*not permitted"),
        ("colour: red\n", r"c\.yaml: colour: .*there are: retrieval, rewriting, evidence"),
        ("retrieval:\n  candidates: many\n", r"retrieval\.candidates: .*integer"),
        ("a: [1\n", r"c\.yaml, line 2: is not YAML"),
        ("- a\n- b\n", r"c\.yaml: the file: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Config.from_yaml(tmp_path / "c.yaml")


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.from_yaml(tmp_path / "none.yaml")


def test_a_recipe_needs_sources(tmp_path):
    (tmp_path / "r.yaml").write_text("encoder: hashing\n")
    with pytest.raises(ConfigError, match="sources"):
        Recipe.from_yaml(tmp_path / "r.yaml")
