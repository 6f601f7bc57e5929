"""Notes: documents that correct an issued one by signed differences, line by line.

Owns: what a document and its notes come to together, and the note between two such states.
Does not own: what a person decides to take off (crediting.py), composing anew (compose.py), why
and when (workers/correcting.py), numbers and seals.
Law: a document and its notes, added up line by line, are the state that the last note was made
for: in all seven totals, per component and per tax category; children sum to their parents.

A line of a note names the line it corrects. A line that the document never had, of usage in a new
group for instance, corrects the one that it would have had.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.catalog.rate_cards import FX_AMOUNTS
from pipeline.core.identity import Json, canonical, derived_id
from pipeline.core.money import minor_digits
from pipeline.core.quantity import exact, quantity_text
from pipeline.invoice.lines import Line, money_fields
from pipeline.invoice.totals import Totals

Record = Mapping[str, Json]

CREDIT_NOTE, DEBIT_NOTE = "credit_note", "debit_note"
NOTE_KINDS = frozenset((CREDIT_NOTE, DEBIT_NOTE))
_TAX_AMOUNTS = ("taxable_minor", "tax_minor")
_NOTHING = Totals()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a note is made: at which cut, by which fact (None: usage changed), what for.

    `reference` is what an incident or dispute is known by; `refund`: it is to be paid out;
    `voids`: the document counts as never issued.
    """

    cut_instant: str
    reason_code: str
    fact: str | None = None
    reference: str | None = None
    refund: bool = False
    voids: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Signed differences between two states of a document."""

    lines: Sequence[Line]
    taxes: Sequence[Line]

    @classmethod
    def of_json(cls, told: Mapping[str, Json]) -> "Change":
        """Return a change that a fact tells."""
        return cls(cast(list[Line], told["lines"]), cast(list[Line], told["taxes"]))

    def json(self) -> dict[str, Json]:
        """Return it as a fact tells it."""
        return {"lines": [*self.lines], "taxes": [*self.taxes]}

    @property
    def totals(self) -> Totals:
        """What it comes to."""
        return Totals.sum(Totals.of_json(line["totals"]) for line in self.lines)

    @property
    def is_money(self) -> bool:
        """Whether any figure of any line is another one: if not, there is nothing to correct."""
        leaves = (each for line in self.lines for each in (line, *children(line)))
        return any(Totals.of_json(each["totals"]) != _NOTHING for each in leaves)


def is_note(content: Record) -> bool:
    """Return whether a document corrects another one."""
    return content["kind"] in NOTE_KINDS


def children(line: Record) -> list[Line]:
    """Return the detailed lines of a line."""
    return cast(list[Line], line["children"])


def lines_of(content: Record) -> list[Line]:
    """Return the lines of a document."""
    return cast(list[Line], content["lines"])


def booked(content: Record, notes: Iterable[Record]) -> Record:
    """Return a document as it stands with its notes: the plain sum."""
    for note in notes:
        corrected = [_corrected(line) for line in lines_of(note)]
        lines = [line for line in _combined(lines_of(content), corrected, 1) if _says(line)]
        totals = Totals.of_json(content["totals"]).plus(Totals.of_json(note["totals"]))
        taxes = _taxes(content, note, 1)
        summed: dict[str, Json] = {**content, "lines": [*lines], "totals": totals.json()}
        content = {**summed, "taxes": [*taxes]} if "taxes" in content else summed
    return content


def lines_with(content: Record, changes: Iterable[Change]) -> list[Line]:
    """Return the lines of a document with changes made of them, each for its own reason.

    A note tells of each line its own reason, and so less.
    """
    lines = lines_of(content)
    for change in changes:
        lines = [line for line in _combined(lines, change.lines, 1) if _says(line)]
    return lines


def difference(wanted: Record, stands: Record) -> Change:
    """Return what brings a document from how it stands to how it is wanted."""
    lines = _combined(lines_of(wanted), lines_of(stands), -1)
    taxes = _taxes(wanted, stands, -1)
    return Change([line for line in lines if _says(line)], taxes)


def change_of(original: Record, parts: Iterable[Line], sign: int) -> Change:
    """Return the change that adds lines of a document to it, or takes them off (-1)."""
    return part_of_change(original, [_sum(zero(line), line, sign) for line in parts])


def part_of_change(original: Record, lines: Sequence[Line]) -> Change:
    """Return some lines of a change as a change of their own."""
    return Change(lines, [*_taxes_by_lines(original, lines)])


def _taxes_by_lines(original: Record, lines: Sequence[Line]) -> Iterator[Line]:
    """Yield what lines come to in each tax category of their document."""
    for each in cast(list[Line], original.get("taxes", [])):
        own = [line for line in lines if _category(line, "tax_") == _category(each)]
        totals = Totals.sum(Totals.of_json(line["totals"]) for line in own)
        if totals.total or totals.taxes_total:
            net = totals.total - totals.taxes_total
            yield {**each, "taxable_minor": net, "tax_minor": totals.taxes_total}


def _category(taxed: Record, prefix: str = "") -> tuple[Json, Json]:
    return taxed.get("tax_code"), taxed.get(f"{prefix}jurisdiction")


def emptied(content: Record) -> Record:
    """Return a document with nothing on it: what a void brings it to."""
    return {**content, "lines": [], "totals": _NOTHING.json(), "taxes": []}


def note(original: Record, change: Change, cause: Cause) -> dict[str, Json]:
    """Return the content of the note that books a change.

    Its kind is that of its total's sign; without one it is a credit note.
    """
    document = cast(str, original["id"])
    note_id = derived_id("note", document, cause.fact or cause.cut_instant)
    totals = change.totals
    return {
        "format": original["format"],
        "id": note_id,
        "kind": DEBIT_NOTE if totals.total > 0 else CREDIT_NOTE,
        "issuer": original["issuer"],
        "customer": original["customer"],
        "currency": original["currency"],
        "billing_profile": original["billing_profile"],
        **{name: original[name] for name in ("purchase_order",) if name in original},
        "corrects": document,
        "reason_code": cause.reason_code,
        "cause": cause.fact,
        "voids": cause.voids,
        "external_reference": cause.reference,
        "refund_due_minor": -totals.total if cause.refund else None,
        "cut_instant": cause.cut_instant,
        "period_start": original["period_start"],
        "period_end": original["period_end"],
        "totals": totals.json(),
        "lines": [_noted(note_id, line, cause.reason_code) for line in change.lines],
        **({"tax": original["tax"], "taxes": [*change.taxes]} if "taxes" in original else {}),
    }


def _noted(note_id: str, line: Line, reason: str) -> Line:
    """Return a difference as a line of its note: under an id of its own."""
    line_id = cast(str, line["id"])
    return {
        **line,
        "id": derived_id("line", note_id, line_id),
        "corrects": line_id,
        "type": "charge" if cast(int, line["total_minor"]) > 0 else "credit",
        "reason_code": reason,
        "children": [_noted(note_id, child, reason) for child in children(line)],
    }


def _corrected(line: Line) -> Line:
    """Return a note's line as what it adds to the line it corrects."""
    own = {key: value for key, value in line.items() if key != "corrects"}
    corrected: list[Json] = [_corrected(child) for child in children(line)]
    return {**own, "id": line["corrects"], "children": corrected}


