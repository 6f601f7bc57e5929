"""Schema registry: reading what outsiders wrote under a schema id, registering what is ours.

Owns: the Confluent wire format (0, four bytes of id, the body), the registry's HTTP interface.
Does not own: our own encoding (codec.py), which schemas fit which (evolution.py).
Law: an id names one schema for ever, so what it decodes to never changes. A registry that does
not answer is waited for; only one that answers "no such id" makes a message unreadable.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from io import BytesIO
from time import sleep
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import structlog
from fastavro import parse_schema, schemaless_reader

from pipeline.core.errors import ServerFailed
from pipeline.stores.addresses import read_address
from pipeline.stores.codec import Decode, OurSchema, Unreadable, our_schemas
from pipeline.stores.evolution import misfits, unbounded
from pipeline.stores.sight import decode_at_sight

_log = structlog.get_logger()

MAGIC = b"\0"
_HEAD = 5
_ANSWER_S = 10.0
_ANSWER_BYTES_MAX = 1 << 20
_REMEMBERED_MAX = 1024
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
COMMAND_TRIES = 5
"""Silences after which a command gives up; a worker never does."""
_MEDIA = "application/vnd.schemaregistry.v1+json"
_NO_ID, _NO_SUBJECT, _NO_VERSION = 40403, 40401, 40402
"""A registry's own words for "not there"; a bare 404 may be of a proxy whose registry is away."""


class Refusal(Exception):
    """The registry answered, and said no: its error code, or the HTTP status, and its words."""

    def __init__(self, code: int, message: str) -> None:
        """Keep both."""
        super().__init__(f"{message} ({code})")
        self.code = code


class Registry:
    """A registry's HTTP interface, as Confluent defined it and others follow."""

    def __init__(self, url: str) -> None:
        """Remember where it is; a user and password in the URL go into a header.

        Raises:
            BadInput: no http or https URL.

        """
        self._address = read_address(url, "TALEA_REGISTRY", "http://host:8081")
        self._headers = {**self._address.headers, "Accept": _MEDIA, "Content-Type": _MEDIA}

    @property
    def address(self) -> str:
        """Where it is."""
        return self._address.url

    def schema(self, schema_id: int) -> str | None:
        """Return the text of a schema, None where there is no such id.

        Raises:
            Refusal, ServerFailed: it will not say, or does not answer.

        """
        try:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        except Refusal as refusal:
            if refusal.code == _NO_ID:
                return None
            raise
        if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
            return ""
        return self._field(answer, "schema")

    def register(self, subject: str, schema: str) -> int:
        """Register a schema under a subject that promises full compatibility; return its id.

        Raises:
            Refusal, ServerFailed: as `schema`; a schema that breaks the promise is refused.

        """
        place = quote(subject, safe="")
        self._ask("PUT", f"/config/{place}", {"compatibility": "FULL_TRANSITIVE"})
        answer = self._ask("POST", f"/subjects/{place}/versions", {"schema": schema})
        return int(self._field(answer, "id"))

    def newest(self, subject: str) -> str | None:
        """Return the newest schema under a subject, None where there is none."""
        try:
            answer = self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/latest")
        except Refusal as refusal:
            if refusal.code in (_NO_SUBJECT, _NO_VERSION, _NO_ID):
                return None
            raise
        return self._field(answer, "schema")

    def _ask(
        self, method: str, path: str, body: Mapping[str, str] | None = None
    ) -> dict[str, object]:
        request = Request(
            self.address + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=self._headers,
            method=method,
        )
        try:
            with urlopen(request, timeout=_ANSWER_S) as answer:
                return self._read(answer.read(_ANSWER_BYTES_MAX))
        except HTTPError as error:
            with error:
                if error.code >= 500 or error.code in (408, 429):
                    raise self._away(f"it says {error.code}") from None
                told = self._read(error.read(_ANSWER_BYTES_MAX))
                code, why = told.get("error_code"), told.get("message", error.reason)
                raise Refusal(code if isinstance(code, int) else error.code, str(why)) from None
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise self._away(str(getattr(error, "reason", error))) from None

    def _field(self, answer: Mapping[str, object], name: str) -> str:
        """Return what an answer must have; without it somebody else answered."""
        if name not in answer:
            raise self._away(f"its answer has no {name}: is that a registry?")
        return str(answer[name])

    def _read(self, answer: bytes) -> dict[str, object]:
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {}

    def _away(self, why: str) -> ServerFailed:
        return ServerFailed(f"the schema registry {self.address} does not answer ({why})")


@dataclass(frozen=True, slots=True)
class _Known:
    """What an id stands for: one of our records, or why it is none."""

    name: str
    writer: object
    reader: object
    why_not: str = ""


