"""From a sheet to facts: what differs, nothing twice, and no edit that would bill anew."""

from collections.abc import Callable, Iterable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.changes import Changes, PersonalValue, changes, first_facts
from pipeline.catalog.documents import Customer, Rules
from pipeline.catalog.facts import Fact, NewFact
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.yaml import Problem
from pipeline.collect.gate import Gate
from pipeline.core.calendar import SECOND, Duration, parse_instant
from pipeline.core.identity import canonical, commitment
from rooms.test_sheet_problems import SHEET
from rooms.test_sheet_yaml import EXAMPLE, sheet

TZDATA = "2026.6"


class Desk:
    """Who applies sheets: the facts written so far, folded, and the personal values kept."""

    def __init__(self) -> None:
        """Stand before the first fact."""
        self.facts = FactLog()
        self.written: list[Fact] = []
        self.known: dict[str, str] = {}
        self._salts = count(1)
        self.write(first_facts(4, 3600, 300, 60, TZDATA))

    @property
    def catalog(self) -> Catalog:
        """What is in force."""
        return self.facts.at(self.facts.head)

    def salt(self) -> bytes:
        """A new salt each time."""
        return next(self._salts).to_bytes(16, "big")

    def write(self, facts: Iterable[NewFact]) -> None:
        """Add facts as the log does."""
        for new in facts:
            serial = self.facts.head + 1
            canonical(dict(new.body))
            fact = Fact(serial, "", new.kind, new.subject, new.body, "me", "test", 0)
            self.facts.append([fact])
            self.written.append(fact)

    def ask(self, text: str, tzdata: str = TZDATA) -> Changes | list[Problem]:
        """What a sheet would change."""
        return changes(sheet(text), self.catalog, self.known, self.salt, tzdata)

    def apply(self, text: str) -> list[str]:
        """Apply a sheet; the facts written, as `kind subject`."""
        found = self.ask(text)
        assert isinstance(found, Changes), "\n".join(map(str, found))
        self.known |= {value.commitment: value.value for value in found.personal}
        self.write(found.facts)
        return [f"{fact.kind} {fact.subject}" for fact in found.facts]

    def refused(self, text: str) -> list[str]:
        """Why a sheet cannot be applied."""
        found = self.ask(text)
        assert not isinstance(found, Changes)
        return [str(problem) for problem in found]


@pytest.fixture
def desk() -> Desk:
    """A log in which SHEET is in force."""
    desk = Desk()
    desk.apply(SHEET)
    return desk


def test_first_facts_open_a_log() -> None:
    catalog = Desk().catalog

    assert catalog.parameters.partitions == 4
    assert catalog.parameters.gate == Gate(3600 * SECOND, 300 * SECOND)
    assert catalog.rules_in_force == Rules(60 * SECOND, 1, TZDATA)


def test_facts_stand_in_the_order_that_they_lean_on_each_other() -> None:
    assert Desk().apply(SHEET) == [
        "rules rules",
        "issuer talea-cloud",
        "meter cpu",
        "plan standard",
        "customer acme",
        "subscription acme-1",
    ]


@pytest.mark.parametrize("text", [SHEET, EXAMPLE.read_text()], ids=["short", "example"])
def test_the_catalog_then_has_what_the_sheet_says(text: str) -> None:
    desk, said = Desk(), sheet(text)
    desk.apply(text)
    catalog = desk.catalog

    assert catalog.rules_in_force.grace_us == said.grace_us
    assert tuple(catalog.issuers.values()) == said.issuers
    assert tuple(catalog.meters.values()) == said.meters
    assert tuple(catalog.plans.values()) == said.plans
    assert tuple(catalog.subscriptions.values()) == said.subscriptions
    for entry in said.customers:
        customer = catalog.customers[entry.id]
        assert customer.time_zone == entry.time_zone
        assert {name: desk.known[c] for name, c in customer.profile.items()} == entry.profile


