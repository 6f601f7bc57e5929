"""Broken sheets: each problem with its line, its path and how to mend it; all at once."""

import pytest

from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.yaml import DEPTH_MAX, NODES_MAX, TEXT_CHARS_MAX, Problem

SHEET = """\
rules: {grace: PT5S}
issuers:
  - {id: talea-cloud, name: Talea Cloud Ltd, number_prefix: TC-}
meters:
  - id: cpu
    aggregation: sum
    unit: s
    window: PT15M
    dimensions: [region, host]
plans:
  - id: standard
    name: Standard
    issuer: talea-cloud
    currency: EUR
    cycle: P1M
    payment_days: 14
    prices:
      - {id: base, name: Base fee, price: {type: flat, amount: "5.00"}}
      - id: cpu
        name: CPU time
        meter: cpu
        price:
          type: graduated
          tiers:
            - {up_to: "100", unit_amount: 0.01}
            - {up_to: null, unit_amount: 0.005}
customers:
  - id: acme
    time_zone: Europe/Berlin
    profile: {name: Acme GmbH, email: ap@acme.example}
subscriptions:
  - id: acme-1
    customer: acme
    plan: standard
    start: 2026-11-01T00:00:00Z
    end: null
"""

# After *: what stands in SHEET => what stands there instead. Below: the problems that makes.
BROKEN = r"""
* rules: {grace: PT5S} => rules: {grace: PT5S
  line 2: no YAML, did not find expected ',' or '}': mend the syntax here or just above
* rules: {grace: PT5S} => \trules: {grace: PT5S}
  line 1: no YAML, found character that cannot start any token: mend the syntax here or just above
* unit: s => unit: \a
  line 7: the character U+0007 cannot stand in YAML: remove it
* unit: s => unit: *nowhere
  line 7: meters[0].unit: no anchor &nowhere ends before this alias: write it out
* unit: s => unit: !!float 5
  line 7: meters[0].unit: the tag '!!float' is not read: remove it, quote the value
* unit: s => unit: s\n    ? [a]\n    : b
  line 8: meters[0]: a key must be a word: lists, mappings, null are none
* unit: s => unit: s\n    ~: b
  line 8: meters[0]: a key must be a word: lists, mappings, null are none
* unit: s => unit: s\n    unit: min
  line 8: meters[0].unit: this key stands on line 7 already: remove one
* end: null\n => end: null\n---\nmeters: []\n
  line 37: a second document: a sheet has one, cut `---`
* rules: {grace: PT5S}\n => rules: {grace: PT5S}\nprices: []\n
  line 2: prices: nobody reads this key: remove it, or use rules, issuers, meters, plans,
      price_books, promotions, fx_rates, customers, subscriptions, orders
* rules: {grace: PT5S} => rules: [PT5S]
  line 1: rules: must be a mapping: write `key: value` here
* rules: {grace: PT5S} => rules: {}
  line 1: rules.grace: required, but absent or empty: add grace
* rules: {grace: PT5S} => rules: {horizon: P3D}
  line 1: rules.horizon: nobody reads this key: remove it, or use grace
  line 1: rules.grace: required, but absent or empty: add grace
* PT5S => five
  line 1: rules.grace: 'five' is not an ISO 8601 duration such as P1M or PT1M: P
      counts by the calendar, PT by the clock
* PT5S => PT5S, days: 1
  line 1: rules.days: nobody reads this key: remove it, or use grace
* PT5S => P1D
  line 1: rules.grace: 'P1D' goes by the calendar: write clock time, PT24H for a day
* PT5S => PT9000H
  line 1: rules.grace: 'PT9000H' is too long a grace: use 366 days at most
* issuers:\n  - {id => issuers:\n    {id
  line 3: issuers: must be a list: start each entry with `- `
* issuers:\n => issuers:\n  - talea\n
  line 3: issuers[0]: must be a mapping: write `key: value` here
* issuers:\n => issuers:\n  - null\n
  line 3: issuers[0]: must be a mapping: write `key: value` here
* id: talea-cloud, => (nothing)
  line 3: issuers[0].id: required, but absent or empty: add id
* Talea Cloud Ltd => ~
  line 3: issuers[0].name: required, but absent or empty: add name
* Talea Cloud Ltd => " "
  line 3: issuers[0].name: blank: write something
* Talea Cloud Ltd => "Talea\x0aCloud"
  line 3: issuers[0].name: 'Talea\nCloud' holds a line break or control character: remove it
* Talea Cloud Ltd => [Talea]
  line 3: issuers[0].name: must be one value, not a list or mapping: write it behind the colon
* number_prefix: TC- => number_prefix: 'TC #'
  line 3: issuers[0].number_prefix: 'TC #' is no number prefix: use 1 to 32 of A-Z a-z 0-9 . _ : /
      -
* , number_prefix: TC- => (nothing)
  line 3: issuers[0].number_prefix: required, but absent or empty: add number_prefix
* - id: cpu\n    agg => - id: cpu time\n    agg
  line 5: meters[0].id: 'cpu time' is no id: use 1 to 128 of A-Z a-z 0-9 . _ : -
* - id: cpu\n    agg => - id: cpü\n    agg
  line 5: meters[0].id: 'cpü' is no id: use 1 to 128 of A-Z a-z 0-9 . _ : -
* aggregation: sum => aggregation: avg
  line 6: meters[0].aggregation: 'avg' is no aggregation: use one of sum, count, min, max,
      average, latest, unique_count, percentile, window_percentile, time_weighted
* aggregation: sum => aggregation: percentile
  line 5: meters[0].percent: required, but absent or empty: add percent
* aggregation: sum => aggregation: unique_count\n    of: user\n    percent: "95"
  line 8: meters[0].percent: unique_count has no use for it, only percentile and window_percentile:
      remove percent
* aggregation: sum => aggregation: unique_count
  line 5: meters[0].of: required, but absent or empty: add of
* aggregation: sum => aggregation: unique_count\n    of: host
  line 7: meters[0].of: 'host' is counted, so it tells no usage apart: remove one of them
* aggregation: sum => aggregation: sum\n    per: PT1H
  line 7: meters[0].per: sum has no use for it, only time_weighted: remove per
* aggregation: sum => aggregation: time_weighted\n    per: P1M
  line 7: meters[0].per: 'P1M' goes by the calendar: write clock time, PT24H for a day
* aggregation: sum => aggregation: percentile\n    percent: 0
  line 7: meters[0].percent: '0' is no percent: write a decimal above 0, up to 100
* aggregation: sum => aggregation: percentile\n    percent: 100.1
  line 7: meters[0].percent: '100.1' is no percent: write a decimal above 0, up to 100
* aggregation: sum => aggregation: window_percentile\n    percent: p95
  line 7: meters[0].percent: 'p95' is no percent: write a decimal above 0, up to 100
* meter: cpu => meter: cpu\n        group_by: [model]
  line 22: plans[0].prices[1].group_by: cpu does not keep dimension 'model', it keeps host, region:
      use one of these, or make a new meter
* meter: cpu => meter: cpu\n        group_by: [host, host]
  line 22: plans[0].prices[1].group_by: 'host' stands here twice: remove one
* meter: cpu => meter: cpu\n        filter: {tier: [gold]}
  line 22: plans[0].prices[1].filter: cpu does not keep dimension 'tier', it keeps host, region: use
      one of these, or make a new meter
* meter: cpu => meter: cpu\n        filter: {region: eu}
  line 22: plans[0].prices[1].filter.region: must be a list: start each entry with `- `
* meter: cpu => meter: cpu\n        filter: {region: []}
  line 22: plans[0].prices[1].filter.region: holds no value: name one, or remove it
* meter: cpu => meter: cpu\n        filter: {region: [eu, eu]}
  line 22: plans[0].prices[1].filter.region: 'eu' stands here twice: remove one
* price: {type: flat => group_by: [region], price: {type: flat
  line 18: plans[0].prices[0].group_by: there is no usage to tell apart: add meter, or remove
      group_by
* aggregation: sum\n     => (nothing)
  line 5: meters[0].aggregation: required, but absent or empty: add aggregation
* PT15M => PT7M
  line 8: meters[0].window: 'PT7M' does not divide a day: use PT1M, PT15M, PT1H or the like
* PT15M => PT48H
  line 8: meters[0].window: 'PT48H' does not divide a day: use PT1M, PT15M, PT1H or the like
* PT15M => P1D
  line 8: meters[0].window: 'P1D' goes by the calendar: write clock time, PT24H for a day
* PT15M => PT0.5S
  line 8: meters[0].window: 'PT0.5S' is not an ISO 8601 duration such as P1M or PT1M: P
      counts by the calendar, PT by the clock
* PT15M => 15m
  line 8: meters[0].window: '15m' is not an ISO 8601 duration such as P1M or PT1M: P
      counts by the calendar, PT by the clock
* [region, host] => region
  line 9: meters[0].dimensions: must be a list: start each entry with `- `
* [region, host] => [region, region]
  line 9: meters[0].dimensions: 'region' stands here twice: remove one
* [region, host] => [region, [host]]
  line 9: meters[0].dimensions[1]: must be one value: write a word here
* [region, host] => [region, ]\n    color: red
  line 10: meters[0].color: nobody reads this key: remove it, or use id, aggregation, unit,
      window, dimensions, of, percent, per, points
* plans: =>   - {id: cpu, aggregation: max, unit: s}\nplans:
  line 10: meters[1].id: cpu stands on line 5 already: rename or remove one
* EUR => eur
  line 14: plans[0].currency: 'eur' is no ISO 4217 currency: use one such as EUR
* EUR => XAU
  line 14: plans[0].currency: XAU has no minor unit, so nothing can be billed in it: use one such
      as EUR
* EUR => no
  line 14: plans[0].currency: 'no' is no ISO 4217 currency: use one such as EUR
* cycle: P1M => cycle: monthly
  line 15: plans[0].cycle: 'monthly' is not an ISO 8601 duration such as P1M or PT1M: P
      counts by the calendar, PT by the clock
* cycle: P1M => cycle: P0D
  line 15: plans[0].cycle: 'P0D' lasts no time: P counts by the calendar, PT by the
      clock
* cycle: P1M => cycle: P11Y
  line 15: plans[0].cycle: 'P11Y' is too long a cycle: use 10 years at most
* cycle: P1M => cycle: PT50M
  line 21: plans[0].prices[1].meter: the windows of cpu (900 s) do not divide the plan's cycle
      (3000 s of clock time): choose a cycle of whole windows
* cycle: P1M => cycle: P1DT1M
  line 21: plans[0].prices[1].meter: the windows of cpu (900 s) do not divide the plan's cycle (60
      s of clock time): choose a cycle of whole windows
* payment_days: 14 => payment_days: 14.5
  line 16: plans[0].payment_days: '14.5': use a whole number of days, 0 to 3650
* payment_days: 14 => payment_days: -1
  line 16: plans[0].payment_days: '-1': use a whole number of days, 0 to 3650
* payment_days: 14 => payment_days: 3651
  line 16: plans[0].payment_days: '3651': use a whole number of days, 0 to 3650
* payment_days: 14 => payment_days: {net: 14}
  line 16: plans[0].payment_days: must be one value, not a list or mapping: write it behind the
      colon
* id: base => id: cpu
  line 19: plans[0].prices[1].id: cpu stands on line 18 already: rename or remove one
* , price: {type: flat, amount: "5.00"} => (nothing)
  line 18: plans[0].prices[0].price: required, but absent or empty: add price
* price: {type: flat, amount: "5.00"} => price: 5.00
  line 18: plans[0].prices[0].price: must be a mapping: write `key: value` here
* type: flat, => type: fixed,
  line 18: plans[0].prices[0].price.type: 'fixed' is no type of price: use one of flat, unit,
      graduated, volume, package, percentage, graduated_percentage, dynamic, matrix
* type: flat,  => (nothing)
  line 18: plans[0].prices[0].price.type: required, but absent or empty: add type
* type: flat,  => type: flat, currency: EUR, 
  line 18: plans[0].prices[0].price.currency: nobody reads this key: remove it, or use another
      type
* "5.00" => 5,00
  line 18: plans[0].prices[0].price.00: nobody reads this key: remove it, or use another type
* "5.00" => 5e2
  line 18: plans[0].prices[0].price.amount: '5e2' is not a plain decimal string of at most 100
      digits: write it like 0.25
* "5.00" => .5
  line 18: plans[0].prices[0].price.amount: '.5' is not a plain decimal string of at most 100
      digits: write it like 0.25
* "5.00" => null
  line 18: plans[0].prices[0].price.amount: required, but absent or null: add it
* name: Base fee => name: Base fee, meter: cpu
  line 18: plans[0].prices[0].meter: a flat price bills no usage: remove meter, or use another
      type
*         meter: cpu\n => (nothing)
  line 19: plans[0].prices[1].meter: required, because this type of price bills usage: add meter
*         meter: cpu\n =>         meter: [cpu]\n
  line 21: plans[0].prices[1].meter: must be one value, not a list or mapping: write it behind the
      colon
* type: graduated => type: percentage
  line 25: plans[0].prices[1].price.tiers: nobody reads this key: remove it, or use another type
* type: graduated => type: graduated_percentage
  line 25: plans[0].prices[1].price.tiers[0].unit_amount: nobody reads this key: remove it, or use
      another type
  line 26: plans[0].prices[1].price.tiers[1].unit_amount: nobody reads this key: remove it, or use
      another type
* type: graduated => type: flat
  line 23: plans[0].prices[1].price.amount: required, but absent or null: add it
  line 25: plans[0].prices[1].price.tiers: nobody reads this key: remove it, or use another type
* {up_to: null => {up_to: 100
  line 26: plans[0].prices[1].price.tiers[1].up_to: not above the bound of the tier before: sort
      the tiers, up_to of the last may be null
* {up_to: "100" => {up_to: null
  line 25: plans[0].prices[1].price.tiers[0].up_to: only the last tier may be open: sort the
      tiers, up_to of the last may be null
* {up_to: "100" => {block_size: 10
  line 25: plans[0].prices[1].price.tiers[0].up_to: only the last tier may be open: sort the
      tiers, up_to of the last may be null
  line 25: plans[0].prices[1].price.tiers[0].unit_amount: a tier of blocks has no such amount:
      remove it, or the block
  line 25: plans[0].prices[1].price.tiers[0].block_amount: required, but absent or null: add it
* unit_amount: 0.005} => unit_amount: 0.005, per: hour}
  line 26: plans[0].prices[1].price.tiers[1].per: nobody reads this key: remove it, or use another
      type
* Europe/Berlin => Europe/Bonn
  line 29: customers[0].time_zone: 'Europe/Bonn' is no time zone: use an IANA name such as
      Europe/Berlin
* Europe/Berlin => localtime
  line 29: customers[0].time_zone: 'localtime' is no time zone: use an IANA name such as
      Europe/Berlin
* Europe/Berlin => ../etc/passwd
  line 29: customers[0].time_zone: '../etc/passwd' is no time zone: use an IANA name such as
      Europe/Berlin
* Europe/Berlin => Europe
  line 29: customers[0].time_zone: 'Europe' is no time zone: use an IANA name such as
      Europe/Berlin
* {name: Acme GmbH, email: ap@acme.example} => Acme GmbH
  line 30: customers[0].profile: must be a mapping: write `key: value` here
* {name: Acme GmbH, email: ap@acme.example} => {name: [Acme]}
  line 30: customers[0].profile.name: must be one value, not a list or mapping: write it behind
      the colon
* {name: Acme GmbH, email: ap@acme.example} => {full name: Acme}
  line 30: customers[0].profile.full name: 'full name' is no id: use 1 to 128 of A-Z a-z 0-9 . _ :
      -
* Acme GmbH => "Acme\e[31m"
  line 30: customers[0].profile.name: 'Acme\x1b[31m' holds a line break or control character:
      remove it
* 2026-11-01T00:00:00Z => 2026-11-01
  line 35: subscriptions[0].start: '2026-11-01' is not an RFC 3339 instant with a zone: write it
      like 2026-11-01T00:00:00Z
* 2026-11-01T00:00:00Z => 2026-11-31T00:00:00Z
  line 35: subscriptions[0].start: '2026-11-31T00:00:00Z' is no instant: day is out of range for
      month: write it like 2026-11-01T00:00:00Z
* 2026-11-01T00:00:00Z => 2026-11-01T00:00:00
  line 35: subscriptions[0].start: '2026-11-01T00:00:00' is not an RFC 3339 instant with a zone:
      write it like 2026-11-01T00:00:00Z
* 2026-11-01T00:00:00Z => 1999-11-01T00:00:00Z
  line 35: subscriptions[0].start: '1999-11-01T00:00:00Z' is outside the years 2000 to 2099:
      choose another
* end: null => end: 2026-10-31T23:59:59.999999Z
  line 36: subscriptions[0].end: lies before the start: choose a later end, or the start itself to
      void it
*     plan: standard\n => (nothing)
  line 32: subscriptions[0].plan: required, but absent or empty: add plan
* customer: acme => customer: a/b
  line 33: subscriptions[0].customer: 'a/b' is no id: use 1 to 128 of A-Z a-z 0-9 . _ : -
* time_zone: Europe/Berlin => <<: {time_zone: UTC}
  line 29: customers[0].<<: nobody reads this key: remove it, or use id, time_zone,
      currency, profile, tax, approval, parent, payer, empty_invoices
*     time_zone: Europe/Berlin =>     time_zone: Europe/Berlin\n    time_zone: UTC
  line 30: customers[0].time_zone: this key stands on line 29 already: remove one
* Talea Cloud Ltd => &a Talea, number_prefix: *a, extra: 1
  line 3: issuers[0].number_prefix: this key stands on line 3 already: remove one
  line 3: issuers[0].extra: nobody reads this key: remove it, or use id, name, number_prefix, tax,
      approval, completeness, notes_from, note_prefix
* 2026-11-01T00:00:00Z => 2100-01-01T00:00:00Z
  line 35: subscriptions[0].start: '2100-01-01T00:00:00Z' is outside the years 2000 to 2099:
      choose another
* 2026-11-01T00:00:00Z => 2026-11-01T00:00:00.0000001Z
  line 35: subscriptions[0].start: '2026-11-01T00:00:00.0000001Z' is finer than a microsecond:
      write it like 2026-11-01T00:00:00Z
* end: null => end: never
  line 36: subscriptions[0].end: 'never' is not an RFC 3339 instant with a zone: write it like
      2026-11-01T00:00:00Z
* "100" => "-1"
  line 25: plans[0].prices[1].price.tiers[0].up_to: '-1' is not above zero: write a number above 0
* up_to: "100" => up_to: [100]
  line 25: plans[0].prices[1].price.tiers[0].up_to: a list is not a plain decimal string of at
      most 100 digits: write it like 0.25
"""


