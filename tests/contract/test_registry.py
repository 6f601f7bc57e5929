"""A schema registry: what is registered under ids can be read; what is no record of ours cannot.

One suite over a registry in memory and a real one (Apicurio, embedded).
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from builders import keyed, usage
from contract.registries import FakeRegistry, serving
from pipeline.bootstrap import surroundings
from pipeline.cli.app import run
from pipeline.collect.batch import UsageBatch
from pipeline.collect.letters import DeadLetter
from pipeline.collect.letters import Refusal as Refused
from pipeline.core.errors import BadInput, Code, Rejection, ServerFailed
from pipeline.settings import Settings
from pipeline.stores.codec import Unreadable, batch_of, decode, encode_batch, our_schemas
from pipeline.stores.records import open_message
from pipeline.stores.registry import (
    ForeignReader,
    Refusal,
    Registry,
    fits_registered,
    message_decoder,
)
from pipeline.workers.letters import LetterReader

BATCH = keyed(usage(id="1", region="eu"), usage("bob", "2.5", id="2"))
(OURS,) = (each for each in our_schemas() if each.name == "UsageBatch.v1")


@pytest.fixture(params=["in memory", pytest.param("apicurio", marks=pytest.mark.servers)])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "apicurio":
        yield Registry(request.getfixturevalue("apicurio"))
        return
    with serving(FakeRegistry()) as url:
        yield Registry(url)


def framed(schema_id: int, schema: Any, record: Any) -> bytes:
    """A message as Confluent's serializers make it."""
    out = BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    schemaless_writer(out, parse_schema(schema, named_schemas={}), record)
    return out.getvalue()


def edited(edit: Callable[[dict[str, Any]], object]) -> Any:
    schema = json.loads(OURS.text)
    edit(schema)
    return schema


FIELDS = decode(encode_batch(BATCH))[1]


def test_what_we_registered_reads_as_what_was_written(registry: Registry) -> None:
    schema_id = registry.register(OURS.subject, OURS.text)
    message = framed(schema_id, json.loads(OURS.text), FIELDS)

    assert open_message(message, ForeignReader(registry).decode) == BATCH


def test_registering_twice_is_once(registry: Registry) -> None:
    first = registry.register(OURS.subject, OURS.text)

    assert registry.register(OURS.subject, OURS.text) == first
    newest = registry.newest(OURS.subject)
    assert newest is not None
    assert json.loads(newest)["name"] == "UsageBatch"
    assert fits_registered(registry, OURS) == ("fits what is registered", [])


FITS: dict[str, tuple[Callable[[dict[str, Any]], object], dict[str, object]]] = {
    "another doc": (lambda s: s.update(doc="theirs"), {}),
    "a field more": (
        lambda s: s["fields"].append({"name": "theirs", "type": "string", "default": ""}),
        {"theirs": "x"},
    ),
    "a field more in the middle": (
        lambda s: s["fields"].insert(3, {"name": "theirs", "type": ["null", "long"]}),
        {"theirs": 7},
    ),
    "fields in another order": (lambda s: s["fields"].reverse(), {}),
}


@pytest.mark.parametrize("case", FITS)
def test_a_schema_that_fits_ours_reads(registry: Registry, case: str) -> None:
    edit, more = FITS[case]
    schema = edited(edit)
    schema_id = registry.register(f"theirs-{case}", json.dumps(schema))
    message = framed(schema_id, schema, {**FIELDS, **more})

    name, record = ForeignReader(registry).decode(message)
    assert (name, batch_of(record)) == ("UsageBatch.v1", BATCH)


