"""Batches in a registry's wire format, through the whole line, with a real registry.

A relay in front of it can be silent: usage then waits, and is neither refused nor counted twice.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from builders import keyed, usage
from contract.registries import FakeRegistry, serving
from integration import shop
from integration.nursery import Nursery
from integration.running import METERING, RunningStack, bare
from integration.traffic import customers_everywhere
from pipeline.bootstrap import set_up
from pipeline.collect.batch import UsageBatch
from pipeline.core.calendar import SECOND
from pipeline.core.identity import partition_of
from pipeline.embedded import Servers
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import decode, encode_batch, our_schemas
from pipeline.stores.registry import Registry

pytestmark = pytest.mark.servers

(OURS,) = (each for each in our_schemas() if each.name == "UsageBatch.v1")


@dataclass
class Relay(FakeRegistry):
    """Passes questions on to a real registry, unless told to fail."""

    to: Registry | None = None

    def answer(self, method: str, path: str, body: dict[str, str]) -> tuple[int, object]:
        assert self.to is not None
        self.asked.append(path)
        if self.fail_with:
            return self.fail_with, {}
        text = self.to.schema(int(path.rpartition("/")[2]))
        if text is None:  # in a registry's own words: a bare 404 may be of a proxy
            return 404, {"error_code": 40403, "message": "not found"}
        return 200, {"schema": text}


@pytest.fixture
def relay(apicurio: str) -> Iterator[tuple[Relay, str]]:
    relay = Relay(to=Registry(apicurio))
    with serving(relay) as url:
        yield relay, url


def foreign(schema_id: int, schema: Any, batch: UsageBatch, **more: object) -> bytes:
    """A batch as a Confluent serializer writes it."""
    out = BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    record = {**decode(encode_batch(batch))[1], **more}
    schemaless_writer(out, parse_schema(schema, named_schemas={}), record)
    return out.getvalue()


def test_strangers_batches_are_billed_and_wait_for_their_registry(
    servers: Servers, nursery: Nursery, tmp_path: Path, relay: tuple[Relay, str]
) -> None:
    between, url = relay
    assert between.to is not None
    around = bare(servers, tmp_path, {})
    around = replace(around, settings=around.settings.model_copy(update={"registry": url}))
    theirs = json.loads(OURS.text)
    theirs["fields"].append({"name": "trace", "type": "string"})
    plain = between.to.register(OURS.subject, OURS.text)
    longer = between.to.register("their.usage", json.dumps(theirs))
    strange = between.to.register("their.orders", json.dumps("string"))
    with RunningStack.over(set_up(around), nursery) as stack:
        stack.start()
        customer = customers_everywhere(stack.around.partitions)[0]
        home = partition_of(customer, stack.around.partitions)
        start = (wall_clock() // SECOND - 60) * SECOND
        stack.apply(shop.catalog([customer], start, None))

        def batch(name: str) -> UsageBatch:
            return keyed(usage(customer, "2", meter="gigabytes", time=wall_clock(), id=name))

        stack.write(home, foreign(plain, json.loads(OURS.text), batch("1")), 1)
        again = foreign(longer, theirs, batch("2"), trace="00-x")
        for message in (again, again):
            stack.write(home, message, 1)
        stack.write(home, bytes(60), 1)
        stack.write(home, b"\0" + strange.to_bytes(4, "big") + b"\2x", 1)
        stack.write(home, b"\0\x7f\xff\xff\xff" + b"x" * 30, 1)
        stack.await_booked()
        assert (stack.counts().fresh, stack.counts().duplicate) == (2, 1)
        assert stack.counts().rejected == 3

        between.fail_with = 503
        stack.stop(METERING)  # a new worker knows no schema yet
        stack.start(METERING)
        waits = stack.write(home, foreign(plain, json.loads(OURS.text), batch("4")), 1)
        asked = len(between.asked)
        stack.until(lambda: len(between.asked) >= asked + 3, "it asks again and again")
        assert stack.offsets()[home] < waits
        assert stack.counts().rejected == 3

        between.fail_with = 0
        stack.await_booked()
        assert stack.counts().fresh == 3
        assert stack.used()[customer, "gigabytes"].sum == 6
        assert stack.close_the_books()["rejected"] == 3