def _combined(ones: Iterable[Line], others: Iterable[Line], sign: int) -> Iterator[Line]:
    """Yield lines with others added or taken off (-1), by id: what is new comes last."""
    theirs = {line["id"]: line for line in others}
    for line in ones:
        other = theirs.pop(line["id"]) if line["id"] in theirs else zero(line)
        yield _sum(line, other, sign)
    for line in theirs.values():
        yield _sum(zero(line), line, sign)


def zero(line: Line) -> Line:
    """Return a line with nothing on it."""
    return {
        **line,
        **told(line, Fraction(0), _NOTHING),
        "metered_quantity": None if line["metered_quantity"] is None else "0",
        "tax_amount_minor": None if line["tax_amount_minor"] is None else 0,
        "discounts": [],
        "fx": None if line["fx"] is None else {**_fx(line), **dict.fromkeys(FX_AMOUNTS, 0)},
        "children": [],
    }


def told(line: Line, quantity: Fraction, totals: Totals, unit: Fraction | None = None) -> Line:
    """Return the fields of a line that say how much it is of what; `unit` None: as it says."""
    currency, name, counted = str(line["currency"]), line["name"], quantity_text(quantity)
    unit_amount = exact(str(line["unit_amount"])) if unit is None else unit
    before, description = f"{name}, {line['quantity']} ", str(line["description"])
    if description.startswith(before):
        description = f"{name}, {counted} {description.removeprefix(before)}"
    return {
        "description": description,
        "quantity": counted,
        **money_fields(unit_amount, currency, totals),
    }


