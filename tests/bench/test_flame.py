"""Flame graphs are drawn of the workers that do the work, or it is said why not."""

import sys
from pathlib import Path

import pytest

from pipeline.bench.flame import flames
from pipeline.core.errors import ServerFailed

PIDS = {"metering-0": 11, "pricing-0": 12, "ticker-0": 13}
DRAWS = """
import pathlib, signal
drawing = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
def draw(*_):
    drawing.write_text("pid " + sys.argv[sys.argv.index("--pid") + 1])
    sys.exit()
signal.signal(signal.SIGINT, draw)
drawing.with_suffix(".ready").touch()
while True:
    signal.pause()
"""
REFUSES = """
import pathlib, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
drawing = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
drawing.with_suffix(".ready").touch()
sys.exit("Permission denied")
"""


def program(folder: Path, text: str) -> Path:
    """Return an executable that stands for py-spy."""
    path = folder / "py-spy"
    path.write_text(f"#!{sys.executable}\nimport sys\n{text}")
    path.chmod(0o755)
    return path


def draw(folder: Path, text: str, pids: dict[str, int]) -> dict[str, str]:
    """Return what is drawn of processes once each has its program."""
    drawings = folder / "drawings"
    with flames(pids, drawings, program(folder, text)):
        while len(list(drawings.glob("*.ready"))) < len(pids.keys() - {"ticker-0"}):
            pass
    return {path.name: path.read_text() for path in drawings.glob("*.svg")}


def test_every_worker_that_does_the_work_is_drawn(tmp_path: Path) -> None:
    drawn = draw(tmp_path, DRAWS, PIDS)

    assert drawn == {"metering-0.svg": "pid 11", "pricing-0.svg": "pid 12"}


def test_what_hinders_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"draws no metering-0: Permission denied"):
        draw(tmp_path, REFUSES, {"metering-0": 11})


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerFailed, match="need py-spy"),
        flames(PIDS, tmp_path, tmp_path / "nothing"),
    ):
        pass
