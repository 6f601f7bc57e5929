"""The spool: what was confirmed is there after any crash, byte for byte."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.agents.failures import SpoolBusy, SpoolFailed
from pipeline.agents.spool import Reach, Spool, Spooled, Standing

ROOT = Path(__file__).parents[2]

WRITE_AND_DIE = """
import os, signal, sys
from pipeline.agents.spool import Reach, Spool, Spooled
spool = Spool.open(sys.argv[1], topic="t", partitions=8)
rows = [Spooled(i, i % 3, 10, bytes([i]) * 5000, Reach("p", "e", i % 3, 10)) for i in range(1, 6)]
spool.append(rows)
os.kill(os.getpid(), signal.SIGKILL)
"""

WRITE_FOR_EVER = """
import os, sys
from pipeline.agents.spool import Spool, Spooled
spool = Spool.open(sys.argv[1], topic="t", partitions=8)
number = spool.first_id
while True:
    spool.append([Spooled(number, number % 3, 1, number.to_bytes(4, "big") * 3000)])
    os.write(1, b"%d\\n" % number)
    number += 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.spool"


def opened(path: Path, *, topic: str = "t", partitions: int = 8) -> Spool:
    return Spool.open(path, topic=topic, partitions=partitions)


def row(number: int, size: int = 10, reach: Reach | None = None) -> Spooled:
    return Spooled(number, number % 8, 5, bytes([number % 256]) * size, reach)


def child(program: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )


def test_batches_come_back_in_order_until_they_are_forgotten(path: Path) -> None:
    spool = opened(path)
    assert (spool.first_id, spool.oldest(), spool.bytes_held) == (1, None, 0)
    rows = [row(number) for number in range(1, 6)]
    spool.append(rows[:3])
    spool.append(rows[3:])
    assert spool.after(0, 10) == rows
    assert spool.after(2, 2) == rows[2:4]
    assert (spool.standing(), spool.bytes_held) == (Standing(5, 25), 50)
    spool.forget([rows[3], rows[0]])
    assert spool.after(0, 10) == [rows[1], rows[2], rows[4]]
    assert (spool.oldest(), spool.bytes_held, spool.waiting_partitions()) == (2, 30, {2, 3, 5})
    spool.close()
    again = opened(path)
    assert again.first_id == 6
    assert (again.after(0, 10), again.bytes_held) == ([rows[1], rows[2], rows[4]], 30)
    again.close()


def test_a_process_killed_between_commit_and_acknowledgement_loses_nothing(path: Path) -> None:
    with child(WRITE_AND_DIE, path) as process:
        assert process.wait(30) == -signal.SIGKILL
    spool = opened(path)
    assert [(b.id, b.partition, b.event_count, b.message) for b in spool.after(0, 99)] == [
        (i, i % 3, 10, bytes([i]) * 5000) for i in range(1, 6)
    ]
    assert spool.unended() == [Reach("p", "e", partition, 10) for partition in range(3)]
    spool.close()


def test_a_process_killed_at_any_moment_keeps_what_it_had_confirmed(path: Path) -> None:
    confirmed = 0
    for pause_s in (0.01, 0.05, 0.09):
        with child(WRITE_FOR_EVER, path) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(pause_s)
            process.kill()
            lines = [first, *process.stdout.readlines()]
        confirmed = max(confirmed, int(lines[-1] if lines[-1].endswith(b"\n") else lines[-2]))
        spool = opened(path)
        rows = spool.after(0, 1 << 20)
        spool.close()
        assert [r.id for r in rows] == list(range(1, len(rows) + 1))
        assert confirmed <= len(rows) <= confirmed + 1
        assert all(r.message == r.id.to_bytes(4, "big") * 3000 for r in rows)


def test_there_is_one_opener_at_a_time(path: Path) -> None:
    first = opened(path)
    with pytest.raises(SpoolBusy, match="open in another Recorder: give each its own spool"):
        opened(path)
    elsewhere = (
        "import sys; from pipeline.agents.spool import Spool\n"
        "Spool.open(sys.argv[1], topic='t', partitions=8)"
    )
    other = subprocess.run(
        [sys.executable, "-c", elsewhere, str(path)], cwd=ROOT, capture_output=True, check=False
    )
    assert b"SpoolBusy" in other.stderr.splitlines()[-1]
    first.append([row(1)])  # and the first goes on
    first.close()
    opened(path).close()


