"""How fast `talea rate` is, over the whole command: `pytest -s tests/bench/test_rate_speed.py`.

The goals are 50,000 simple and 10,000 graduated lines a second on a core of its own. A core that
is shared tells less, so what is held here is far below them.
"""

import json
import re
import subprocess
import sys
from typing import Final

import pytest

LINES: Final = 60_000
UNIT = {"type": "unit", "unit_amount": "0.0035"}
GRADUATED = {
    "type": "graduated",
    "tiers": [
        {"up_to": "1000", "unit_amount": "0.01", "flat_amount": "2.50"},
        {"up_to": "10000", "unit_amount": "0.005"},
        {"up_to": None, "unit_amount": "0.001"},
    ],
}


@pytest.mark.parametrize(
    ("name", "price", "floor_per_s"), [("simple", UNIT, 10_000), ("graduated", GRADUATED, 3_000)]
)
def test_rating_is_fast(name: str, price: object, floor_per_s: int) -> None:
    asked = [
        {"id": f"line-{n}", "currency": "EUR", "price": price, "quantity": f"{n * 7919 % 99991}.25"}
        for n in range(LINES)
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in asked)
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "rate", "--time"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )

    told = re.fullmatch(rf"{LINES} lines in \S+ s of CPU: ([\d,]+)/s\n", ran.stderr)
    assert told, ran.stderr
    per_s = int(told[1].replace(",", ""))
    print(f"talea rate, {name}: {per_s:,} lines a second of CPU")
    assert ran.stdout.count("\n") == LINES
    assert '"error"' not in ran.stdout
    assert per_s > floor_per_s
