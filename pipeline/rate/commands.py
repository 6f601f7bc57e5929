"""Commands: the cores of `talea rate` and `talea allocate`, one line in, one line out.

Owns: the shape of the answers. Does not own: stdin, blank lines, exit status (cli).
Law: every line gets one answer and nothing raises; equal lines get equal answers.
"""

from fractions import Fraction
from functools import cache, lru_cache

from pipeline.core.money import Money, allocate, minor_digits
from pipeline.core.quantity import decimal_text, quantity_text
from pipeline.rate.explain import explanation
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.fields import Fields
from pipeline.rate.forms import rated_again, remember
from pipeline.rate.jsonline import fault_text, parse_object
from pipeline.rate.limits import EVENTS_MAX, FORM_CHARS_MAX
from pipeline.rate.lines import Rated
from pipeline.rate.rating import rate, rate_bare, work
from pipeline.rate.reading import parse_input, plain_request, read_currency
from pipeline.rate.request import RatingInput

_FORM_BYTES_MAX = 4 * FORM_CHARS_MAX
_ALLOCATE_KEYS = frozenset({"id", "currency", "amount", "weights"})


def answer_rate(line: str | bytes) -> str:
    """Answer one line of `talea rate` with one line of JSON."""
    text = _decoded(line)
    again = rated_again(text)
    if again is not None:
        return _answer(*again)
    document = parse_object(line)
    identity = document.identity
    if document.fault is not None:
        return fault_text(identity, document.fault)
    plain = plain_request(document.value)
    bare = None if plain is None else rate_bare(*plain)
    if plain is not None and bare is not None:
        remember(text, document.value, plain)
        return _rated_text(identity, bare)
    request = parse_input(document.value)
    if not isinstance(request, RatingInput):
        return fault_text(identity, request[0])
    remember(text, document.value, request)
    return _answer(identity, rate(request))


def _decoded(line: str | bytes) -> str:
    """Return a line as text, an empty one where it is none, or has no form for its length."""
    if len(line) > _FORM_BYTES_MAX:
        return ""
    try:
        return line.decode() if isinstance(line, bytes) else line
    except UnicodeDecodeError:
        return ""


def _answer(identity: str, rated: Rated | Fault) -> str:
    if isinstance(rated, Fault):
        return fault_text(identity, rated)
    return _rated_text(identity, rated)


def _rated_text(identity: str, rated: Rated) -> str:
    """Return an answer; only digits, points and words of ours need no escaping."""
    digits, nothing = minor_digits(rated.currency), _nothing(rated.currency)
    lines, whole = [], nothing
    for component, quantity, unit, amount_minor, discount_minor, _ in rated.lines:
        amount = whole = decimal_text(amount_minor, digits, keep_zeros=True)
        discount = nothing
        if discount_minor:
            discount = decimal_text(discount_minor, digits, keep_zeros=True)
            whole = decimal_text(amount_minor - discount_minor, digits, keep_zeros=True)
        lines.append(
            f'{{"kind":"{component.kind._value_}","quantity":"{quantity_text(quantity)}",'
            f'"unit_amount":"{_unit_text(*unit.as_integer_ratio())}",'
            f'"amount":"{amount}","discount":"{discount}","total":"{whole}"}}'
        )
    if len(lines) == 1:
        return f'{{"id":{identity},"amount":"{whole}","lines":[{lines[0]}]}}'
    amount = decimal_text(rated.amount_minor, digits, keep_zeros=True)
    return f'{{"id":{identity},"amount":"{amount}","lines":[{",".join(lines)}]}}'


@lru_cache(maxsize=1024)  # quantities differ, what a unit of them costs hardly does
def _unit_text(numerator: int, denominator: int) -> str:
    return quantity_text(Fraction(numerator, denominator))


@cache
def _nothing(currency: str) -> str:
    """Return zero as an amount of a currency: most discounts are."""
    return Money(0, currency).text


def answer_allocate(line: str | bytes) -> str:
    """Answer one line of `talea allocate` with one line of JSON (rules 8, 38)."""
    document = parse_object(line)
    identity = document.identity
    if document.fault is not None:
        return fault_text(identity, document.fault)
    faults: list[Fault] = []
    fields = Fields(document.value, "", faults)
    fields.close(_ALLOCATE_KEYS)
    currency = read_currency(fields)
    amount = fields.needed("amount")
    weights = fields.numbers("weights", EVENTS_MAX)
    if not fields.has("weights"):
        fields.note(FaultCode.MISSING, "weights", "required, but absent or null")
    elif not any(weights):
        fields.note(FaultCode.BAD_WEIGHTS, "weights", "empty or all zero")
    if faults:
        return fault_text(identity, faults[0])
    shares = allocate(Money.rounded(amount, currency).minor, weights)
    texts = ",".join(f'"{Money(share, currency).text}"' for share in shares)
    return f'{{"id":{identity},"shares":[{texts}]}}'


def explain_rate(line: str | bytes) -> str:
    """Answer one line of `talea rate --explain` with a text for a person."""
    document = parse_object(line)
    identity = document.identity
    if document.fault is not None:
        return _fault_lines(identity, (document.fault,))
    request = parse_input(document.value)
    if not isinstance(request, RatingInput):
        return _fault_lines(identity, request)
    working = work(request)
    if isinstance(working, Fault):
        return _fault_lines(identity, (working,))
    return f"id {identity}\n{explanation(request, working)}"


def _fault_lines(identity: str, faults: tuple[Fault, ...]) -> str:
    """Return every fault, one a line, in words."""
    lines = [
        f"  {_visible(fault.path) or 'the line'}: {fault.message} [{fault.code}]"
        for fault in faults
    ]
    return "\n".join([f"id {identity}: not rated", *lines])


def _visible(path: str) -> str:
    """Return a path with what a terminal would obey, or could not take, escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in path)