@pytest.mark.parametrize("text", [SHEET, EXAMPLE.read_text()], ids=["short", "example"])
def test_applied_twice_is_applied_once(text: str) -> None:
    desk = Desk()
    desk.apply(text)

    assert desk.ask(text) == Changes((), ())


def test_bodies_hold_no_personal_value_and_what_is_kept_opens_its_commitment() -> None:
    found = Desk().ask(SHEET)

    assert isinstance(found, Changes)
    assert b"Acme" not in b"".join(canonical(dict(fact.body)) for fact in found.facts)
    assert [(kept.subject, kept.value) for kept in found.personal] == [
        ("acme", "Acme GmbH"),
        ("acme", "ap@acme.example"),
    ]
    assert all(kept.commitment == commitment(kept.salt, kept.value) for kept in found.personal)
    assert "Acme" not in repr(found)


def test_only_the_value_that_changed_is_committed_to_anew(desk: Desk) -> None:
    before = desk.catalog.customers["acme"].profile
    found = desk.ask(SHEET.replace("ap@", "billing@"))

    assert isinstance(found, Changes)
    (kept,) = found.personal
    assert kept == PersonalValue(commitment(kept.salt, "billing@acme.example"), "acme", *kept[2:])
    (fact,) = found.facts
    assert fact.body["profile"] == {"name": before["name"], "email": kept.commitment}


def test_a_value_left_out_leaves_the_profile(desk: Desk) -> None:
    assert desk.apply(SHEET.replace(", email: ap@acme.example", "")) == ["customer acme"]
    assert desk.catalog.customers["acme"].profile.keys() == {"name"}


def test_a_value_that_was_erased_is_committed_to_anew(desk: Desk) -> None:
    erased = desk.catalog.customers["acme"].profile["name"]
    del desk.known[erased]

    assert desk.apply(SHEET) == ["customer acme"]
    assert desk.catalog.customers["acme"].profile["name"] != erased


def test_two_customers_with_one_name_have_nothing_in_common() -> None:
    desk = Desk()
    desk.apply("customers: [{id: a, profile: {name: Kim}}, {id: b, profile: {name: Kim}}]")
    one, other = desk.catalog.customers.values()

    assert one.profile["name"] != other.profile["name"]


def test_what_is_left_out_stays_in_force(desk: Desk) -> None:
    before = desk.catalog

    assert desk.apply("") == []
    assert desk.catalog == before


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        ("PT5S", "PT6S", ["rules rules"]),
        ("Talea Cloud Ltd", "Talea Cloud plc", ["issuer talea-cloud"]),
        ("TC-", "TC2-", ["issuer talea-cloud"]),
        ("name: Standard", "name: Classic", ["plan standard"]),
        ("payment_days: 14", "payment_days: 30", ["plan standard"]),
        ("0.005", "0.004", ["plan standard"]),
        ('      - {id: base, name: Base fee, price: {type: flat, amount: "5.00"}}\n', "", None),
        ("[region, host]", "[host, region]", []),
        ("window: PT15M", "window: PT900S", []),
        ("cycle: P1M", "cycle: P1M # as before", []),
        ("2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00", []),
        ("end: null", "end: 2026-12-01T00:00:00Z", ["subscription acme-1"]),
        ("end: null", "end: 2026-11-01T00:00:00Z", ["subscription acme-1"]),
    ],
)
def test_what_may_change(desk: Desk, old: str, new: str, facts: list[str] | None) -> None:
    expected = ["plan standard"] if facts is None else facts
    assert old in SHEET
    assert desk.apply(SHEET.replace(old, new)) == expected
    assert desk.apply(SHEET.replace(old, new)) == []


@pytest.mark.parametrize(
    ("was", "same", "other"),
    [
        (
            'percentile\n    percent: "95.0"',
            "percentile\n    percent: 95",
            "percentile\n    percent: 96",
        ),
        ("time_weighted\n    per: PT1H", "time_weighted\n    per: PT60M", "time_weighted"),
        ("unique_count\n    of: user", 'unique_count\n    of: "user"', "unique_count\n    of: who"),
    ],
)
def test_a_meter_s_parameters_never_change(was: str, same: str, other: str) -> None:
    desk = Desk()
    desk.apply(SHEET.replace("aggregation: sum", f"aggregation: {was}"))

    assert desk.apply(SHEET.replace("aggregation: sum", f"aggregation: {same}")) == []
    (problem,) = desk.refused(SHEET.replace("aggregation: sum", f"aggregation: {other}"))
    assert "a meter never changes" in problem


