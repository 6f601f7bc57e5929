"""The house rules that import-linter and ruff cannot see.

A guard yields one verdict for each thing it looked at, `FINE` or what is wrong with it. So a
guard that sees nothing gives itself away.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from house.source import Edges, Tree, import_edges, modules, pure_rooms

FINE = ""

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400

IMPURE = {
    "time": "a clock",
    "datetime.date.today": "a clock",
    "datetime.datetime.now": "a clock",
    "datetime.datetime.today": "a clock",
    "datetime.datetime.utcnow": "a clock",
    "random": "chance",
    "secrets": "chance",
    "uuid.uuid1": "chance",
    "uuid.uuid4": "chance",
    "os.environ": "the environment",
    "os.getenv": "the environment",
    "logging": "a log",
    ".float()": "a float",
    "typing.Any": "no type at all",
}

EMPTY_NAME = re.compile(r"utils|helpers|common|manager|service|process|data|do_\w*", re.IGNORECASE)
BROKER_NAME = re.compile(r"\b(usage|billing)\.[a-z-]+\.v\d*|\btalea-[a-z]+")
MODULE_NAME = re.compile(r"(pipeline(?:\.\w+)+)(?::\w+)?")
LOCKED = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)

# Written apart, so that this file does not hold what it forbids.
HOSTS = ("pypi org", "pythonhosted org", "maven org", "maven apache org", "npmjs org", "npmjs com")
HOST = re.compile("|".join(re.escape(host.replace(" ", ".")) for host in HOSTS))
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|work|home/\w+|tmp/(?:try|house))/")


def pure_rooms_are_pure(tree: Tree) -> Iterator[str]:
    """Time, chance, ids and settings come in as values; numbers near money are exact."""
    for module in (module for module in modules(tree) if module.room in pure_rooms()):
        for line, name in module.spoken():
            what = next((IMPURE[bad] for bad in IMPURE if f"{name}.".startswith(f"{bad}.")), None)
            yield f"{module.path}:{line} speaks of {what}: {name.strip('.')}" if what else FINE
        for line, value in module.literals():
            yield f"{module.path}:{line} holds a float" if isinstance(value, float) else FINE


def functions_fit_a_screen(tree: Tree) -> Iterator[str]:
    for module in modules(tree):
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                wrong = f"{module.path}:{node.lineno} {node.name} has {lines} lines"
                yield wrong if lines > FUNCTION_LINES_MAX else FINE


def modules_fit_a_mind(tree: Tree) -> Iterator[str]:
    for module in modules(tree):
        lines = module.text.count("\n")
        yield f"{module.path} has {lines} lines" if lines > MODULE_LINES_MAX else FINE


def names_say_something(tree: Tree) -> Iterator[str]:
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for module in modules(tree):
        own = [node.name for node in module.nodes if isinstance(node, definitions)]
        for name in [*module.name.split("."), *own]:
            empty = EMPTY_NAME.fullmatch(name.strip("_"))
            yield f"{module.path}: the name {name} says nothing" if empty else FINE


def no_module_is_dead(tree: Tree) -> Iterator[str]:
    """Each module is imported, run by name (`-m pipeline.x`, "pipeline.x:main"), or an entry."""
    house = modules(tree)
    alive = {imported for _, imported in import_edges(house)}
    for module in house:
        named = (MODULE_NAME.fullmatch(str(value)) for _, value in module.literals())
        alive |= {match[1] for match in named if match and match[1] != module.name}
    for module in house:
        within = any(other.name.startswith(f"{module.name}.") for other in house)
        entry = module.name.endswith(".__main__")
        yield FINE if entry or within or module.name in alive else f"{module.path} is dead"


def modules_make_no_cycle(tree: Tree) -> Iterator[str]:
    yield from _cycles(import_edges(modules(tree)))


def rooms_make_no_cycle(tree: Tree) -> Iterator[str]:
    house = modules(tree)
    room = {module.name: module.room for module in house}
    between = {(room[importer], room[imported]) for importer, imported in import_edges(house)}
    yield from _cycles({edge for edge in between if len({*edge}) == 2})


def _cycles(edges: Edges) -> Iterator[str]:
    graph = TopologicalSorter[str]()
    for importer, imported in edges:
        graph.add(importer, imported)
        yield FINE
    try:
        graph.prepare()
    except CycleError as error:
        yield "imports in a circle: " + " <- ".join(error.args[1])


def broker_names_stand_on_the_page(tree: Tree) -> Iterator[str]:
    """A topic or group is written once, in topology.py; the verdicts are on every literal."""
    for module in modules(tree):
        for line, value in module.literals():
            name = BROKER_NAME.search(value) if isinstance(value, str) else None
            away = name and module.name != "pipeline.topology"
            yield f"{module.path}:{line} names {name[0]}" if name and away else FINE


def files_name_no_machine(tree: Tree) -> Iterator[str]:
    """No registry host (the reader's own settings choose one), no path of somebody's machine."""
    for path, text in tree.items():
        for number, line in enumerate(text.splitlines(), 1):
            found = HOST.search(line) or MACHINE_PATH.search(line)
            yield f"{path}:{number} names {found[0]}" if found else FINE


def what_is_declared_is_locked(tree: Tree) -> Iterator[str]:
    """A dependency that is not in the lock would be missing on every machine but one."""
    project = tomllib.loads(tree["pyproject.toml"])["project"]
    locked = dict(LOCKED.findall(tree["requirements.lock"]))
    for declared in sum(project["optional-dependencies"].values(), project["dependencies"]):
        wanted = Requirement(declared)
        version = locked.get(canonicalize_name(wanted.name))
        held = version is not None and wanted.specifier.contains(version)
        yield FINE if held else f"requirements.lock does not hold {declared}: make lock"
