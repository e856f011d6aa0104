"""Checkpoints of a real Trainer, killed, damaged, out of disk: a run ends with the same weights or says why."""

from __future__ import annotations

import errno
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from chimed_rag.errors import InputError
from training.card import Card, Point, plain
from training.checkpoints import TrainingError, is_whole, writing
from training.fitting import Optimisation, arguments, fit, quiet
from training.run import Run
from training.settings import Settings

STEPS, SAVE = 8, 2


class Tiny(Settings):
    output_dir: str
    seed: int = 1
    fit: Optimisation = Optimisation(
        max_steps=STEPS, batch_size=2, accumulate=2, learning_rate=1e-2, warmup=0.25, save_every=SAVE, log_every=1
    )


class KilledError(Exception):
    pass


class Kill(TrainerCallback):  # type: ignore[misc]
    """Ends the process, as far as the files are concerned, once a step is done."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.at:
            raise KilledError


class Rows(torch.utils.data.Dataset):  # type: ignore[misc]
    def __len__(self) -> int:
        return 24

    def __getitem__(self, n: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(12) * (n + 1) % 31
        return {"input_ids": ids, "labels": ids}


def _train(folder: Path, *, kill: int | None = None, spoil: Callable[[Any], None] | None = None, **how: Any) -> Run:
    keys = how.pop("keys", {})
    settings = Tiny.model_validate({"output_dir": str(folder), **keys})
    if "fit" in how:
        settings = settings.model_copy(update={"fit": settings.fit.model_copy(update=how.pop("fit"))})
    card = Card(
        name="tiny", stage="s", kind="k", licence="MIT", command="c", seed=1, configuration={}, settings=plain(settings)
    )
    run = Run(settings, settings.output_dir, card, **how)
    if run.finished:
        return run
    run.data([])

    def make(place: Path) -> list[Point]:
        quiet(settings.seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                attention_dropout=0.1,  # needs the random state of the checkpoint
            )
        )  # fmt: skip
        keys = arguments(settings.fit, place, seed=settings.seed, device="cpu")
        trainer = Trainer(model=model, args=TrainingArguments(**keys), train_dataset=Rows())
        if kill is not None:
            trainer.add_callback(Kill(kill))
        if spoil is not None:
            spoil(trainer)
        curve = fit(trainer, place, run.say)
        rates.append({entry["step"]: entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry})
        model.save_pretrained(place / "model")
        return curve

    rates: list[dict[int, float]] = []
    place = run.phase("fit", make)
    run.finish(place)
    run.rates = rates[0] if rates else {}  # type: ignore[attr-defined]
    return run


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def _same(one: Path, other: Path) -> bool:
    ours, theirs = _weights(one), _weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    _train(folder)
    return folder


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its seventh step, with sealed checkpoints of steps 4 and 6."""
    folder = tmp_path_factory.mktemp("killed") / "out"
    with pytest.raises(KilledError):
        _train(folder, kill=7)
    return folder


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_once, tmp_path / "out"))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last weight, in its last byte
    path.write_bytes(content)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a flipped byte in the weights": lambda folder: _flip(folder / "model.safetensors"),
    "no optimizer": lambda folder: (folder / "optimizer.pt").unlink(),
    "no schedule": lambda folder: (folder / "scheduler.pt").unlink(),
    "no random state": lambda folder: (folder / "rng_state.pth").unlink(),
    "truncated weights": lambda folder: _halve(folder / "model.safetensors"),
    "truncated optimizer": lambda folder: _halve(folder / "optimizer.pt"),
    "no trainer state": lambda folder: (folder / "trainer_state.json").unlink(),
    "an empty folder": _empty,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_the_checkpoint_before_is_taken(killed: Path, whole: Path, damage: str) -> None:
    newest = killed / "work" / "fit" / "checkpoint-6"
    assert is_whole(newest)
    DAMAGE[damage](newest)
    assert not is_whole(newest)
    said: list[str] = []
    run = _train(killed, say=said.append)
    assert "fit: goes on from checkpoint-4" in said
    assert _same(killed, whole)
    assert run.card.resumed == 1


def test_without_damage_the_newest_is_taken(killed: Path, whole: Path) -> None:
    said: list[str] = []
    run = _train(killed, say=said.append)
    assert "fit: goes on from checkpoint-6" in said
    assert _same(killed, whole)
    assert [point.step for point in run.card.curve] == list(range(1, STEPS + 1))


def test_the_comparison_can_fail(whole: Path, tmp_path: Path) -> None:
    _train(tmp_path / "out", keys={"seed": 2})
    assert not _same(tmp_path / "out", whole)


