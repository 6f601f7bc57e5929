"""YAML: a text as a tree in which every scalar is a string and every place has a line.

Owns: which YAML is read (no tags, no repeated keys, bounded), problems with path and line,
typed reads of one mapping.  Does not own: what the keys mean (sheet.py).
Law: nothing raises; what is returned beside a problem is a stand-in and is thrown away.

Built from parser events, not by PyYAML's composer: a deep nest would end the process there.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, assert_never

import yaml

from pipeline.core.identity import Json

TEXT_CHARS_MAX = 16 << 20
"""Characters of one sheet."""
NODES_MAX = 1_000_000
"""Keys and values of one sheet, every alias written out."""
DEPTH_MAX = 32
"""Lists and mappings inside one another, every alias written out."""
SHOWN_CHARS_MAX = 50
"""Characters of the sheet that a message repeats."""

T = TypeVar("T")

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(
    {None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))}
)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a sheet: where (path and line of the file), and how to mend it."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """Return one line for a person."""
        place = f"line {self.line}: {self.path}: " if self.path else f"line {self.line}: "
        return place + self.message


@dataclass(frozen=True, slots=True)
class _Node:
    """A place: its line; its size and depth with every alias written out."""

    line: int
    size: int
    depth: int


@dataclass(frozen=True, slots=True)
class Scalar(_Node):
    """A string, or None for null."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Items(_Node):
    """A list."""

    items: tuple["Value", ...]


@dataclass(frozen=True, slots=True)
class Members(_Node):
    """A mapping, and the line of each key."""

    members: dict[str, "Value"]
    key_lines: dict[str, int]


Value: TypeAlias = Scalar | Items | Members


def shown(text: str) -> str:
    """Return a short, safe picture of a text for a message."""
    return repr(text[:SHOWN_CHARS_MAX]) + ("..." if len(text) > SHOWN_CHARS_MAX else "")


def compose(text: str) -> tuple[Value, list[Problem]]:
    """Return the tree of a text, and what is wrong with it as YAML."""
    nothing = Scalar(1, 1, 0, None)
    if len(text) > TEXT_CHARS_MAX:
        message = f"more than {TEXT_CHARS_MAX} characters: split the sheet"
        return nothing, [Problem("", 1, message)]
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        message = f"the character U+{ord(bad[0]):04X} cannot stand in YAML: remove it"
        return nothing, [Problem("", line, message)]
    builder = _Builder(text)
    try:
        return builder.document() or nothing, builder.problems
    except _Refused as refused:
        return nothing, [*builder.problems, refused.problem]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"no YAML, {error.problem or error.context}: mend the syntax here or just above"
        line = min(mark.line if mark else 0, text.count("\n")) + 1  # the end is behind the last
        return nothing, [*builder.problems, Problem("", line, message)]


class _Refused(Exception):
    """The tree cannot be built any further; carries the problem."""

    def __init__(self, path: str, line: int, message: str) -> None:
        """Hold the problem."""
        super().__init__(message)
        self.problem = Problem(path, line, message)


class _Builder:
    """Builds one tree, children before parents."""

    def __init__(self, text: str) -> None:
        """Stand before the first event."""
        self.problems: list[Problem] = []
        self._anchors: dict[str, Value] = {}
        self._count = 0
        loader = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=loader))

    def document(self) -> Value | None:
        """Return the one document; None where the text has none."""
        root: Value | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _Refused(
                        "", _line(event), "a second document: a sheet has one, cut `---`"
                    )
                root = self._value(next(self._events), "", 0)
        return root

    def _value(self, event: yaml.Event, path: str, depth: int) -> Value:
        line = _line(event)
        self._count += 1
        if self._count > NODES_MAX:
            raise _Refused(path, line, f"more than {NODES_MAX} keys and values: split the sheet")
        if depth > DEPTH_MAX:
            raise _Refused(path, line, f"nested deeper than {DEPTH_MAX}: flatten it")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), path, line)
        tag = getattr(event, "tag", None)
        if tag not in _PLAIN_TAGS:
            name = str(tag).replace("tag:yaml.org,2002:", "!!")
            self._note(path, line, f"the tag {shown(name)} is not read: remove it, quote the value")
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            null = not event.style and tag is None and event.value in _NULLS
            value = Scalar(line, 1, 0, None if null else event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._items(path, line, depth)
        else:
            value = self._members(path, line, depth)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = value
        return value

    def _alias(self, anchor: str, path: str, line: int) -> Value:
        if anchor not in self._anchors:
            self._note(path, line, f"no anchor &{anchor} ends before this alias: write it out")
        return self._anchors.get(anchor, Scalar(line, 1, 0, None))

    def _items(self, path: str, line: int, depth: int) -> Items:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, f"{path}[{len(items)}]", depth + 1))
        return Items(*self._measured(path, line, items), tuple(items))

    def _members(self, path: str, line: int, depth: int) -> Members:
        members: dict[str, Value] = {}
        key_lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key_line, key = _line(event), self._value(event, path, depth + 1)
            name = key.text or "" if isinstance(key, Scalar) else ""
            place = joined(path, name)
            value = self._value(next(self._events), place, depth + 1)
            if not name:
                self._note(path, key_line, "a key must be a word: lists, mappings, null are none")
            elif name in members:
                first = key_lines[name]
                self._note(place, key_line, f"this key stands on line {first} already: remove one")
            else:
                members[name], key_lines[name] = value, key_line
        return Members(*self._measured(path, line, list(members.values())), members, key_lines)

    def _measured(self, path: str, line: int, inside: list[Value]) -> tuple[int, int, int]:
        """Return line, size and depth: an alias counts as what it stands for."""
        size = 1 + sum(value.size for value in inside)
        depth = 1 + max((value.depth for value in inside), default=0)
        if size > NODES_MAX:
            message = f"more than {NODES_MAX} keys and values with aliases written out"
            raise _Refused(path, line, f"{message}: use fewer aliases")
        if depth > DEPTH_MAX:
            raise _Refused(path, line, f"nested deeper than {DEPTH_MAX} by aliases: flatten it")
        return line, size, depth

    def _note(self, path: str, line: int, message: str) -> None:
        self.problems.append(Problem(path, line, message))


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1