def _sum(one: Line, other: Line, sign: int) -> Line:
    totals = Totals.of_json(one["totals"]).plus(Totals.of_json(other["totals"]), sign)
    quantity = _exact(one, "quantity") + sign * _exact(other, "quantity")
    metered = _exact(one, "metered_quantity") + sign * _exact(other, "metered_quantity")
    alike = one["unit_amount"] == other["unit_amount"]
    unit = None if alike else _unit(totals.amount, quantity, str(one["currency"]))
    fx = {name: _minor(_fx(one), name) + sign * _minor(_fx(other), name) for name in FX_AMOUNTS}
    found = _combined(children(one), children(other), sign)
    return {
        **one,
        **told(one, quantity, totals, unit),
        "metered_quantity": None if one["metered_quantity"] is None else quantity_text(metered),
        "tax_amount_minor": _taxed(one, other, sign),
        "discounts": [*_discounts(one, other, sign)],
        "fx": None if one["fx"] is None else {**_fx(one), **fx},
        "children": [child for child in found if _says(child)],
    }


def _unit(amount_minor: int, quantity: Fraction, currency: str) -> Fraction:
    """Return amount / quantity, as for any line that is of several prices."""
    scale: int = 10 ** minor_digits(currency)
    return Fraction(amount_minor, scale) / quantity if quantity else Fraction(0)


def _taxed(one: Line, other: Line, sign: int) -> int | None:
    if one["tax_amount_minor"] is None and other["tax_amount_minor"] is None:
        return None
    return _minor(one, "tax_amount_minor") + sign * _minor(other, "tax_amount_minor")


def _discounts(one: Line, other: Line, sign: int) -> Iterator[Json]:
    """Yield what each discount of a line takes off, of two together."""
    sums: dict[bytes, Line] = {}
    for factor, line in ((1, one), (sign, other)):
        for each in cast(list[Line], line["discounts"]):
            known = sums.setdefault(canonical({**each, "amount_minor": 0}), {**each, **_NO_AMOUNT})
            known["amount_minor"] = _minor(known, "amount_minor") + factor * _minor(
                each, "amount_minor"
            )
    return (each for each in sums.values() if each["amount_minor"])


_NO_AMOUNT: Line = {"amount_minor": 0}


def _taxes(one: Record, other: Record, sign: int) -> list[Line]:
    """Return the taxes of two documents together, category by category."""
    sums: dict[tuple[Json, Json], Line] = {}
    for factor, content in ((1, one), (sign, other)):
        for each in cast(list[Line], content.get("taxes", [])):
            blank: Line = {**each, **dict.fromkeys(_TAX_AMOUNTS, 0)}
            known = sums.setdefault(_category(each), blank)
            for name in _TAX_AMOUNTS:
                known[name] = _minor(known, name) + factor * _minor(each, name)
    return [each for each in sums.values() if any(each[name] for name in _TAX_AMOUNTS)]


def _fx(line: Line) -> Line:
    return cast(Line, line["fx"] or {})


def _minor(told: Line, name: str) -> int:
    return cast(int, told.get(name) or 0)


def _exact(line: Line, name: str) -> Fraction:
    return exact(str(line[name] or "0"))


def _says(line: Line) -> bool:
    """Return whether anything is told by a line: money, a quantity, or something inside it."""
    figures = Totals.of_json(line["totals"]) != _NOTHING
    counted = any(_exact(line, name) for name in ("quantity", "metered_quantity"))
    return figures or counted or bool(line["children"])