def test_a_price_tells_apart_what_a_meter_in_force_keeps(desk: Desk) -> None:
    _, plans = SHEET.split("plans:\n")
    text = "plans:\n" + plans.replace("meter: cpu", "meter: cpu\n        group_by: [%s]")

    assert desk.apply(text % "region") == ["plan standard"]
    (problem,) = desk.refused(text % "model")
    assert "prices[1].group_by: cpu does not keep dimension 'model'" in problem


def test_an_end_moves_both_ways_and_goes(desk: Desk) -> None:
    for end in ("2027-01-01T00:00:00Z", "2026-11-01T00:00:00Z", "2026-12-24T18:00:00Z", "~"):
        assert desk.apply(SHEET.replace("null\n", f"{end}\n")) == ["subscription acme-1"]
    assert desk.catalog.subscriptions["acme-1"].end is None


NEW_PLAN = "make a new plan"
NEW_SUBSCRIPTION = "end it and make a new one"
REFUSED = [
    (
        [("number_prefix: TC-", "number_prefix: TC-, note_prefix: CN-")],
        "line 3: issuers[0].note_prefix: whether notes have numbers of their own, and which, never"
        " changes: make a new issuer",
    ),
    (
        [("aggregation: sum", "aggregation: max")],
        "line 5: meters[0]: cpu is in force with another definition, and a meter never changes:"
        " make a new meter",
    ),
    (
        [("[region, host]", "[region]")],
        "line 5: meters[0]: cpu is in force with another definition, and a meter never changes:"
        " make a new meter",
    ),
    (
        [("aggregation: sum", 'aggregation: percentile\n    percent: "95"')],
        "line 5: meters[0]: cpu is in force with another definition, and a meter never changes:"
        " make a new meter",
    ),
    (
        [("issuer: talea-cloud", "issuer: talea")],
        "line 13: plans[0].issuer: no issuer talea, in this file or in force:"
        " add it under issuers, or mend the id",
    ),
    (
        [("meter: cpu", "meter: gpu")],
        "line 21: plans[0].prices[1].meter: no meter gpu, in this file or in force:"
        " add it under meters, or mend the id",
    ),
    (
        [("EUR", "USD")],
        "line 14: plans[0].currency: the currency cannot change from EUR to USD while standard"
        f" has subscriptions: {NEW_PLAN}",
    ),
    (
        [("cycle: P1M", "cycle: P1Y")],
        "line 15: plans[0].cycle: the cycle cannot change from P1M to P12M while standard has"
        f" subscriptions: {NEW_PLAN}",
    ),
    (
        [("id: base", "id: setup")],
        "line 18: plans[0].prices[0].id: the new price setup would bill past periods too while"
        f" standard has subscriptions: {NEW_PLAN}",
    ),
    (
        [("Europe/Berlin", "UTC")],
        "line 29: customers[0].time_zone: the zone cannot change from Europe/Berlin to UTC while"
        " acme has subscriptions, it would move billed periods: make a new customer",
    ),
    (
        [("customer: acme", "customer: acme-2"), ("id: acme\n", "id: acme-2\n")],
        "line 33: subscriptions[0].customer: the customer of acme-1 cannot change from acme to"
        f" acme-2: {NEW_SUBSCRIPTION}",
    ),
    (
        [("plan: standard", "plan: premium"), ("id: standard", "id: premium")],
        "line 34: subscriptions[0].plan: the plan of acme-1 cannot change from standard to"
        " premium: put it under changes",
    ),
    (
        [("2026-11-01", "2026-10-01")],
        "line 35: subscriptions[0].start: the start of acme-1 cannot change from"
        f" 2026-11-01T00:00:00Z to 2026-10-01T00:00:00Z: {NEW_SUBSCRIPTION}",
    ),
    (
        [("id: acme-1", "id: acme-2"), ("customer: acme", "customer: acne")],
        "line 33: subscriptions[0].customer: no customer acne, in this file or in force:"
        " add it under customers, or mend the id",
    ),
    (
        [("id: acme-1", "id: acme-2"), ("plan: standard", "plan: premium")],
        "line 34: subscriptions[0].plan: no plan premium, in this file or in force:"
        " add it under plans, or mend the id",
    ),
]


