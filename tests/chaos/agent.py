"""A program that uses the SDK: events from stdin, through a spool, into the usage log.

A line in is a JSON list of [customer, meter, value, time, id]; an empty one asks for all of it to
be acknowledged, which is told by a line out. What the disk refuses is offered again.
"""

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from time import sleep

from pipeline.agents import Habits, NotDelivered, Recorder
from pipeline.agents.failures import SpoolFailed, SpoolFull
from pipeline.collect.event import UsageEvent

PRODUCER = "agent"
_AGAIN_S = 0.1


def insist(call: Callable[[], None]) -> None:
    """Call until it is done, saying once a second what is in the way."""
    said = 0.0
    while True:
        try:
            return call()
        except (SpoolFailed, SpoolFull, NotDelivered) as error:
            if said <= 0:
                print(error, file=sys.stderr, flush=True)
                said = 1.0
            said -= _AGAIN_S
            sleep(_AGAIN_S)


def main(kafka: str, topic: str, partitions: str, spool: str) -> None:
    """Record until stdin ends, then leave nothing behind."""
    usage = Recorder.open(
        kafka=kafka,
        topic=topic,
        partitions=int(partitions),
        spool=spool,
        producer=PRODUCER,
        habits=Habits(batch_events=200, close_wait_s=60),
    )
    for line in sys.stdin:
        for customer, meter, value, time, name in json.loads(line or "[]"):
            event = UsageEvent(customer, meter, time, Decimal(value), name, PRODUCER, {})
            insist(lambda event=event: usage.put(event))  # type: ignore[misc]
        if line == "[]\n":
            insist(usage.flush)
            print("acknowledged", flush=True)
    usage.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
