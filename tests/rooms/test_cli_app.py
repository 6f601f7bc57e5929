"""The command itself: what it says of itself, and what it answers when asked wrongly."""

from importlib import metadata

import pytest

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
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == status
    printed = capsys.readouterr()
    assert told in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)
