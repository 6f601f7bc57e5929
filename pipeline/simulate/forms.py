"""Forms: how strangers write one event as a raw message, and what of that nobody can read.

Owns: Avro, CloudEvents with an envelope and without.  Does not own: the event (story.py).
"""

from random import Random

from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import Headers
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json, canonical
from pipeline.simulate.raw import RawKept
from pipeline.stores.records import encode_usage_event

_JSON = ("content-type", b"application/cloudevents+json")


def written(random: Random, event: UsageEvent) -> RawKept:
    """Return a message that says an event, in any of its forms."""
    match random.randrange(4):
        case 0:
            return RawKept(encode_usage_event(event), (), event)
        case 1:
            return RawKept(
                canonical({**_envelope(event), "data": _usage_of(event)}), (_JSON,), event
            )
        case 2:
            return RawKept(canonical({**_envelope(event), "data": _usage_of(event)}), (), event)
        case _:
            return RawKept(canonical(_usage_of(event)), _attributes(event), event)


def spoilt(random: Random, event: UsageEvent) -> RawKept:
    """Return a message that nobody can read, though some of it is right."""
    whole = encode_usage_event(event)
    data = {**_usage_of(event), "value": random.choice(["much", None, "1e5000"])}
    unclear = canonical({**_envelope(event), "data": data})
    value, headers = random.choice(
        [
            (None, ()),
            (random.randbytes(12), ()),
            (whole[: len(whole) // 2], ()),
            (unclear, (_JSON,)),
            (canonical(_usage_of(event)), _attributes(event)[1:]),
        ]
    )
    return RawKept(value, headers, None)


def _envelope(event: UsageEvent) -> dict[str, Json]:
    return {
        "specversion": "1.0",
        "type": "usage",
        "id": event.id,
        "source": event.source,
        "time": instant_text(event.time),
    }


def _usage_of(event: UsageEvent) -> dict[str, Json]:
    told: dict[str, Json] = {
        "customer": event.customer,
        "meter": event.meter,
        "value": format(event.value, "f"),
        "dimensions": {**event.dimensions},
    }
    if event.reversed_at is not None:
        told |= {"kind": "reversal", "reversed_at": instant_text(event.reversed_at)}
    return told


def _attributes(event: UsageEvent) -> Headers:
    envelope = sorted(_envelope(event).items(), key=lambda attribute: attribute[0] != "specversion")
    return tuple((f"ce_{name}", str(told).encode()) for name, told in envelope)
