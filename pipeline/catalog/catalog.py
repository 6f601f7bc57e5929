"""The catalog at a position of the fact log: what is in force from a tick on.

Owns: the fold of facts.  Does not own: which tick names which position (meter/ticks).
Law: the catalog depends on the facts up to its position, on nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.catalog import documents
from pipeline.catalog.accounts import NO_ACCOUNTS, Accounts
from pipeline.catalog.by_hand import BY_HAND, NOTHING_BY_HAND, ByHand
from pipeline.catalog.deals import DEALT, Deals
from pipeline.catalog.documents import Customer, Issuer, LogParameters, Plan, Rules
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.matches import Match, Matches, named_between, told_by
from pipeline.catalog.orders import Order, Orders
from pipeline.catalog.subscriptions import Subscription, subscription
from pipeline.catalog.touched import UNTOUCHED, Touched
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
    touched: Touched = field(default=UNTOUCHED, compare=False)
    """Which of the facts may make a difference to whom."""

    def ground(self, partition: int) -> Ground:
        """Return what a message of a partition is judged by while this is in force."""
        log = self.parameters
        return Ground(partition, log.partitions, log.gate, self.meters, self.gate_passes)

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

    def subscriptions_of(self, customer: str) -> list[Subscription]:
        """Return a customer's subscriptions, by id."""
        return list(self._owned.get(customer, ()))

    def subscriptions_paid_by(self, payer: str) -> list[Subscription]:
        """Return the subscriptions that a customer is invoiced for."""
        return [own for each in self.accounts.of(payer) for own in self.subscriptions_of(each)]

    def orders_paid_by(self, payer: str) -> list[Order]:
        """Return the orders that a customer is invoiced for."""
        return [own for each in self.accounts.of(payer) for own in self.orders.of(each)]


def extend(catalog: Catalog, facts: Iterable[Fact]) -> Catalog:
    """Return the catalog after more facts.

    Raises:
        BrokenInvariant: a serial is missing or twice, or the log's parameters are.

    """
    position, log, rules = catalog.position, catalog.log, catalog.rules
    issuers, meters, plans = dict(catalog.issuers), dict(catalog.meters), dict(catalog.plans)
    customers, subscriptions = dict(catalog.customers), dict(catalog.subscriptions)
    gate_passes, matches = dict(catalog.gate_passes), dict(catalog.matches)
    dealt, by_hand = list[Fact](), list[Fact]()
    new = list(facts)
    resold: set[str] = set()
    for fact in new:
        if fact.serial != position + 1:
            raise BrokenInvariant(f"fact {fact.serial} follows fact {position}")
        position = fact.serial
        match fact.kind:
            case FactKind.LOG:
                if log is not None:
                    raise BrokenInvariant(f"fact {position} sets the log's parameters anew")
                log = documents.log_parameters(fact.body)
            case FactKind.RULES:
                rules = documents.rules(fact.body)
            case FactKind.ISSUER:
                issuer = documents.issuer(fact.body)
                issuers[fact.subject] = issuer.after(issuers.get(fact.subject))
            case FactKind.METER:
                meters[fact.subject] = documents.meter(fact.body)
            case FactKind.PLAN:
                plan = documents.plan(fact.body)
                plans[fact.subject] = plan.after(plans.get(fact.subject))
            case FactKind.CUSTOMER:
                customer = documents.customer(fact.body)
                customers[fact.subject] = customer.after(customers.get(fact.subject))
            case FactKind.SUBSCRIPTION:
                resold.add(fact.subject)
                subscriptions[fact.subject] = subscription(fact.body)
            case FactKind.GATE_PASS:
                gate_passes[fact.id] = documents.gate_pass(fact.body)
            case FactKind.MATCH:
                partition, told = told_by(position, fact.body)
                matches[partition] = (*matches.get(partition, ()), told)
            case kind if kind in DEALT:
                dealt.append(fact)
            case kind if kind in BY_HAND:
                by_hand.append(fact)
            case _:
                pass  # by position (facts.skips_of), or who did what: nothing is priced by them
    owned = _owned_after(catalog, subscriptions, resold)
    retold = (customers[f.subject] for f in new if f.kind is FactKind.CUSTOMER)
    accounts = catalog.accounts.after(retold)
    return Catalog(
        position,
        log,
        rules,
        issuers,
        meters,
        plans,
        customers,
        subscriptions,
        gate_passes,
        matches,
        catalog.deals.after(dealt),
        catalog.by_hand.after(by_hand),
        accounts,
        owned,
        catalog.touched.after(new, accounts.payer),
    )


def _owned_after(
    before: Catalog, subscriptions: Mapping[str, Subscription], touched: Iterable[str]
) -> Mapping[str, Sequence[Subscription]]:
    """Return the subscriptions of each customer, by id, once some of them were touched."""
    owned = {**before._owned}
    for subscription_id in touched:
        new, old = subscriptions[subscription_id], before.subscriptions.get(subscription_id)
        for customer in {new.customer, old.customer if old else new.customer}:
            rest = (s for s in owned.get(customer, ()) if s.id != subscription_id)
            own = [*rest, new] if customer == new.customer else rest
            owned[customer] = tuple(sorted(own, key=lambda s: s.id))
    return owned


class FactLog:
    """The facts read so far, and the catalog at any position among them.

    Catalogs are remembered for the positions asked for last: partitions stand near each other.
    """

    def __init__(self) -> None:
        """Start with no fact."""
        self._facts: list[Fact] = []
        self._known: dict[int, Catalog] = {0: Catalog()}

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
        found = self._known.pop(position, None)
        if found is None:
            base = self._known[max(known for known in self._known if known <= position)]
            found = extend(base, self._facts[base.position : position])
        self._known[position] = found  # youngest last
        if len(self._known) > _CATALOGS_KEPT:
            del self._known[next(known for known in self._known if known > 0)]
        return found


_CATALOGS_KEPT = 32
