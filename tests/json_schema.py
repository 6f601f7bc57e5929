"""JSON Schema as far as ours goes: a keyword that is not known here is an error, not a pass."""

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_TOLD = {"$schema", "title", "description"}


def faults(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Yield where and by which keyword a value is refused."""
    for keyword, wanted in schema.items():
        if keyword not in _TOLD:
            yield from _RULES[keyword](schema, wanted, value, path)


def _type(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    names = wanted if isinstance(wanted, list) else [wanted]
    if not any(isinstance(value, _TYPES[name]) for name in names):
        yield f"{path}: type"


def _properties(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    for key, inner in wanted.items():
        if isinstance(value, dict) and key in value:
            yield from faults(inner, value[key], f"{path}.{key}")


def _required(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict) and not value.keys() >= set(wanted):
        yield f"{path}: required"


def _additional(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for key in value.keys() - schema.get("properties", {}).keys():
        if wanted is False:
            yield f"{path}.{key}: additionalProperties"
        else:
            yield from faults(wanted, value[key], f"{path}.{key}")


def _names(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    for key in value if isinstance(value, dict) else ():
        yield from faults(wanted, key, f"{path}.{key}")


def _items(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    for place, item in enumerate(value if isinstance(value, list) else ()):
        yield from faults(wanted, item, f"{path}[{place}]")


def _any_of(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    if all([*faults(inner, value)] for inner in wanted):
        yield f"{path}: anyOf"


def _enum(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    if value not in wanted:
        yield f"{path}: enum"


def _pattern(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str) and not re.search(wanted, value):
        yield f"{path}: pattern"


def _bound(kind: type, least: bool) -> Any:
    def rule(schema: Any, wanted: Any, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, kind) and (
            len(value) < wanted if least else len(value) > wanted  # type: ignore[arg-type]
        ):
            yield f"{path}: length"

    return rule


_RULES: dict[str, Any] = {
    "type": _type,
    "properties": _properties,
    "required": _required,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "anyOf": _any_of,
    "enum": _enum,
    "pattern": _pattern,
    "maxLength": _bound(str, least=False),
    "minItems": _bound(list, least=True),
    "maxItems": _bound(list, least=False),
}
