"""A process of the nursery is like one that starts from nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.nursery import Nursery

PROGRAM = """
import os, sys
print(sys.argv[1:], os.environ["ASKED"], os.getcwd(), sys.stdin.read(), os.getsid(0) == os.getpid())
print("complaint", file=sys.stderr)
sys.exit(3)
"""


def test_a_program_is_given_what_it_is_asked_with(nursery: Nursery, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ran = nursery.run([sys.executable, str(program), "a", "b"], {"ASKED": "1"}, "given", 60)

    assert (ran.returncode, ran.stderr) == (3, "complaint\n")
    assert ran.stdout == f"['a', 'b'] 1 {os.getcwd()} given True\n"


@pytest.mark.parametrize("words", [["--version"], ["rate", "--help"], ["nothing"], ["rate"]])
def test_a_command_says_what_it_says_when_it_starts_from_nothing(
    nursery: Nursery, words: list[str]
) -> None:
    command = [sys.executable, "-m", "pipeline", *words]
    ran = nursery.run(command, os.environ, "{\n", 60)
    plain = subprocess.run(command, input="{\n", capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )


def test_a_process_is_signalled_waited_for_and_told_of(nursery: Nursery, tmp_path: Path) -> None:
    program, log = tmp_path / "program.py", tmp_path / "log"
    program.write_text("import time\ntime.sleep(600)\n")
    with log.open("wb") as file:
        sleeping = [nursery.spawn([sys.executable, str(program)], file, {}) for _ in range(2)]
    assert [each.poll() for each in sleeping] == [None, None]
    with pytest.raises(subprocess.TimeoutExpired):
        sleeping[0].wait(0.01)

    os.kill(sleeping[0].pid, signal.SIGKILL)
    sleeping[1].terminate()

    assert [each.wait(60) for each in sleeping] == [-signal.SIGKILL, -signal.SIGTERM]
    assert sleeping[0].poll() == -signal.SIGKILL
    sleeping[0].kill()  # nobody's pid any more: nobody is hurt
