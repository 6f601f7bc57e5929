"""The home: its lock can be named, is inherited by nobody, and vouches for the stack."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.embedded import Home, ServerFailure, Servers
from pipeline.embedded.locks import FileLock

SERVERS = Servers(
    kafka="127.0.0.1:1", redis="redis://127.0.0.1:2/0", postgres="postgresql://127.0.0.1:3/talea"
)
HOLD = """
import os, sys, pathlib
from pipeline.embedded import Home, Servers
home = Home(pathlib.Path(sys.argv[1]))
home.take()
home.remember(Servers("k", "r", "p"))
if sys.argv[2] == "fork" and os.fork() == 0:
    os.execvp("sleep", ["sleep", "60"]) if sys.argv[3] == "exec" else __import__("time").sleep(60)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def hold(path: Path, *how: str) -> subprocess.Popen[str]:
    """Another process that has the home."""
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLD, str(path), *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == str(holder.pid)
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    os.killpg(holder.pid, signal.SIGKILL)
    holder.communicate()


def test_a_remembered_stack_is_found_while_its_process_has_the_home(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        assert Home(tmp_path).running() is None
        home.remember(SERVERS)

        assert Home(tmp_path).running() == SERVERS
        stack = json.loads(home.stack_file.read_text())
        assert stack.keys() == {"kafka", "redis", "postgres", "pid", "started_at"}
        assert stack["pid"] == os.getpid()

    assert Home(tmp_path).running() is None
    assert not home.stack_file.exists()


def test_a_home_in_use_names_who_has_it(tmp_path: Path) -> None:
    holder = hold(tmp_path, "alone")
    try:
        with pytest.raises(ServerFailure) as failure:
            Home(tmp_path).take()

        assert str(failure.value) == (
            f"servers: the home {tmp_path} is in use by process {holder.pid}; "
            "stop that one, or set TALEA_HOME to another folder"
        )
        assert Home(tmp_path).running() == Servers("k", "r", "p")
    finally:
        end(holder)


def test_a_killed_process_leaves_a_home_that_is_free(tmp_path: Path) -> None:
    end(hold(tmp_path, "alone"))

    assert (tmp_path / "stack.json").exists()
    assert Home(tmp_path).running() is None
    with Home(tmp_path) as home:
        assert home.holder() == os.getpid()


@pytest.mark.parametrize("how", ["exec", "stay"])
def test_no_child_keeps_the_lock(tmp_path: Path, how: str) -> None:
    holder = hold(tmp_path, "fork", how)
    try:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        time.sleep(0.1)

        assert Home(tmp_path).holder() is None
    finally:
        end(holder)


def test_a_stack_without_the_lock_cannot_be_remembered(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        Home(tmp_path).remember(SERVERS)


def test_a_torn_stack_file_is_no_stack(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        home.stack_file.write_text('{"kafka": ')
        assert home.running() is None
        home.stack_file.write_text("[]")
        assert home.running() is None


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(ServerFailure, match=r"cannot write .*home.*set TALEA_HOME"):
        Home(tmp_path / "home").take()


def test_a_lock_handed_over_lives_as_long_as_who_has_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    heir = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fileno(),))
    lock.release()
    try:
        assert not FileLock(lock.path).acquire(wait_s=0)
    finally:
        heir.kill()
        heir.wait()
    assert FileLock(lock.path).acquire()
