"""Plots: a family's curve as a picture.

Owns: drawing.  Does not own: the figures (results.py).
Matplotlib is asked for only when something is drawn: it comes with the dev extra.
"""

from pathlib import Path

from pipeline.bench.results import Result
from pipeline.core.errors import ServerFailed

_SIZE_INCHES, _DOTS = (9.0, 3.6), 110


def plot(result: Result, path: Path) -> None:
    """Draw rate (or latency) and cost along the family's axis.

    Raises:
        ServerFailed: matplotlib is not installed.

    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ServerFailed("plots need matplotlib: install talea with its dev extra") from None
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    numbers = all(not isinstance(one.x, str) for one in result.points)
    for line in dict.fromkeys(one.line for one in result.points):
        points = [one for one in result.points if one.line == line]
        xs = [one.x for one in points]
        if result.steady:
            for name in ("p50", "p95", "p99"):
                seconds = [one.figures["latency_s"][name] for one in points]
                left.plot(xs, seconds, marker="o", label=name)
        else:
            rates = [one.figures["events_per_s"] / 1000 for one in points]
            left.plot(xs, rates, marker="o", label=line)
        right.plot(xs, [one.cost for one in points], marker="o", label=f"{line} all".strip())
        right.plot(xs, [one.own_cost for one in points], marker="o", label=f"{line} ours".strip())
    left.set_ylabel("event to draft, s" if result.steady else "thousand events/s")
    right.set_ylabel("CPU s a million events")
    for axes in (left, right):
        axes.set_xlabel(result.family.axis)
        if numbers:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend()
    figure.savefig(path, metadata={"Software": None})
