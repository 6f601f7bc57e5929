"""The report: the contract's JSON document, and a table for people.

Owns: names, units, rounding.  Does not own: the figures (drain, latency, plain).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from pipeline.bench.drain import Drained
from pipeline.bench.latency import Steady
from pipeline.bench.load import Shape
from pipeline.bench.plain import Plain
from pipeline.bench.probes import kind_of

HALF = 0.5
"""The share of the drained rate that the contract's latency is measured at."""
WORKERS = ("collector", "metering", "pricing", "ticker", "finalizer", "publisher")
"""Kinds of processes that are ours; the others are servers."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything one run found; totals were checked before this could be made."""

    shape: Shape
    workers: Mapping[str, int]
    duplicates: int
    drained: Drained
    steady: Mapping[float, Steady]
    plain: Plain | None

    @property
    def ratio(self) -> float | None:
        """How many times the baseline's rate."""
        return self.drained.events_per_s / self.plain.events_per_s if self.plain else None

    @property
    def cpu_s_per_million(self) -> dict[str, float]:
        """CPU seconds of each kind of process for a million events."""
        millions = self.drained.events / 1e6
        return {kind: round(s / millions, 3) for kind, s in self.drained.cpu_s.items()}

    @property
    def mode(self) -> str:
        """How the events came."""
        return "raw" if self.drained.collected_s is not None else self.shape.mode.value

    def json(self) -> dict[str, object]:
        """Return the document."""
        drained, plain, half = self.drained, self.plain, self.steady.get(HALF)
        return {
            "mode": self.mode,
            "events": drained.events,
            "seconds": round(drained.seconds, 3),
            "produce_s": round(drained.produce_s, 3),
            "events_per_s": round(drained.events_per_s),
            "checked": True,
            "baseline": plain and {"name": plain.name, "events_per_s": round(plain.events_per_s)},
            "ratio": self.ratio and round(self.ratio, 1),
            "cpu_s_per_million": self.cpu_s_per_million,
            "rss_mb": drained.rss_mb,
            "rss_thirds_mb": {label: list(mb) for label, mb in drained.rss_thirds_mb.items()},
            "latency_s": half and dict(half.latency_s),
            "steady": {f"{share:g}": one.json() for share, one in self.steady.items()},
            "drafted_s": round(drained.drafted_s, 3),
            "collected_s": drained.collected_s and round(drained.collected_s, 3),
            "warm_up_events": drained.warm_up_events,
            "duplicates": self.duplicates,
            "series": self.shape.series,
            "partitions": self.shape.partitions,
            "workers": dict(self.workers),
            "batch_events": self.shape.batch_events,
            "batch_customers": self.shape.batch_customers,
            "broker_bytes_per_event": {
                topic: round(size / drained.events, 1)
                for topic, size in drained.broker_bytes.items()
            },
            "kept": drained.kept.json(),
        }

    def table(self) -> Table:
        """Return the figures, a row each."""
        drained, cpu = self.drained, self.cpu_s_per_million
        ours = sum(s for kind, s in cpu.items() if kind in WORKERS)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        table.add_row(f"{self.mode} events a second", f"{drained.events_per_s:,.0f}", _SINCE)
        table.add_row("seconds", f"{drained.seconds:.2f}", f"for {drained.events:,} events")
        if drained.collected_s:
            collected = f"{drained.events / drained.collected_s:,.0f}"
            table.add_row("collected", collected, "events a second, by the collectors alone")
        table.add_row("until every draft was priced", f"{drained.drafted_s:.2f}", "seconds")
        table.add_row("filled beforehand in", f"{drained.produce_s:.2f}", "seconds")
        for kind, seconds in sorted(cpu.items(), key=lambda item: -item[1]):
            table.add_row(f"CPU of {kind}", f"{seconds:.2f}", "seconds a million events")
        table.add_row("CPU of all workers", f"{ours:.2f}", "seconds a million events")
        for label, size_mb in drained.rss_mb.items():
            thirds = drained.rss_thirds_mb.get(label)
            held = f"; first third {thirds[0]:,}, last third {thirds[1]:,}" if thirds else ""
            table.add_row(f"memory of {label}", f"{size_mb:,}", _memory(label) + held)
        for topic, size in drained.broker_bytes.items():
            table.add_row(f"{topic} on disk", f"{size / drained.events:.1f}", "bytes an event")
        for share, steady in self.steady.items():
            at = f"seconds, at {share:.0%} of the rate"
            for name, seconds in steady.latency_s.items():
                told = f"{at}; {steady.booked_s[name]:.2f} until it is booked"
                table.add_row(f"event to draft, {name}", f"{seconds:.2f}", told)
        if self.plain and self.ratio:
            table.add_row("baseline", f"{self.plain.events_per_s:,.0f}", f"({self.plain.name})")
            table.add_row("ratio", f"{self.ratio:.1f}", "times the baseline")
        return table


_SINCE = "from the first fetch to the last commit; totals, outcomes and drafts as sent"


def _memory(label: str) -> str:
    return "MB now" if kind_of(label) == "postgres" else "MB at most"