def empty(line: int) -> Members:
    """Return a mapping of nothing."""
    return Members(line, 1, 0, {}, {})


def joined(path: str, key: str) -> str:
    """Return the path of a key below a path."""
    short = key[:SHOWN_CHARS_MAX]
    short = short if short.isprintable() else repr(short)
    return f"{path}.{short}" if path and short else path or short


def line_at(value: Value, path: str) -> int:
    """Return the line of a path, or of the nearest place above it that the file has."""
    for name, index in _STEP.findall(path):
        if isinstance(value, Members) and name in value.members:
            value = value.members[name]
        elif isinstance(value, Items) and index and int(index) < len(value.items):
            value = value.items[int(index)]
        else:
            break
    return value.line


def as_json(value: Value) -> Json:
    """Return the plain value: strings, null, lists and dictionaries."""
    match value:
        case Scalar():
            return value.text
        case Items():
            return [as_json(item) for item in value.items]
        case Members():
            return {name: as_json(item) for name, item in value.members.items()}
        case _:
            assert_never(value)


class Entry:
    """One mapping of a sheet, read key by key; problems go to a list the sheet shares."""

    __slots__ = ("_at", "_opened", "path", "problems")

    def __init__(self, value: Value, path: str, problems: list[Problem]) -> None:
        """Open a mapping; anything else is one problem, and lacks nothing besides."""
        self.path = path
        self.problems = problems
        self._at = value if isinstance(value, Members) else empty(value.line)
        self._opened = self._at is value
        if not self._opened:
            problems.append(Problem(path, value.line, "must be a mapping: write `key: value` here"))

    @property
    def line(self) -> int:
        """The line that the mapping starts on."""
        return self._at.line

    def value(self, key: str) -> Value | None:
        """Return what stands at a key; None where absent or null."""
        value = self._at.members.get(key)
        return None if isinstance(value, Scalar) and value.text is None else value

    def word(self, key: str) -> str:
        """Return the text of a scalar as it stands; none is empty."""
        value = self.value(key)
        return value.text or "" if isinstance(value, Scalar) else ""

    def words(self, key: str) -> list[str]:
        """Return the texts of a list of scalars as they stand."""
        value = self.value(key)
        items = value.items if isinstance(value, Items) else ()
        return [item.text for item in items if isinstance(item, Scalar) and item.text]

    def note(self, key: str, message: str) -> None:
        """Note a problem at a path below, on the line of its value or the nearest above it."""
        line = line_at(self._at, key) if self.value(_STEP.findall(key)[0][0]) else self.line
        self.problems.append(Problem(joined(self.path, key), line, message))

    def close(self, *known: str) -> None:
        """Note every key that nobody reads."""
        for key, line in self._at.key_lines.items():
            if key not in known:
                message = f"nobody reads this key: remove it, or use {', '.join(known)}"
                self.problems.append(Problem(joined(self.path, key), line, message))

    def needed(self, key: str, parse: Callable[[str], T], stand_in: T) -> T:
        """Return what `parse` makes of a required scalar; its ValueError becomes a problem."""
        if self.value(key) is None:
            self.missing(key)
            return stand_in
        return self.optional(key, parse, stand_in)

    def missing(self, key: str) -> None:
        """Note that a required key is not there."""
        if self._opened:
            self.note(key, f"required, but absent or empty: add {key}")

    def optional(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """Return what `parse` makes of a scalar; the default where it is absent or null."""
        value = self.value(key)
        if value is None:
            return default
        if not isinstance(value, Scalar) or value.text is None:
            self.note(key, "must be one value, not a list or mapping: write it behind the colon")
            return default
        try:
            return parse(value.text)
        except ValueError as error:
            self.note(key, str(error))
            return default

    def items(self, key: str) -> list["Entry"]:
        """Return an optional list of mappings."""
        return [
            Entry(item, f"{joined(self.path, key)}[{index}]", self.problems)
            for index, item in enumerate(self._list(key))
        ]

    def texts(self, key: str, parse: Callable[[str], T]) -> list[T]:
        """Return an optional list of scalars, each parsed; those with a problem are left out."""
        found = []
        for index, item in enumerate(self._list(key)):
            path = f"{joined(self.path, key)}[{index}]"
            try:
                if not isinstance(item, Scalar) or item.text is None:
                    raise ValueError("must be one value: write a word here")
                found.append(parse(item.text))
            except ValueError as error:
                self.problems.append(Problem(path, item.line, str(error)))
        return found

    def filled(self) -> list[str]:
        """Return the keys that hold anything, in the order of the file."""
        return [key for key in self._at.members if self.value(key) is not None]

    def inner(self, key: str) -> "Entry | None":
        """Return an optional mapping."""
        value = self.value(key)
        return None if value is None else Entry(value, joined(self.path, key), self.problems)

    def _list(self, key: str) -> tuple[Value, ...]:
        value = self.value(key)
        if value is None:
            return ()
        if not isinstance(value, Items):
            self.note(key, "must be a list: start each entry with `- `")
            return ()
        return value.items
