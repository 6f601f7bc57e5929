"""The catalog at a position of the fact log: what is in force from a tick on.

Owns: the fold of facts.  Does not own: which tick names which position (meter/ticks).
Law: the catalog depends on the facts up to its position, on nothing else.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from pipeline.catalog import documents
from pipeline.catalog.accounts import NO_ACCOUNTS, Accounts
from pipeline.catalog.by_hand import BY_HAND, NOTHING_BY_HAND, ByHand
from pipeline.catalog.deals import DEALT, Deals
from pipeline.catalog.documents import Customer, Issuer, LogParameters, Plan, Rules
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.layered import updated
from pipeline.catalog.matches import Match, Matches, named_between, told_by
from pipeline.catalog.orders import Order, Orders
from pipeline.catalog.subscriptions import Subscription, subscription
from pipeline.catalog.touched import Touched, Touching
from pipeline.collect.gate import GatePass
from pipeline.core.errors import BrokenInvariant
from pipeline.meter.meters import Meter
from pipeline.meter.sift import Ground
from pipeline.meter.ticks import Tick


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything in force at fact `position`, by id."""

    position: int = 0
    log: LogParameters | None = None
    rules: Rules | None = None
    issuers: Mapping[str, Issuer] = field(default_factory=dict)
    meters: Mapping[str, Meter] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    customers: Mapping[str, Customer] = field(default_factory=dict)
    subscriptions: Mapping[str, Subscription] = field(default_factory=dict)
    gate_passes: Mapping[str, GatePass] = field(default_factory=dict)
    """By the id of their fact."""
    matches: Mapping[int, Sequence[Matches]] = field(default_factory=dict)
    """By partition, in the order of their facts."""
    deals: Deals = field(default_factory=Deals)
    by_hand: ByHand = NOTHING_BY_HAND
    accounts: Accounts = NO_ACCOUNTS
    """Who pays for whom."""
    _owned: Mapping[str, Sequence[Subscription]] = field(default_factory=dict, compare=False)
    touched: Touched = field(default_factory=Touched, compare=False)
    """Which of the facts may make a difference to whom."""

    def ground(self, partition: int) -> Ground:
        """Return what a message of a partition is judged by while this is in force."""
        log = self.parameters
        return Ground(
            partition, log.partitions, log.gate, self.meters, self.gate_passes, log.copied
        )

    @property
    def parameters(self) -> LogParameters:
        """The log's parameters.

        Raises:
            BrokenInvariant: the log has no first fact.

        """
        if self.log is None:
            raise BrokenInvariant(f"no log parameters among the facts up to {self.position}")
        return self.log

    @property
    def rules_in_force(self) -> Rules:
        """The rules in force.

        Raises:
            BrokenInvariant: there are none.

        """
        if self.rules is None:
            raise BrokenInvariant(f"no rules among the facts up to {self.position}")
        return self.rules

    def matches_between(self, partition: int, before: Tick, tick: Tick) -> list[Match]:
        """Return the matches that `tick` is the first of a partition to name."""
        told = self.matches.get(partition, ())
        return named_between(told, before.fact_position, tick.fact_position)

    def answered_by(self, later: "Catalog") -> "Catalog":
        """Return this catalog with the tax answers of a later one: they may come after a cut."""
        answers = replace(self.deals.tax_answers, later=later.deals.tax_answers)
        return replace(self, deals=replace(self.deals, tax_answers=answers))

    def decided_by(self, later: "Catalog") -> "Catalog":
        """Return this catalog with what a later one knows of single documents by hand.

        What is decided of one before it is prepared enters it, also after its cut; nobody decides
        of it after that.
        """
        return replace(self, by_hand=later.by_hand)

    @property
    def orders(self) -> Orders:
        """What is bought once."""
        return self.deals.orders

    @property
    def subscribers(self) -> Iterable[str]:
        """Who has a subscription, or had one."""
        return self._owned.keys()

    def subscriptions_of(self, customer: str) -> list[Subscription]:
        """Return a customer's subscriptions, by id."""
        return list(self._owned.get(customer, ()))

    def subscriptions_paid_by(self, payer: str) -> list[Subscription]:
        """Return the subscriptions that a customer is invoiced for."""
        return [own for each in self.accounts.of(payer) for own in self.subscriptions_of(each)]

    def orders_paid_by(self, payer: str) -> list[Order]:
        """Return the orders that a customer is invoiced for."""
        return [own for each in self.accounts.of(payer) for own in self.orders.of(each)]


JUDGING = frozenset((FactKind.LOG, FactKind.METER, FactKind.GATE_PASS))
"""The facts that usage is judged by: `ground` follows from them alone."""


def extend(
    catalog: Catalog, facts: Iterable[Fact], only: Container[FactKind] | None = None
) -> Catalog:
    """Return the catalog after more facts; of some kinds `only`, where the others may be missing.

    Raises:
        BrokenInvariant: a serial is missing or twice, or the log's parameters are.

    """
    fold = _Fold(catalog)
    for fact in facts:
        missing = fact.serial - fold.position - 1
        if missing < 0 or (missing and only is None):
            raise BrokenInvariant(f"fact {fact.serial} follows fact {fold.position}")
        fold.position = fact.serial
        if only is None or fact.kind in only:
            fold.take(fact)
    return fold.catalog() if fold.position > catalog.position else catalog


