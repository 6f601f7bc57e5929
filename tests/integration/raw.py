"""Raw usage on its way into a stack, by a client that knows nothing of us."""

import json
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Producer

from integration.running import RunningStack
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import instant_text
from pipeline.stores.raw import raw_ends
from pipeline.stores.records import encode_usage_event
from pipeline.topology import USAGE_RAW

STRUCTURED = [("content-type", b"application/cloudevents+json")]

Headers = Sequence[tuple[str, bytes | None]]


def data_of(event: UsageEvent) -> dict[str, object]:
    """The data of a CloudEvent."""
    data = {"customer": event.customer, "meter": event.meter, "value": format(event.value, "f")}
    return {**data, "dimensions": dict(event.dimensions)} if event.dimensions else {**data}


def attributes_of(event: UsageEvent) -> dict[str, str]:
    """The attributes of a CloudEvent."""
    return {
        "specversion": "1.0",
        "type": "usage",
        "id": event.id,
        "source": event.source,
        "time": instant_text(event.time),
    }


def structured(event: UsageEvent) -> bytes:
    """An event in structured mode."""
    return json.dumps({**attributes_of(event), "data": data_of(event)}).encode()


def binary(event: UsageEvent) -> tuple[bytes, Headers]:
    """An event in binary mode."""
    headers = [(f"ce_{name}", text.encode()) for name, text in attributes_of(event).items()]
    return json.dumps(data_of(event)).encode(), headers


def avro(event: UsageEvent) -> bytes:
    """An event as an Avro record."""
    return encode_usage_event(event)


def topic(stack: RunningStack) -> str:
    """The raw topic's name on the broker."""
    return stack.around.stack.topic(USAGE_RAW)


class Client:
    """A plain producer: keys and partitions as it pleases."""

    def __init__(self, stack: RunningStack, **settings: str) -> None:
        """Connect."""
        self._topic = topic(stack)
        named = {name.replace("_", "."): value for name, value in settings.items()}
        self.producer = Producer({"bootstrap.servers": stack.around.kafka, "log_level": 2, **named})

    def send(
        self, value: bytes | None, headers: Headers = (), *, key: str = "", partition: int = -1
    ) -> None:
        """Send one message."""
        given: list[tuple[str, str | bytes | None]] = list(headers)
        self.producer.produce(
            self._topic, value, key=key or None, headers=given, partition=partition
        )
        self.producer.poll(0)

    def flush(self) -> None:
        """Return once the broker has everything."""
        assert self.producer.flush(30) == 0


def send_all(stack: RunningStack, events: Iterable[UsageEvent]) -> None:
    """Send events in every form in turn."""
    client = Client(stack)
    for number, event in enumerate(events):
        match number % 4:
            case 0:
                client.send(structured(event), STRUCTURED, key=event.customer)
            case 1:
                client.send(structured(event))
            case 2:
                client.send(*binary(event), key=str(number))
            case _:
                client.send(avro(event))
    client.flush()


def await_collected(stack: RunningStack) -> Mapping[str, int]:
    """Return the collector's counts, closed, once it stands at the end that the topic has now."""
    ends = raw_ends(stack.around.kafka, topic(stack), stack.around.partitions)

    def there() -> bool:
        rows = stack.connection.execute("SELECT partition_no, source_offset FROM collector_cursor")
        stands: dict[int, int] = dict(rows.fetchall())
        return all(stands.get(number, -1) >= end - 1 for number, (_, end) in enumerate(ends))

    stack.until(there, f"the collector reaches {ends}")
    return closed(stack)


def closed(stack: RunningStack) -> Mapping[str, int]:
    """Return the collector's counts; every partition's equation closes."""
    counted = stack.collection()
    assert {p: c.missing for p, c in counted.items() if c.missing} == {}
    return {
        name: sum(getattr(c, name) for c in counted.values())
        for name in ("offered", "collected", "rejected", "pending")
    }
