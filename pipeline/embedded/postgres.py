"""Embedded servers: PostgreSQL.

Owns: making its cluster, its settings, its address, when it answers, the user it runs as.
Does not own: tables and grants (schemas/sql, stores), the process (child.py).

PostgreSQL refuses to run as root. Root runs it as an unprivileged user that exists already, and
starts it inside its data directory, named `/proc/self/cwd`: that user need not be able to walk
through the folders above, which may well be root's own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from pipeline.embedded.child import Account, Launch, environment, last_words
from pipeline.embedded.failure import ServerFailure, reason
from pipeline.embedded.ports import LOOPBACK

DATABASE = "talea"
SUPERUSER = "postgres"
SHELTER = Path("/var/lib/talea")
_ACCOUNTS = ("postgres", "pgserver", "nobody")
_HERE = "/proc/self/cwd"
_INITDB_WAIT_S = 120.0
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
    "log_destination": "stderr",
}


class Postgres:
    """One PostgreSQL cluster with the database of talea."""

    name = "postgres"
    port_names: tuple[str, ...] = ("postgres",)
    taken: tuple[str, ...] = ("could not bind IPv4 address", "Address already in use")

    def __init__(self, program: Path, place: Path, log: Path, *, shelter: Path = SHELTER) -> None:
        self._program = program
        self._place = place
        self._data = place / "data"
        self._log = log
        self._shelter = shelter
        self._account: Account | None = None

    def prepare(self) -> None:
        """Make the cluster at the first start, owned by whoever will run it."""
        self._place.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._account = choose_account(self._place)
            os.chown(self._place, self._account.user, self._account.group)
            self._program = self._reachable(self._account)
        os.chmod(self._place, 0o700)
        if not self._data.exists():
            self._initdb()
        self._clear_stale_pid()

    def launch(self, ports: Mapping[str, int]) -> Launch:
        """How to run it; the settings stand on the command line, above any file's."""
        settings = {**_SETTINGS, "port": str(ports["postgres"])}
        options = tuple(
            word for key, value in settings.items() for word in ("-c", f"{key}={value}")
        )
        return Launch(
            name=self.name,
            argv=(str(self._program), "-D", _HERE, *options),
            cwd=self._data,
            log=self._log,
            signals=((signal.SIGINT, 5.0), (signal.SIGQUIT, 1.0)),
            account=self._account,
        )

    def answers(self, ports: Mapping[str, int]) -> bool:
        """Whether it takes connections; makes the database when it is not there yet."""
        try:
            with psycopg.connect(
                f"{_url(ports)}/postgres?connect_timeout=3", autocommit=True
            ) as connection:
                known = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
                ).fetchone()
                if known is None:
                    connection.execute(f"CREATE DATABASE {DATABASE} OWNER {SUPERUSER}")
        except psycopg.OperationalError:
            return False
        except psycopg.Error as error:
            raise ServerFailure(
                self.name,
                f"on port {ports['postgres']} refuses its database {DATABASE} ({reason(error)})",
                f"read {self._log}, then mend or move {self._data} away",
            ) from error
        return True

    def address(self, ports: Mapping[str, int]) -> str:
        """The libpq URI of the database."""
        return f"{_url(ports)}/{DATABASE}"

    def _initdb(self) -> None:
        """Make the cluster under another name, so that a killed start leaves no half of one."""
        draft = self._place / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(draft, self._account.user, self._account.group)
        initdb = self._program.with_name("initdb")
        arguments = ["-D", _HERE, "-U", SUPERUSER, "-E", "UTF8", "--no-locale", "-A", "trust"]
        with tempfile.NamedTemporaryFile(prefix="initdb-") as out:
            code = _run([initdb, *arguments], draft, self._account, out.fileno())
            told = last_words(Path(out.name))
        if code != 0:
            raise ServerFailure(
                self.name,
                f"initdb in {draft} ended with {code}: {told}",
                "mend that (is the disk full?), then try again",
            )
        draft.rename(self._data)

    def _reachable(self, account: Account) -> Path:
        """The program, or a copy of its package where the unprivileged user may walk."""
        if _runs(self._program, self._place, account):
            return self._program
        package = self._program.parents[2]
        state = self._program.stat()
        copy = self._shelter / f"{package.name}-{state.st_size}-{int(state.st_mtime)}"
        try:
            if not copy.exists():
                copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                _copy_whole(self._program.parents[1], copy)
        except OSError as error:
            raise self._unreachable(account, reason(error)) from error
        program = copy / self._program.relative_to(package.parent)
        if not _runs(program, self._place, account):
            raise self._unreachable(account, f"nor the copy {program}")
        return program

    def _unreachable(self, account: Account, why: str) -> ServerFailure:
        return ServerFailure(
            self.name,
            f"runs as user {account.name} since root may not run it, and that user cannot "
            f"execute {self._program} ({why})",
            "install talea below a folder that every user may enter, or do not run it as root",
        )

    def _clear_stale_pid(self) -> None:
        """Remove the pid file of a server that was killed, once its pid is no server's any more.

        PostgreSQL itself refuses to start when any process of its user has that pid by now, as
        happens after a container's restart.
        """
        file = self._data / "postmaster.pid"
        try:
            pid = int(file.read_text(encoding="ascii").split("\n", 1)[0])
            command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except (FileNotFoundError, ProcessLookupError):
            command = ""
        except ValueError:
            return
        if command != "postgres":
            file.unlink(missing_ok=True)


def choose_account(place: Path) -> Account:
    """The user to run as: the owner of the data if it has one already, else the first we know."""
    owner = place.stat().st_uid
    try:
        entries = [pwd.getpwuid(owner)] if owner != 0 else []
    except KeyError:
        entries = []
    for name in _ACCOUNTS:
        try:
            entries.append(pwd.getpwnam(name))
        except KeyError:
            continue
    chosen = next((entry for entry in entries if entry.pw_uid != 0), None)
    if chosen is None:
        raise ServerFailure(
            "postgres",
            f"may not run as root, and there is no user {' or '.join(_ACCOUNTS)} to run as",
            "make one (useradd --system postgres), or do not run talea as root",
        )
    return Account(chosen.pw_name, chosen.pw_uid, chosen.pw_gid)


def _copy_whole(installed: Path, copy: Path) -> None:
    """Copy an installation, with the libraries its wheel puts beside the package.

    `copy` appears complete or not at all, whoever else makes the same.
    """
    package = installed.parent
    libraries = package.with_name(f"{package.name}.libs")
    with tempfile.TemporaryDirectory(prefix="copy-", dir=copy.parent) as folder:
        draft = Path(folder) / "whole"
        shutil.copytree(installed, draft / package.name / installed.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        try:
            draft.rename(copy)
        except OSError:
            if not copy.exists():  # else another process was quicker
                raise


def _url(ports: Mapping[str, int]) -> str:
    return f"postgresql://{SUPERUSER}@{LOOPBACK}:{ports['postgres']}"


def _run(command: Sequence[object], place: Path, account: Account | None, out: int) -> int:
    return subprocess.run(
        [str(word) for word in command],
        cwd=place,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        timeout=_INITDB_WAIT_S,
        check=False,
        user=None if account is None else account.user,
        group=None if account is None else account.group,
        extra_groups=None if account is None else [],
    ).returncode


def _runs(program: Path, place: Path, account: Account) -> bool:
    """Whether that user can execute the installation: initdb also loads its libraries."""
    initdb = program.with_name("initdb")
    try:
        return _run([initdb, "--version"], place, account, subprocess.DEVNULL) == 0
    except OSError:
        return False
