"""Schema: the words that shapes are written in, as JSON Schema.

Owns: what a text, a number, an instant of a sheet looks like to an editor.
Does not own: which keys there are (shape.py, card_shapes.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.fields import ID_CHARS_MAX, ID_PATTERN, TEXT_CHARS_MAX
from pipeline.core.identity import Json
from pipeline.rate.limits import NUMBER_DIGITS_MAX

Schema = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Shape:
    """One mapping of a sheet: the schema of each key, in the order that messages name them."""

    members: Mapping[str, Schema]
    required: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are read."""
        return tuple(self.members)

    def schema(self) -> Schema:
        """Return the schema of the mapping; what is not required may be null."""
        properties: dict[str, Json] = {
            key: member if key in self.required else or_null(member)
            for key, member in self.members.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
            "additionalProperties": False,
        }


def or_null(schema: Schema) -> Schema:
    """Return a schema that null passes too."""
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    types = schema["type"]
    found: Schema = {**schema, "type": [*(types if isinstance(types, list) else [types]), "null"]}
    if "enum" in schema:
        found["enum"] = [*cast(list[Json], schema["enum"]), None]
    return found


def text(told: str, pattern: str, chars_max: int = TEXT_CHARS_MAX) -> Schema:
    """Return a text of a pattern."""
    return {
        "type": "string",
        "description": told,
        "pattern": f"^(?:{pattern})$",
        "maxLength": chars_max,
    }


def listed(told: str, items: Schema, **bounds: Json) -> Schema:
    """Return a list."""
    return {"type": "array", "description": told, "items": items, **bounds}


def number(told: str, pattern: str) -> Schema:
    """Return a number: a string to be exact everywhere; without quotes it is read alike."""
    return {"type": ["string", "number"], "description": told, "pattern": f"^(?:{pattern})$"}


def decimal(told: str, sign: str = "-?") -> Schema:
    """Return a decimal; `sign` is what may stand before it."""
    return {**number(told, rf"{sign}[0-9]+(?:\.[0-9]+)?"), "maxLength": NUMBER_DIGITS_MAX + 2}


def words(told: str, *words: str) -> Schema:
    """Return one of some words."""
    return {"type": "string", "description": told, "enum": list(words)}


READ = r"(?=[\s\S]*\S)[\s\S]*"
CLOCK = r"PT(?=[0-9])(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+S)?"
INSTANT = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def ident(told: str) -> Schema:
    """Return an id."""
    return text(told, ID_PATTERN, ID_CHARS_MAX)


def moment(told: str) -> Schema:
    """Return an instant."""
    return text(f"{told}: an instant with a zone, like 2026-11-01T00:00:00Z.", INSTANT)


def clock(told: str) -> Schema:
    """Return clock time."""
    return text(f"{told}: clock time, like PT15M or PT1H.", CLOCK)
