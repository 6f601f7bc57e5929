"""Planned: which lines a document of a payer has, before any usage is known.

Owns: which prices of which periods fall due at a cut, and what of them earlier documents carry.
Does not own: periods (catalog), what fees come to (fees.py), usage lines and totals (compose.py).
Law: a price of a period is on one document; same facts, same documents before: same lines.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

from pipeline.catalog.by_hand import HandLine
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.legs import FOR_EVER, Leg, legs
from pipeline.catalog.mends import Until
from pipeline.catalog.offers import offered
from pipeline.catalog.orders import Order
from pipeline.catalog.periods import ServicePeriod, leg_periods, ordered
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import Instant, Period, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.invoice.by_hand import card_by_hand, hand_lines, key_of, served_by_hand
from pipeline.invoice.commitments import lines_due
from pipeline.invoice.details import Early
from pipeline.invoice.fees import NOWHERE, Fee, Reach, Reason, differences, due_fee
from pipeline.invoice.lines import Line, LineKey, card_told
from pipeline.invoice.parts import PlannedLine, so_far
from pipeline.invoice.usage import UsageRequest
from pipeline.rate import PaymentTerm

Carried = Mapping[tuple[str, str], Reach]
"""How far (subscription, item) was billed: a payer's cuts are made in order."""


def planned_lines(
    catalog: Catalog,
    payer: str,
    currency: str,
    instant: Instant,
    carried: Carried | None = None,
    early: EarlyUsage | None = None,
) -> list[PlannedLine]:
    """Return the lines of a payer that fall due at or before `instant` and nobody carries.

    Where an end was moved after its period was billed, the rest of the period is a line. Or they
    are what is billed `early`, whatever falls due.
    """
    found: list[PlannedLine] = []
    if early is not None:
        return sorted(_of_early(catalog, early, currency, carried or {}), key=_in_order)
    for subscription in catalog.subscriptions_paid_by(payer):
        own = [leg for leg in legs(catalog, subscription) if leg.plan.currency == currency]
        found += _of_subscription(catalog, subscription, own, instant, carried or {})
        found += _given_back(catalog, subscription, own, instant, carried or {})
    for order in catalog.orders_paid_by(payer):
        if order.at <= instant and order.currency == currency:
            found += _of_order(catalog, order, carried or {})
    for hand in hand_lines(catalog, payer, currency, instant):
        if ("", hand.id) not in (carried or {}):
            found.append(_by_hand(catalog, hand))
    return sorted(found, key=_in_order)


def _in_order(line: PlannedLine) -> tuple[str, str, LineKey, bool]:
    """Return where a line stands: its payer's own lines first, then those of each sub-account."""
    return line.served.plan.issuer, line.sub_account or "", line.key, not line.is_credit


def _of_early(
    catalog: Catalog, early: EarlyUsage, currency: str, carried: Carried
) -> Iterator[PlannedLine]:
    """Yield the lines of the periods that run when usage is billed early."""
    for leg in legs(catalog, catalog.subscriptions[early.subscription]):
        if leg.free or leg.plan.currency != currency or early.add_on not in (None, leg.add_on):
            continue
        for price in leg.prices:
            reach = carried.get((leg.subscription.id, leg.item(price)), NOWHERE)
            for served in leg_periods(
                leg, max(early.running_at, reach.until), early.running_at + 1
            ):
                yield from so_far(lines_due(catalog, served, price, [*leg.cards(price)], reach))


def _of_order(catalog: Catalog, order: Order, carried: Carried) -> Iterator[PlannedLine]:
    served = ordered(order, catalog.customers[order.customer])
    for card in order.lines:
        key = LineKey("", order.item(card), order.at)
        if (key.subscription, key.price) not in carried:
            fee = due_fee(served, card, card_told(key, served, card), order.currency, {})
            yield PlannedLine(key, served, card, None, fee=fee)


