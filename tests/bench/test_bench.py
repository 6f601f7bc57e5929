"""`talea bench` on servers of its own: the contract's document, over totals that were checked."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

EVENTS = 60_000
SERIES = 500


def bench(mode: str) -> dict[str, Any]:
    options = f"--events {EVENTS} --mode {mode} --series {SERIES} --workers 1"
    options += " --baseline none --latency-seconds 0 --json"
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "bench", *options.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return dict(json.loads(ran.stdout))


@pytest.mark.parametrize("mode", ["keyed", "sequenced", "raw"])
def test_a_short_run_prints_the_figures_of_checked_totals(mode: str) -> None:
    found = bench(mode)
    assert (found["mode"], found["events"], found["checked"]) == (mode, EVENTS, True)
    assert (found["baseline"], found["ratio"], found["latency_s"]) == (None, None, None)
    assert found["events_per_s"] == pytest.approx(EVENTS / found["seconds"], rel=0.01)
    assert found["duplicates"] > 0
    assert {"metering", "pricing", "kafka", "redis", "postgres"} <= found[
        "cpu_s_per_million"
    ].keys()
    assert {"metering-0", "pricing-0"} <= found["rss_mb"].keys()
    assert found["produce_s"] > 0
    assert {"metering-0", "pricing-0"} <= found["rss_thirds_mb"].keys()
    assert found["kept"]["line_items"] == SERIES
    claimed = EVENTS + found["warm_up_events"] - found["duplicates"]
    assert found["kept"]["claim_keys"] == (0 if mode == "sequenced" else claimed)


def test_a_price_change_is_timed_until_the_last_draft_holds_it() -> None:
    options = f"--drafts {SERIES} --partitions 2 --json"
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "bench-prices", *options.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert (found["drafts"], found["checked"]) == (SERIES, True)
    assert found["drafts_per_s"] == pytest.approx(SERIES / found["seconds"], rel=0.01)
    assert found["cpu_s"]["pricing"] > 0
