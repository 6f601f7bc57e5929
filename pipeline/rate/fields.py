"""Fields: a JSON object being read, every fault noted with its path.

Owns: the number grammar of rule 2, null means absent and unknown keys (rule 3).
Does not own: text to JSON (jsonline.py), or what the values mean.
Law: reading never raises; what is returned after a fault is a stand-in and is thrown away.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

from pipeline.core.quantity import from_mantissa, plain_mantissa
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.limits import NUMBER_DIGITS_MAX, SHOWN_CHARS_MAX
from pipeline.rate.lines import ONE, ZERO

Word = TypeVar("Word", bound=StrEnum)

_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)


class Repeated(dict[str, object]):
    """A JSON object in which a key stood twice; `key` names the first such key."""

    __slots__ = ("key",)

    def __init__(self, members: Mapping[str, object], key: str) -> None:
        """Keep the members (the last of a repeated key) and the name."""
        super().__init__(members)
        self.key = key

    def __repr__(self) -> str:
        """Return a text no sound object has: prices are remembered by theirs."""
        return f"Repeated({self.key!r}, {super().__repr__()})"


def plain_number(text: str) -> Fraction | None:
    """Return the number that a plain decimal string names, or None (rule 2)."""
    return None if len(text) > NUMBER_DIGITS_MAX + 2 else _plain_number(text)


@lru_cache(maxsize=8192)
def _plain_number(text: str) -> Fraction | None:
    plain = plain_mantissa(text)
    if plain is not None:
        return from_mantissa(*plain)
    if not _PLAIN.fullmatch(text):
        return None
    whole, _, decimals = text.partition(".")
    if len(whole.lstrip("-")) + len(decimals) > NUMBER_DIGITS_MAX:
        return None
    return Fraction(int(whole + decimals), 10 ** len(decimals))


def shown(value: object) -> str:
    """Return a short, safe picture of any input for a message."""
    if isinstance(value, str):
        cut = "..." if len(value) > SHOWN_CHARS_MAX else ""
        return repr(value[:SHOWN_CHARS_MAX]) + cut
    if isinstance(value, bool):
        return "a JSON boolean"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else "a JSON number"


class Fields:
    """One JSON object: typed reads by key; faults go to a list shared by the document."""

    __slots__ = ("_members", "faults", "opened", "path")

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        """Open an object at a path; anything else is a fault and reads as empty."""
        self.path = path
        self.faults = faults
        self.opened = isinstance(value, dict)
        self._members: Mapping[str, object] = {}
        if not isinstance(value, dict):
            faults.append(Fault(FaultCode.WRONG_TYPE, path, f"{shown(value)} is no object"))
            return
        self._members = value
        if isinstance(value, Repeated):
            self.note(FaultCode.DUPLICATE_KEY, value.key[:SHOWN_CHARS_MAX], "the key stands twice")

    def at(self, key: str) -> str:
        """Return the path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def note(self, code: FaultCode, key: str, message: str) -> None:
        """Note a fault at a key."""
        self.faults.append(Fault(code, self.at(key), message))

    def close(self, known: frozenset[str], elsewhere: frozenset[str] = frozenset()) -> None:
        """Note unknown keys; keys that a sibling shape knows may be null (rule 3)."""
        if self._members.keys() <= known:
            return
        for key, value in self._members.items():
            if key not in known and not (value is None and key in elsewhere):
                self.note(FaultCode.UNKNOWN_KEY, key[:SHOWN_CHARS_MAX], "nobody reads this key")

    def has(self, key: str) -> bool:
        """Tell whether a key is there and not null."""
        return self._members.get(key) is not None

    @property
    def names(self) -> Iterable[str]:
        """Every key there is."""
        return self._members.keys()

    def value(self, key: str) -> object:
        """Return whatever stands at a key; None where absent."""
        return self._members.get(key)

    def number(self, key: str, *, signed: bool = True, positive: bool = False) -> Fraction | None:
        """Return an optional number; not `signed` refuses negatives, `positive` also zero."""
        value = self._members.get(key)
        if value is None:
            return None
        return self._checked(key, value, signed=signed, positive=positive)

    def _checked(self, key: str, value: object, *, signed: bool, positive: bool) -> Fraction:
        number = plain_number(value) if isinstance(value, str) else None
        if number is None:
            self.note(
                FaultCode.BAD_NUMBER,
                key,
                f"{shown(value)} is not a plain decimal string"
                f" of at most {NUMBER_DIGITS_MAX} digits",
            )
            return ONE
        if positive and number.numerator <= 0:
            self.note(FaultCode.NOT_POSITIVE, key, f"{shown(value)} is not above zero")
            return ONE
        if not signed and number.numerator < 0:
            self.note(FaultCode.NEGATIVE, key, f"{shown(value)} is below zero")
            return ZERO
        return number

    def needed(self, key: str, *, positive: bool = False) -> Fraction:
        """Return a required number."""
        value = self._members.get(key)
        if value is None:
            self.note(FaultCode.MISSING, key, "required, but absent or null")
            return ONE
        return self._checked(key, value, signed=True, positive=positive)

    def count(self, key: str) -> int | None:
        """Return an optional whole number from 0, written as a string (rule 2)."""
        value = self._members.get(key)
        if value is None:
            return None
        if isinstance(value, str) and "." in value:
            self.note(FaultCode.BAD_NUMBER, key, f"{shown(value)} is not a whole number")
            return 0
        return self._checked(key, value, signed=False, positive=False).numerator

    def text(self, key: str) -> str | None:
        """Return a required string, or None after a fault."""
        value = self._members.get(key)
        if value is None:
            self.note(FaultCode.MISSING, key, "required, but absent or null")
            return None
        if not isinstance(value, str):
            self.note(FaultCode.WRONG_TYPE, key, f"{shown(value)} is no string")
            return None
        return value

    def word(self, key: str, words: type[Word], default: Word) -> Word:
        """Return one of a closed set of words."""
        value = self._members.get(key)
        if value is None:
            return default
        for word in words:
            if word.value == value:
                return word
        self.choice(key, value, [word.value for word in words])
        return default

    def choice(self, key: str, value: object, words: Iterable[str]) -> None:
        """Note that a value is none of the words that may stand at a key."""
        self.note(FaultCode.BAD_CHOICE, key, f"{shown(value)} is none of {', '.join(words)}")

    def items(self, key: str, count_max: int) -> list[object]:
        """Return an optional list, empty where absent."""
        value = self._members.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.note(FaultCode.WRONG_TYPE, key, f"{shown(value)} is no list")
            return []
        if len(value) > count_max:
            self.note(FaultCode.TOO_LARGE, key, f"{len(value)} entries; at most {count_max}")
            return []
        return value

    def objects(self, key: str, count_max: int) -> list["Fields"]:
        """Return an optional list of objects."""
        return [
            Fields(item, f"{self.at(key)}[{index}]", self.faults)
            for index, item in enumerate(self.items(key, count_max))
        ]

    def texts(self, key: str, count_max: int) -> tuple[str, ...]:
        """Return an optional list of strings."""
        found = []
        for index, item in enumerate(self.items(key, count_max)):
            if isinstance(item, str):
                found.append(item)
            else:
                self.note(FaultCode.WRONG_TYPE, f"{key}[{index}]", f"{shown(item)} is no string")
        return tuple(found)

    def numbers(self, key: str, count_max: int) -> tuple[Fraction, ...]:
        """Return an optional list of numbers from 0."""
        return tuple(
            self._checked(f"{key}[{index}]", item, signed=False, positive=False)
            for index, item in enumerate(self.items(key, count_max))
        )
