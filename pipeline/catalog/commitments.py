"""Commitments: a flat price that covers others is the least that these come to in a period.

Owns: which prices one covers, what a sheet may say of it.
Does not own: what the prices come to, and what of the least they lack (invoice/commitments.py).
Law: a commitment without a fault here can be worked out, whatever is used and agreed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from pipeline.catalog.fields import parse_id
from pipeline.catalog.rate_cards import COVERS_ALL, PlanPrice
from pipeline.catalog.yaml import Entry, Items, Members, Scalar, shown
from pipeline.rate import FlatPrice

_FREE = ("discounts", "maximum", "minimum", "payment_term")
"""The terms that a commitment has no use for."""


def read_covers(entry: Entry) -> tuple[str, ...] | None:
    """Return the prices that one covers, none for all; None where it is no commitment."""
    value = entry.value("covers")
    if value is None:
        return None
    if isinstance(value, Scalar):
        if value.text != COVERS_ALL:
            entry.note("covers", f"must be a list of prices, or {COVERS_ALL}: write one of them")
        return ()
    named = entry.texts("covers", parse_id)
    for twice in sorted({each for each in named if named.count(each) > 1}):
        entry.note("covers", f"{shown(twice)} stands here twice: remove one")
    if isinstance(value, Items) and not value.items:
        entry.note("covers", f"names no price: name one, or write {COVERS_ALL}")
    return tuple(named)


def term_faults(card: PlanPrice, given: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield what of a commitment's card it has no use for, by key; `given` are its keys."""
    if card.covers is None:
        return
    if not isinstance(card.price, FlatPrice):
        told = "a commitment is an amount of money, which the usage of others comes to"
        yield "price.type", f"{told}: use flat, or remove covers"
    elif card.price.amount <= 0:
        yield "price.amount", "a commitment to nothing: write a number above 0"
    for key in _FREE:
        if key in given:
            told = "a commitment is the least of a period, due at its end"
            yield key, f"{told}: remove {key}, or covers"


def note_uncovered(entry: Entry) -> None:
    """Note the prices of a plan, or a phase, that its commitments cover and that are not there.

    They are read as they stand: a price with a problem of its own is there all the same.
    """
    value = entry.value("prices")
    if not isinstance(value, Items):
        return
    cards = [
        Entry(item, f"prices[{place}]", [])
        for place, item in enumerate(value.items)
        if isinstance(item, Members)
    ]
    known = {card.word("id"): card.value("covers") is not None for card in cards}
    for card in cards:
        covers = card.value("covers")
        if covers is None:
            continue
        named = None if isinstance(covers, Scalar) else card.words("covers")
        for fault in uncovered(card.word("id"), named, known):
            entry.note(f"{card.path}.covers", fault)


def uncovered(own: str, named: Iterable[str] | None, known: Mapping[str, bool]) -> Iterator[str]:
    """Yield why a commitment cannot cover what it names (None: all), where these prices are."""
    others = [name for name, commits in known.items() if not commits and name != own]
    choice = f"use one of {', '.join(others)}" if others else "add one"
    if named is None and not others:
        yield "there is no other price that it could cover: add one, or remove covers"
    for name in named or ():
        if name not in known:
            yield f"there is no price {shown(name)} beside it: {choice}"
        elif known[name]:
            yield f"{shown(name)} is a commitment, and none counts for another: {choice}"


def agreed_faults(
    card: PlanPrice, before: PlanPrice | None, beside: Iterable[PlanPrice]
) -> Iterator[str]:
    """Yield why a card cannot take the place of one of the same id, with those beside it."""
    if before is not None and (card.covers is None) != (before.covers is None):
        kinds = ("a fee", "a commitment") if before.covers is None else ("a commitment", "a fee")
        yield f"{card.id} is {kinds[0]} in force, and never {kinds[1]}: use another id"
    elif card.covers is not None:
        known = {each.id: each.covers is not None for each in beside}
        yield from uncovered(card.id, card.covers or None, known)
