"""Tails: the last record of each partition that is of some kind, without reading all before it.

Owns: looking back in growing steps.  Does not own: what a record is.
"""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import log_ends, open_reader

T = TypeVar("T")
_FIRST_STEP, _GROWTH = 16, 8
_ANSWER_S = 20.0


def last_of(
    bootstrap: str,
    name: str,
    partitions: int,
    wanted: Callable[[bytes], T | None],
    *,
    isolation: str = "read_committed",
) -> dict[int, T]:
    """Return what `wanted` makes of the last record of each partition that it makes anything of.

    Raises:
        ServerFailed: the broker does not answer.

    """
    ends = log_ends(bootstrap, name, partitions, isolation=isolation)
    open_at = {number: end for number, (first, end) in enumerate(ends) if end > first}
    found: dict[int, T] = {}
    step, consumer = _FIRST_STEP, open_reader(bootstrap, {"isolation.level": isolation})
    try:
        while open_at:
            starts = {p: max(ends[p][0], end - step) for p, end in open_at.items()}
            for number, value in _read(consumer, name, starts):
                told = wanted(value)
                if told is not None:
                    found[number] = told
            looked = (p for p, start in starts.items() if p not in found and start > ends[p][0])
            open_at = {number: ends[number][1] for number in looked}
            step *= _GROWTH
        return found
    except KafkaException as error:
        raise ServerFailed(f"Kafka does not answer ({error}): is the stack up?") from None
    finally:
        consumer.close()


def _read(consumer: Consumer, name: str, starts: dict[int, int]) -> Iterable[tuple[int, bytes]]:
    """Yield (partition, value) from some offsets on, up to the ends that are there then."""
    consumer.assign([Place(name, number, start) for number, start in starts.items()])
    left, deadline = set(starts), monotonic() + _ANSWER_S
    while left:
        for message in consumer.consume(500, timeout=0.1):
            error, number = message.error(), message.partition() or 0
            if error is None:
                yield number, message.value() or b""
                deadline = monotonic() + _ANSWER_S
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(number)
            else:
                raise ServerFailed(f"reading {name}[{number}] failed: {error}")
        if monotonic() > deadline:
            raise ServerFailed(f"{name} gave nothing for {_ANSWER_S:.0f} s: is the broker up?")
