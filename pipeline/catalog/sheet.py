"""The sheet: a catalog as people write it, in YAML.

Owns: the shape of the file, and every check that the file alone can answer.
Does not own: YAML (yaml.py), what is in force and so may still change (changes.py).
Law: a sheet, or every problem with it at once; no number is ever a float.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial

from pipeline.catalog import shape
from pipeline.catalog.book_entries import read_book
from pipeline.catalog.books import PriceBook
from pipeline.catalog.cards import note_repeats, read_card, read_seller
from pipeline.catalog.commitments import note_uncovered
from pipeline.catalog.currencies import FxRate
from pipeline.catalog.documents import Customer, Issuer, Payer, Phase, Plan
from pipeline.catalog.entries import read_list
from pipeline.catalog.fields import (
    DEFAULT_PAYMENT_DAYS,
    parse_aggregation,
    parse_amount,
    parse_completeness,
    parse_currency,
    parse_cycle,
    parse_flag,
    parse_grace,
    parse_id,
    parse_moment,
    parse_payer,
    parse_payment_days,
    parse_per,
    parse_percent,
    parse_prefix,
    parse_text,
    parse_window,
    parse_zone,
)
from pipeline.catalog.order_entries import read_order
from pipeline.catalog.orders import Order
from pipeline.catalog.promotion_entries import read_promotion
from pipeline.catalog.promotions import Promotion
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.rate_entries import rate_subject, read_rates
from pipeline.catalog.sellers import Seller
from pipeline.catalog.subscription_entries import read_subscription
from pipeline.catalog.subscriptions import Subscription
from pipeline.catalog.tax_entries import (
    EXEMPTION,
    VAT_ID,
    read_customer_tax,
    read_issuer_tax,
    read_tax_terms,
)
from pipeline.catalog.tax_terms import CustomerTax, TaxTerms
from pipeline.catalog.threshold_entries import read_thresholds
from pipeline.catalog.yaml import (
    Entry,
    Problem,
    Scalar,
    Value,
    compose,
    empty,
    line_at,
    shown,
)
from pipeline.collect.limits import DIMENSIONS_MAX
from pipeline.core.calendar import SECOND, Duration
from pipeline.meter.meters import Aggregation, Meter

DEFAULT_WINDOW_US = 900 * SECOND

_PARAMETERS = ("of", "percent", "per", "points")
_MONTHLY = Duration(1, 0, 0)


@dataclass(frozen=True, slots=True)
class CustomerEntry:
    """A customer as the sheet has it: `profile` holds the personal values themselves."""

    id: str
    time_zone: str
    profile: Mapping[str, str] = field(repr=False)
    currency: str | None = None
    tax: CustomerTax | None = None
    approval: bool = False
    empty_invoices: bool = False
    parent: str | None = None
    payer: Payer = Payer.OWN

    def as_customer(self, profile: Mapping[str, str]) -> Customer:
        """Return it with commitments in place of its personal values."""
        return Customer(
            self.id,
            self.time_zone,
            profile,
            self.currency,
            self.tax,
            self.approval,
            self.empty_invoices,
            self.parent,
            self.payer is Payer.PARENT,
        )


@dataclass(frozen=True, slots=True)
class Sheet:
    """A catalog as written, in the order of the file. `grace_us` None: the rules stay."""

    grace_us: int | None
    issuers: tuple[Issuer, ...]
    meters: tuple[Meter, ...]
    plans: tuple[Plan, ...]
    customers: tuple[CustomerEntry, ...]
    subscriptions: tuple[Subscription, ...]
    root: Value = field(repr=False, compare=False)
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False, compare=False)
    """The path of each entry by its list and id, those that are left out for a problem too."""
    price_books: tuple[PriceBook, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    fx_rates: tuple[FxRate, ...] = ()
    orders: tuple[Order, ...] = ()

    def problem(self, path: str, message: str) -> Problem:
        """Return a problem at a path of this file."""
        return Problem(path, line_at(self.root, path), message)


def parse_sheet(text: str) -> Sheet | list[Problem]:
    """Return the sheet that a text is, or every problem with it in the order of the file."""
    sheet, problems = read_sound(text)
    return problems or sheet


def read_sound(text: str) -> tuple[Sheet, list[Problem]]:
    """Return the sheet of the entries that have no problem of their own, and every problem."""
    root, problems = compose(text)
    unread = len(problems)
    if isinstance(root, Scalar) and root.text is None:
        root = empty(root.line)
    top = Entry(root, "", problems)
    top.close(*shape.SHEET.keys)
    meters = read_list(top, "meters", _meter)
    by_id = {meter.id: meter for meter in meters}
    sheet = Sheet(
        grace_us=_grace_us(top),
        issuers=read_list(top, "issuers", _issuer),
        meters=meters,
        plans=read_list(top, "plans", partial(_plan, meters=by_id)),
        price_books=read_list(top, "price_books", read_book),
        promotions=read_list(top, "promotions", read_promotion),
        fx_rates=read_rates(top),
        customers=read_list(top, "customers", _customer),
        subscriptions=read_list(top, "subscriptions", read_subscription),
        orders=read_list(top, "orders", read_order),
        root=root,
        places={key: _places(root, key) for key in shape.SHEET.keys if key != "rules"},
    )
    broken = {problem.path for problem in problems[:unread]}
    follow = [problem for problem in problems[unread:] if problem.path not in broken]
    return sheet, in_file_order(problems[:unread] + follow)


def in_file_order(problems: list[Problem]) -> list[Problem]:
    """Return problems as a reader of the file meets them."""
    return sorted(problems, key=lambda problem: problem.line)


def _places(root: Value, key: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in Entry(root, "", []).items(key):
        found.setdefault(rate_subject(entry) if key == "fx_rates" else entry.word("id"), entry.path)
    return found


def _grace_us(top: Entry) -> int | None:
    rules = top.inner("rules")
    if rules is None:
        return None
    rules.close(*shape.RULES.keys)
    return rules.needed("grace", parse_grace, 0)


def _issuer(entry: Entry, name: str) -> Issuer:
    entry.close(*shape.ISSUER.keys)
    return Issuer(
        name,
        entry.needed("name", parse_text, ""),
        entry.needed("number_prefix", parse_prefix, ""),
        read_issuer_tax(entry),
        entry.optional("approval", parse_flag, False),
        entry.optional("completeness", parse_completeness, None),
        entry.optional("notes_from", parse_amount, Fraction(0)),
        entry.optional("note_prefix", parse_prefix, None),
    )


def _meter(entry: Entry, name: str) -> Meter:
    entry.close(*shape.METER.keys)
    dimensions = entry.texts("dimensions", parse_text)
    if len(dimensions) > DIMENSIONS_MAX:
        entry.note("dimensions", f"{len(dimensions)} dimensions: keep {DIMENSIONS_MAX} at most")
    note_repeats(entry, "dimensions", dimensions)
    aggregation = entry.needed("aggregation", parse_aggregation, None)
    if aggregation is not None:
        _check_parameters(entry, aggregation)
    of = entry.optional("of", parse_text, None)
    if of is not None and of in dimensions:
        entry.note("of", f"{shown(of)} is counted, so it tells no usage apart: remove one of them")
    return Meter(
        id=name,
        aggregation=aggregation or Aggregation.SUM,
        unit=entry.needed("unit", parse_text, ""),
        window_us=entry.optional("window", parse_window, DEFAULT_WINDOW_US),
        dimensions=tuple(sorted(dimensions)),
        of=of,
        percent=entry.optional("percent", parse_percent, None),
        per_us=entry.optional("per", parse_per, None),
        points=entry.optional("points", parse_flag, False),
    )


def _check_parameters(entry: Entry, aggregation: Aggregation) -> None:
    """Note a parameter that the aggregation has no use for, and one it needs and lacks."""
    for key in _PARAMETERS:
        given = entry.value(key) is not None
        if given and key not in (aggregation.parameter, aggregation.option):
            users = " and ".join(a for a in Aggregation if key in (a.parameter, a.option))
            entry.note(key, f"{aggregation} has no use for it, only {users}: remove {key}")
        elif not given and key == aggregation.parameter:
            entry.missing(key)


def _plan(entry: Entry, name: str, meters: Mapping[str, Meter]) -> Plan:
    entry.close(*shape.PLAN.keys)
    currency = entry.needed("currency", parse_currency, "")
    cycle = entry.needed("cycle", parse_cycle, _MONTHLY)
    told = (read_tax_terms(entry), read_seller(entry))
    card = partial(_card, plan=told, cycle=cycle, currency=currency, meters=meters)
    phases = read_list(entry, "phases", partial(_phase, card=card))
    note_uncovered(entry)
    if len(phases) > shape.PHASES_MAX:
        entry.note("phases", f"{len(phases)} phases: keep {shape.PHASES_MAX} at most")
    return Plan(
        id=name,
        name=entry.needed("name", parse_text, ""),
        issuer=entry.needed("issuer", parse_id, ""),
        currency=currency,
        cycle=cycle,
        payment_days=entry.optional("payment_days", parse_payment_days, DEFAULT_PAYMENT_DAYS),
        effective=entry.optional("effective", parse_moment, None),
        prices=read_list(entry, "prices", card),
        trial=entry.optional("trial", parse_cycle, None),
        phases=phases,
        thresholds=read_thresholds(entry),
    )


def _card(
    entry: Entry,
    name: str,
    plan: tuple[TaxTerms | None, Seller | None],
    cycle: Duration,
    currency: str,
    meters: Mapping[str, Meter],
) -> PlanPrice | None:
    """Return a rate card, taxed and sold as its plan says where it says nothing itself."""
    card = read_card(entry, name, cycle, currency, meters)
    return None if card is None else card.told_as(*plan)


def _customer(entry: Entry, name: str) -> CustomerEntry:
    entry.close(*shape.CUSTOMER.keys)
    time_zone = entry.optional("time_zone", parse_zone, "UTC")
    currency = entry.optional("currency", parse_currency, None)
    tax, values = read_customer_tax(entry)
    profile = entry.inner("profile") or Entry(empty(entry.line), "", entry.problems)
    for key in profile.filled():
        if key in (VAT_ID, EXEMPTION) and tax is not None:
            profile.note(key, "it stands under tax, where it is looked at: move it there")
            continue
        try:
            values[parse_id(key)] = profile.needed(key, parse_text, "")
        except ValueError as error:
            profile.note(key, str(error))
    if len(values) > shape.PROFILE_MAX:
        entry.note("profile", f"{len(values)} values: keep {shape.PROFILE_MAX} at most")
    return CustomerEntry(
        name,
        time_zone,
        values,
        currency,
        tax,
        entry.optional("approval", parse_flag, False),
        entry.optional("empty_invoices", parse_flag, False),
        *_account(entry),
    )


def _account(entry: Entry) -> tuple[str | None, Payer]:
    """Return whose sub-account a customer is, and who pays."""
    parent = entry.optional("parent", parse_id, None)
    payer = entry.optional("payer", parse_payer, Payer.OWN)
    if payer is Payer.PARENT and entry.value("parent") is None:
        entry.missing("parent")
    return parent, payer


def _phase(entry: Entry, name: str, card: Callable[[Entry, str], PlanPrice | None]) -> Phase:
    entry.close(*shape.PHASE.keys)
    note_uncovered(entry)
    return Phase(
        name,
        entry.needed("length", parse_cycle, _MONTHLY),
        None if entry.value("prices") is None else read_list(entry, "prices", card),
        entry.optional("percent_off", parse_percent, None),
    )
