"""Embedded servers: what is made once from the broker's jars, so that each start is short.

Owns: the storage template (`bootstrap.checkpoint`), Java's options, running one Java tool.
Does not own: the jars (jars.py), one home's settings and data (kafka.py), making the start
archive (training.py).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.child import environment, last_words
from pipeline.embedded.failure import ServerFailure
from pipeline.embedded.jars import JarCache, Progress

HEAP = ("-Xms256m", "-Xmx768m")
OPTIONS = (
    *HEAP,
    # One node on few cores moves bytes: the second compiler costs more than its code saves, and
    # threads that collect in parallel take turns with the workers.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_ANY_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAQ"
_FORMAT_WAIT_S = 60.0
_ARCHIVE = "start-java-{}.aot"
_TEMPLATE = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:1
listeners=BROKER://127.0.0.1:0,CONTROLLER://127.0.0.1:1
advertised.listeners=BROKER://127.0.0.1:2
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs=data
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker ready to be started on some data."""

    java: Path
    version: str
    class_path: str
    bootstrap: Path
    archive: Path

    @property
    def java_options(self) -> tuple[str, ...]:
        """Java's options; with the archive, if there is one, Kafka starts in half the time.

        Java ignores an archive of another class path or version by itself, with a line in the log.
        """
        if not self.archive.exists():
            return OPTIONS
        return (*OPTIONS, f"-XX:AOTCache={self.archive}", "-Xlog:aot*=error")


def make_broker(
    java: Path, java_version: str, cache: JarCache, version: str, progress: Progress
) -> Broker:
    """Fetch the jars if need be, and make the storage template from them."""
    cache.fill(progress)
    broker = Broker(
        java=java,
        version=version,
        class_path=":".join(map(str, cache.paths())),
        bootstrap=cache.folder / "bootstrap.checkpoint",
        archive=cache.folder / _ARCHIVE.format(java_version),
    )
    if not broker.bootstrap.exists():
        with cache.alone(progress):
            if not broker.bootstrap.exists():
                progress("preparing kafka's storage format", None)
                _format(broker)
    return broker


def run_java(broker: Broker, arguments: Sequence[str], folder: Path, wait_s: float) -> None:
    """Run one Java command in a folder to its end; raises `ServerFailure` with what it said."""
    log = folder / "java.log"
    with log.open("wb") as out:
        try:
            code = subprocess.run(
                [str(broker.java), *HEAP, *arguments],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=wait_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code != 0:
        raise ServerFailure(
            "kafka",
            f"its java tool ended with {code}: {last_words(log)}",
            f"remove {broker.bootstrap.parent}, then try again",
        )


def _format(broker: Broker) -> None:
    """Let Kafka's own tool format an empty storage, and keep the part that is not an id."""
    with tempfile.TemporaryDirectory(prefix="format-", dir=broker.bootstrap.parent) as name:
        folder = Path(name)
        (folder / "server.properties").write_text(_TEMPLATE, encoding="utf-8")
        tool = ("kafka.tools.StorageTool", "format", "-t", _ANY_CLUSTER, "-c", "server.properties")
        options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", broker.class_path)
        run_java(broker, (*options, *tool), folder, _FORMAT_WAIT_S)
        os.replace(folder / "data" / "bootstrap.checkpoint", broker.bootstrap)
