"""Many seeds on every core: they stop in time, and nobody plays on alone."""

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from pipeline.simulate.play import Scale
from pipeline.simulate.seeds import length_of, play_seeds

pytestmark = pytest.mark.timeout(300)

FOR_EVER = """
from pipeline.simulate.play import Scale
from pipeline.simulate.seeds import play_seeds
if __name__ == "__main__":
    play_seeds(0, 1_000_000, lambda _: Scale(), None)
"""
"""A script, as whoever begins anew imports it."""


def test_at_the_deadline_every_core_ends_the_seed_it_began_with() -> None:
    report = play_seeds(0, 1_000_000, lambda _: Scale(length=0.01), 0.0)

    assert report.seeds == os.cpu_count()
    assert not report.failed


def test_what_plays_ends_with_whoever_started_it(tmp_path: Path) -> None:
    script = tmp_path / "for_ever.py"
    script.write_text(FOR_EVER, "ascii")
    parent = subprocess.Popen([sys.executable, script])
    try:
        deadline, found = monotonic() + 60, list[psutil.Process]()
        while len(found) < 2 and monotonic() < deadline:
            sleep(0.1)
            found = psutil.Process(parent.pid).children()
        assert len(found) >= 2
        sleep(5)  # until they play
    finally:
        parent.kill()
        parent.wait()
    gone, alive = psutil.wait_procs(found, timeout=30)
    for each in alive:
        each.kill()

    assert len(gone) == len(found)


def test_most_seeds_are_short_and_some_are_as_long_as_they_can_be() -> None:
    lengths = [length_of(seed) for seed in range(1_000)]

    assert 20 < lengths.count(1.0) < 100
    assert sum(length < 0.6 for length in lengths) > 900
