"""The house as text: its files, its modules, who imports whom, which names are spoken.

A tree maps path to text, so a planted one is looked at exactly as the real one is.
"""

import ast
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

Tree = Mapping[str, str]
Edges = set[tuple[str, str]]

ROOT = Path(__file__).parents[2]


def read_tree() -> Tree:
    """Return every text file that git tracks or would: all that .gitignore does not keep out."""
    ignored = [".git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split())]
    tree = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not any(fnmatch(name, i) for i in ignored)]
        for path in (Path(folder, name) for name in files if name not in ignored):
            if b"\0" not in (content := path.read_bytes()):
                tree[path.relative_to(ROOT).as_posix()] = content.decode(errors="replace")
    return tree


def pure_rooms() -> set[str]:
    """Return the rooms of the layers contract, from where it is written."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers: list[str] = config["tool"]["importlinter"]["contracts"][0]["layers"]
    return {layer.strip("()") for layer in layers}


@dataclass(frozen=True)
class Module:
    """A module of the package, parsed."""

    path: str
    text: str

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        """Return the first name below the package; the package itself is a room too."""
        return f"{self.name}.".split(".")[1] or self.name

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, self.path)))

    @cached_property
    def imports(self) -> list[tuple[int, str, str]]:
        """Return (line, dotted name, alias) of each import, indented and TYPE_CHECKING ones too."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, each.name, each.asname or "") for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = self.path.split("/")[: -node.level] if node.level else []
                origin = ".".join([*package, *filter(None, [node.module])])
                for each in node.names:
                    found.append((node.lineno, f"{origin}.{each.name}", each.asname or each.name))
        return found

    def spoken(self) -> Iterator[tuple[int, str]]:
        """Yield (line, name) of each import, name and call, aliases undone.

        After `import time as t`, `t.time()` speaks `time.time` and calls `time.time()`. What is
        not imported starts with a dot: `.float()`.
        """
        heads: dict[str, str] = {}
        for line, dotted, alias in self.imports:
            first = dotted.partition(".")[0]
            heads |= {alias: dotted} if alias else {first: first}
            yield line, dotted
        for node in self.nodes:
            match node:
                case ast.Call():
                    said, call = node.func, "()"
                case ast.Name() | ast.Attribute():
                    said, call = node, ""
                case _:
                    continue
            head, *rest = ast.unparse(said).split(".")
            yield said.lineno, ".".join([heads.get(head, f".{head}"), *rest]) + call

    def literals(self) -> Iterator[tuple[int, object]]:
        """Yield (line, value) of each constant that is not a docstring."""
        docstrings = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        for node in self.nodes:
            if isinstance(node, ast.Constant) and id(node) not in docstrings:
                yield node.lineno, node.value


def modules(tree: Tree) -> list[Module]:
    """Return the package's modules."""
    return [Module(*item) for item in tree.items() if fnmatch(item[0], "pipeline/*.py")]


def import_edges(house: list[Module]) -> Edges:
    """Return (importer, imported) among the modules; `from a import b` is a.b where that is one."""
    known = {module.name for module in house}
    return {
        (module.name, target)
        for module in house
        for _, dotted, _ in module.imports
        for target in [dotted if dotted in known else dotted.rpartition(".")[0]]
        if target in known and target != module.name
    }