@pytest.mark.parametrize(("edits", "problem"), REFUSED)
def test_what_may_not_change(desk: Desk, edits: list[tuple[str, str]], problem: str) -> None:
    text = SHEET
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)

    assert desk.refused(text) == [problem]


def test_all_refusals_come_at_once_in_the_order_of_the_file(desk: Desk) -> None:
    text = SHEET.replace("unit: s\n", "unit: h\n").replace("EUR", "USD").replace("2026", "2025")

    assert [line.partition(": ")[0] for line in desk.refused(text)] == [
        "line 5",
        "line 14",
        "line 35",
    ]


def test_a_plan_nobody_has_may_change_altogether(desk: Desk) -> None:
    plan = "plans: [{id: p, name: P, issuer: talea-cloud, currency: %s, cycle: %s, prices: [%s]}]"
    fee = "{id: fee, name: Fee, price: {type: flat, amount: 1}}"

    assert desk.apply(plan % ("EUR", "P1M", "")) == ["plan p"]
    assert desk.apply(plan % ("USD", "P1Y", fee)) == ["plan p"]


def test_a_customer_without_subscriptions_may_move(desk: Desk) -> None:
    desk.apply("customers: [{id: initech}]")

    assert desk.apply("customers: [{id: initech, time_zone: Asia/Tokyo}]") == ["customer initech"]


def test_a_sheet_may_lean_on_what_is_in_force(desk: Desk) -> None:
    text = (
        "plans:\n"
        "  - id: fast\n"
        "    name: Fast\n"
        "    issuer: talea-cloud\n"
        "    currency: EUR\n"
        "    cycle: %s\n"
        "    prices:\n"
        "      - {id: cpu, name: CPU, meter: cpu, price: {type: unit, unit_amount: 1}}\n"
        "subscriptions:\n"
        "  - {id: acme-2, customer: acme, plan: fast, start: 2026-11-01T00:00:00Z}\n"
        "  - {id: acme-3, customer: acme, plan: standard, start: 2026-11-01T00:00:00Z}\n"
    )

    assert desk.refused(text % "PT20M") == [
        "line 8: plans[0].prices[0].meter: the windows of cpu (900 s) do not divide the plan's"
        " cycle (1200 s of clock time): choose a cycle of whole windows"
    ]
    assert desk.apply(text % "PT30M") == [
        "plan fast",
        "subscription acme-2",
        "subscription acme-3",
    ]


def test_rules_are_written_when_the_time_zone_data_changed_and_the_sheet_speaks_of_them(
    desk: Desk,
) -> None:
    found = desk.ask(SHEET, tzdata="2027.1")

    assert isinstance(found, Changes)
    assert [dict(fact.body) for fact in found.facts] == [
        {"grace_s": 5, "rule_version": 1, "tzdata_version": "2027.1"}
    ]
    assert desk.ask(SHEET.replace("rules: {grace: PT5S}", ""), "2027.1") == Changes((), ())


def test_no_salt_is_drawn_where_nothing_is_to_be_written(desk: Desk) -> None:
    def refuse() -> bytes:
        raise AssertionError("a salt was drawn")

    draw: Callable[[], bytes] = refuse
    broken = SHEET.replace("EUR", "USD").replace("Acme GmbH", "Acme AG")

    assert changes(sheet(SHEET), desk.catalog, desk.known, draw, TZDATA) == Changes((), ())
    assert isinstance(changes(sheet(broken), desk.catalog, desk.known, draw, TZDATA), list)


