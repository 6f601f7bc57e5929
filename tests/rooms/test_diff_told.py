"""What a person is told of a diff beside what differs."""

import pytest

from pipeline.cli.diffs import tell_diff
from pipeline.replay.diff import Diff


@pytest.mark.parametrize(
    ("waiting", "told"), [(0, []), (1200, ["1,200 more wait in the replay, and are not compared"])]
)
def test_documents_that_wait_in_a_replay_are_told_and_are_no_part_of_its_diff(
    waiting: int, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = Diff([], waiting)

    tell_diff(found)

    assert capsys.readouterr().out.splitlines()[1:] == told
    assert found.json()["waiting"] == waiting
    assert found.id == Diff([]).id
