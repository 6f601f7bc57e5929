"""Rejected usage on a screen: what a person copies from it is there, whole."""

from io import StringIO

from rich.console import Console

from pipeline.cli.rejected import rejected_table

IDS = ("usage:4:281234:1999", "raw:0:7")


def test_ids_and_reasons_are_whole_on_a_narrow_screen() -> None:
    rows = [
        {
            "id": name,
            "reason": "unknown_meter",
            "customer": "a-customer-of-a-long-name",
            "meter": "a-meter-of-a-long-name",
            "time": "2026-03-01T00:00:00Z",
            "value": "1.5",
            "state": "redriven",
        }
        for name in IDS
    ]
    screen = Console(file=StringIO(), width=80)
    screen.print(rejected_table(rows))

    file = screen.file
    assert isinstance(file, StringIO)
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert [line[:2] for line in lines if line[:1] and line[0] in IDS] == [
        [name, "unknown_meter"] for name in IDS
    ]
    assert [line[-1] for line in lines if "redriven" in line] == ["redriven"] * len(IDS)
