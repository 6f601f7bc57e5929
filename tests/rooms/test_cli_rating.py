"""`talea rate` and `talea allocate` over a stream: what goes in line by line comes out so."""

import json
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from pipeline.cli.app import run

PRICES = {
    "unit": '{"type":"unit","unit_amount":"1"}',
    "flat": '{"type":"flat","amount":"10"}',
    "pack": '{"type":"package","package_size":"10","package_amount":"3"}',
    "tier": '{"type":"graduated","tiers":[{"up_to":"5","unit_amount":"1"}]}',
    "down": '{"type":"volume","tiers":[{"up_to":"5"},{"up_to":"4"}]}',
    "paid": '{"type":"percentage","rate_percent":"1","per_event_minimum":"1"}',
}
DAY = (
    '{"period_start":"2024-01-01","period_end":"2024-01-02","service_start":"2024-01-01",'
    '"service_end":"2024-01-02","time_zone":"Moon"}'
)

STREAM: list[tuple[str, str | None]] = [
    ('{"id":1,"currency":"EUR","price":unit,"quantity":"2"}', "1 2.00"),
    ("", None),
    (" \t \r", None),
    ('{"id":1,"currency":"EUR","price":unit,"quantity":"3"}\r', "1 3.00"),
    ('  {"id":"a","currency":"JPY","price":unit,"quantity":"2.5"}  ', "a 3"),
    ('{"id":null,"currency":"KWD","price":flat}', "None 10.000"),
    ('{"currency":"EUR","price":flat}', "None 10.00"),
    ("{", "None invalid_json "),
    ("null", "None not_an_object "),
    ('{"id":2}', "2 missing currency"),
    ('{"id":3,"currency":"EUR","price":unit,"quantity":2}', "3 bad_number quantity"),
    ('{"id":4,"currency":"EUR","price":unit,"quantity":"2e1"}', "4 bad_number quantity"),
    ('{"id":5,"currency":"EUR","price":unit,"quantity":NaN}', "None invalid_json "),
    ('{"id":6,"currency":"EUR","price":unit,"quantity":"-2"}', "6 0.00"),
    ('{"id":7,"currency":"eur","price":unit,"quantity":"2"}', "7 bad_currency currency"),
    ('{"id":8,"currency":"EUR","price":unit,"quantity":"2","more":1}', "8 unknown_key more"),
    ('{"id":9,"currency":"EUR","price":tier,"quantity":"6"}', "9 beyond_last_tier quantity"),
    (
        '{"id":10,"currency":"EUR","price":down,"quantity":"1"}',
        "10 tier_order price.tiers[1].up_to",
    ),
    ('{"id":11,"currency":"EUR","price":pack,"quantity":"11"}', "11 6.00"),
    (
        '{"id":12,"currency":"EUR","price":paid,"quantity":"11"}',
        "12 events_needed per_event_amounts",
    ),
    (
        f'{{"id":13,"currency":"EUR","price":flat,"proration":{DAY}}}',
        "13 unknown_zone proration.time_zone",
    ),
    (
        '{"id":14,"currency":"EUR","price":flat,"discounts":[{"type":"fixed","amount":"11"}]}',
        "14 0.00",
    ),
    (
        '{"id":15,"currency":"EUR","price":flat,"maximum":"4","previously_billed_amount":"9"}',
        "15 0.00",
    ),
    ('{"id":16,"currency":"EUR","price":flat,"minimum":"12","line_position":"last"}', "16 2.00"),
    ('{"id":17,"currency":"EUR","price":unit,"quantity":"7"}', "17 7.00"),
]


def fed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text)))


def stream() -> bytes:
    """Return the lines, the last without its end, prices filled in."""
    text = "\n".join(line for line, _ in STREAM)
    for name, price in PRICES.items():
        text = text.replace(f'"price":{name}', f'"price":{price}')
    return text.encode()


def summary(line: str) -> str:
    answer = json.loads(line)
    if "error" in answer:
        return f"{answer['id']} {answer['error']['code']} {answer['error']['path']}"
    return f"{answer['id']} {answer['amount']}"


def test_every_line_that_is_not_blank_is_answered_in_order_and_the_status_is_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed(monkeypatch, stream())
    assert run(["rate"]) == 0

    told = capsys.readouterr()
    assert [summary(line) for line in told.out.splitlines()] == [
        short for _, short in STREAM if short is not None
    ]
    assert told.err == ""


