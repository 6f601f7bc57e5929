"""Results: what families of runs found, as files, and reading them again.

Owns: the files' form, the figures that pages are made of.  Does not own: the pages (pages, plots).
Law: no page holds a figure that is not worked out from these files.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.bench.families import FAMILIES, FLUSH, Family
from pipeline.bench.report import WORKERS
from pipeline.core.errors import BadInput

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a family was measured on; `load` is what others asked of it just before."""

    cores: int
    memory_gb: int
    python: str
    load: float

    @property
    def words(self) -> str:
        """Say it."""
        busy = f", busy with other work (load {self.load:.1f})" if self.load >= 1 else ""
        return f"{self.cores} cores, {self.memory_gb} GB, Python {self.python}{busy}"


def this_machine() -> Machine:
    """Return what this machine is, and how busy."""
    return Machine(
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30),
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 1),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One point as it was found."""

    x: int | float | str
    line: str
    figures: Figures

    @property
    def cpu_s(self) -> dict[str, float]:
        """CPU seconds for a million events, by kind of process."""
        return dict(self.figures["cpu_s_per_million"])

    @property
    def cost(self) -> float:
        """CPU seconds for a million events, of every worker and every server."""
        return sum(self.cpu_s.values())

    @property
    def own_cost(self) -> float:
        """CPU seconds for a million events, of our workers."""
        return sum(s for kind, s in self.cpu_s.items() if kind in WORKERS)


@dataclass(frozen=True, slots=True)
class Result:
    """One family as it was found."""

    family: Family
    machine: Machine
    points: tuple[Found, ...]

    @property
    def steady(self) -> bool:
        """Whether its points are steady loads, not drains."""
        return self.family.name == FLUSH

    def point(self, x: int | float | str, line: str = "") -> Found | None:
        """Return one point."""
        return next((one for one in self.points if (one.x, one.line) == (x, line)), None)

    def ratios(self) -> dict[str, float]:
        """Return how many times the cost of an event at one point is that at another."""
        found = {}
        for line, low, high in self.family.held:
            small, large = self.point(low, line), self.point(high, line)
            if small and large:
                named = f"{high:,} against {low:,} {self.family.axis}"
                found[f"{named}, {line}" if line else named] = round(large.cost / small.cost, 2)
        return found

    def json(self) -> dict[str, object]:
        """Return the document."""
        machine = self.machine
        return {
            "family": self.family.name,
            "machine": {
                "cores": machine.cores,
                "memory_gb": machine.memory_gb,
                "python": machine.python,
                "load": machine.load,
            },
            "cost_ratios": self.ratios(),
            "points": [
                {"x": one.x, "line": one.line, "figures": one.figures} for one in self.points
            ],
        }

    def write(self, folder: Path) -> None:
        """Keep it."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.json(), indent=1) + "\n"
        (folder / f"{self.family.name}.json").write_text(text, encoding="utf-8")


def read_results(folder: Path) -> dict[str, Result]:
    """Return the families that were measured, in their order.

    Raises:
        BadInput: a file is not of this form.

    """
    found = {}
    for name, family in FAMILIES.items():
        path = folder / f"{name}.json"
        if path.exists():
            try:
                found[name] = _read(family, json.loads(path.read_text("utf-8")))
            except (KeyError, TypeError, ValueError) as error:
                raise BadInput(
                    f"{path} holds no results ({error!r}): measure {name} again"
                ) from None
    return found


def _read(family: Family, document: Mapping[str, Any]) -> Result:
    points = tuple(Found(one["x"], one["line"], one["figures"]) for one in document["points"])
    return Result(family, Machine(**document["machine"]), points)
