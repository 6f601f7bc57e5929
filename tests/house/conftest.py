"""The measure of the house, on top of each run of its tests."""

from statistics import median

from house.source import modules, read_tree


def pytest_report_header() -> str:
    lines = sorted(module.text.count("\n") for module in modules(read_tree())) or [0]
    return f"house: {len(lines)} modules, median {median(lines):.0f} lines, longest {lines[-1]}"