@dataclass(slots=True)
class ForeignReader:
    """Decodes messages of the house and, by their writer's schema, those of a registry.

    Blocks while the registry is away. Calls may come from several threads.
    """

    registry: Registry
    pause: Callable[[float], None] = sleep
    tries_max: int | None = None
    """After how many silences to give up; None: a worker waits as long as it takes."""
    _known: dict[int, _Known] = field(default_factory=dict)

    def decode(self, message: bytes) -> tuple[str, dict[str, object]]:
        """Return (our schema's name, record) of a message in either encoding.

        Raises:
            Unreadable: broken, of an id that the registry does not know, or of another record.
            ServerFailed: the registry was silent `tries_max` times.

        """
        if not is_foreign(message):
            return decode_at_sight(message)
        schema_id = int.from_bytes(message[1:_HEAD], "big")
        known = self._known.get(schema_id) or self._look_up(schema_id)
        if known.why_not:
            raise Unreadable(f"schema {schema_id} of the registry {known.why_not}"[:200])
        stream = BytesIO(message)
        stream.seek(_HEAD)
        try:
            record = schemaless_reader(
                stream,
                cast(dict[str, object], known.writer),
                cast(dict[str, object], known.reader),
            )
        except Exception as error:  # fastavro raises whatever the bytes provoke
            raise Unreadable(f"broken {known.name}: {type(error).__name__}"[:200]) from None
        if stream.tell() != len(message):
            raise Unreadable(f"{len(message) - stream.tell()} bytes after the end of {known.name}")
        return known.name, cast(dict[str, object], record)

    def _look_up(self, schema_id: int) -> _Known:
        text = self._waiting_for(schema_id)
        if text is None:
            return _Known("", None, None, "is not there")
        known = _resolved(text)
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        self._known[schema_id] = known
        return known

    def _waiting_for(self, schema_id: int) -> str | None:
        """Ask until the registry answers: usage waits, it is never refused for that."""
        tried = 0
        while True:
            try:
                return self.registry.schema(schema_id)
            except (ServerFailed, Refusal) as error:
                tried += 1
                if self.tries_max is not None and tried >= self.tries_max:
                    raise ServerFailed(f"{error}: set TALEA_REGISTRY to one that does") from None
                if self.tries_max is None:  # a worker's log; a command has its own one line
                    _log.warning(
                        "usage waits for the schema registry", schema=schema_id, why=str(error)
                    )
                self.pause(_PAUSES_S[min(tried, len(_PAUSES_S)) - 1])


def message_decoder(url: str | None, tries_max: int | None = None) -> Decode:
    """Return what decodes messages: ours alone, or with a registry those of outsiders too."""
    return ForeignReader(Registry(url), tries_max=tries_max).decode if url else decode_at_sight


def is_foreign(message: bytes) -> bool:
    """Return whether a message may be of a registry's wire format."""
    return message[:1] == MAGIC and len(message) > _HEAD


def _resolved(text: str) -> _Known:
    """Return which of our records data of a foreign schema can be read as, newest first."""
    try:
        writer = parse_schema(json.loads(text), named_schemas={})
    except Exception as error:  # whatever stands in a registry
        return _Known("", None, None, f"is no Avro schema: {type(error).__name__}")
    called = writer.get("name") if isinstance(writer, dict) else None
    ours = [each for each in our_schemas() if each.subject == called]
    if not ours:
        return _Known("", None, None, f"is {str(called)[:80]!r}, no record of ours")
    if (endless := unbounded(writer)) is not None:
        return _Known("", None, None, endless)
    reasons: list[str] = []
    for each in reversed(ours):
        reasons = misfits(writer, each.parsed)
        if not reasons:
            return _Known(each.name, writer, None if writer == each.parsed else each.parsed)
    return _Known("", None, None, f"does not fit {ours[-1].name}: {reasons[0]}")


def fits_registered(registry: Registry, schema: OurSchema) -> tuple[str, list[str]]:
    """Return how a schema of ours stands to the newest under its subject, and what misfits.

    Raises:
        Refusal, ServerFailed: the registry will not say.

    """
    newest = registry.newest(schema.subject)
    if newest is None:
        return "not registered", []
    try:
        parsed = parse_schema(json.loads(newest), named_schemas={})
    except Exception as error:  # whatever stands in a registry
        return "", [f"what is registered is no Avro schema: {type(error).__name__}"]
    faults = [f"registered data, our reader: {why}" for why in misfits(parsed, schema.parsed)]
    faults += [f"our data, registered reader: {why}" for why in misfits(schema.parsed, parsed)]
    return "fits what is registered", faults