def _by_hand(catalog: Catalog, hand: HandLine) -> PlannedLine:
    """Return a line by hand; what is not a flat price is rated with the quantity it tells."""
    key, served = key_of(hand), served_by_hand(catalog, hand)
    if hand.card.meter is not None:
        return PlannedLine(key, served, hand.card, None, hand=hand)
    fee = due_fee(served, hand.card, card_by_hand(hand), hand.currency, {})
    return PlannedLine(key, served, hand.card, None, fee=fee, hand=hand)


def _of_subscription(
    catalog: Catalog, sold: Subscription, own: Sequence[Leg], instant: Instant, carried: Carried
) -> Iterator[PlannedLine]:
    ahead: dict[str, list[PlannedLine]] = {}
    for leg in own:
        for price in [] if leg.free else leg.prices:
            item = leg.item(price)
            reach, cards = carried.get((leg.subscription.id, item), NOWHERE), [*leg.cards(price)]
            begun = any(card.in_advance for _, _, card in cards)
            for served in leg_periods(leg, reach.until, instant + 1):
                if served.due > instant and not begun:
                    break
                for line in lines_due(catalog, served, price, cards, reach):
                    if line.fee_ahead is not None:
                        ahead.setdefault(item, []).append(line)
                    elif line.served.due <= instant:
                        yield line
    given = {item for subscription, item in carried if subscription == sold.id}
    for item in sorted(given | ahead.keys()):
        reach = carried.get((sold.id, item), NOWHERE)
        yield from _ahead(catalog, sold, own, item, reach, ahead.get(item, ()), instant)


def _ahead(
    catalog: Catalog,
    sold: Subscription,
    own: Sequence[Leg],
    item: str,
    reach: Reach,
    lines: Sequence[PlannedLine],
    instant: Instant,
) -> Iterator[PlannedLine]:
    """Yield the lines of one fee in advance: what is due less what was billed."""
    due = [line.fee_ahead for line in lines if line.fee_ahead is not None]
    until = FOR_EVER if _is_over(own, instant) else instant
    for reason, fee in differences(reach, due, until):
        key, period = LineKey(sold.id, item, fee.start), Period(fee.start, fee.end)
        if reason is Reason.UNUSED:
            leg = _once_sold(catalog, sold, cast(str, fee.card["plan"]), period)
            served = ServicePeriod(leg, period, period, min(fee.start, instant), 0)
            yield PlannedLine(key, served, fee.price, None, fee=fee, reason=reason)
            continue
        line = next(one for one in lines if one.served.period.end >= fee.end)
        changed = fee.start < reach.end  # else it is due with its period
        served = replace(line.served, period=period, due=fee.start if changed else line.served.due)
        yield replace(line, key=key, served=served, fee=fee, reason=reason)


def _is_over(own: Sequence[Leg], instant: Instant) -> bool:
    """Whether nothing of a subscription is served from an instant on, or nothing at all."""
    return all(leg.end is not None and leg.end <= instant for leg in own)


def _once_sold(catalog: Catalog, sold: Subscription, plan: str, period: Period) -> Leg:
    """Return a stretch that was billed and may not be sold any more."""
    start, end = period.start, period.end
    customer, listed = catalog.customers[sold.customer], offered(catalog, plan, sold)
    return Leg(sold, customer, listed, start, end, start, start)


def _given_back(
    catalog: Catalog, sold: Subscription, own: Sequence[Leg], instant: Instant, carried: Carried
) -> Iterator[PlannedLine]:
    """Yield credits for what was billed early of stretches that are not sold any more."""
    until = FOR_EVER if _is_over(own, instant) else instant
    for (name, item), reach in carried.items():
        for each in reach.early if name == sold.id else ():
            if each.start >= until or any(_bills(leg, item, each.start) for leg in own):
                continue
            period = Period(each.start, each.end)
            leg = _once_sold(catalog, sold, cast(str, each.card["plan"]), period)
            served = ServicePeriod(leg, period, period, min(each.end, instant), 0)
            key = LineKey(name, item, each.start, each.group)
            yield PlannedLine(key, served, each.price, None, reason=Reason.UNUSED, early=(each,))


