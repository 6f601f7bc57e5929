"""The plain way, for comparison: a Faust agent, one JSON event a message, `SET NX` per event.

Owns: that agent, its topic, filling it.  Does not own: when it runs (bench).
What it leaves out is in its favour: sums stay in memory, nothing is priced, stored or fenced,
and its acks and commits are Faust's own.

`python -m pipeline.workers.baseline EVENTS` counts so many events, prints one JSON line and ends;
it ends at once when its stdin does, so that it never outlives who started it.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

import faust
from confluent_kafka.cimpl import NewTopic
from redis.asyncio import Redis

from pipeline.core.errors import ServerFailed
from pipeline.core.identity import partition_of
from pipeline.settings import Settings
from pipeline.stores.kafka import SureProducer, admin
from pipeline.workers.surroundings import Surroundings

NAME = "plain Faust agent, one process, SET NX per event"
_TOPIC, _GROUP = "plain.events", "plain"
_ANSWER_S = 20.0
_FLUSH_EVENTS = 10_000


def fill_baseline(around: Surroundings, events: Iterable[Mapping[str, str | int]]) -> None:
    """Create the topic and send events, one a message.

    Raises:
        ServerFailed: the broker would not.

    """
    name = f"{around.stack.prefix}{_TOPIC}"
    new = NewTopic(name, num_partitions=around.partitions, replication_factor=1)
    try:
        client = admin(around.kafka)  # must outlive its answers
        client.create_topics([new])[name].result(_ANSWER_S)
    except Exception as error:
        raise ServerFailed(f"the broker would not create {name}: {error}") from None
    producer = SureProducer(around.kafka)
    for number, event in enumerate(events, 1):
        home = partition_of(str(event["customer"]), around.partitions)
        producer.send(name, home, json.dumps(event).encode())
        if number % _FLUSH_EVENTS == 0:
            producer.flush()
    producer.flush()


def run_baseline(settings: Settings, expected: int) -> None:
    """Count until `expected` events came, then say how it went and end the process."""
    from mode.loop import use

    use("uvloop")
    stack, kafka, redis = settings.stack, str(settings.kafka), str(settings.redis)
    app = faust.App(
        f"{stack.prefix}{_GROUP}",
        broker=f"kafka://{kafka.replace(',', ';kafka://')}",
        datadir=str(settings.home / "faust" / _GROUP),
        store="memory://",
        value_serializer="json",
        consumer_auto_offset_reset="earliest",
        topic_partitions=settings.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )

    async def count(events: Any) -> None:
        claims = Redis.from_url(redis)
        totals: dict[str, int] = defaultdict(int)
        seen = unique = 0
        started = 0.0
        async for event in events:
            started = started or time.monotonic()
            key = f"{stack.prefix}plain:{event['customer']}:{event['id']}"
            if await claims.set(key, b"", nx=True):
                totals[event["customer"]] += event["value"]
                unique += 1
            seen += 1
            if seen == expected:
                _tell(time.monotonic() - started, unique, sum(totals.values()))

    app.agent(app.topic(f"{stack.prefix}{_TOPIC}"))(count)
    worker = cast(Any, faust.Worker(app, loglevel="WARNING", redirect_stdouts=False))
    worker.execute_from_commandline()


def _tell(seconds: float, unique: int, total: int) -> None:
    print(json.dumps({"seconds": seconds, "unique": unique, "total": total}), flush=True)
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Run it over the servers that TALEA_KAFKA and TALEA_REDIS name."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    expected = int(sys.argv[1])
    sys.argv[1:] = []
    run_baseline(Settings(), expected)


if __name__ == "__main__":
    main()