def test_no_checkpoint_is_a_beginning(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(KilledError):
        _train(tmp_path / "out", kill=1)
    said: list[str] = []
    _train(tmp_path / "out", say=said.append)
    assert not any("goes on from" in line for line in said)
    assert _same(tmp_path / "out", whole)


@pytest.mark.parametrize(
    ("change", "named", "may"),
    [
        ({"fit": {"learning_rate": 1e-5}}, "fit.learning_rate", True),
        ({"fit": {"batch_size": 4}}, "fit.batch_size", False),
        ({"fit": {"weight_decay": 0.5}}, "fit.weight_decay", False),
        ({"keys": {"seed": 2}}, "seed", False),
    ],
)
def test_changed_settings_are_refused_unless_they_can_be_honoured(
    killed: Path, change: dict[str, Any], named: str, may: bool
) -> None:
    with pytest.raises(InputError, match=rf"\({named}: .* then, .* now\).*--fresh") as refusal:
        _train(killed, **change)
    assert (f"--accept {named} " in str(refusal.value)) is may
    if not may:
        with pytest.raises(InputError, match=rf"{named}: .* cannot be changed while a run is under way"):
            _train(killed, accept=[named], **change)


def test_an_accepted_learning_rate_takes_effect(killed: Path, whole: Path) -> None:
    said: list[str] = []
    run = _train(killed, fit={"learning_rate": 1e-5}, accept=["fit.learning_rate"], say=said.append)
    # Warm-up in 2 steps of 8, then down: step n is taken with rate × (8 − (n − 1)) / 6.
    rates: dict[int, float] = run.rates  # type: ignore[attr-defined]
    assert [rates[n] for n in (6, 7, 8)] == pytest.approx([1e-2 * 3 / 6, 1e-5 * 2 / 6, 1e-5 * 1 / 6])
    assert run.card.accepted == ["fit.learning_rate: 0.01 then, 1e-05 now, from restart 1 on"]
    assert any("0.01 then, 1e-05 now" in line for line in said)
    assert not _same(killed, whole)
    assert _train(killed, fit={"learning_rate": 1e-5}).finished


def test_an_accepted_interval_of_checkpoints_takes_effect(killed: Path, whole: Path) -> None:
    run = _train(killed, fit={"log_every": 4}, accept=["fit.log_every"])
    assert [point.step for point in run.card.curve] == [1, 2, 3, 4, 5, 6, 8]
    assert _same(killed, whole)


def _nan_loss(at: int) -> Callable[[Any], None]:
    def spoil(trainer: Any) -> None:
        loss = trainer.compute_loss
        trainer.compute_loss = lambda *a, **k: loss(*a, **k) * (float("nan") if trainer.state.global_step == at else 1)

    return spoil


def test_a_loss_that_is_no_number_ends_the_run_and_checkpoints_stay(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(TrainingError, match=r"fit: the loss is nan after step 5; checkpoints of before are kept"):
        _train(tmp_path / "out", spoil=_nan_loss(5))
    assert is_whole(tmp_path / "out" / "work" / "fit" / "checkpoint-4")
    assert not (tmp_path / "out" / "card.json").exists()
    _train(tmp_path / "out")
    assert _same(tmp_path / "out", whole)


def test_weights_that_are_no_numbers_are_not_sealed(tmp_path: Path, whole: Path) -> None:
    class Spoil(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step == 6:
                next(model.parameters()).data[0, 0] = float("inf")

    with pytest.raises(TrainingError, match="a weight is no finite number after step 6"):
        _train(tmp_path / "out", spoil=lambda trainer: trainer.add_callback(Spoil()))
    assert not is_whole(tmp_path / "out" / "work" / "fit" / "checkpoint-6")
    _train(tmp_path / "out")
    assert _same(tmp_path / "out", whole)


@contextmanager
def _room(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the kernel's own refusal, as of a full disk, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [5_000, 20_000])  # too small for the weights; for the optimizer's state alone
def test_a_full_disk_is_said_and_nothing_half_written_counts(killed: Path, whole: Path, size: int) -> None:
    with _room(size), pytest.raises(TrainingError, match=r"nothing more can be written.*free some space"):
        _train(killed)
    assert is_whole(killed / "work" / "fit" / "checkpoint-6")
    assert not is_whole(killed / "work" / "fit" / "checkpoint-8") and not (killed / "card.json").exists()
    said: list[str] = []
    _train(killed, say=said.append)
    assert "fit: goes on from checkpoint-6" in said
    assert _same(killed, whole)


def test_a_disk_that_fills_at_the_very_end(killed: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="No space left"):
        patch.setattr("training.run.write_card", full)
        _train(killed)
    assert not (killed / "card.json").exists()
    said: list[str] = []
    _train(killed, say=said.append)
    assert "fit: was finished before" in said
    assert _same(killed, whole)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (OSError(errno.EACCES, "denied"), RuntimeError("odd"), ValueError("os error 28")):
        with pytest.raises(type(error)), writing(tmp_path):
            raise error


@pytest.mark.parametrize("moment", ["seal", "rmtree"])
def test_killed_around_the_end_of_a_phase(
    tmp_path: Path, whole: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the seal the phase goes on from its checkpoints; behind it, nothing is trained again."""

    def kill(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        if moment == "seal":
            patch.setattr("training.run.seal", kill)
        else:
            patch.setattr("training.run.shutil", SimpleNamespace(rmtree=kill))
        _train(tmp_path / "out")
    said: list[str] = []
    _train(tmp_path / "out", say=said.append)
    assert ("fit: goes on from checkpoint-8" if moment == "seal" else "fit: was finished before") in said
    assert _same(tmp_path / "out", whole)
