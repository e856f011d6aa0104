"""The stage `tagger`: trained on made-up records, without those that stand in the test; resumed, refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from chimed_rag.entities.tagger import SETTINGS, WEIGHTS, Tagger
from chimed_rag.errors import ConfigError, CorpusError, InputError
from training import tagger as stage
from training.settings import ROOT
from training.tagger import train_tagger
from training.verify import verify

CONFIG = ROOT / "training" / "configs" / "tagger_tiny.yaml"
DRUGS = ["甲硝唑", "奥美拉唑", "阿司匹林", "头孢克洛", "氨溴索", "布洛芬"]
SITES = ["胃", "肝", "左肺", "右肾", "膀胱", "甲状腺"]


def row(drug: str, site: str, tail: str = "") -> dict[str, object]:
    text = f"入院后予{drug}口服，查体{site}未见异常，{tail}"
    entities = [
        {"label_type": kind, "start_pos": text.index(name), "end_pos": text.index(name) + len(name)}
        for kind, name in (("药物", drug), ("解剖部位", site))
    ]
    return {"originalText": text, "entities": entities}


def written(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), "utf-8")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty-four records; one stands in the test too, one twice."""
    monkeypatch.setenv("TINY", str(tmp_path))
    known = [row(drug, site) for drug in DRUGS for site in SITES[:4]]
    seen = row("布洛芬", "膀胱", "嘱其一周以后再来本科门诊复查血常规。")
    written(tmp_path / "records.jsonl", [*known, known[0], seen])
    written(tmp_path / "test.jsonl", [seen, row("甲硝唑", "甲状腺"), row("头孢克洛", "膀胱")])
    return tmp_path


def trained(tiny: Path, *overrides: str, fresh: bool = False, said: list[str] | None = None) -> Path:
    say = (said if said is not None else []).append
    return train_tagger(CONFIG, [f"output_dir={tiny}/model", *overrides], fresh=fresh, say=say)


def test_it_learns_and_tells_what_it_did(tiny: Path) -> None:
    folder = trained(tiny)
    text = "入院后予阿司匹林口服，查体右肾未见异常，"
    assert [span[:2] for span in Tagger(folder).tag(text)] == [("阿司匹林", "药物"), ("右肾", "解剖部位")]
    card = json.loads((folder / "card.json").read_text("utf-8"))
    test, train = card["data"]
    assert (train["rows"], train["kept"]) == (26, 24)
    assert train["dropped"] == {"twice": 1, "shares n-grams with the test records": 1}
    assert (test["rows"], test["kept"], test["dropped"]) == (3, 0, {"for the test": 3})
    assert "less than 50% of its 13-grams" in card["checked_against"]
    assert card["training_pairs"] == 24
    assert set(card["files"]) == {WEIGHTS, SETTINGS}
    assert set(card["scores"]) == {
        f"{part}{kind}" for part in ("held out", "test") for kind in ("", ", 药物", ", 解剖部位")
    }
    assert card["scores"]["test, 药物"]["recall"]["value"] > 0.6
    assert card["scores_of"].startswith("4 held-out records by a model of the other 20; 3 test records")
    assert [point["phase"] for point in card["curve"]] == ["trial"] * (len(card["curve"]) // 2) + ["model"] * (
        len(card["curve"]) // 2
    )
    assert verify(folder) == []


def test_the_same_settings_give_the_same_weights(tiny: Path) -> None:
    folder = trained(tiny, "data.held_out=0")
    first = (folder / WEIGHTS).read_bytes(), (folder / SETTINGS).read_bytes()
    trained(tiny, "data.held_out=0", fresh=True)
    assert ((folder / WEIGHTS).read_bytes(), (folder / SETTINGS).read_bytes()) == first


def test_a_killed_run_goes_on_after_its_last_phase(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, called = stage._fit, 0

    def killed(*given: object) -> object:
        nonlocal called
        called += 1
        if called == 2:
            raise KeyboardInterrupt
        return fit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "_fit", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tiny)
    said: list[str] = []
    folder = trained(tiny, said=said)
    assert called == 3
    assert "trial: was finished before" in said
    assert json.loads((folder / "card.json").read_text("utf-8"))["resumed"] == 1
    trained(tiny, said=said)
    assert "holds this model already" in said[-1]


def test_what_cannot_be_used(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"fit\.iteration"):
        trained(tiny, "fit.iteration=3")
    with pytest.raises(CorpusError, match="no such file"):
        trained(tiny, "data.test=$TINY/nowhere.jsonl")
    with pytest.raises(InputError, match=r"24 records are too few for data.held_out = 22 and fit.folds = 3"):
        trained(tiny, "data.held_out=22")
    written(tiny / "records.jsonl", [{"originalText": "胃", "entities": [{"label_type": "药物"}]}])
    with pytest.raises(CorpusError, match=r"line 1.*'start_pos'"):
        trained(tiny)
    written(tiny / "records.jsonl", [row("布洛芬", "膀胱", "嘱其一周以后再来本科门诊复查血常规。")])
    with pytest.raises(InputError, match="0 records are too few"):
        trained(tiny)


def test_without_test_records_nothing_is_compared(tiny: Path) -> None:
    card = json.loads((trained(tiny, "data.test=null", "data.held_out=0") / "card.json").read_text("utf-8"))
    assert (card["scores"], card["checked_against"], card["training_pairs"]) == ({}, "", 25)
