"""The command itself: what it says of itself, and what it answers when asked wrongly."""

from importlib import metadata

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pipeline.cli import invoices
from pipeline.cli.app import run


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
