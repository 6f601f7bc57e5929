"""Text: a document as a person reads it, in plain characters.

Owns: the layout.  Does not own: any figure; whatever is printed stands in the content.
Law: same content, same text; every amount has exactly its currency's decimals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import cast

from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.core.quantity import quantity_text
from pipeline.invoice.marketplace import Payout, statements

WIDTH = 80
"""Columns, unless the figures need more."""
_NAME_WIDTH_MIN = 28
_DEPTH_MAX = 3
_GAP = "  "
_HEADS = ("Quantity", "Unit amount", "Amount")

Record = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table: a name at a depth, its quantity, unit amount and amount."""

    depth: int
    name: str
    figures: tuple[str, str, str]


def invoice_text(content: Record) -> str:
    """Return a document as a table: header, lines with children indented, totals."""
    totals = [_Row(0, name, ("", "", amount)) for name, amount in _totals(content)]
    return _tabled([*_header(content)], _HEADS, [*_rows(content)], totals)


def payouts_text(content: Record, seller: str | None = None) -> str:
    """Return what a document's sellers, or one, are paid out: a statement of each."""
    told = []
    for each in statements(content):
        if seller not in (None, each.seller.id):
            continue
        currency, percent = each.currency, quantity_text(each.seller.commission)
        opening = [f"Seller    {each.seller.id}, commission {percent} %"]
        rows = [_Row(0, _title(line), _paid(part, currency)) for line, part in each.lines]
        total = _Row(0, f"Total {currency}", _paid(each.whole, currency))
        told.append(_tabled(opening, ("Gross", "Commission", "Payout"), rows, [total]))
    return "\n".join(told)


def _paid(part: Payout, currency: str) -> tuple[str, str, str]:
    gross, commission, payout = (
        Money(minor, currency).text for minor in (part.gross, part.commission, part.payout)
    )
    return gross, commission, payout


def _tabled(
    opening: Sequence[str],
    heads: tuple[str, str, str],
    rows: Sequence[_Row],
    totals: Sequence[_Row],
) -> str:
    """Return rows and totals below their heads, behind what opens the page."""
    table = [_Row(0, "", heads), *rows, *totals]
    widths = [max(len(row.figures[column]) for row in table) for column in range(len(heads))]
    longest_word = max(len(word) for row in table for word in ("", *row.name.split()))
    name_width = max(
        _NAME_WIDTH_MIN,
        WIDTH - sum(widths) - len(_GAP) * len(widths),
        longest_word + _DEPTH_MAX * len(_GAP),
    )
    rule = "-" * (name_width + sum(widths) + len(_GAP) * len(widths))
    printed = [*opening, "", *_printed(table[0], widths, name_width), rule]
    for row in rows:
        printed += _printed(row, widths, name_width)
    printed.append(rule)
    for row in totals:
        printed += _printed(row, widths, name_width)
    return "\n".join(line.rstrip() for line in printed) + "\n"


def _header(content: Record) -> Iterator[str]:
    """Yield who, when and which; what only an issued document or a draft has, where it has it."""
    number, state = content.get("number"), content.get("state")
    kind = str(content["kind"]).replace("_", " ")
    yield " ".join(str(word) for word in (kind, number) if word).upper()
    yield ""
    yield f"Issuer    {content['issuer']}{_vat_id(content)}"
    yield f"Customer  {content['customer']}"
    yield f"Period    {content['period_start']} to {content['period_end']}"
    yield f"Currency  {content['currency']}"
    yield f"Id        {content['id']}"
    for label, name in (("Order", "purchase_order"), ("Memo", "memo")):
        if content.get(name):
            yield f"{label:<10}{content[name]}"
    if content.get("corrects"):
        reference = content["external_reference"]
        yield f"Corrects  {content['corrects']}"
        yield f"Because   {content['reason_code']}{f', {reference}' if reference else ''}"
    if content.get("replaces"):
        yield f"Replaces  {content['replaces']}"
    if state == "draft":
        position = cast(Record, content["position"])
        yield f"Draft     as of {position['log_time']}, offset {position['offset']}"
    elif state:
        yield f"State     {state}"
        yield f"Issued    {content['issued_at']}, due {content['due_at']}"
        yield f"Seal      {content['seal']}"


def _vat_id(content: Record) -> str:
    """Return the VAT id of the issuer, if it is taxed and has one."""
    told = cast(Record, content.get("tax", {})).get("issuer")
    ids = [each["vat_id"] for each in cast(list[Record], told or []) if each["vat_id"]]
    return f", VAT id {ids[-1]}" if ids else ""


def _rows(content: Record) -> Iterator[_Row]:
    """Yield the lines, those of each sub-account under its name."""
    heading: Json = None
    for line in _records(content, "lines"):
        if line.get("sub_account") != heading:
            heading = line.get("sub_account")
            yield _Row(0, f"Sub-account {heading}" if heading else "", ("", "", ""))
        yield from _line_rows(line, content)


