"""Who gives way: where cores lack, drafts are made before they are passed on."""

import subprocess
import sys

import pytest

from pipeline.cli.work import gives_way

GIVES_WAY = "import os; from pipeline.cli.work import give_way; a = os.nice(0); give_way();"


@pytest.mark.parametrize(
    ("name", "replay", "gives"),
    [
        ("publisher", "", True),
        ("pricing", "", False),
        ("metering", "", False),
        ("finalizer", "", False),
        ("pricing", "again", True),
    ],
)
def test_who_publishes_and_who_replays_let_others_go_first(
    name: str, replay: str, *, gives: bool
) -> None:
    assert gives_way(name, replay) is gives


def test_who_gives_way_has_less_of_a_core() -> None:
    asked = [sys.executable, "-c", f"{GIVES_WAY} print(min(19, a + 5) == os.nice(0))"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.strip() == "True"