def test_bytes_that_are_no_text_are_answered_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed(monkeypatch, b'\xff\n\x00\n{"id":"\\ud800","x":1}\n\n')
    assert run(["rate"]) == 0
    assert [summary(line) for line in capsys.readouterr().out.splitlines()] == [
        "None invalid_json ",
        "None invalid_json ",
        "\ud800 unknown_key x",
    ]


def test_the_explanation_of_each_line_follows_that_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed(monkeypatch, stream() + b'\n{"id":18,"\\ud800\\u001b":1}')
    assert run(["rate", "--explain"]) == 0

    told = capsys.readouterr().out
    heads = [line.split(":")[0] for line in told.splitlines() if line.startswith("id ")]
    answered = [short.split(" ")[0] for _, short in STREAM if short is not None]
    assert [head.removeprefix("id ").strip('"') for head in heads] == [
        *(identity.replace("None", "null") for identity in answered),
        "18",
    ]
    assert all(char.isprintable() or char == "\n" for char in told)


def test_a_terminal_of_few_letters_stops_no_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    told = BytesIO()
    fed(monkeypatch, '{"id":1,"é":1}\n{"id":2,"x":1}'.encode())
    monkeypatch.setattr("sys.stdout", TextIOWrapper(told, "ascii"))
    assert run(["rate", "--explain"]) == 0

    assert told.getvalue().count(b"not rated") == 2
    assert b"\\xe9: nobody reads this key" in told.getvalue()


def test_without_an_input_nothing_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run(["rate"]) == 0

    assert capsys.readouterr() == ("", "")


TALEA = [sys.executable, "-m", "pipeline", "rate"]
FIVE = b'{"currency":"EUR","price":{"type":"flat","amount":"5"}}\n'


def test_a_full_disk_is_told_in_one_line_that_blames_nobody() -> None:
    with Path("/dev/full").open("wb") as full:
        left = subprocess.run(TALEA, input=FIVE, stdout=full, stderr=PIPE, check=False)

    assert left.returncode == 3
    assert left.stderr == b"talea: No space left on device: make room and begin again\n"


def test_whoever_reads_may_leave_at_any_answer() -> None:
    with Popen(TALEA, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        asked, answers, told = process.stdin, process.stdout, process.stderr
        assert asked is not None
        assert answers is not None
        assert told is not None
        asked.write(FIVE)
        asked.flush()
        assert answers.readline()
        answers.close()
        asked.write(FIVE)
        asked.close()

        assert (process.wait(), told.read()) == (0, b"")


def test_whoever_waits_for_each_answer_has_it_at_once() -> None:
    with Popen(TALEA, stdin=PIPE, stdout=PIPE) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None
        for number in range(5):
            asked.write(FIVE.replace(b"{", b'{"id":%d,' % number, 1))
            asked.flush()
            assert answers.readline().startswith(b'{"id":%d,"amount":"5.00"' % number)
        asked.close()


def test_nothing_asked_is_nothing_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("rate", "allocate"):
        fed(monkeypatch, b"")
        assert run([command]) == 0
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ('"amount":"10","weights":["10","5"]', '"shares":["6.67","3.33"]'),
        ('"amount":"-0.01","weights":["0","1","1"]', '"shares":["0.00","-0.01","0.00"]'),
        ('"amount":"0.005","weights":["0.5"]', '"shares":["0.01"]'),
        ('"amount":"0","weights":["1","1"]', '"shares":["0.00","0.00"]'),
        ('"amount":"1","weights":["0","0"]', "bad_weights weights"),
        ('"amount":"1","weights":[]', "bad_weights weights"),
        ('"amount":"1","weights":["1","-1"]', "negative weights[1]"),
        ('"amount":"1","weights":[1]', "bad_number weights[0]"),
        ('"amount":1,"weights":["1"]', "bad_number amount"),
        ('"amount":"1","weights":"1"', "wrong_type weights"),
        ('"amount":"1","weights":null', "missing weights"),
        ('"amount":null,"weights":["1"]', "missing amount"),
    ],
)
def test_amounts_are_allocated(
    asked: str, answered: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed(monkeypatch, f'{{"id":7,"currency":"EUR",{asked}}}\n'.encode())
    assert run(["allocate"]) == 0

    told = capsys.readouterr().out
    if "error" in json.loads(told):
        assert summary(told) == f"7 {answered}"
    else:
        assert told == f'{{"id":7,{answered}}}\n'
