"""The house keeps its rules; each guard looked, and each one bites."""

from collections.abc import Callable, Iterator

import pytest

from house import guards
from house.source import Tree, read_tree

Guard = Callable[[Tree], Iterator[str]]

LOOKS_MIN: dict[Guard, int] = {
    guards.pure_rooms_are_pure: 7_000,
    guards.functions_fit_a_screen: 400,
    guards.modules_fit_a_mind: 60,
    guards.names_say_something: 600,
    guards.no_module_is_dead: 60,
    guards.modules_make_no_cycle: 250,
    guards.rooms_make_no_cycle: 30,
    guards.broker_names_stand_on_the_page: 2_000,
    guards.files_name_no_machine: 9_000,
    guards.what_is_declared_is_locked: 30,
}

PLANTED: dict[Guard, list[Tree]] = {
    guards.pure_rooms_are_pure: [
        {"pipeline/rate/x.py": "import time as t\nt.time()"},
        {"pipeline/rate/x.py": "from time import monotonic"},
        {"pipeline/rate/x.py": "from datetime import datetime as dt\ndt.now()"},
        {"pipeline/rate/x.py": "import datetime\ndatetime.datetime.utcnow()"},
        {"pipeline/rate/x.py": "import random"},
        {"pipeline/rate/x.py": "from uuid import uuid4"},
        {"pipeline/rate/x.py": "def f():\n    import os\n    return os.environ"},
        {"pipeline/rate/x.py": "from logging import getLogger"},
        {"pipeline/rate/x.py": "quantity = float('1')"},
        {"pipeline/rate/x.py": "quantity = 0.1"},
        {"pipeline/rate/x.py": "from typing import Any"},
        {"pipeline/rate/x.py": "import typing\nquantity: typing.Any"},
    ],
    guards.functions_fit_a_screen: [{"pipeline/x.py": "def f():\n" + "    f()\n" * 70}],
    guards.modules_fit_a_mind: [{"pipeline/x.py": "\n" * 401}],
    guards.names_say_something: [
        {"pipeline/rate/utils.py": ""},
        {"pipeline/common/x.py": ""},
        {"pipeline/x.py": "class Manager: ..."},
        {"pipeline/x.py": "def do_it(): ..."},
    ],
    guards.no_module_is_dead: [
        {"pipeline/x.py": "import pipeline.x"},
        {"pipeline/x/__init__.py": ""},
    ],
    guards.modules_make_no_cycle: [
        {"pipeline/a.py": "from pipeline import b", "pipeline/b.py": "def f():\n from . import a"},
    ],
    guards.rooms_make_no_cycle: [
        {
            "pipeline/a/x.py": "from pipeline.b.x import f",
            "pipeline/a/y.py": "",
            "pipeline/b/x.py": "",
            "pipeline/b/y.py": "if TYPE_CHECKING:\n    import pipeline.a.y",
        },
    ],
    guards.broker_names_stand_on_the_page: [
        {"pipeline/x.py": "topic = 'usage.events.v1'"},
        {"pipeline/x.py": "topic = f'{prefix}billing.facts.v{version}'"},
        {"pipeline/x.py": "group = 'talea-metering'"},
    ],
    guards.files_name_no_machine: [
        {"x.lock": "--index-url https://" + "pypi." + "org/simple"},
        {"x.md": "see /" + "root/notes"},
    ],
    guards.what_is_declared_is_locked: [
        {"pyproject.toml": f"[project]\n{declared}", "requirements.lock": "faust-streaming==0.15.2"}
        for declared in (
            "dependencies = ['faust_streaming==0.15.3']\noptional-dependencies = {}",
            "dependencies = []\noptional-dependencies = {dev = ['ruff']}",
        )
    ],
}


@pytest.fixture(scope="session")
def tree() -> Tree:
    return read_tree()


@pytest.mark.parametrize("guard", LOOKS_MIN, ids=lambda guard: guard.__name__)
def test_the_house_is_in_order(guard: Guard, tree: Tree) -> None:
    verdicts = list(guard(tree))
    wrong = [verdict for verdict in verdicts if verdict != guards.FINE]

    assert not wrong, "\n".join(wrong)
    assert len(verdicts) >= LOOKS_MIN[guard], f"it looked at {len(verdicts)} things only"


@pytest.mark.parametrize(
    ("guard", "tree"), [(guard, tree) for guard, trees in PLANTED.items() for tree in trees]
)
def test_the_guard_bites(guard: Guard, tree: Tree) -> None:
    assert any(guard(tree))


def test_no_guard_is_toothless() -> None:
    assert set(PLANTED) == set(LOOKS_MIN)
