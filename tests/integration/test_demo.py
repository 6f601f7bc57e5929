"""The demo as a stranger's machine runs it: no terminal, its own servers, one JSON document."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures_stack import NAMES
from pipeline.workers.supervisor import default_workers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

OUTCOMES = ("billed", "duplicate", "conflict", "late", "rejected", "pending")


def talea(home: Path, *arguments: str) -> Any:
    """Run a command on a home of its own; return its one JSON document."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("TALEA_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, "--json"],
        env={**own, "TALEA_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_demo_bills_itself_and_leaves_a_home_to_look_at(tmp_path: Path) -> None:
    told = talea(tmp_path, "demo", "--seconds", "25")

    counts = told["counts"]
    assert counts["offered"] == sum(counts[outcome] for outcome in OUTCOMES)
    assert (counts["conflict"], counts["late"], counts["rejected"]) == (1, 1, 1)
    assert counts["billed"] > 0
    assert counts["duplicate"] > 0
    assert told["killed_workers"] == 1
    assert told["first_draft_s"] > 0
    processes = len(NAMES) + len(default_workers())
    assert (told["checked"], told["matched"], told["mismatched"]) == (processes, processes, [])
    totals = [invoice["total_minor"] for invoice in told["invoices"]]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] > 0
    assert set(told["invoices"][0]) == {
        "number",
        "kind",
        "state",
        "customer",
        "currency",
        "total_minor",
        "lines",
        "seal",
    }

    number = told["invoices"][0]["number"]
    assert talea(tmp_path, "verify", number, "--log")["matched"] == 1
    assert talea(tmp_path, "audit")["closed"] is True
