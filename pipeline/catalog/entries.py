"""Entries: lists of a sheet, each entry under an id of its own.

Owns: reading such a list.  Does not own: what an entry holds (sheet.py, subscription_entries.py).
"""

from collections.abc import Callable
from typing import TypeVar

from pipeline.catalog.fields import parse_id
from pipeline.catalog.yaml import Entry

T = TypeVar("T")


def read_list(top: Entry, key: str, read: Callable[[Entry, str], T | None]) -> tuple[T, ...]:
    """Read a list of entries, each under an id of its own; those with a problem are left out."""
    found = []
    lines: dict[str, int] = {}
    for entry in top.items(key):
        before = len(entry.problems)
        name = entry.needed("id", parse_id, "")
        if name in lines:
            entry.note("id", f"{name} stands on line {lines[name]} already: rename or remove one")
        elif name:
            lines[name] = entry.line
        item = read(entry, name)
        if item is not None and len(entry.problems) == before:
            found.append(item)
    return tuple(found)