def _line_rows(line: Record, content: Record) -> Iterator[_Row]:
    """Yield a line, its own period where that is not the document's, and its children."""
    yield _figures(0, _title(line), line)
    if (line["period_start"], line["period_end"]) != (
        content["period_start"],
        content["period_end"],
    ):
        moment = line["period_start"] == line["period_end"]
        yield _Row(1, f"{line['period_start']}{'' if moment else ' to'}", ("", "", ""))
        if not moment:
            yield _Row(1, str(line["period_end"]), ("", "", ""))
    if line.get("fx"):
        yield _Row(1, _exchange(cast(Record, line["fx"])), ("", "", ""))
    yield from _discount(1, line)
    for child in _records(line, "children"):
        yield _figures(1, str(child["name"]).removeprefix(f"{line['name']}: "), child)
        yield from _discount(2, child)


def _exchange(fx: Record) -> str:
    """Return what a line is in the currency of its price, and how it was exchanged."""
    before = Money(cast(int, fx["from_amount_minor"]), str(fx["from"]))
    return f"{before.text} {before.currency} at {fx['rate']} ({fx['source']}, {fx['date']})"


def _title(line: Record) -> str:
    """Return a line's description; its quantity stands in the column beside it, the unit here."""
    name, description = str(line["name"]), str(line["description"])
    head = f"{name}, {line['quantity']} "
    if description.startswith(head):
        return f"{name} ({description.removeprefix(head)})"
    return description


def _figures(depth: int, name: str, line: Record) -> _Row:
    amount = _money(line, "subtotal_minor", line)
    return _Row(depth, name, (str(line["quantity"]), str(line["unit_amount"]), amount))


def _discount(depth: int, line: Record) -> Iterator[_Row]:
    totals, told = cast(Record, line["totals"]), _records(line, "discounts")
    for each in told:
        amount = Money(-cast(int, each["amount_minor"]), str(line["currency"])).text
        yield _Row(depth, _reduction(each), ("", "", amount))
    if totals["discounts_total_minor"] and not told:
        yield _Row(depth, "discount", ("", "", _money(totals, "discounts_total_minor", line, -1)))


def _reduction(discount: Record) -> str:
    """Return what took something off, and why."""
    kind, reason = discount["type"], discount.get("reason")
    told = f"{discount['percent']} %" if "percent" in discount else str(discount["amount"])
    name = f"maximum {told}" if kind == "maximum" else f"discount {told}"
    return f"{name}: {reason}" if reason else name


def _totals(content: Record) -> Iterator[tuple[str, str]]:
    """Yield name and amount of the totals that say something, then what credits pay of it."""
    totals = cast(Record, content["totals"])
    yield "Amount", _money(totals, "amount_minor", content)
    for name, key, sign in (
        ("Charges", "charges_total_minor", 1),
        ("Discounts", "discounts_total_minor", -1),
    ):
        if totals[key]:
            yield name, _money(totals, key, content, sign)
    taxes = cast(list[Record], content.get("taxes", []))
    yield from (_tax(row, content) for row in taxes if not row["inclusive"])
    yield f"Total {content['currency']}", _money(totals, "total_minor", content)
    yield from (_tax(row, content, "of which ") for row in taxes if row["inclusive"])
    if content.get("refund_due_minor"):
        yield f"To refund {content['currency']}", _money(content, "refund_due_minor", content)
    settlement = cast("Record | None", content.get("settlement"))
    if settlement:
        for paid in _records(settlement, "credits"):
            yield f"Credit {paid['credit']}", _money(paid, "amount_minor", content, -1)
        yield f"To pay {content['currency']}", _money(settlement, "due_minor", content)


def _tax(row: Record, content: Record, of_which: str = "") -> tuple[str, str]:
    """Return a category of tax: its rate, or why nothing is due, and what it is taken of."""
    told = row["reason"] or f"VAT {row['rate_percent']} %"
    name = f"{of_which}{told} ({row['jurisdiction']}) on {_money(row, 'taxable_minor', content)}"
    return name, _money(row, "tax_minor", content)


def _money(figures: Record, key: str, of: Record, sign: int = 1) -> str:
    return Money(sign * cast(int, figures[key]), str(of["currency"])).text


def _records(record: Record, key: str) -> list[Record]:
    return cast(list[Record], record[key])


def _printed(row: _Row, widths: list[int], name_width: int) -> Iterator[str]:
    """Yield a row, its name over as many lines as it needs, the figures on the last."""
    indent = _GAP * row.depth
    parts = wrap(
        row.name,
        name_width,
        initial_indent=indent,
        subsequent_indent=indent + _GAP,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
    yield from parts[:-1]
    columns = (figure.rjust(width) for figure, width in zip(row.figures, widths, strict=True))
    yield _GAP.join((parts[-1].ljust(name_width), *columns))