def _bills(leg: Leg, item: str, start: Instant) -> bool:
    """Whether a leg bills usage of an item in the period that holds an instant."""
    if leg.free:
        return False
    cards = [card for price in leg.prices if leg.item(price) == item for card in leg.cards(price)]
    return any(
        card.meter is not None
        and since < served.period.end
        and (until is None or served.period.start < until)
        for served in leg_periods(leg, start, start + 1)
        for since, until, card in cards
    )


def periods_asked(
    catalog: Catalog, payer: str, currency: str, instant: Instant
) -> dict[str, Period]:
    """Return what ends at an instant, by issuer, of a payer that wants a document of it anyway."""
    found: dict[str, Period] = {}
    if not catalog.customers[payer].empty_invoices:
        return found
    for subscription in catalog.subscriptions_paid_by(payer):
        for leg in legs(catalog, subscription):
            if leg.plan.currency != currency:
                continue
            for served in leg_periods(leg, instant - 1, instant):
                if served.period.end == instant:
                    known = found.setdefault(leg.plan.issuer, served.period)
                    start = min(known.start, served.period.start)
                    found[leg.plan.issuer] = Period(start, instant)
    return found


def requests_of(lines: Iterable[PlannedLine]) -> list[UsageRequest]:
    """Return the usage that lines ask for."""
    return [request for line in lines for request in line.requests()]


Billed = tuple[LineKey, Instant, Reason | None, Fee | None]
"""What one line bills, up to when; the fee where it was billed in advance."""


def with_lines(carried: Carried, lines: Iterable[PlannedLine]) -> Carried:
    """Return what is carried once the documents of one cut have these lines."""
    billed = ((line.key, line.served.period.end, line.reason, line.fee_ahead) for line in lines)
    return _with(carried, billed)


def _with(carried: Carried, lines: Iterable[Billed]) -> Carried:
    reached = dict(carried)
    ahead: dict[tuple[str, str], list[tuple[Reason | None, Fee]]] = {}
    for key, end, reason, fee in lines:
        source = (key.subscription, key.price)
        if fee is None and reason is Reason.UNUSED:
            reached[source] = reached.get(source, NOWHERE).given_back(key.start)
        elif fee is None:
            reached[source] = reached.get(source, NOWHERE).served(end)
        else:
            ahead.setdefault(source, []).append((reason, fee))
    for source, fees in ahead.items():
        reached[source] = reached.get(source, NOWHERE).billed(fees)
    return reached


def put_right(
    carried: Carried, note: Mapping[str, Json], change: Mapping[str, Json] | None
) -> Carried:
    """Return what is carried once a diff has its note, of a change of its document.

    What is given back of a fee in advance is what is left of it, and where a diff bills one that no
    document has the change says what is carried of it `ahead`. A price that its document left
    out, or had end too soon, is billed as far as the change says. Usage that was billed early has
    no such note until its period's last document is there.
    """
    if "carried" in note:
        return _carried_kept(note["carried"])
    if change is None:
        return carried
    reached = dict(carried)
    for line in filter(is_ahead, cast(list[Line], change["lines"])):
        key = LineKey.of_line(line)
        source = (key.subscription, key.price)
        if source in reached:
            reached[source] = reached[source].put_right(Fee.of_line(line))
    reached.update(_carried_kept(change.get("ahead", [])))
    return billed_farther(reached, until_of(change))


def until_of(change: Mapping[str, Json]) -> Until:
    """Return up to where a diff bills prices that a document left out, or had end too soon."""
    return cast(Until, change.get("until", ()))


def billed_farther(carried: Carried, until: Until) -> Carried:
    """Return what is carried once prices are billed as far as a diff says."""
    reached = dict(carried)
    for subscription, price, told in until:
        reach, end = reached.get((subscription, price), NOWHERE), parse_instant(told)
        if end > reach.until:
            reached[subscription, price] = reach.served(end)
    return reached


