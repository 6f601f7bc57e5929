"""`talea catalog` as far as it needs no server: check, schema, and what the others print."""

import json
from pathlib import Path

import pytest

from pipeline.catalog.changes import Changes
from pipeline.catalog.shape import sheet_schema
from pipeline.cli.app import run
from pipeline.cli.catalog import fact_table
from pipeline.cli.catalog_plan import Outlook
from pipeline.cli.screen import out
from rooms.test_catalog_history import decided
from rooms.test_catalog_planning import Books, desk
from rooms.test_sheet_problems import SHEET, edited
from rooms.test_sheet_yaml import sheet


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stack runs in this home, and settings name none."""
    monkeypatch.setenv("TALEA_HOME", str(tmp_path / "home"))
    for name in ("TALEA_KAFKA", "TALEA_REDIS", "TALEA_POSTGRES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(SHEET)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(SHEET.replace("PT15M", "PT7M").replace("plan: standard", "plan: gold"))
    return path


def test_a_good_catalog_is_told_so(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: problems: 0; checked by itself\n"


def test_every_problem_is_a_line_and_the_status_is_1(
    bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["catalog", "check", str(bad)]) == 1

    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"{bad}: line 8: meters[0].window: 'PT7M' does not divide a day: use PT1M, PT15M, PT1H or"
        " the like",
        f"{bad}: line 34: subscriptions[0].plan: no plan gold, in this file: add it under plans, or"
        " mend the id",
        f"{bad}: problems: 2; checked by itself",
    ]
    assert told.err == f"talea: {bad}: problems: 2; mend them and check again\n"


def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["catalog", "check", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == (
        f"talea: {tmp_path}/none: No such file or directory: name a YAML file\n"
    )
    (tmp_path / "latin").write_bytes("n: Müller".encode("latin-1"))
    assert run(["catalog", "check", str(tmp_path / "latin")]) == 2
    assert capsys.readouterr().err.endswith(": write it in UTF-8\n")


def test_problems_as_json(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "check", str(bad), "--json"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["fact_position"], len(told["problems"])) == (str(bad), None, 2)
    assert told["problems"][0] == {
        "file": str(bad),
        "line": 8,
        "path": "meters[0].window",
        "message": "'PT7M' does not divide a day: use PT1M, PT15M, PT1H or the like",
    }


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["check", "no-such.yaml"], "no-such.yaml"), (["check", "--live", "{good}"], "--live")],
)
def test_what_cannot_be_checked_is_bad_input(
    arguments: list[str], word: str, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["catalog", *(word.format(good=good) for word in arguments)]) == 2
    assert word in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == sheet_schema()


def outlook(text: str) -> Outlook:
    found = desk()
    changes = found.ask(text)
    assert isinstance(changes, Changes)
    return Outlook(Books(used=300), found.written, sheet(text), changes)


def test_a_plan_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    outlook(edited(("0.005", "0.004"), ("meters:\n", GPU))).tell()

    told = capsys.readouterr().out
    assert told.splitlines()[:3] == [
        "+ meter gpu",
        "~ plan standard: prices",
        "5 entries unchanged; 2 subscriptions of 2 customers touched",
    ]
    assert "acme      2026-12-01T00:00:00Z    7.00   6.80       -0.20  EUR" in told
    assert told.endswith("all of them: 14.00 -> 13.60 (-0.40 EUR)\n")


GPU = "meters:\n  - {id: gpu, aggregation: sum, unit: s}\n"


def test_a_plan_that_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    outlook(SHEET).tell()

    assert capsys.readouterr().out == (
        "6 entries unchanged; 0 subscriptions of 0 customers touched\n"
    )


def test_a_plan_as_json_names_both_sides() -> None:
    told = outlook(edited(("0.005", "0.004"))).json()

    assert told.keys() == {
        *("fact_position", "added", "changed", "unchanged", "customers", "subscriptions"),
        *("drafts", "totals", "at_once", "unrated"),
    }
    assert told["totals"] == [
        {"currency": "EUR", "before_minor": 1400, "after_minor": 1360, "difference_minor": -40}
    ]


def test_decisions_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    out.print(fact_table(decided()[4:6]))

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["serial", "time", "kind", "subject", "actor", "reason"],
        ["5", "2026-01-05T00:00:00Z", "plan", "p", "ada", "test"],
        ["6", "2026-01-06T00:00:00Z", "plan", "p", "ada", "test"],
    ]
