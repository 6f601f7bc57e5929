"""Crediting: what a decision takes off a document, or adds to it, split to the minor unit.

Owns: whole, by line, by quantity, by amount; what is left of a line; why more is refused.
Does not own: the note made of it (notes.py), facts (catalog/corrections.py).
Law: nothing is taken off that is not left; the notes of a line always sum to it exactly: a part
is split over children, discounts and taxes by largest remainder, and the last takes what is left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.catalog.corrections import Decision, Part
from pipeline.catalog.facts import FactKind
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.core.money import Money, allocate
from pipeline.core.quantity import exact, quantity_text, round_half_away
from pipeline.invoice.lines import Line
from pipeline.invoice.notes import (
    Change,
    Record,
    booked,
    change_of,
    children,
    difference,
    emptied,
    lines_of,
    told,
    zero,
)
from pipeline.invoice.totals import Totals


class NothingLeft(ValueError):
    """A decision asks for more of a document than is left of it."""


@dataclass(frozen=True, slots=True)
class Left:
    """A document as it stands with its notes.

    `strict`: what is not left is refused. Else what is left is taken: a decision may be overtaken
    by usage that was taken back before its note is made.
    """

    original: Record
    notes: Sequence[Record]
    strict: bool = True

    def change(self, asked: Decision) -> Change:
        """Return what a decision changes.

        Raises:
            NothingLeft: more is asked than is left, or a line that there is not.

        """
        stands = booked(self.original, self.notes)
        match asked.kind:
            case FactKind.DEBIT_NOTE:
                return self._debit(asked)
            case FactKind.VOID | FactKind.CREDIT_NOTE:
                return self._credit(stands, asked)
            case FactKind.REPRICING if asked.change is not None:
                return Change.of_json(asked.change)
            case _:
                raise BrokenInvariant(f"a {asked.kind} makes no note of one document")

    def _credit(self, stands: Record, asked: Decision) -> Change:
        if asked.amount_minor is None and not asked.parts:
            return difference(emptied(stands), stands)
        parts = asked.parts
        if asked.amount_minor is not None:
            parts = self._spread(stands, asked.amount_minor)
        change = change_of(self.original, self._parts(stands, parts), -1)
        room = max(0, _total(stands))
        if -change.totals.total > room:
            raise NothingLeft(f"{_text(room, stands)} is left of it")
        return change

    def _debit(self, asked: Decision) -> Change:
        """Return what is added: an amount as lines are made up, else what people took off."""
        amounts = tuple(part for part in asked.parts if part.amount_minor is not None)
        if asked.amount_minor is not None:
            amounts = self._spread(self.original, asked.amount_minor, bounded=False)
        if amounts:
            added = self._parts(self.original, amounts, bounded=False)
            return change_of(self.original, added, 1)
        decided = [each for each in self.notes if each["cause"] is not None]
        taken = difference(self.original, booked(self.original, decided))
        off: Record = {**self.original, "lines": [*taken.lines], "totals": taken.totals.json()}
        parts = asked.parts or tuple(Part(cast(str, line["id"])) for line in taken.lines)
        return change_of(self.original, self._parts(off, parts), 1)

    def _parts(
        self, stands: Record, asked: Sequence[Part], *, bounded: bool = True
    ) -> Iterator[Line]:
        known = {cast(str, line["id"]): line for line in lines_of(stands)}
        for part in asked:
            if part.line in known:
                yield self._part(known[part.line], part, bounded=bounded)
            elif self.strict:
                raise NothingLeft(f"nothing is left of line {part.line}, or there is no such line")

    def _part(self, line: Line, part: Part, *, bounded: bool) -> Line:
        """Return a part of a line, with its children, discounts and taxes in proportion."""
        total, counted = _total(line), exact(str(line["quantity"]))
        if part.amount_minor is not None:
            over = total <= 0 or (bounded and part.amount_minor > total)
            if over and (self.strict or total <= 0):
                raise NothingLeft(f"{_text(max(total, 0), line)} is left of line {part.line}")
            if over or part.amount_minor == total:
                return line
            return _scaled(line, Fraction(part.amount_minor, total), part.amount_minor, _NONE)
        if part.quantity is not None and part.quantity != counted:
            if 0 < part.quantity < counted:
                share = part.quantity / counted
                return _scaled(line, share, round_half_away(total * share), share)
            if self.strict:
                raise NothingLeft(f"{quantity_text(counted)} is left of line {part.line}")
        return line

    def _spread(
        self, stands: Record, amount_minor: int, *, bounded: bool = True
    ) -> tuple[Part, ...]:
        """Return the parts of an amount over all lines that charge anything, by what they do."""
        charging = [line for line in lines_of(stands) if _total(line) > 0]
        room = max(0, min(sum(map(_total, charging)), _total(stands)))
        if (bounded and self.strict and amount_minor > room) or not room:
            raise NothingLeft(f"{_text(room, stands)} is left of it")
        taken = min(amount_minor, room) if bounded else amount_minor
        shares = allocate(taken, [Fraction(_total(line)) for line in charging])
        return tuple(
            Part(cast(str, line["id"]), amount_minor=share)
            for line, share in zip(charging, shares, strict=True)
            if share
        )


_NONE = Fraction(0)


def _scaled(line: Line, share: Fraction, total: int, counted: Fraction) -> Line:
    """Return a share of a line that comes to `total`; `counted` is the share of its quantity."""
    parts = children(line)
    shares = _split(total, [_total(child) for child in parts], share)
    scaled = [
        _scaled_leaf(child, share, each, counted) for child, each in zip(parts, shares, strict=True)
    ]
    if not scaled:
        return _scaled_leaf(line, share, total, counted)
    totals = Totals.sum(Totals.of_json(child["totals"]) for child in scaled)
    return {**_shell(line, totals, share, counted), "children": [*scaled]}


def _split(total: int, whole: Sequence[int], share: Fraction) -> list[int]:
    """Return what each part comes to, where all come to `total`."""
    if not whole:
        return []
    if min(whole) >= 0 and sum(whole) > 0:
        return allocate(total, [Fraction(each) for each in whole])
    exact_parts, past, found = Fraction(0), 0, []
    for each in whole[:-1]:  # parts of both signs: what is over goes to the last
        exact_parts += each * share
        found.append(round_half_away(exact_parts) - past)
        past += found[-1]
    return [*found, total - past]


def _scaled_leaf(line: Line, share: Fraction, total: int, counted: Fraction) -> Line:
    """Return a share of a line without children: its amount is what makes the total come out."""
    whole = Totals.of_json(line["totals"])
    own = Fraction(total, whole.total) if whole.total else share
    charges, discounts, inclusive, exclusive = (
        round_half_away(figure * own)
        for figure in (
            whole.charges_total,
            whole.discounts_total,
            whole.taxes_inclusive_total,
            whole.taxes_exclusive_total,
        )
    )
    totals = Totals(
        amount=total - charges + discounts - exclusive,
        charges_total=charges,
        discounts_total=discounts,
        taxes_inclusive_total=inclusive,
        taxes_exclusive_total=exclusive,
        taxes_total=inclusive + exclusive,
        total=total,
    )
    told_off = cast(list[Line], line["discounts"])
    shares = _split(discounts, [cast(int, each["amount_minor"]) for each in told_off], own)
    off: list[Json] = [
        {**each, "amount_minor": minor}
        for each, minor in zip(told_off, shares, strict=True)
        if minor
    ]
    return {**_shell(line, totals, own, counted), "discounts": off}


def _shell(line: Line, totals: Totals, share: Fraction, counted: Fraction) -> Line:
    """Return a line of other totals, so much of its quantity, without children or discounts."""
    quantity = exact(str(line["quantity"])) * counted
    unit = None if counted else Fraction(0)
    blank = zero(line)
    metered = exact(str(line["metered_quantity"] or "0")) * counted
    return {
        **blank,
        **told(line, quantity, totals, unit),
        "metered_quantity": None if line["metered_quantity"] is None else quantity_text(metered),
        "tax_amount_minor": None if line["tax_amount_minor"] is None else totals.taxes_total,
        "fx": _fx_share(line, share),
    }


def _fx_share(line: Line, share: Fraction) -> Line | None:
    fx = cast("Line | None", line["fx"])
    if fx is None:
        return None
    amounts = {
        name: round_half_away(cast(int, fx[name]) * share)
        for name in ("from_amount_minor", "to_amount_minor")
    }
    return {**fx, **amounts}


def _total(of: Record) -> int:
    return Totals.of_json(of["totals"]).total


def _text(minor: int, of: Record) -> str:
    money = Money(minor, str(of["currency"]))
    return f"{money.text} {money.currency}"