class _Fold:
    """What facts make of a catalog: taken one by one, for there may be very many."""

    def __init__(self, before: Catalog) -> None:
        self._before, self.position = before, before.position
        self._log, self._rules = before.log, before.rules
        self._issuers, self._meters = dict(before.issuers), dict(before.meters)
        self._plans, self._gate_passes = dict(before.plans), dict(before.gate_passes)
        self._matches = dict(before.matches)
        self._customers: dict[str, Customer] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._dealt, self._by_hand = list[Fact](), list[Fact]()
        self._touching = Touching()

    def take(self, fact: Fact) -> None:
        """Take in the fact that follows."""
        self._touching.take(fact)
        match fact.kind:
            case FactKind.LOG:
                if self._log is not None:
                    raise BrokenInvariant(f"fact {fact.serial} sets the log's parameters anew")
                self._log = documents.log_parameters(fact.body)
            case FactKind.RULES:
                self._rules = documents.rules(fact.body)
            case FactKind.ISSUER:
                issuer = documents.issuer(fact.body)
                self._issuers[issuer.id] = issuer.after(self._issuers.get(issuer.id))
            case FactKind.METER:
                self._meters[fact.subject] = documents.meter(fact.body)
            case FactKind.PLAN:
                plan = documents.plan(fact.body)
                self._plans[plan.id] = plan.after(self._plans.get(plan.id))
            case FactKind.CUSTOMER:
                customer, told = documents.customer(fact.body), self._customers
                before = told.get(customer.id) or self._before.customers.get(customer.id)
                told[customer.id] = customer.after(before)
            case FactKind.SUBSCRIPTION:
                sold = subscription(fact.body)
                self._subscriptions[sold.id] = sold
            case FactKind.GATE_PASS:
                self._gate_passes[fact.id] = documents.gate_pass(fact.body)
            case FactKind.MATCH:
                for partition, matches in told_by(fact.serial, fact.body):
                    self._matches[partition] = (*self._matches.get(partition, ()), matches)
            case kind if kind in DEALT:
                self._dealt.append(fact)
            case kind if kind in BY_HAND:
                self._by_hand.append(fact)
            case _:
                pass  # by position (facts.skips_of), or who did what: nothing is priced by them

    def catalog(self) -> Catalog:
        """Return the catalog after what was taken in."""
        before, accounts = self._before, self._before.accounts.after(self._customers.values())
        return Catalog(
            self.position,
            self._log,
            self._rules,
            self._issuers,
            self._meters,
            self._plans,
            updated(before.customers, self._customers),
            updated(before.subscriptions, self._subscriptions),
            self._gate_passes,
            self._matches,
            before.deals.after(self._dealt),
            before.by_hand.after(self._by_hand),
            accounts,
            updated(before._owned, _owned_anew(before, self._subscriptions)),
            before.touched.after(self._touching, accounts.payer),
        )


def _owned_anew(
    before: Catalog, told: Mapping[str, Subscription]
) -> Mapping[str, Sequence[Subscription]]:
    """Return the subscriptions, by id, of the customers whose some were told anew."""
    owned: dict[str, Sequence[Subscription]] = {}
    for new in told.values():
        old = before.subscriptions.get(new.id)
        for customer in {new.customer, old.customer if old else new.customer}:
            known = owned.get(customer)
            if known is None:
                known = before._owned.get(customer, ())
            rest = (s for s in known if s.id != new.id)
            own = [*rest, new] if customer == new.customer else rest
            owned[customer] = tuple(sorted(own, key=_by_id))
    return owned


_by_id = attrgetter("id")


class Remembered:
    """The catalogs asked for last: partitions stand near each other."""

    def __init__(self) -> None:
        """Start with that of no facts."""
        self._known: dict[int, Catalog] = {0: Catalog()}

    def before(self, position: int) -> Catalog:
        """Return the one remembered that is nearest to a position, at it or before."""
        known = position if position in self._known else max(p for p in self._known if p < position)
        found = self._known[known] = self._known.pop(known)  # youngest last
        return found

    def keep(self, catalog: Catalog) -> None:
        """Remember one more, and forget the one that was not asked for longest."""
        self._known[catalog.position] = catalog
        if len(self._known) > _CATALOGS_KEPT:
            del self._known[next(known for known in self._known if known > 0)]


class FactLog:
    """The facts read so far, and the catalog at any position among them."""

    def __init__(self) -> None:
        """Start with no fact."""
        self._facts: list[Fact] = []
        self._catalogs = Remembered()

    @property
    def head(self) -> int:
        """The serial of the last fact read."""
        return len(self._facts)

    def append(self, facts: Iterable[Fact]) -> None:
        """Add the facts that follow.

        Raises:
            BrokenInvariant: a serial is missing or twice.

        """
        for fact in facts:
            if fact.serial != self.head + 1:
                raise BrokenInvariant(f"fact {fact.serial} follows fact {self.head}")
            self._facts.append(fact)

    def at(self, position: int) -> Catalog:
        """Return the catalog at a position that was read.

        Raises:
            BrokenInvariant: the position was not read yet.

        """
        if position > self.head:
            raise BrokenInvariant(f"fact {position} was asked for, {self.head} read")
        found = self._catalogs.before(position)
        if found.position < position:
            found = extend(found, self._facts[found.position : position])
            self._catalogs.keep(found)
        return found


_CATALOGS_KEPT = 32