def cases(table: str = BROKEN) -> list[tuple[str, str, list[str]]]:
    """The rows of a table: (old, new, problems)."""
    found = []
    for block in table.split("\n* ")[1:]:
        edit, *lines = block.replace("\n      ", " ").splitlines()
        for shorthand, meant in (("(nothing)", ""), (r"\n", "\n"), (r"\t", "\t"), (r"\a", "\a")):
            edit = edit.replace(shorthand, meant)
        old, new = edit.split(" => ")
        found.append((old, new, [line.strip() for line in lines]))
    return found


def problems(text: str) -> list[Problem]:
    """The problems of a sheet that has some."""
    found = parse_sheet(text)
    assert not isinstance(found, Sheet)
    return found


def edited(*edits: tuple[str, str]) -> str:
    """The good sheet after edits, each of the first place it fits."""
    text = SHEET
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_the_sheet_that_is_broken_below_is_good() -> None:
    assert isinstance(parse_sheet(SHEET), Sheet)
    assert len(cases()) >= 90


@pytest.mark.parametrize(("old", "new", "expected"), cases())
def test_a_broken_sheet(old: str, new: str, expected: list[str]) -> None:
    assert [str(problem) for problem in problems(edited((old, new)))] == expected


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = edited(
        ("PT5S", "soon"),
        ("unit: s", "unit: s\n    unit: min"),
        ("PT15M", "PT7M"),
        ("EUR", "eur"),
        ("meter: cpu", "meter: c p u"),
        ("Europe/Berlin", "Europe/Bonn"),
        ("plan: standard", "price: standard"),
    )

    assert [(problem.line, problem.path) for problem in problems(text)] == [
        (1, "rules.grace"),
        (8, "meters[0].unit"),
        (9, "meters[0].window"),
        (15, "plans[0].currency"),
        (22, "plans[0].prices[1].meter"),
        (30, "customers[0].time_zone"),
        (33, "subscriptions[0].plan"),
        (35, "subscriptions[0].price"),
    ]


