"""Subscription entries: what a sheet agrees with a customer, entry by entry.

Owns: every check that one entry alone can answer: its times in order, nothing agreed in vain.
Does not own: plans and prices that it names (agreements.py), what was billed (edits.py).
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise

from pipeline.catalog import shape
from pipeline.catalog.cards import read_card
from pipeline.catalog.entries import read_list
from pipeline.catalog.fields import (
    parse_amount,
    parse_anchor,
    parse_currency,
    parse_id,
    parse_item,
    parse_moment,
)
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.subscriptions import AddOn, Change, Pause, Quantities, Subscription
from pipeline.catalog.threshold_entries import read_thresholds
from pipeline.catalog.yaml import Entry
from pipeline.core.calendar import EARLIEST, Duration, Instant

_ANY_CYCLE = Duration(1, 0, 0)
"""A price is held against the cycles it is billed in once its plan is known (agreements.py)."""


def read_subscription(entry: Entry, name: str) -> Subscription:
    """Return a subscription, or one to be thrown away beside its problems."""
    entry.close(*shape.SUBSCRIPTION.keys)
    start = entry.needed("start", parse_moment, EARLIEST)
    end = entry.optional("end", parse_moment, None)
    if end is not None and end < start:
        entry.note(
            "end", "lies before the start: choose a later end, or the start itself to void it"
        )
    trial_end = entry.optional("trial_end", parse_moment, None)
    if trial_end is not None and trial_end < start:
        entry.note("trial_end", "lies before the start: choose the start itself for no trial")
    return Subscription(
        id=name,
        customer=entry.needed("customer", parse_id, ""),
        plan=entry.needed("plan", parse_id, ""),
        start=start,
        end=end,
        anchor=entry.optional("anchor", parse_anchor, None),
        trial_end=trial_end,
        quantities=_quantities(entry),
        prices=_prices(entry),
        changes=_changes(entry, start),
        pauses=_pauses(entry, start),
        add_ons=read_list(entry, "add_ons", partial(_add_on, start=start)),
        currency=entry.optional("currency", parse_currency, None),
        thresholds=read_thresholds(entry),
    )


def _changes(entry: Entry, start: Instant) -> tuple[Change, ...]:
    found: list[Change] = []
    for item in entry.items("changes"):
        item.close(*shape.CHANGE.keys)
        change = Change(
            item.needed("at", parse_moment, EARLIEST),
            item.optional("plan", parse_id, None),
            _quantities(item),
            _prices(item),
        )
        last = found[-1].at if found else start
        if item.value("at") is not None and change.at <= last:
            behind = "the change before it" if found else "the start"
            item.note("at", f"not after {behind}: sort changes by time, one for each instant")
        if len(item.filled()) == 1:
            item.note("at", "changes nothing: add plan, quantities or prices, or remove it")
        found.append(change)
    return tuple(found)


def _pauses(entry: Entry, start: Instant) -> tuple[Pause, ...]:
    found: list[Pause] = []
    items = entry.items("pauses")
    for item in items:
        item.close(*shape.PAUSE.keys)
        pause = Pause(
            item.needed("start", parse_moment, EARLIEST), item.optional("end", parse_moment, None)
        )
        if pause.end is not None and pause.end <= pause.start:
            item.note("end", "not after the start of the pause: choose a later one, or remove both")
        if item.value("start") is not None and pause.start < start:
            item.note("start", "lies before the subscription: choose a later start")
        found.append(pause)
    for item, (before, pause) in zip(items[1:], pairwise(found), strict=True):
        if before.end is None or pause.start < before.end:
            item.note("start", "the pause before it is not over: end that first, sort by time")
    return tuple(found)


def _add_on(entry: Entry, name: str, start: Instant) -> AddOn:
    entry.close(*shape.ADD_ON.keys)
    begun = entry.needed("start", parse_moment, EARLIEST)
    end = entry.optional("end", parse_moment, None)
    if entry.value("start") is not None and begun < start:
        entry.note("start", "lies before the subscription: choose a later start")
    if end is not None and end < begun:
        entry.note("end", "lies before its start: choose a later end, or its start to void it")
    return AddOn(name, entry.needed("plan", parse_id, ""), begun, end)


def _quantities(entry: Entry) -> Quantities:
    told = entry.inner("quantities")
    found: dict[str, Fraction] = {}
    if told is None:
        return found
    for key in told.filled():
        try:
            item = parse_item(key)
        except ValueError as error:
            told.note(key, str(error))
            continue
        found[item] = told.needed(key, parse_amount, Fraction(0))
    return found


def _prices(entry: Entry) -> tuple[PlanPrice, ...]:
    card = partial(read_card, cycle=_ANY_CYCLE, currency="", meters={})
    found: Sequence[PlanPrice] = read_list(entry, "prices", card)
    return tuple(found)
