"""Embedded servers: Apache Kafka, one node that is broker and controller (KRaft).

Owns: its settings, its storage format, its address, when it answers.
Does not own: topics (topology.py, stores), the jars (jars.py, broker.py), the process (child.py).
Law: no topic appears that nobody created.
"""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import struct
import uuid
from collections.abc import Mapping
from pathlib import Path

from pipeline.embedded.broker import Broker
from pipeline.embedded.child import Launch
from pipeline.embedded.ports import LOOPBACK, write_atomically

_NODE_ID = 1
_MESSAGE_BYTES_MAX = 8 << 20
_ANSWER_WAIT_S = 3.0
_LOG4J2 = """\
status = error
appender.console.type = Console
appender.console.name = log
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %-5p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.log.ref = log
logger.settings.name = org.apache.kafka.common.config.AbstractConfig
logger.settings.level = warn
"""


class Kafka:
    """One broker on its log directories."""

    name = "kafka"
    port_names: tuple[str, ...] = ("kafka", "kafka_controller")
    taken: tuple[str, ...] = ("Address already in use",)

    def __init__(self, broker: Broker, place: Path, log: Path) -> None:
        self._broker = broker
        self._place = place
        self._log = log
        self._scratch = place / "tmp"

    def prepare(self) -> None:
        """Format the storage at the first start: fresh ids beside the features of the release."""
        shutil.rmtree(self._scratch, ignore_errors=True)  # native libraries of a killed broker
        self._scratch.mkdir(parents=True)
        data = self._place / "data"
        data.mkdir(parents=True, exist_ok=True)
        if (data / "meta.properties").exists():
            return
        (data / "bootstrap.checkpoint").write_bytes(self._broker.bootstrap.read_bytes())
        write_atomically(
            data / "meta.properties",
            f"version=1\nnode.id={_NODE_ID}\ncluster.id={_new_id()}\ndirectory.id={_new_id()}\n",
        )

    def launch(self, ports: Mapping[str, int]) -> Launch:
        """How to run it; writes `server.properties`, since the ports may have changed.

        Java's options are in a file of their own: the class path is long.
        """
        settings = self._place / "server.properties"
        write_atomically(settings, properties(ports["kafka"], ports["kafka_controller"]))
        write_atomically(self._place / "log4j2.properties", _LOG4J2)
        options = (
            *self._broker.java_options,
            "-Dlog4j2.configurationFile=log4j2.properties",
            f"-Djava.io.tmpdir={self._scratch}",
            "-cp",
            self._broker.class_path,
        )
        write_atomically(self._place / "java.options", "".join(map(_quoted, options)))
        return Launch(
            name=self.name,
            argv=(str(self._broker.java), "@java.options", "kafka.Kafka", "server.properties"),
            cwd=self._place,
            log=self._log,
            signals=((signal.SIGTERM, 5.0),),
        )

    def answers(self, ports: Mapping[str, int]) -> bool:
        """Whether the broker answers which versions it speaks; it listens only once it serves."""
        request = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions v0, no client id
        address = (LOOPBACK, ports["kafka"])
        try:
            with socket.create_connection(address, _ANSWER_WAIT_S) as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                answer = connection.recv(10, socket.MSG_WAITALL)
        except OSError:
            return False
        return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)

    def address(self, ports: Mapping[str, int]) -> str:
        """Its bootstrap address."""
        return f"{LOOPBACK}:{ports['kafka']}"


def properties(port: int, controller_port: int) -> str:
    """The text of `server.properties`; paths are relative to the directory it runs in."""
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": _NODE_ID,
        "controller.quorum.voters": f"{_NODE_ID}@{LOOPBACK}:{controller_port}",
        "listeners": f"BROKER://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"BROKER://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "num.partitions": 1,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": _MESSAGE_BYTES_MAX,
        "replica.fetch.max.bytes": _MESSAGE_BYTES_MAX,
        # Topics say how long they keep; a topic that says nothing keeps for ever.
        "log.retention.ms": -1,
        "log.retention.bytes": -1,
        "log.segment.bytes": 256 << 20,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "offsets.retention.minutes": 525_600,
        # A killed broker is let in again once its session is over; the default is 9 s.
        "broker.session.timeout.ms": 4_000,
        "broker.heartbeat.interval.ms": 500,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _quoted(option: str) -> str:
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"\n'


def _new_id() -> str:
    """A cluster or directory id as Kafka writes them: a uuid, url-safe base64, not led by '-'."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