@given(
    st.builds(
        Duration,
        st.integers(0, 120),
        st.integers(0, 3660),
        st.integers(0, 3660 * 86_400),
    ).filter(lambda cycle: cycle != Duration(0, 0, 0))
)
def test_a_cycle_has_one_text(cycle: Duration) -> None:
    assert Duration.parse(cycle.text) == cycle


AMOUNTS = st.decimals("-999", "999", places=4, allow_nan=False).map(lambda d: f"{d:f}")
FEE = AMOUNTS.map(lambda a: f"{{type: flat, amount: {a}}}")
RATE = AMOUNTS.map(lambda a: f"{{type: unit, unit_amount: '{a}'}}")
TEXTS = st.sampled_from(
    ["Ada", "Ada Lovelace", "'null'", "'  x'", "Zoë", '"\\u2603"', "no", "0.10"]
)


@st.composite
def sheets(draw: st.DrawFn) -> str:
    """A sheet whose entries are few, so that a second one edits the first."""
    lines = [f"issuers: [{{id: i, name: {draw(TEXTS)}, number_prefix: I-}}]"]
    lines.append("meters: [{id: m, aggregation: sum, unit: s}]")
    fee, rate = draw(FEE), draw(RATE)
    lines.append("plans:")
    for plan, cycle in (("p", "P1M"), ("q", "PT1H")):
        lines.append(f"  - {{id: {plan}, name: {draw(TEXTS)}, issuer: i, currency: EUR,")
        lines.append(f"     cycle: {cycle}, payment_days: {draw(st.integers(0, 90))}, prices: [")
        lines.append(f"       {{id: fee, name: Fee, price: {fee}}},")
        lines.append(f"       {{id: use, name: Use, meter: m, price: {rate}}}]}}")
    lines.append("customers:")
    for customer in ("a", "b"):
        profile = draw(st.dictionaries(st.sampled_from(["name", "mail"]), TEXTS))
        inner = ", ".join(f"{key}: {value}" for key, value in profile.items())
        lines.append(f"  - {{id: {customer}, time_zone: Europe/Paris, profile: {{{inner}}}}}")
    lines.append("subscriptions:")
    for customer in draw(st.sets(st.sampled_from("ab"), min_size=1)):
        end = draw(st.none() | st.sampled_from(["2026-11-01T00:00:00Z", "2027-05-01T00:00:00.5Z"]))
        start = "start: 2026-11-01T01:00:00+01:00"
        lines.append(
            f"  - {{id: {customer}-1, customer: {customer}, plan: p, {start}, end: {end}}}"
        )
    return "\n".join(lines).replace("None", "null")


@given(st.lists(sheets(), min_size=1, max_size=3))
def test_whatever_came_before_the_sheet_is_in_force_and_changes_nothing_then(
    texts: list[str],
) -> None:
    desk = Desk()
    for text in texts:
        desk.apply(text)
        said = parse_sheet(text)
        assert isinstance(said, Sheet)
        catalog = desk.catalog
        assert {plan.id: plan for plan in said.plans} == catalog.plans
        assert {issuer.id: issuer for issuer in said.issuers} == catalog.issuers
        for subscription in said.subscriptions:
            assert catalog.subscriptions[subscription.id] == subscription
        for entry in said.customers:
            profile = catalog.customers[entry.id].profile
            assert {name: desk.known[kept] for name, kept in profile.items()} == entry.profile
            assert catalog.customers[entry.id] == Customer(entry.id, entry.time_zone, profile)
        assert desk.ask(text) == Changes((), ())


def test_instants_are_kept_to_the_microsecond() -> None:
    desk = Desk()
    desk.apply(SHEET.replace("end: null", "end: 2026-11-01T00:00:00.000001Z"))

    end = desk.catalog.subscriptions["acme-1"].end
    assert end == parse_instant("2026-11-01T00:00:00.000001Z")