def test_a_killed_opener_leaves_no_lock(path: Path) -> None:
    with child(WRITE_FOR_EVER, path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(SpoolBusy):
            opened(path)
        process.kill()
        process.wait()
    opened(path).close()


def test_sequences_are_remembered_until_their_last_word(path: Path) -> None:
    spool = opened(path)
    spool.append([row(1, reach=Reach("p", "old", 1, 5)), row(2, reach=Reach("p", "old", 2, 7))])
    spool.append([row(3, reach=Reach("p", "old", 1, 9))])
    spool.append([row(4)])  # keyed: no sequence
    assert spool.unended() == [Reach("p", "old", 1, 9), Reach("p", "old", 2, 7)]
    spool.append([row(5, reach=Reach("p", "old", 1, 9, ended=True))])
    spool.forget(spool.after(0, 9))
    assert spool.unended() == [Reach("p", "old", 2, 7)]
    spool.close()


@pytest.mark.parametrize(("topic", "partitions"), [("other", 8), ("t", 16)])
def test_what_was_packed_for_another_log_is_not_sent_to_this_one(
    path: Path, topic: str, partitions: int
) -> None:
    spool = opened(path)
    spool.append([row(1)])
    spool.close()
    with pytest.raises(SpoolBusy, match=r"holds 1 batches \(5 events\) for t with 8 partitions"):
        opened(path, topic=topic, partitions=partitions)
    spool = opened(path)
    spool.forget(spool.after(0, 1))
    spool.close()
    opened(path, topic=topic, partitions=partitions).close()


def test_only_its_owner_may_read_a_spool(path: Path) -> None:
    opened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_commit_is_synced(path: Path) -> None:
    spool = opened(path)
    pragma = spool._connection.execute
    assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)
    assert pragma("PRAGMA synchronous").fetchone() == (2,)  # FULL
    spool.close()


def test_a_long_gone_backlog_gives_its_space_back(path: Path) -> None:
    spool = opened(path)
    rows = [row(number, 1 << 20) for number in range(1, 13)]
    spool.append(rows)
    spool.forget(rows)
    spool.close()
    assert path.stat().st_size > 8 << 20
    opened(path).close()
    assert path.stat().st_size < 1 << 20


class TestFailures:
    def test_a_full_disk_is_one_line_and_takes_nothing_back(self, path: Path) -> None:
        spool = opened(path)
        spool.append([row(1)])
        spool._connection.execute("PRAGMA max_page_count = 20")  # what a full disk answers
        with pytest.raises(SpoolFailed, match=r"usage\.spool: .*full.*free some space") as caught:
            spool.append([row(2), row(3, 1 << 20)])
        assert "\n" not in str(caught.value)
        assert (spool.after(0, 9), spool.bytes_held) == ([row(1)], 10)
        spool._connection.execute("PRAGMA max_page_count = 100000")
        spool.append([row(2), row(3, 1 << 20)])
        assert [each.id for each in spool.after(0, 9)] == [1, 2, 3]
        spool.close()

    def test_a_file_that_cannot_grow_is_one_line(self, path: Path) -> None:
        spool = opened(path)
        spool.append([row(1)])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
            with pytest.raises(SpoolFailed, match=r"free some space|check the disk"):
                spool.append([row(2, 1 << 20)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert spool.after(0, 9) == [row(1)]
        spool.append([row(2, 1 << 20)])
        spool.close()
        again = opened(path)
        assert [each.id for each in again.after(0, 9)] == [1, 2]
        again.close()

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SpoolFailed, match="No such file or directory: name a file"):
            opened(tmp_path / "nowhere" / "usage.spool")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SpoolFailed, match=r"unable to open .*name a file in a folder"):
            opened(tmp_path)

    def test_a_file_that_is_no_database(self, path: Path) -> None:
        path.write_bytes(b"customer,meter\n" * 1000)
        with pytest.raises(SpoolFailed, match="it is no spool: name another file"):
            opened(path)

    def test_a_database_of_something_else(self, path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE batch (x)")
        connection.close()
        with pytest.raises(SpoolFailed, match="no spool of this version: name another file"):
            opened(path)

    def test_a_failed_opening_holds_no_lock(self, path: Path) -> None:
        spool = opened(path)
        spool.append([row(1)])
        spool.close()
        with pytest.raises(SpoolBusy):
            opened(path, topic="other")
        opened(path).close()

    def test_a_closed_spool_says_so(self, path: Path) -> None:
        spool = opened(path)
        spool.close()
        with pytest.raises(SpoolFailed, match="closed"):
            spool.append([row(1)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12 warns of threads
def test_a_forked_child_harms_nothing(path: Path) -> None:
    spool = opened(path)
    spool.append([row(1)])
    pid = os.fork()
    if pid == 0:
        spool.abandon()
        del spool
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    spool.append([row(2)])
    assert [each.id for each in spool.after(0, 9)] == [1, 2]
    spool.close()
