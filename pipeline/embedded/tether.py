"""Embedded servers: the small process between us and one server.

Owns: starting the server, and ending it as soon as the process that asked for it is gone, in
whatever way it went; handing its exit code on.
Does not own: when to start, what a healthy server is, restarts (child.py, servers.py).
Law: no server outlives its parent by more than the waits in its stop signals.

Runs as a script with nothing but the standard library: `python -I -S tether.py FD SPEC`. FD is the
read end of a pipe whose write end only the parent has; SPEC is JSON. Writes one line on stdout:
`pid N` or `error TEXT`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

_PARENT_POLL_S = 1.0
_PR_SET_PDEATHSIG = 1
_EXIT_NOT_STARTED = 127


def main(arguments: list[str]) -> int:
    """Run one server to its end; the exit code is the server's, 128 + N for signal N."""
    life, spec = int(arguments[0]), json.loads(arguments[1])
    parent = os.getppid()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
    # Handlers, not SIG_IGN: what is ignored stays ignored in the server.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    try:
        server = _spawn(spec)
    except (OSError, subprocess.SubprocessError) as error:
        _say(f"error {error}")
        return _EXIT_NOT_STARTED
    _say(f"pid {server.pid}")
    while server.poll() is None:
        ready, _, _ = select.select([life, wake_read], [], [], _PARENT_POLL_S)
        if wake_read in ready:
            os.read(wake_read, 4096)
        if life in ready or ending or os.getppid() != parent:
            _end(server, spec["signals"])
    code = server.returncode
    return code if code >= 0 else 128 - code


def _spawn(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    death_signal = int(spec["signals"][0][0])
    prctl = ctypes.CDLL(None).prctl

    def die_with_tether() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal)

    account = spec["account"] or {}
    with open(spec["log"], "ab") as log:
        return subprocess.Popen(
            spec["argv"],
            cwd=spec["cwd"],
            env=spec["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_tether,
            user=account.get("user"),
            group=account.get("group"),
            extra_groups=account.get("extra_groups"),
        )


def _end(server: subprocess.Popen[bytes], signals: list[tuple[int, float]]) -> None:
    for number, wait_s in signals:
        server.send_signal(number)
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends:
            if server.poll() is not None:
                return
            time.sleep(0.02)
    server.kill()
    server.wait()


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a parent that is gone reads nothing: the pipe tells
        os.write(sys.stdout.fileno(), (" ".join(line.split()) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
