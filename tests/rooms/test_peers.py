"""What `talea rate` and `talea allocate` answer to the worked cases of peers.

`peers/*.yaml` hold their figures. A column is a key of the request (`price.tiers.0.up_to`), or
what must come of it: `amount`, `lines`, `shares`, `error`. Where a peer would answer otherwise,
`theirs` is its figure and `rule` the rule of RATING.md that decides against it.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import cast

import pytest
import yaml

from pipeline.rate import answer_allocate, answer_rate, explain_rate
from rooms.test_rate_rules import Object, rows

TABLES = sorted((Path(__file__).parent / "peers").glob("*.yaml"))
EXPECTED = ("amount", "lines", "shares", "error", "theirs")
LISTS = ("per_event_amounts", "weights")
"""Columns whose cells are lists."""


def test_every_peer_has_its_table() -> None:
    names = {path.stem for path in TABLES}
    peers = "autumn flexprice guides killbill lago meteroid openmeter polar"
    assert names == set(peers.split())
    assert sum(1 for path in TABLES for _ in cases(path)) > 700


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_their_figures(path: Path) -> None:
    wrong = list(chain.from_iterable(differences(*case) for case in cases(path)))
    assert not wrong, "\n".join(wrong)


def cases(path: Path) -> Iterator[tuple[str, Object, Object]]:
    """Yield topic, request and what is expected, for each row of each table of a file."""
    for group in yaml.load(path.read_text(), yaml.BaseLoader):
        head, *body = group["cases"].splitlines()
        columns = head.split()
        assert ("rule" in group) == ("theirs" in columns), group["topic"]
        for line in body:
            cells = line.split(maxsplit=len(columns) - 1)
            named = dict(zip(columns, cells, strict=True))
            yield group["topic"], request(group, named), outcome(named)


def request(group: Object, cells: dict[str, str]) -> Object:
    asked: dict[str, object] = {"currency": "USD", **deepcopy(cast(Object, group.get("with", {})))}
    if "price" in group:
        asked["price"] = deepcopy(group["price"])
    for column, cell in cells.items():
        if column in EXPECTED or cell == "-":
            continue
        if column == "allocate":
            asked["amount"] = cell
        elif column == "discounts":
            asked[column] = [discount(each) for each in cell.split(",")]
        else:
            place(asked, column.split("."), cell.split(",") if column in LISTS else cell)
    conversion = asked.get("unit_conversion")
    if isinstance(conversion, dict) and "precision" in conversion:
        conversion["precision"] = int(conversion["precision"])
    return asked


def place(holder: dict[str, object], path: list[str], value: object) -> None:
    """Set a value below keys and list indexes; objects on the way are made."""
    key, *rest = path
    if not rest:
        holder[key] = value
    elif rest[0].isdigit():
        entries = cast(list[dict[str, object]], holder.setdefault(key, []))
        index = int(rest[0])
        entries += [{} for _ in range(index + 1 - len(entries))]
        place(entries[index], rest[1:], value)
    else:
        place(cast(dict[str, object], holder.setdefault(key, {})), rest, value)


def discount(cell: str) -> Object:
    if cell.endswith("%"):
        return {"type": "percentage", "percent": cell.removesuffix("%")}
    return {"type": "fixed", "amount": cell}


def outcome(cells: dict[str, str]) -> Object:
    return {column: cells[column] for column in EXPECTED if cells.get(column, "-") != "-"}


def differences(topic: str, asked: Object, wanted: Object) -> Iterator[str]:
    """Yield what is answered otherwise than wanted."""
    rates = "price" in asked
    line = json.dumps(asked)
    answer = json.loads(answer_rate(line) if rates else answer_allocate(line))
    for column, value in wanted.items():
        found = told(answer, column)
        if column == "theirs":
            if found == value:
                yield f"{topic}: no longer otherwise than theirs, {value}\n  {line}"
        elif found != value:
            yield f"{topic}: {column} {found}, not {value}\n  {line}"
    if rates and "error" not in answer and f"amount {answer['amount']}" not in explain_rate(line):
        yield f"{topic}: explained otherwise\n  {line}"


def told(answer: Object, column: str) -> object:
    """Return what an answer says of a column."""
    match column:
        case "theirs":
            return answer.get("amount")
        case "error" if "error" in answer:
            error = cast(Object, answer["error"])
            return f"{error['code']} {error['path']}"
        case "lines" if "lines" in answer:
            return "; ".join(rows(answer)) or "none"
        case "shares" if "shares" in answer:
            return ",".join(cast(list[str], answer["shares"]))
        case _:
            return answer.get(column, answer.get("error"))