@pytest.mark.parametrize(
    ("place", "path", "line"),
    [
        ("Talea Cloud Ltd", "issuers[0].name", 3),
        ("CPU time", "plans[0].prices[1].name", 20),
        ("Acme GmbH", "customers[0].profile.name", 30),
    ],
)
def test_a_text_has_256_characters_at_most(place: str, path: str, line: int) -> None:
    assert isinstance(parse_sheet(edited((place, "ü" * 256))), Sheet)
    assert problems(edited((place, "ü" * 257))) == [
        Problem(path, line, "257 characters: keep 256 at most")
    ]


def test_an_id_has_128_characters_at_most() -> None:
    assert isinstance(parse_sheet(edited(("id: base", "id: " + "b" * 128))), Sheet)
    (problem,) = problems(edited(("id: base", "id: " + "b" * 129)))
    assert str(problem) == (
        f"line 18: plans[0].prices[0].id: '{'b' * 50}'... is no id:"
        " use 1 to 128 of A-Z a-z 0-9 . _ : -"
    )


def test_dimensions_and_profiles_are_bounded() -> None:
    many = ", ".join(f"d{n}" for n in range(33))
    profile = ", ".join(f"v{n}: x" for n in range(33))
    text = edited(("region, host", many), ("name: Acme GmbH, email: ap@acme.example", profile))

    assert problems(text) == [
        Problem("meters[0].dimensions", 9, "33 dimensions: keep 32 at most"),
        Problem("customers[0].profile", 30, "33 values: keep 32 at most"),
    ]


