"""The project's own dialogues and ranked replies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from training.checkpoints import file_sha256
from training.contracts import Dialogue, RankedList
from training.own import DIALOGUES, RANKED, consultations, write


def test_rows_of_our_own(tmp_path: Path) -> None:
    write(tmp_path)
    before = [file_sha256(tmp_path / name) for name in (DIALOGUES, RANKED)]
    write(tmp_path)
    assert [file_sha256(tmp_path / name) for name in (DIALOGUES, RANKED)] == before
    talks = [Dialogue.model_validate_json(line) for line in (tmp_path / DIALOGUES).read_text("utf-8").splitlines()]
    lists = [RankedList.model_validate_json(line) for line in (tmp_path / RANKED).read_text("utf-8").splitlines()]
    source = {one.id: one for one in consultations()}
    assert len(lists) == len(source) > 4000
    assert len(talks) == sum(len(one.questions) for one in source.values())
    assert len({talk.id for talk in talks}) == len(talks)
    for one in lists:
        right, wrong = one.replies
        assert right.text == source[one.id].reply != wrong.text
        assert one.prompt[0]["content"] == source[one.id].questions[-1]
    right, wrong = (np.array([len(one.replies[n].text) for one in lists]) for n in (0, 1))
    # Length tells nothing: the longer reply is the right one about as often as not, and both are alike.
    longest_wins = np.mean((right > wrong) + 0.5 * (right == wrong))
    assert 0.47 < longest_wins < 0.53
    assert np.median(np.abs(np.log(right / wrong))) < 0.05
    assert json.loads((tmp_path / RANKED).read_text("utf-8").split("\n", 1)[0])["licence"] == "Apache-2.0"
