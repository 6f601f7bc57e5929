"""The command itself: what it says of itself, and what it answers when asked wrongly."""

import re
from collections.abc import Iterator
from importlib import metadata

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pipeline.cli import invoices
from pipeline.cli.app import run
from pipeline.cli.options import ids_of


def test_version_is_that_of_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"talea {metadata.version('talea')}\n"


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        pytest.param(["nonsense"], 2, "No such command 'nonsense'", id="unknown command"),
        pytest.param(["--nonsense"], 2, "No such option: --nonsense", id="unknown option"),
        pytest.param(["rate", "--nonsense"], 2, "talea rate --help", id="names its command"),
        pytest.param(["invoices", "show"], 2, "talea invoices show --help", id="of a group"),
        pytest.param(["invoices", "nonsense"], 2, "talea invoices --help", id="no such of a group"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == status
    printed = capsys.readouterr()
    assert told in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


BACKWARDS = "--from 2026-02-01T00:00:00Z --to 2026-01-01T00:00:00Z"
BETWEEN = "--to: not behind --from: nothing lies between them"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("clock advance", "until when? say --to TIME or --by DURATION"),
        ("clock advance --by x", "--by: 'x'"),
        ("clock advance --to x", "--to: 'x'"),
        ("clock advance --by P1M --step x", "--step: 'x'"),
        ("clock run --step x", "--step: 'x'"),
        ("clock start --at x", "--at: 'x'"),
        ("replay run 9", "'9' is no name of a replay"),
        ("replay diff Again", "'Again' is no name of a replay"),
        ("replay drop a-b", "'a-b' is no name of a replay"),
        ("replay run x --catalog nofile", "nofile: No such file"),
        ("replay run x --catalog nofile --as-known 2026-01-01T00:00:00Z", "not both"),
        ("replay run x --as-known soon", "--as-known: 'soon'"),
        ("replay run x --from soon", "--from: 'soon'"),
        ("replay run x --from 1200", "or partition:offset like 0:1200,3:77"),
        ("replay run x --to 0:1,0:2", "--to: partition 0 stands there twice"),
        ("replay run x --to 0:1,", "--to: '' is no partition:offset"),
        ("replay run x --to 0:-1", "--to: '0:-1' is no partition:offset"),
        ("replay run x --customers acme,,globex", "--customers: '' is no id"),
        ("replay run x --meters calls;bytes", "--meters: 'calls;bytes' is no id"),
        (f"replay run x {BACKWARDS}", BETWEEN),
        ("replay run x --from 0:7,3:2 --to 0:9,3:2", BETWEEN),
        (f"usage void --meter m --actor a --reason r {BACKWARDS}", BETWEEN),
        (f"rejected list {BACKWARDS}", BETWEEN),
    ],
)
def test_options_are_looked_at_before_any_server_is(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The home cannot be one: whoever looked for a server there would fail otherwise."""
    monkeypatch.setenv("TALEA_HOME", __file__)
    assert run(command.split()) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def _helps(capsys: pytest.CaptureFixture[str], *names: str) -> Iterator[tuple[str, str]]:
    """Yield every command below some names that people see, with its help."""
    assert run([*names, "--help"]) == 0
    told = capsys.readouterr().out
    _, is_group, commands = told.partition("\nCommands:\n")
    if not is_group:
        yield " ".join(names), told
    for name in re.findall(r"^  ([a-z-]+)", commands, re.MULTILINE):
        yield from _helps(capsys, *names, name)


def test_every_command_that_does_not_speak_json_anyway_takes_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    helps = dict(_helps(capsys))
    assert len(helps) > 80
    without = {name for name, told in helps.items() if "--json " not in told}
    assert without == {"rate", "allocate", "catalog schema"}


def test_ids_are_listed_or_said_again() -> None:
    listed = frozenset(["acme", "globex", "hooli"])
    assert ids_of("--customers", ["acme,globex", "hooli"]) == listed
    assert ids_of("--customers", None) is None


WRITES = "add-line edit retry approve waive hold void credit debit refund correct dispute pay"


@pytest.mark.parametrize("name", [*WRITES.split(), "pay-back", "write-off"])
def test_whoever_writes_about_an_invoice_says_who_and_why(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing else that a command needs is given; it asks for its author first of all."""
    assert run(["invoices", name, *([] if name == "hold" else ["X"])]) == 2
    told = capsys.readouterr().err
    assert "Missing option" in told
    command = get_command(invoices.app)
    assert isinstance(command, TyperGroup)
    options = {each.name: each.required for each in command.commands[name].params}
    assert (options["actor"], options["reason"]) == (True, True)


@pytest.mark.parametrize(("actor", "reason", "told"), [(" ", "x", "actor"), ("x", "", "reason")])
def test_nobody_and_no_reason_are_not_said(
    actor: str, reason: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["hold", "--all", "--actor", actor, "--reason", reason]) == 2
    assert capsys.readouterr().err == f"talea: --{told}: blank: write something\n"


@pytest.mark.parametrize("name", ["list", "show", "export", "figures", "revenue", "payouts"])
def test_whoever_reads_invoices_is_not_asked(name: str) -> None:
    command = get_command(invoices.app)
    assert isinstance(command, TyperGroup)
    assert "actor" not in {each.name for each in command.commands[name].params}
