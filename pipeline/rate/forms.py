"""Forms: lines that differ in their id and quantity alone are read once.

Owns: a line's form (its text without the two), what is remembered of one.
Does not own: reading (jsonline.py, reading.py), what a request comes to (rating.py).
Law: a line is answered by its form as it would be by itself, or by itself.

A form that comes twice is read with a mark in place of each of the two. JSON is read from left to
right, and a mark is a whole value: where the marks are all that changed, and stand as id and
quantity of a sound request, any other id or quantity in their place would do so, too.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from pipeline.core.quantity import ratio
from pipeline.rate.faults import Fault
from pipeline.rate.fields import plain_number
from pipeline.rate.jsonline import parse_object
from pipeline.rate.limits import FORM_CHARS_MAX, FORMS_MAX
from pipeline.rate.lines import Rated
from pipeline.rate.rating import is_sound, rate, rate_bare, rate_sound
from pipeline.rate.reading import PlainRequest
from pipeline.rate.request import RatingInput

# What is echoed as it stands: a string of printable ASCII that needs no escaping, a whole number.
_ID = re.compile(r'"id": ?("[ !#-\[\]-~]*"|-?[1-9][0-9]{0,16}(?![0-9])|0)')
_QUANTITY = re.compile(r'"quantity": ?"((-?[0-9]+)(?:\.([0-9]+))?)"')
_QUICK_CHARS_MAX = 40
_MARKED_ID = "the id of a form"
_MARKED_QUANTITY = "271828182845904523536.5"

_Form = tuple[str, ...]
"""The text before, between and behind the two; of a line without a quantity, beside its id."""


class _Remembered(NamedTuple):
    """The sound request of a form, and whether it is but a quantity at a price."""

    request: RatingInput
    bare: bool


_remembered: dict[_Form, _Remembered] = {}
_met: dict[_Form, bool] = {}
"""Forms that came once, and whether they turned out to be of no use."""


def rated_again(line: str) -> tuple[str, Rated | Fault] | None:
    """Return a line's `id` as JSON text, and its answer, by a form read before; None if by none."""
    cut = _cut(line)
    if cut is None:
        return None
    form, identity, counted = cut
    remembered = _remembered.get(form)
    if remembered is None:
        return None
    request, bare = remembered
    if counted is None:
        return identity, rate(request)
    quantity = _number(counted)
    if quantity is None:
        return None
    rated = rate_bare(request.currency, request.price, quantity) if bare else None
    return identity, rate_sound(request, quantity) if rated is None else rated


def remember(line: str, value: object, request: RatingInput | PlainRequest) -> None:
    """Remember the form of a line that was read as a request, if that form came before."""
    cut = _cut(line)
    if cut is None:
        return
    form = cut[0]
    useless = _met.get(form)
    if useless:
        return
    if len(_met) >= FORMS_MAX:
        _met.clear()
        _remembered.clear()
    if useless is None:
        _met[form] = False
        return
    any_quantity = request if isinstance(request, RatingInput) else RatingInput(*request)
    known = _is_all_there_is(form, line, value) and is_sound(any_quantity)
    _met[form] = not known
    if known:
        _remembered[form] = _Remembered(any_quantity, any_quantity.bare)


def _cut(line: str) -> tuple[_Form, str, re.Match[str] | None] | None:
    """Return a line's form, what stands for its id, and its quantity as it was found."""
    found = _ID.search(line)
    if found is None or len(line) > FORM_CHARS_MAX:
        return None
    begins, ends = found.span(1)
    counted = _QUANTITY.search(line)
    if counted is None:
        return (line[:begins], line[ends:]), found[1], None
    start, stop = counted.span(1)
    if ends <= start:
        return (line[:begins], line[ends:start], line[stop:]), found[1], counted
    if stop <= begins:
        return (line[:start], line[stop:begins], line[ends:]), found[1], counted
    return None


def _number(counted: re.Match[str]) -> Fraction | None:
    """Return the quantity that was found; None where it has too many digits (rule 2)."""
    text, whole, decimals = counted.groups()
    if len(text) > _QUICK_CHARS_MAX:
        return plain_number(text)
    if decimals is None:
        return Fraction(int(whole))
    return ratio(int(whole + decimals), 10 ** len(decimals))


def _is_all_there_is(form: _Form, line: str, value: object) -> bool:
    """Return whether marks in the places that were cut are the id and the quantity of a line."""
    if _MARKED_ID in line or _MARKED_QUANTITY in line or not isinstance(value, dict):
        return False
    marked = form[0]
    for rest in form[1:]:  # only a quantity has its quotes around it
        marked += (_MARKED_QUANTITY if marked.endswith('"') else f'"{_MARKED_ID}"') + rest
    wanted = {**value, "id": _MARKED_ID}
    if len(form) == 3:
        wanted["quantity"] = _MARKED_QUANTITY
    return parse_object(marked).value == wanted