def billed_since(carried: Carried, since: Until) -> Carried:
    """Return what is carried where prices are billed up to there alone, whatever documents say."""
    reached = dict(carried)
    for subscription, price, told in since:
        reach = reached.get((subscription, price), NOWHERE)
        reached[subscription, price] = replace(reach, until=parse_instant(told))
    return reached


def farther(lines: Iterable[Line], than: Iterable[Line]) -> Until:
    """Return which prices some lines bill farther in arrears than others, and up to where."""
    known = ends_of(than)
    told = {source: end for source, end in ends_of(lines).items() if end > known.get(source, 0)}
    return [(*source, instant_text(end)) for source, end in sorted(told.items())]


def ends_of(lines: Iterable[Line]) -> Mapping[tuple[str, str], Instant]:
    """Return up to where lines bill in arrears; what they give back is no such line."""
    found: dict[tuple[str, str], Instant] = {}
    for source, _, end in _in_arrears(lines):
        found[source] = max(end, found.get(source, end))
    return found


def begins_of(lines: Iterable[Line]) -> Mapping[tuple[str, str], Instant]:
    """Return from where lines bill in arrears."""
    found: dict[tuple[str, str], Instant] = {}
    for source, start, _ in _in_arrears(lines):
        found[source] = min(start, found.get(source, start))
    return found


def _in_arrears(lines: Iterable[Line]) -> Iterator[tuple[tuple[str, str], Instant, Instant]]:
    for line in lines:
        if not is_ahead(line) and line["reason_code"] is None:
            key, end = LineKey.of_line(line), parse_instant(line["period_end"])
            yield (key.subscription, key.price), key.start, end


def is_ahead(line: Line) -> bool:
    """Whether a line bills before it is served."""
    return line["payment_term"] == PaymentTerm.IN_ADVANCE.value


def carried_by_all(contents: Iterable[Mapping[str, Json]]) -> Carried:
    """Return what issued documents of a payer and currency carry, from their first to their last.

    Those of one cut stand beside each other.
    """
    carried: Carried = {}
    for _, cut in groupby(contents, key=lambda content: content["cut_instant"]):
        carried = with_documents(carried, cut)
    return carried


def with_documents(carried: Carried, contents: Iterable[Mapping[str, Json]]) -> Carried:
    """Return what is carried once the documents of one cut are made."""
    known = list(contents)
    for content in known:
        if "carried" in content:  # all that is left of it, once it is beyond retention
            return _carried_kept(content["carried"])
    lines = [line for content in known for line in cast(list[Line], content["lines"])]
    if not any(map(is_early, known)):
        return _with(carried, map(_billed, lines))
    reached = dict(carried)
    for line in lines:
        key = LineKey.of_line(line)
        source = (key.subscription, key.price)
        reached[source] = reached.get(source, NOWHERE).billed_early(Early.of_line(line))
    return reached


def carried_told(carried: Carried) -> Json:
    """Return what is carried as it is kept of a content that is removed."""
    told: list[Json] = []
    for source, reach in sorted(carried.items()):
        told.append([*source, instant_text(reach.until), reach.json()])
    return told


def _carried_kept(told: Json) -> Carried:
    rows = cast(list[tuple[str, str, str, Json]], told)
    return {
        (subscription, price): Reach.of_json(parse_instant(until), kept)
        for subscription, price, until, kept in rows
    }


def is_early(content: Mapping[str, Json]) -> bool:
    """Whether a document bills usage of periods that run on: a fact caused it, and none before."""
    told = content.get("cause") is not None and content.get("replaces") is None
    return told and "corrects" not in content


def _billed(line: Line) -> Billed:
    key, end = LineKey.of_line(line), parse_instant(line["period_end"])
    told = line["reason_code"]
    reason = None if told is None else Reason(told)
    if not is_ahead(line):
        return key, end, reason, None
    return key, end, reason, Fee.of_line(line)
