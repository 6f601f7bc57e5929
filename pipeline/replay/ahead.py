"""Ahead: what a payer's documents carry of fees in advance once a diff has its notes.

Owns: where a note alone does not tell it, so that its fact does: of a fee that no document billed,
or that one gave back, a line says an amount, but not whether the next invoice bills it anew.
Does not own: which notes there are (applying.py), what is carried (invoice/planned.py).
Law: once the notes of a diff are made, what is carried of their fees is what the replay carries.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from operator import attrgetter
from typing import cast

from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import Instant
from pipeline.invoice.fees import NOWHERE, Reach
from pipeline.invoice.history import with_cut
from pipeline.invoice.lines import Line, LineKey
from pipeline.invoice.notes import Record
from pipeline.invoice.planned import Carried, carried_told, is_ahead, put_right
from pipeline.replay.diff import Pair, Selection
from pipeline.replay.next_invoice import Place


class Elsewhere(ValueError):
    """What is carried of a fee follows from documents that were not compared."""


def with_ahead(
    wanted: Sequence[Decision],
    pairs: Iterable[Pair],
    selection: Selection,
    decided: Iterable[Decision],
    carried: Mapping[Place, Carried],
) -> list[Decision]:
    """Return decisions of which the last of a place says what is carried of its fees then.

    `decided` are all there were, `carried` is what documents carry before.

    Raises:
        Elsewhere: that does not follow from the pairs; of the document that it names.

    """
    repricings = {each.fact: each for each in decided if each.kind is FactKind.REPRICING}
    compared = defaultdict[Place, list[Pair]](list)
    for pair in sorted(pairs, key=attrgetter("order")):
        told = cast(Record, pair.before or pair.after)
        compared[pair.customer, str(told["currency"])].append(pair)
    of_place = defaultdict[Place, list[Decision]](list)
    for each in wanted:
        if any(map(is_ahead, _lines(each))):
            of_place[each.payer, each.currency].append(each)
    told_by = {}
    for place, own in of_place.items():
        found = _told(own, compared[place], selection, repricings, carried.get(place, {}))
        if found:
            told_by[own[-1].document] = carried_told(found)
    return [
        replace(each, change={**(each.change or {}), "ahead": told_by[each.document]})
        if each.document in told_by
        else each
        for each in wanted
    ]


def _told(
    own: Sequence[Decision],
    pairs: Sequence[Pair],
    selection: Selection,
    repricings: Mapping[str, Decision],
    carried: Carried,
) -> Carried:
    """Return what is carried of fees where it is not what notes put right by themselves."""
    stands = _carried([(pair, pair.before) for pair in pairs], repricings)
    wanted = _carried(
        [(pair, pair.after if selection.holds(pair) else pair.before) for pair in pairs],
        repricings,
    )
    noted = reduce(lambda reached, each: put_right(reached, {}, each.change), own, carried)
    found: dict[tuple[str, str], Reach] = {}
    for each in own:
        for key in (LineKey.of_line(line) for line in _lines(each) if is_ahead(line)):
            source = key.subscription, key.price
            if _ahead(noted, source) == _ahead(wanted, source):
                continue
            if _ahead(carried, source) != _ahead(stands, source):
                raise Elsewhere(each.document)
            found[source] = wanted.get(source, NOWHERE)
    return found


def _carried(
    contents: Iterable[tuple[Pair, Record | None]], repricings: Mapping[str, Decision]
) -> Carried:
    """Return what documents carry, in their order, with the notes of diffs."""
    carried: Carried = {}
    for _, cut in groupby(contents, key=lambda each: each[0].order):
        beside = [content for _, content in cut if content is not None]
        carried = with_cut(carried, beside, lambda note: repricings.get(str(note["cause"])))
    return carried


def _ahead(carried: Carried, source: tuple[str, str]) -> list[tuple[Instant, Instant, int, int]]:
    """Return the stretches that are billed ahead, and what each comes to."""
    fees = carried.get(source, NOWHERE).ahead
    return [(fee.start, fee.end, fee.amount_minor, fee.discount_minor) for fee in fees]


def _lines(decided: Decision) -> Sequence[Line]:
    return cast(list[Line], (decided.change or {}).get("lines", []))
