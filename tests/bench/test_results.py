"""Pages say what the results say; the cost model is arithmetic that anybody can do again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.bench import costs
from pipeline.bench.families import AFFINE, FAMILIES, FLUSH, smaller
from pipeline.bench.pages import BEGIN, END, cost_page, family_page, how_fast, write_pages
from pipeline.bench.results import Found, Machine, Result, read_results
from pipeline.cli.app import run
from pipeline.core.errors import BadInput

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "bench" / "results"
MACHINE = Machine(cores=2, memory_gb=8, python="3.11.7", load=0.2)
PLAIN = {"name": "plain agent", "events_per_s": 4_000}


def figures(pricing: float = 1.0, **other: Any) -> dict[str, Any]:
    cpu = {"metering": 2.0, "pricing": pricing, "redis": 1.5, "kafka": 0.5, "postgres": 0.25}
    return {
        "events": 1_000_000,
        "events_per_s": 200_000,
        "cpu_s_per_million": cpu,
        "baseline": None,
        "ratio": None,
        "steady": {},
        "rss_thirds_mb": {"metering-0": [100, 101]},
        "broker_bytes_per_event": {"usage.events.v1": 30.0, "usage.metered.v1": 10.0},
        "kept": {
            "bytes_per_usage_row": 200.0,
            "bytes_per_draft_line_item": 4000.0,
            "bytes_per_sealed_line_item": 2800.0,
            "bytes_per_claim_key": 90.0,
        },
        **other,
    }


def steady(p50: float) -> dict[str, Any]:
    return {
        "events_per_s": 20_000,
        "seconds": 8.0,
        "latency_s": {"p50": p50, "p95": 2 * p50, "p99": 3 * p50},
        "cpu_s_per_million": {"pricing": 2.0, "postgres": 1.0},
    }


def result(family: str, *points: tuple[Any, str, dict[str, Any]]) -> Result:
    return Result(FAMILIES[family], MACHINE, tuple(Found(*point) for point in points))


MODES = result(
    "modes",
    (
        "keyed",
        "",
        figures(baseline=PLAIN, ratio=50.0, steady={"0.5": steady(0.3), "0.75": steady(0.9)}),
    ),
)
EVENTS = result("events", (10**5, "", figures(2.0)), (10**7, "", figures(1.0)))
SERIES = result(
    "series",
    (100, "affine", figures(1.0)),
    (100_000, "affine", figures(3.625)),
    (100_000, "random", figures(9.0)),
)
FLUSHES = result(FLUSH, (0.1, "", steady(0.2)), (10.0, "", steady(5.0)))
ALL = {one.family.name: one for one in (MODES, EVENTS, SERIES, FLUSHES)}


def test_costs_are_held_against_each_other_on_one_line_only() -> None:
    assert EVENTS.ratios() == {"10,000,000 against 100,000 events": 0.84}  # 5.25 to 6.25 CPU s
    assert SERIES.ratios() == {"100,000 against 100 series, affine": 1.5}  # 7.875 to 5.25


def test_our_workers_cost_apart_from_servers() -> None:
    (point,) = MODES.points
    assert (point.cost, point.own_cost) == (5.25, 3.0)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    for one in ALL.values():
        one.write(tmp_path)

    assert read_results(tmp_path) == ALL


@pytest.mark.parametrize("text", ["", "{}", '{"points": [{}]}', "[]"])
def test_a_file_that_holds_no_results_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text(text)

    with pytest.raises(BadInput, match=r"events\.json holds no results"):
        read_results(tmp_path)


def test_every_family_has_a_table_and_a_plot(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n\n{BEGIN}\nold\n{END}\n\nrest\n")
    write_pages(ALL, tmp_path, readme)

    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        *(f"{name}.md" for name in ALL),
        *(f"{name}.png" for name in ALL if name != "modes"),
        "cost-model.md",
        "README.md",
    }
    assert readme.read_text() == f"# A\n\n{how_fast(ALL)}\n\nrest\n"


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# A\n")

    with pytest.raises(BadInput, match="no place"):
        write_pages(ALL, tmp_path, readme)
    assert readme.read_text() == "# A\n"


def test_what_a_table_says() -> None:
    page = family_page(SERIES)

    assert "On 2 cores, 8 GB, Python 3.11.7." in page
    assert "| series | 100 affine | 100,000 affine | 100,000 random |\n" in page
    assert "| our workers | 3.00 | 5.62 | 11.00 |\n| metering | 2.00 | 2.00 | 2.00 |\n" in page
    assert page.endswith("- 100,000 against 100 series, affine: 1.50 times the cost\n")
    assert "| p99 s | 0.60 | 15.00 |" in family_page(FLUSHES)


def test_a_machine_that_was_busy_is_called_so() -> None:
    busy = replace(MODES, machine=replace(MACHINE, load=3.25))

    assert "busy with other work" in how_fast({"modes": busy})
    assert "busy" not in how_fast(ALL)


def test_how_fast_says_what_affine_is_where_it_was_measured() -> None:
    (point,) = MODES.points
    affine = replace(point, x="sequenced", line=AFFINE)
    words = how_fast({"modes": replace(MODES, points=(point, affine))})

    assert "| sequenced affine |" in words
    assert "- Affine: batches of 25 customers; else of everybody." in words
    assert "Affine" not in how_fast({"modes": MODES})


def test_how_fast_says_ratio_latency_and_growth() -> None:
    words = how_fast(ALL)

    for said in (
        "| keyed | 1,000,000 | 200,000 | 3.0 | 5.2 |",
        "50 times a plain agent (4,000 events/s)",
        "at 75% load: p50 0.90 s, p99 2.70 s",
        "100,000 against 100 series, affine: 1.50 times",
    ):
        assert said in words


def test_what_a_day_of_a_billion_needs() -> None:
    found = costs.needs(costs.measured(MODES.points[0]), 864 * 10**6)  # 10,000 a second

    assert found.peak_per_s == 30_000
    assert found.cores["metering"] == pytest.approx(30_000 * 2e-6 / 0.6)
    assert found.redis_gb == pytest.approx(10_000 * 2 * (3 * 86_400 + 300) * 90 / 1e9)
    assert found.log_tb == pytest.approx(864e6 * 30 * 400 * 3 / 1e12)
    assert found.slice_tb == pytest.approx(864e6 * 10 * 7 * 3 / 1e12)
    assert (found.series, found.usage_rows) == (86_400, 86_400 * 96)
    assert found.usage_gb == pytest.approx(86_400 * 96 * 200 / 1e9)
    assert found.drafts_gb == pytest.approx(86_400 * 4000 / 1e9)


def test_needs_grow_with_events_and_walls_stand_where_needs_meet_them() -> None:
    found = costs.measured(MODES.points[0])
    wall = next(one for one in costs.walls(found) if one.what.startswith("claims in one Redis"))

    assert costs.needs(found, int(wall.events)).redis_gb == pytest.approx(
        costs.REDIS_NODE_GB, rel=1e-6
    )
    ends = [one.events for one in costs.walls(found)]
    assert ends == sorted(ends)


def test_without_claims_redis_is_no_wall() -> None:
    found = replace(costs.measured(MODES.points[0]), claim_bytes=0.0)

    assert not [one for one in costs.walls(found) if "Redis" in one.what]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("speed", "no family is called 'speed': modes, events"),
        ("flush --point 7", "flush has no point '7': 0.1, 0.3"),
        ("modes --point 7", "modes has no point '7': keyed, raw"),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench-curves", *arguments.split(), "--folder", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_rehearsal_leaves_the_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench-curves", "modes", "--size", "0.1"]) == 2
    assert "no results" in capsys.readouterr().err


def test_a_rehearsal_is_smaller_in_all_that_takes_time() -> None:
    plans = [point.plan for family in FAMILIES.values() for point in family.points]
    for plan in plans:
        less = smaller(plan, 0.1)
        assert less.events == max(plan.events // 10, 20_000)
        assert less.shape.series == max(plan.shape.series // 10, min(plan.shape.series, 40))
        assert less.latency_s == max(plan.latency_s / 10, 2.0) * bool(plan.latency_s)
        assert smaller(plan, 1.0) == plan


def test_pages_are_written_anew_without_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EVENTS.write(tmp_path)

    assert run(["bench-curves", "--pages", "--folder", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [EVENTS.json()]
    assert (tmp_path / "events.md").read_text("utf-8") == family_page(EVENTS)


def test_the_pages_that_are_kept_are_those_of_the_results() -> None:
    kept = read_results(KEPT)
    assert "modes" in kept

    assert how_fast(kept) in (ROOT / "README.md").read_text("utf-8")
    assert (KEPT / "cost-model.md").read_text("utf-8") == cost_page(kept["modes"])
    for name, one in kept.items():
        assert (KEPT / f"{name}.md").read_text("utf-8") == family_page(one)
