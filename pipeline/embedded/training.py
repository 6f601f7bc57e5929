"""Embedded servers: the archive from which Java starts the broker in half the time.

Owns: one broker run on nothing that Java records, and the ahead-of-time cache it makes from it.
Does not own: when an archive is used (broker.py); Java drops one that does not fit by itself.
Law: no archive is better than a wrong or torn one: it is put in place whole.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from pipeline.embedded.broker import OPTIONS, Broker, run_java
from pipeline.embedded.child import start_child
from pipeline.embedded.failure import ServerFailure
from pipeline.embedded.jars import Progress
from pipeline.embedded.kafka import Kafka
from pipeline.embedded.ports import any_free_port, listens

_UP_WAIT_S = 60.0
_RECORD_WAIT_S = 60.0
_CREATE_WAIT_S = 120.0


def make_archive(broker: Broker, progress: Progress) -> None:
    """Record one start and stop of a broker, and turn it into the archive."""
    with tempfile.TemporaryDirectory(prefix="train-", dir=broker.archive.parent) as name:
        folder = Path(name)
        recording, draft = folder / "start.aotconf", folder / "start.aot"
        progress("training java on kafka, once on this machine", 0.0)
        _record(broker, folder, recording)
        progress("training java on kafka, once on this machine", 0.6)
        create = ("-XX:AOTMode=create", f"-XX:AOTConfiguration={recording}")
        where = (f"-XX:AOTCache={draft}", "-cp", broker.class_path)
        run_java(broker, (*OPTIONS, *create, *where), folder, _CREATE_WAIT_S)
        os.replace(draft, broker.archive)
        progress("training java on kafka, once on this machine", 1.0)


def _record(broker: Broker, folder: Path, recording: Path) -> None:
    kafka = Kafka(broker, folder / "kafka", folder / "kafka.log")
    kafka.prepare()
    ports = {name: any_free_port() for name in kafka.port_names}
    launch = kafka.launch(ports)
    java, *arguments = launch.argv
    record = ("-XX:AOTMode=record", f"-XX:AOTConfiguration={recording}")
    child = start_child(
        replace(
            launch,
            argv=(java, *record, *arguments),
            signals=((signal.SIGTERM, _RECORD_WAIT_S),),
        )
    )
    ends = time.monotonic() + _UP_WAIT_S
    try:
        while not (listens(child.pid, ports["kafka"]) and kafka.answers(ports)):
            code = child.exit_code()
            if code is not None or time.monotonic() > ends:
                raise ServerFailure(
                    "kafka",
                    f"did not come up to be recorded (exit code {code}): {child.last_words()}",
                    "try again; without that it only starts more slowly",
                )
            time.sleep(0.05)
    finally:
        child.stop()
