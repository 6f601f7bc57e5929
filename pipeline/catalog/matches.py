"""Matches: facts that a reversal's original stands in the log, or that it has another payload.

Owns: what a match says, in a fact's body.
Does not own: finding originals (replay/matching.py), what a match does (book/reversing.py).
Law: a match names positions alone; what stands there is the log's to say.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, cast

from pipeline.catalog.facts import FactKind, NewFact
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json

MATCHES_A_FACT = 1_000


class EventPlace(NamedTuple):
    """Where an event stands in its partition: the offset of its message, its place in there."""

    offset: int
    place: int

    def __str__(self) -> str:
        """Return it as facts have it."""
        return f"{self.offset}:{self.place}"


@dataclass(frozen=True, slots=True)
class Match:
    """A reversal and its original, whose value stands at `scale` in the log.

    `conflict`: the original has another payload, so that nothing is taken off.
    """

    reversal: EventPlace
    original: EventPlace
    scale: int
    conflict: bool = False


Matches = tuple[int, str]
"""(serial of the fact, its text)."""

_ONE = re.compile(r"(\d+):(\d+)([=!])(\d+):(\d+)\*(\d+)")


def match_facts(partition: int, matches: Iterable[Match]) -> list[NewFact]:
    """Return the facts that tell matches of a partition."""
    ordered = sorted(matches, key=lambda match: match.reversal)
    found = []
    for start in range(0, len(ordered), MATCHES_A_FACT):
        few = ordered[start : start + MATCHES_A_FACT]
        body: dict[str, Json] = {"partition": partition, "matches": " ".join(map(_text, few))}
        found.append(NewFact(FactKind.MATCH, f"{partition}/{few[0].reversal}", body))
    return found


def _text(match: Match) -> str:
    sign = "!" if match.conflict else "="
    return f"{match.reversal}{sign}{match.original}*{match.scale}"


def matches_in(text: str) -> list[Match]:
    """Return what the text of a fact tells.

    Raises:
        BrokenInvariant: it is no such text.

    """
    found = []
    for word in text.split():
        told = _ONE.fullmatch(word)
        if told is None:
            raise BrokenInvariant(f"{word!r} is no match of a reversal")
        first, place, sign, original, at, scale = told.groups()
        found.append(
            Match(
                EventPlace(int(first), int(place)),
                EventPlace(int(original), int(at)),
                int(scale),
                sign == "!",
            )
        )
    return found


def moved_matches(matches: Iterable[tuple[int, Match]]) -> dict[str, Json]:
    """Return the body of a fact that tells matches of several partitions: of a copied log."""
    told: dict[int, list[Match]] = {}
    for partition, match in matches:
        told.setdefault(partition, []).append(match)
    bodies: list[Json] = [
        {"partition": partition, "matches": " ".join(map(_text, few))}
        for partition, few in sorted(told.items())
    ]
    return {"copied": bodies}


def told_by(serial: int, body: Mapping[str, Json]) -> list[tuple[int, Matches]]:
    """Return the partitions that a fact's body is about, and what it tells of each."""
    bodies = cast("list[Mapping[str, Json]]", body.get("copied", [body]))
    return [(cast(int, e["partition"]), (serial, cast(str, e["matches"]))) for e in bodies]


def named_between(told: Sequence[Matches], after: int, until: int) -> list[Match]:
    """Return the matches of facts with after < serial <= until, in order."""
    first, end = (bisect_right(told, serial, key=itemgetter(0)) for serial in (after, until))
    return [match for _, text in told[first:end] for match in matches_in(text)]