STRANGE: dict[str, tuple[Any, str]] = {
    "another record": (
        {"type": "record", "name": "Order", "fields": [{"name": "x", "type": "string"}]},
        "no record of ours",
    ),
    "no record at all": ("string", "no record of ours"),
    "our name, nothing of it": (edited(lambda s: s.update(fields=[])), "does not fit"),
    "a field of another type": (
        edited(lambda s: s["fields"][1].update(type="bytes")),
        "producer is bytes, not string",
    ),
    "a field missing": (edited(lambda s: s["fields"].pop(5)), "event_count is missing"),
    "items that take no bytes": (
        edited(
            lambda s: s["fields"].append({"name": "x", "type": {"type": "array", "items": "null"}})
        ),
        "items that take no bytes",
    ),
    "a type inside itself": (
        edited(
            lambda s: s["fields"].append(
                {
                    "name": "x",
                    "type": {
                        "type": "record",
                        "name": "Deep",
                        "fields": [{"name": "x", "type": ["null", "Deep"]}],
                    },
                }
            )
        ),
        "holds talea.v1.Deep inside itself",
    ),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_record_of_ours_is_refused_by_name(registry: Registry, case: str) -> None:
    schema, why = STRANGE[case]
    schema_id = registry.register(f"strange-{case}", json.dumps(schema))
    message = b"\0" + schema_id.to_bytes(4, "big") + encode_batch(BATCH)[10:]

    refused = open_message(message, ForeignReader(registry).decode)
    assert isinstance(refused, Rejection)
    assert refused.code is Code.UNREADABLE
    assert why in refused.message


def test_an_id_that_nobody_registered_is_refused(registry: Registry) -> None:
    message = b"\0\x7f\xff\xff\xf0" + encode_batch(BATCH)[10:]

    refused = open_message(message, ForeignReader(registry).decode)
    assert isinstance(refused, Rejection)
    assert (refused.code, "is not there" in refused.message) == (Code.UNREADABLE, True)


def test_a_broken_body_is_refused(registry: Registry) -> None:
    schema_id = registry.register(OURS.subject, OURS.text)
    good = framed(schema_id, json.loads(OURS.text), FIELDS)
    reader = ForeignReader(registry)

    for broken in (good[:-3], good + b"\0", good[:5] + b"\xff" * 30, good[:5], good[:3]):
        assert isinstance(open_message(broken, reader.decode), Rejection)


def test_a_new_version_that_breaks_the_promise_is_refused_by_the_registry(
    registry: Registry,
) -> None:
    registry.register("broken", OURS.text)

    with pytest.raises(Refusal):
        registry.register("broken", json.dumps(edited(lambda s: s["fields"].pop(1))))


def test_the_commands_register_and_check(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TALEA_REGISTRY", registry.address)

    assert run(["schemas", "register", "--json"]) == 0
    registered = json.loads(capsys.readouterr().out)
    assert {line["schema"] for line in registered} == {each.name for each in our_schemas()}
    assert run(["schemas", "check", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    fits = [line for line in checked if line["told"] == "fits what is registered"]
    assert len(fits) == len(our_schemas())
    assert not any(line["faults"] for line in checked)


# --- what only a registry in memory can be made to do ---


def test_a_message_of_the_house_asks_no_registry() -> None:
    fake = FakeRegistry()
    with serving(fake) as url:
        assert open_message(encode_batch(BATCH), message_decoder(url)) == BATCH
    assert fake.asked == []


def test_an_id_is_asked_for_once() -> None:
    fake = FakeRegistry({7: OURS.text})
    message = framed(7, json.loads(OURS.text), FIELDS)
    with serving(fake) as url:
        reader = ForeignReader(Registry(url))
        for _ in range(5):
            assert isinstance(open_message(message, reader.decode), UsageBatch)

    assert fake.asked == ["GET /schemas/ids/7"]


class _Everything(Registry):
    """Knows every id, without a word over the network."""

    def schema(self, schema_id: int) -> str | None:
        return OURS.text


def test_ids_remembered_are_bounded() -> None:
    reader = ForeignReader(_Everything("http://nowhere"))
    for number in range(1, 1100):
        reader.decode(framed(number, json.loads(OURS.text), FIELDS))

    assert 0 < len(reader._known) <= 1024


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 200])  # also of a proxy before it
def test_a_registry_that_will_not_say_makes_usage_wait(status: int) -> None:
    fake, waited = FakeRegistry({7: OURS.text}, fail_with=status), list[float]()

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            fake.fail_with = 0

    with serving(fake) as url:
        reader = ForeignReader(Registry(url), pause)
        read = open_message(framed(7, json.loads(OURS.text), FIELDS), reader.decode)

    assert read == BATCH
    assert waited == [0.1, 0.2, 0.5]


def test_whoever_need_not_wait_gives_up_in_one_line() -> None:
    waited = list[float]()
    reader = ForeignReader(Registry("http://127.0.0.1:1"), waited.append, tries_max=3)

    with pytest.raises(ServerFailed, match=r"does not answer .*: set TALEA_REGISTRY"):
        reader.decode(framed(7, json.loads(OURS.text), FIELDS))
    assert waited == [0.1, 0.2]


def test_a_registry_that_is_away_is_waited_for() -> None:
    fake = FakeRegistry({7: OURS.text})
    with serving(fake) as url:
        port = int(url.rpartition(":")[2])
    served: list[Any] = []

    def pause(_seconds: float) -> None:
        if not served:
            served.append(serving(fake, port))
            served[0].__enter__()

    try:
        reader = ForeignReader(Registry(url), pause)
        assert reader.decode(framed(7, json.loads(OURS.text), FIELDS))[0] == "UsageBatch.v1"
    finally:
        served[0].__exit__(None, None, None)


@pytest.mark.parametrize(
    "extra", [{"schemaType": "PROTOBUF"}, {"references": [{"name": "x"}]}, {"schema": "{"}]
)
def test_what_is_no_avro_is_refused(extra: dict[str, object]) -> None:
    with serving(FakeRegistry({7: OURS.text}, extra=extra)) as url, pytest.raises(Unreadable):
        message_decoder(url)(framed(7, json.loads(OURS.text), FIELDS))


def test_a_newer_schema_that_misfits_is_told_by_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = json.dumps(edited(lambda s: s["fields"][1].update(type="bytes")))
    with serving(FakeRegistry({1: theirs}, {OURS.subject: [1]})) as url:
        monkeypatch.setenv("TALEA_REGISTRY", url)
        assert run(["schemas", "check"]) == 1
        told = capsys.readouterr()
        assert run(["schemas", "register"]) == 1

    assert "producer is bytes, not string" in told.err
    assert "Traceback" not in told.err


def test_a_command_whose_registry_is_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TALEA_REGISTRY", "http://user:secret@127.0.0.1:1")

    assert run(["schemas", "check"]) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "talea: the" in line]
    assert "http://127.0.0.1:1 does not answer" in line
    assert "secret" not in line


def test_a_user_and_password_travel_in_a_header() -> None:
    registry = Registry("https://ada:p%40ss@host:8081/apis/ccompat/v7/")

    assert registry.address == "https://host:8081/apis/ccompat/v7"
    assert registry._headers["Authorization"] == "Basic YWRhOnBAc3M="


@pytest.mark.parametrize(
    "url", ["host:8081", "ftp://host", "http://", "http:///x", "http://host:port"]
)
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(BadInput, match="TALEA_REGISTRY"):
        Registry(url)


def test_who_speaks_no_http_is_away() -> None:
    class Garbage(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(b"-ERR unknown command\r\n")

    with TCPServer(("127.0.0.1", 0), Garbage) as server:
        Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(ServerFailed, match="does not answer"):
            Registry(f"http://127.0.0.1:{server.server_address[1]}").schema(7)


@pytest.mark.parametrize(("fail_with", "text", "status"), [(401, "", 3), (0, "{", 1)])
def test_a_registry_that_helps_nobody_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fail_with: int,
    text: str,
    status: int,
) -> None:
    with serving(FakeRegistry({1: text}, {OURS.subject: [1]}, fail_with=fail_with)) as url:
        monkeypatch.setenv("TALEA_REGISTRY", url)
        assert run(["schemas", "check"]) == status

    assert "defect" not in capsys.readouterr().err


def test_a_dead_letter_is_not_called_unreadable_for_a_registry_that_is_away(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path, registry="http://127.0.0.1:1")
    around = surroundings(settings, "nowhere:1", "redis://nowhere", "host=nowhere")
    message = framed(7, json.loads(OURS.text), FIELDS)
    why = Refused(Rejection(Code.UNKNOWN_METER, "meter", "no such meter"), 2, [0, 1])
    letter = DeadLetter("usage.events.v1", 0, 5, 0, [why], message)

    with pytest.raises(ServerFailed, match="does not answer"):
        LetterReader(around).events(letter)


def test_an_error_of_the_server_is_no_answer() -> None:
    with serving(FakeRegistry(fail_with=500)) as url, pytest.raises(ServerFailed):
        Registry(url).newest(OURS.subject)


def test_the_schemas_we_read_by_are_not_touched() -> None:
    assert parse_schema(json.loads(OURS.text), named_schemas={}) == deepcopy(OURS.parsed)
