"""Workers are stopped politely, and by force if they do not hear."""

import sys
from pathlib import Path
from time import sleep

import pytest

from pipeline.bootstrap import surroundings
from pipeline.settings import Settings
from pipeline.workers.supervisor import Supervisor, WorkerKind

WORKER = """
import ctypes, signal, sys, threading
ended, deaf = threading.Event(), {deaf}
signal.signal(signal.SIGTERM, lambda *_: deaf or ended.set())
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # as a worker does, to die with its parent
print("works", flush=True)
while not ended.wait(0.05):
    pass
print("ended by itself", flush=True)
"""


@pytest.mark.parametrize(
    ("deaf", "said"), [(False, ["works", "ended by itself"]), (True, ["works"])]
)
def test_a_worker_that_hears_ends_by_itself(tmp_path: Path, deaf: bool, said: list[str]) -> None:
    program = tmp_path / "worker.py"
    program.write_text(WORKER.format(deaf=deaf))
    around = surroundings(Settings(home=tmp_path), "kafka", "redis", "postgres")
    log = tmp_path / "ticker-0.log"
    supervisor = Supervisor(
        around, [WorkerKind("ticker")], tmp_path, (sys.executable, str(program))
    )
    supervisor.start()
    while not log.read_text():
        sleep(0.01)

    supervisor.stop(0.5 if deaf else 60.0)

    assert log.read_text().split("\n")[:-1] == said
    assert supervisor.pids() == {}
