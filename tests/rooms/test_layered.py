"""A large mapping told anew, a little at a time, reads as the dict that one would update."""

from collections.abc import Mapping
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.layered import updated


def told_beside(mapping: Mapping[str, int]) -> Mapping[str, int]:
    """What a version holds of its own; the rest it shares with the one before."""
    return cast("Mapping[str, int]", getattr(mapping, "told", {}))


NAMES = st.integers(0, 200).map(str)
TOLD = st.lists(st.dictionaries(NAMES, st.integers(), max_size=90), max_size=12)


@given(st.dictionaries(NAMES, st.integers()), TOLD)
def test_it_reads_as_a_dict(begun: dict[str, int], told: list[dict[str, int]]) -> None:
    plain, mapping = dict(begun), cast("Mapping[str, int]", begun)
    versions = [(plain, mapping)]
    for each in told:
        plain, mapping = {**plain, **each}, updated(mapping, each)
        versions.append((plain, mapping))

    for expected, version in versions:  # the older ones too
        assert list(version.items()) == list(expected.items())
        assert len(version) == len(expected)
        assert version == expected
        for name in map(str, range(201)):
            assert version.get(name) == expected.get(name)
            assert (name in version) == (name in expected)


def test_what_is_told_beside_the_many_does_not_copy_them() -> None:
    many = {str(number): number for number in range(10_000)}

    first = updated(many, {"7": 0})
    second = updated(first, {"8": 0})

    assert (first["7"], first["8"], second["7"], second["8"], many["7"]) == (0, 8, 0, 0, 7)
    assert [told_beside(version) for version in (first, second)] == [{"7": 0}, {"7": 0, "8": 0}]


def test_what_comes_to_much_is_written_anew() -> None:
    many: Mapping[str, int] = {str(number): number for number in range(10_000)}
    for number in range(1_000):
        many = updated(many, {f"new {number}": number})

    assert len(many) == 11_000
    assert len(told_beside(many)) < 400