LEVELS = "\n".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"k0: &a0 [{'x, ' * 10}]\n{LEVELS}", 6, "more than 1000000 keys and values with aliases"),
        ("\n".join(["k0: &a0 []", *(f"k{n}: &a{n} [*a{n - 1}]" for n in range(1, 99))]), 33, "32"),
        ("[" * 1_000_000, 1, f"nested deeper than {DEPTH_MAX}: flatten it"),
        ("- " * 1_000_000, 1, f"nested deeper than {DEPTH_MAX}: flatten it"),
        ("{a: " * 1_000_000, 1, f"nested deeper than {DEPTH_MAX}: flatten it"),
        ("? " * 1_000_000, 1, f"nested deeper than {DEPTH_MAX}: flatten it"),
        ("meters: &m [*m]", 1, "no anchor &m ends before this alias: write it out"),
        ("#" * (TEXT_CHARS_MAX + 1), 1, "more than 16777216 characters: split the sheet"),
        ("[" + ",".join("x" * NODES_MAX) + "]", 1, "more than 1000000 keys and values: split"),
    ],
    ids=["bomb", "chain", "flow", "block", "mappings", "keys", "circle", "bytes", "nodes"],
)
def test_a_text_made_to_exhaust_us(text: str, line: int, message: str) -> None:
    (problem,) = problems(text)

    assert problem.line == line
    assert message in problem.message
