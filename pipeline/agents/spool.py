"""The spool: encoded batches on disk from before they are sent until the broker has them.

Owns: the sqlite file, its lock, what is still to be acknowledged, how far each sequence got.
Does not own: packing (packing.py), sending (sending.py).
Law: what `append` returned for is there after any crash, byte for byte, until `forget`.

One opener at a time (sqlite's own exclusive lock, which dies with its process). WAL with
synchronous=FULL: each transaction is on the disk before its call returns.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pipeline.agents.failures import SpoolBusy, SpoolFailed

BYTES_MAX = 1 << 30
"""Default limit of what a spool holds."""
_FORMAT = 1
_APPLICATION = 0x7A1EA
_COMPACT_BYTES = 8 << 20
_TABLES = """
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    message BLOB NOT NULL
);
CREATE TABLE sequence (
    producer TEXT NOT NULL,
    epoch TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (producer, epoch, partition)
) WITHOUT ROWID;
CREATE TABLE log (topic TEXT NOT NULL, partitions INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True, order=True)
class Reach:
    """How far a sequence got: `next` is its next place; `ended` once its last word is spooled."""

    producer: str
    epoch: str
    partition: int
    next: int
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Spooled:
    """One message to be sent; ids grow in the order in which they must go out.

    `reach` is the sequence after it, None for a keyed batch.
    """

    id: int
    partition: int
    event_count: int
    message: bytes
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is still to be acknowledged."""

    batches: int
    events: int


class Spool:
    """An open spool; made by `Spool.open`, safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Take over an open connection."""
        self.path = path
        self._connection = connection
        self._lock = Lock()
        row = connection.execute("SELECT max(id), total(length(message)) FROM batch").fetchone()
        self._bytes = int(row[1])
        self.first_id = (row[0] or 0) + 1

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, topic: str, partitions: int) -> "Spool":
        """Open or make the spool of one log.

        Raises:
            SpoolBusy: another opener has it, or it holds batches of another log.
            SpoolFailed: no such folder, not a spool, or the disk fails.

        """
        place = Path(path)
        with _told(place):
            # sqlite gives its files the rights of the first: usage is nobody else's business.
            # Only a new file is opened here: to close one drops our locks on it (POSIX).
            with suppress(FileExistsError):
                os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                place, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            with _told(place):
                _prepare(connection, place)
                spool = cls(place, connection)
                spool._bind(topic, partitions)
        except BaseException:
            connection.close()
            raise
        return spool

    def _bind(self, topic: str, partitions: int) -> None:
        """Refuse batches packed for another log; an empty spool takes any."""
        known = self._connection.execute("SELECT topic, partitions FROM log").fetchone()
        if known == (topic, partitions):
            return
        left = self.standing()
        if known and left.batches:
            raise SpoolBusy(
                f"{self.path} holds {left.batches} batches ({left.events} events) for {known[0]}"
                f" with {known[1]} partitions, not {topic} with {partitions}:"
                " let it drain with its own settings, or use another spool"
            )
        with self._writing() as connection:
            connection.execute("DELETE FROM log")
            connection.execute("INSERT INTO log VALUES (?, ?)", (topic, partitions))

    @property
    def bytes_held(self) -> int:
        """Bytes of the messages still to be acknowledged."""
        return self._bytes

    def append(self, batches: Sequence[Spooled]) -> None:
        """Put batches on the disk in one transaction; they are there when this returns.

        Raises:
            SpoolFailed: none of them is in the spool.

        """
        with self._writing(sum(len(each.message) for each in batches)) as connection:
            connection.executemany(
                "INSERT INTO batch VALUES (?, ?, ?, ?)",
                [(each.id, each.partition, each.event_count, each.message) for each in batches],
            )
            for reach in (each.reach for each in batches if each.reach is not None):
                place = (reach.producer, reach.epoch, reach.partition)
                if reach.ended:
                    connection.execute(
                        "DELETE FROM sequence WHERE (producer, epoch, partition) = (?, ?, ?)", place
                    )
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO sequence VALUES (?, ?, ?, ?)", (*place, reach.next)
                    )

    def after(self, last_id: int, limit: int) -> list[Spooled]:
        """Return up to `limit` batches behind an id, in order."""
        rows = self._read(
            "SELECT id, partition, event_count, message FROM batch"
            " WHERE id > ? ORDER BY id LIMIT ?",
            last_id,
            limit,
        )
        return [Spooled(*row) for row in rows]

    def forget(self, batches: Sequence[Spooled]) -> None:
        """Delete acknowledged batches."""
        with self._writing(-sum(len(each.message) for each in batches)) as connection:
            connection.executemany("DELETE FROM batch WHERE id = ?", [(b.id,) for b in batches])

    def unended(self) -> list[Reach]:
        """Return the sequences without a last word: at opening, those of crashed epochs."""
        rows = self._read("SELECT producer, epoch, partition, next FROM sequence ORDER BY 1, 2, 3")
        return [Reach(*row) for row in rows]

    def oldest(self) -> int | None:
        """Return the id of the oldest batch, None when all is acknowledged."""
        oldest: int | None = self._read("SELECT min(id) FROM batch")[0][0]
        return oldest

    def waiting_partitions(self) -> set[int]:
        """Return the partitions that something is waiting for."""
        return {row[0] for row in self._read("SELECT DISTINCT partition FROM batch")}

    def standing(self) -> Standing:
        """Return what is still to be acknowledged."""
        return Standing(*self._read("SELECT count(*), coalesce(sum(event_count), 0) FROM batch")[0])

    def close(self) -> None:
        """Close the file and let go of its lock."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    def abandon(self) -> None:
        """Leave the connection as it is, in a forked child: closing it there would harm ours."""
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))

    @contextmanager
    def _writing(self, more_bytes: int = 0) -> Iterator[sqlite3.Connection]:
        """Run one transaction; once it is on disk the spool holds `more_bytes` more."""
        with self._lock, _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
                self._bytes += more_bytes
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _read(self, sql: str, *arguments: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock, _told(self.path):
            return self._connection.execute(sql, arguments).fetchall()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Take the lock, set the file up, give back the space of a backlog long gone."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_COMPACT_BYTES}")
    connection.execute("BEGIN EXCLUSIVE")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables:
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    connection.execute("COMMIT")
    if tables and (owner, found) != (_APPLICATION, _FORMAT):
        raise SpoolFailed(f"{path} is no spool of this version: name another file")
    (empty,) = connection.execute("SELECT count(*) = 0 FROM batch").fetchone()
    if empty and path.stat().st_size > _COMPACT_BYTES:
        connection.execute("VACUUM")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what sqlite and the system say into one line for a person."""
    try:
        yield
    except sqlite3.Error as error:
        code = error.sqlite_errorname if hasattr(error, "sqlite_errorname") else ""
        if code.startswith("SQLITE_BUSY"):
            raise SpoolBusy(
                f"{path} is open in another Recorder: give each its own spool, or stop the other"
            ) from None
        mend = {
            "SQLITE_CANTOPEN": "name a file in a folder that can be written",
            "SQLITE_FULL": "free some space on that disk",
            "SQLITE_NOTADB": "it is no spool: name another file",
            "SQLITE_CORRUPT": "move it aside and keep it: what it held is not sent",
        }.get(code, "check the disk and the rights of the file")
        raise SpoolFailed(f"{path}: {error} ({code or type(error).__name__}): {mend}") from None
    except OSError as error:
        raise SpoolFailed(
            f"{path}: {error.strerror or error}: name a file in a folder that can be written"
        ) from None
