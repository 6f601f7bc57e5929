"""JSON lines: strict JSON in, exact JSON out; no number passes through a float.

Owns: text to JSON values and a value's text again. Does not own: keys and their meaning.
Law: any text or bytes give a value or a fault, never an exception.
Readings: NaN and Infinity are no JSON, so such a line is no object and its id is null; text
after the value, a byte order mark or control characters in strings likewise. What is written
is ASCII: a lone surrogate in an id survives the way out.
"""

import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.fields import Repeated
from pipeline.rate.limits import DEPTH_MAX, LINE_CHARS_MAX

_INT_CHARS_MAX = 18


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written, unless it is a short whole one (those are int)."""

    text: str


def _whole(text: str) -> int | Number:
    return Number(text) if len(text) > _INT_CHARS_MAX or text == "-0" else int(text)


def _refused(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return Repeated(members, key)
        seen.add(key)
    return members


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=Number, parse_int=_whole, parse_constant=_refused
)
_PLAIN = json.JSONDecoder(parse_float=Number, parse_int=_whole, parse_constant=_refused)


_BEHIND_KEYS = ('":', " :", "\t:", "\n:", "\r:")
"""How the colon behind a key looks; hardly one within a text (a time, an id) does."""


def _plain_object(line: str | bytes) -> dict[str, object] | None:
    """Return the object of a line with as many colons as keys; None for any other line.

    No key stands twice there, so that nobody need look at each pair.
    """
    if len(line) > LINE_CHARS_MAX:
        return None
    try:
        text = line.decode() if isinstance(line, bytes) else line
        value, end = _PLAIN.raw_decode(text)
        if end == len(text) and type(value) is dict:
            keys = _keys(value)
            if keys == text.count(":") or keys == sum(map(text.count, _BEHIND_KEYS)):
                return value
    except (RecursionError, ValueError):
        pass  # the long way tells why
    return None


def _keys(members: dict[str, object]) -> int:
    """Return how many keys an object has, those inside too."""
    count = len(members)
    for value in members.values():
        if type(value) is str:
            continue
        if type(value) is dict:
            count += _keys(value)
        elif type(value) is list:
            for item in value:
                if type(item) is dict:
                    count += _keys(item)
    return count


def parse_line(line: str | bytes) -> object:
    """Return the JSON value of a line, or a Fault."""
    if len(line) > LINE_CHARS_MAX:
        return Fault(FaultCode.TOO_LARGE, "", f"a line has at most {LINE_CHARS_MAX} characters")
    try:
        return _DECODER.decode(line.decode() if isinstance(line, bytes) else line)
    except RecursionError:
        return Fault(FaultCode.TOO_LARGE, "", "nested too deeply")
    except UnicodeDecodeError:
        return Fault(FaultCode.INVALID_JSON, "", "the line is not UTF-8")
    except ValueError as error:
        return Fault(FaultCode.INVALID_JSON, "", f"the line is not JSON: {error}")


class Document(NamedTuple):
    """A line as read: its JSON value and the text of its `id`, or the fault that ended it."""

    identity: str
    value: object
    fault: Fault | None = None


def parse_object(line: str | bytes) -> Document:
    """Return the JSON object of a line and what of its `id` is echoed (rule 4)."""
    plain = _plain_object(line)
    value = parse_line(line) if plain is None else plain
    if isinstance(value, Fault):
        return Document("null", None, value)
    if not isinstance(value, dict):
        message = "the line is JSON, but no object"
        return Document("null", None, Fault(FaultCode.NOT_AN_OBJECT, "", message))
    identity: object = value.get("id")
    if _opened(line) <= DEPTH_MAX or _shallow(value):
        return Document(json_text(identity), value)
    text = json_text(identity) if _shallow(identity) else "null"
    message = f"objects and lists nest deeper than {DEPTH_MAX}"
    return Document(text, None, Fault(FaultCode.TOO_LARGE, "", message))


def _opened(line: str | bytes) -> int:
    """Return how often something opens in a line: it nests no deeper."""
    if isinstance(line, bytes):
        return line.count(b"{") + line.count(b"[")
    return line.count("{") + line.count("[")


def _shallow(value: object) -> bool:
    """Tell whether a value nests at most DEPTH_MAX deep, without recursion."""
    level: list[object] = [value]
    for _ in range(DEPTH_MAX):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return True
    return False


def json_text(value: object) -> str:
    """Return a value that was read as JSON text again, its numbers as they were written."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Number):
        return value.text
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        members = (f"{json.dumps(key)}:{json_text(item)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    return json.dumps(value)


def fault_text(identity: str, fault: Fault) -> str:
    """Return the answer of a line that has none (rule 4); `identity` is JSON text."""
    error = json.dumps(
        {"code": fault.code.value, "path": fault.path, "message": fault.message},
        separators=(",", ":"),
    )
    return f'{{"id":{identity},"error":{error}}}'
