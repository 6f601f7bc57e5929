"""Arrays: many values as one text, put together and taken apart without a look at each.

Owns: the text of a query's many names, texts and numbers.  Does not own: any query.
Law: what is told comes back, in order, as long as no text holds the separator: no id does, nor
JSON, which escapes it.

psycopg looks at each element of an array, for what there is to quote: of a bite of drafts that was
a sixth of the CPU.
"""

from collections.abc import Iterable
from typing import LiteralString

_BETWEEN, _END = "\x1e", "."
TEXTS: LiteralString = "trim_array(string_to_array(%s, E'\\x1e'), 1)"
"""Takes what `texts` gives, as an array."""
LONGS: LiteralString = "%s::bigint[]"
"""Takes what `longs` gives."""


def texts(values: Iterable[str]) -> str:
    """Return texts as `TEXTS` takes them: with one more at the end, or none were one of nothing."""
    return _BETWEEN.join((*values, _END))


def longs(values: Iterable[int]) -> str:
    """Return numbers as `LONGS` takes them."""
    return f"{{{','.join(map(str, values))}}}"
