"""Pages: tables of each family, the cost model, the section `How fast` of a README.

Owns: words and rounding.  Does not own: any figure (results.py, costs.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.bench import costs
from pipeline.bench.families import AFFINE, AFFINE_CUSTOMERS
from pipeline.bench.plots import plot
from pipeline.bench.report import WORKERS
from pipeline.bench.results import Found, Result
from pipeline.core.errors import BadInput
from pipeline.topology import USAGE_EVENTS, USAGE_METERED

BEGIN = "<!-- how fast: written by `make bench-results` -->"
END = "<!-- /how fast -->"
_DAYS_OF_EVENTS = (10**9, 10**11)
_SERVERS = ("redis", "kafka", "postgres")


def write_pages(results: Mapping[str, Result], folder: Path, readme: Path | None) -> None:
    """Write every page that there are results for.

    Raises:
        BadInput: the README has no place for its section.

    """
    for name, result in results.items():
        (folder / f"{name}.md").write_text(family_page(result), encoding="utf-8")
        if name != "modes":
            plot(result, folder / f"{name}.png")
    if "modes" in results:
        (folder / "cost-model.md").write_text(cost_page(results["modes"]), encoding="utf-8")
    if readme is not None:
        text = readme.read_text("utf-8")
        if BEGIN not in text or END not in text:
            raise BadInput(f"{readme} has no place for the figures: {BEGIN} and {END}")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        readme.write_text(before + how_fast(results) + after, encoding="utf-8")


def family_page(result: Result) -> str:
    """Return one family as Markdown."""
    columns = [_steady(one) if result.steady else _drained(one) for one in result.points]
    heads = _STEADY_HEADS if result.steady else _DRAINED_HEADS
    words = [f"# By {result.family.axis}", f"On {result.machine.words}. Totals were checked."]
    names, *rows = zip((result.family.axis, *heads), *columns, strict=True)
    words.append(_table(names, rows))
    ratios = [f"- {name}: {ratio:.2f} times the cost" for name, ratio in result.ratios().items()]
    words += ["\n".join(ratios)] if ratios else []
    return "\n\n".join(words) + "\n"


_DRAINED_HEADS = (
    "events/s",
    "CPU s/M, all",
    "our workers",
    "metering",
    "pricing",
    "publisher",
    "Redis",
    "Kafka",
    "Postgres",
    "log, B/event",
    "slices, B/event",
    "metering, MB, first / last third",
)
_STEADY_HEADS = ("events/s", "p50 s", "p95 s", "p99 s", "CPU s/M, all", "our workers", "Postgres")


def _drained(one: Found) -> list[str]:
    cpu, broker = one.cpu_s, one.figures["broker_bytes_per_event"]
    kinds = ("metering", "pricing", "publisher", *_SERVERS)
    return [
        _x(one),
        f"{one.figures['events_per_s']:,}",
        f"{one.cost:.2f}",
        f"{one.own_cost:.2f}",
        *(f"{cpu.get(kind, 0.0):.2f}" for kind in kinds),
        f"{broker[USAGE_EVENTS.name]:.1f}",
        f"{broker[USAGE_METERED.name]:.1f}",
        "{} / {}".format(*one.figures["rss_thirds_mb"]["metering-0"]),
    ]


def _steady(one: Found) -> list[str]:
    latency = one.figures["latency_s"]
    return [
        _x(one),
        f"{one.figures['events_per_s']:,}",
        *(f"{latency[name]:.2f}" for name in ("p50", "p95", "p99")),
        f"{one.cost:.2f}",
        f"{one.own_cost:.2f}",
        f"{one.cpu_s['postgres']:.2f}",
    ]


def _x(one: Found) -> str:
    x = one.x if isinstance(one.x, str) else f"{one.x:,}"
    return f"{x} {one.line}".strip()


def how_fast(results: Mapping[str, Result]) -> str:
    """Return the section of the README, between its marks; nothing where nothing was measured."""
    if "modes" not in results:
        return f"{BEGIN}\n{END}"
    modes = results["modes"]
    rows = [
        [
            _x(one),
            f"{one.figures['events']:,}",
            f"{one.figures['events_per_s']:,}",
            f"{one.own_cost:.1f}",
            f"{one.cost:.1f}",
        ]
        for one in modes.points
    ]
    heads = ["events", "drained", "events/s", "CPU s/M, our workers", "with the servers"]
    lines = [*_against_plain(modes.point("keyed")), *_growth(results.values())]
    if modes.point("sequenced", AFFINE) is not None:
        lines.insert(0, f"- Affine: batches of {AFFINE_CUSTOMERS} customers; else of everybody.")
    return "\n".join(
        [
            BEGIN,
            "## How fast",
            "",
            f"Measured on {modes.machine.words}.",
            "Kafka, Redis, Postgres and all workers ran on it; the full path to priced drafts,",
            "totals held against an oracle of its own:",
            "",
            _table(heads, rows),
            "",
            *lines,
            "",
            "`make bench` measures one run, `make bench-results` all of this anew (tables, curves",
            "and a cost model in `tests/bench/results/`).",
            END,
        ]
    )


def _against_plain(keyed: Found | None) -> list[str]:
    if keyed is None:
        return []
    lines = []
    plain, ratio = keyed.figures["baseline"], keyed.figures["ratio"]
    if plain:
        lines.append(
            f"- Keyed: {ratio:.0f} times a {plain['name']} ({plain['events_per_s']:,} events/s)."
        )
    for share, steady in keyed.figures["steady"].items():
        latency = steady["latency_s"]
        lines.append(
            f"- Event to draft at {float(share):.0%} load: p50 {latency['p50']:.2f} s,"
            f" p99 {latency['p99']:.2f} s."
        )
    return lines


def _growth(results: Iterable[Result]) -> list[str]:
    ratios = {name: ratio for result in results for name, ratio in result.ratios().items()}
    return [f"- Cost of an event, {name}: {ratio:.2f} times." for name, ratio in ratios.items()]


def cost_page(modes: Result) -> str:
    """Return the cost model as Markdown."""
    parts = [_COST_INTRO.format(words=modes.machine.words, **_assumptions())]
    for mode in ("keyed", "sequenced"):
        point = modes.point(mode)
        if point is not None:
            parts.append(_mode_costs(mode, costs.measured(point)))
    parts.append(_SCALES_OUT)
    return "\n\n".join(parts) + "\n"


def _assumptions() -> dict[str, object]:
    return {
        "peak": costs.PEAK,
        "busy": f"{costs.BUSY:.0%}",
        "series": f"{costs.EVENTS_A_SERIES:,}",
        "windows": costs.WINDOWS_A_DAY,
        "replicas": costs.REPLICAS,
        "generations": costs.GENERATIONS,
        "generation": f"{costs.generation_s():,}",
        "log_days": costs.LOG_DAYS,
        "slice_days": costs.SLICE_DAYS,
    }


def _mode_costs(mode: str, found: costs.Measured) -> str:
    days = [costs.needs(found, events) for events in _DAYS_OF_EVENTS]
    kinds = [*(kind for kind in WORKERS if kind in found.cpu_s), *_SERVERS]
    rows = [
        ["events a second at the peak", *(f"{day.peak_per_s:,.0f}" for day in days)],
        *([f"cores: {kind}", *(f"{day.cores[kind]:,.1f}" for day in days)] for kind in kinds),
        ["cores in all", *(f"{sum(day.cores.values()):,.0f}" for day in days)],
        ["Redis: claims, GB", *(f"{day.redis_gb:,.0f}" for day in days)],
        ["broker disk: log, TB", *(f"{day.log_tb:,.1f}" for day in days)],
        ["broker disk: slices, TB", *(f"{day.slice_tb:,.1f}" for day in days)],
        ["series", *(f"{day.series:,}" for day in days)],
        ["Postgres: usage rows a day", *(f"{day.usage_rows:,}" for day in days)],
        ["Postgres: usage, GB a day", *(f"{day.usage_gb:,.1f}" for day in days)],
        ["Postgres: usage as long as the log, TB", *(f"{day.usage_kept_tb:,.1f}" for day in days)],
        ["Postgres: drafts, GB", *(f"{day.drafts_gb:,.1f}" for day in days)],
        ["sealed line items, GB a month", *(f"{day.sealed_gb_a_month:,.1f}" for day in days)],
    ]
    heads = ["a day of", *(f"10^{len(str(events)) - 1} events" for events in _DAYS_OF_EVENTS)]
    basis = (
        f"Measured: {found.log_bytes:.1f} B an event in the log, {found.slice_bytes:.1f} B of"
        f" slices, {found.claim_bytes:.1f} B a claim, {found.usage_row_bytes:.0f} B a usage row,"
        f" {found.line_bytes:.0f} B a draft line item, {found.sealed_line_bytes:.0f} B sealed."
    )
    ends = [[f"{wall.events:,.0f}", wall.what, wall.then] for wall in costs.walls(found)]
    walls = _table(["events a day", "is the end of", "then"], ends)
    return "\n\n".join([f"## {mode.capitalize()} events", basis, _table(heads, rows), walls])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_COST_INTRO = """# What a day of events needs

Worked out from `modes.json`, measured on {words}.

Assumed: the busiest hour has {peak} times the mean; a core is planned {busy} busy; a series has
{series} events a day in {windows} windows; topics are kept {replicas} times, the log for {log_days}
days, slices for {slice_days}; claims of {generations} generations of {generation} s."""

_SCALES_OUT = """## How each part scales out

- Metering and pricing: more workers over the partitions, up to one of each for a partition.
- Redis: a cluster; the claims of a partition share a slot. Sequenced events need none.
- Kafka: more brokers; the disk grows with how long the log is kept, not with how it is read.
- Postgres: rows grow with series and windows, not with events. One node, then tables partitioned by
  customer hash, then a database for each range of partitions."""
