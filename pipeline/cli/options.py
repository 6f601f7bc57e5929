"""Options that several commands have: who decides, why, how to print; what options say."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import typer

from pipeline.catalog.fields import parse_id, parse_text
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.errors import BadInput
from pipeline.core.money import whole_minor
from pipeline.core.quantity import parse_decimal


def text_of(option: str, text: str) -> str:
    """Return the text of an option, which people read.

    Raises:
        BadInput: it is blank, too long, or no text.

    """
    try:
        return parse_text(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _said(option: typer.CallbackParam, text: str) -> str:
    """Return who or why, which a fact never lacks."""
    return text_of(f"--{option.name}", text)


Actor = Annotated[str, typer.Option(help="Who decides.", callback=_said)]
Reason = Annotated[str, typer.Option(help="Why.", callback=_said)]
NOTHING_BETWEEN = "--to: not behind --from: nothing lies between them"
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def ids_of(option: str, texts: Sequence[str] | None) -> frozenset[str] | None:
    """Return the ids of an option: comma between them, or said again; None where it is not said.

    Raises:
        BadInput: one is no id.

    """
    if not texts:
        return None
    try:
        return frozenset(parse_id(each) for text in texts for each in text.split(","))
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def span_of(start: str | None, end: str | None) -> tuple[Instant | None, Instant | None]:
    """Return the times of --from and --to; None where one is not said.

    Raises:
        BadInput: one is none, or nothing lies between them.

    """
    since, until = _time(start, "--from"), _time(end, "--to")
    if since is not None and until is not None and until <= since:
        raise BadInput(NOTHING_BETWEEN)
    return since, until


def _time(text: str | None, option: str) -> Instant | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}; write it like 2026-03-01T00:00:00Z") from None


def number_of(option: str, text: str) -> Fraction:
    """Return the number of an option.

    Raises:
        BadInput: it is none.

    """
    try:
        return Fraction(parse_decimal(text))
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def minor_of(option: str, amount: Fraction, currency: str) -> int:
    """Return the amount of an option in minor units.

    Raises:
        BadInput: it is finer than the currency.

    """
    try:
        return whole_minor(amount, currency)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None
