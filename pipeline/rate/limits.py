"""Limits on what is read, in one place: exact arithmetic stays small whatever comes in."""

NUMBER_DIGITS_MAX = 100
"""Digits of one number, before and after the point together."""
PRECISION_MAX = 40
"""Decimals a unit conversion may round to."""
LINE_CHARS_MAX = 4 << 20
"""Characters of one input line."""
DEPTH_MAX = 64
"""Objects and lists inside one another."""
TIERS_MAX = 1000
"""Tiers of one price."""
DISCOUNTS_MAX = 100
"""Discounts on one line."""
CELLS_MAX = 10_000
"""Cells of one matrix."""
MATRIX_DIMENSIONS_MAX = 16
"""Dimensions of one matrix, and of one request."""
CYCLES_MAX = 1200
"""Cycles that a discount may be repeated for."""
REASON_CHARS_MAX = 256
"""Characters of a discount's reason."""
EVENTS_MAX = 100_000
"""Amounts in `per_event_amounts`, and weights of one allocation."""
SHOWN_CHARS_MAX = 50
"""Characters of the input that a message repeats."""
PRICES_MAX = 1000
"""Prices a command remembers so as not to parse them again."""
PRICE_CHARS_MAX = 4000
"""Characters of a price that is remembered."""
FORMS_MAX = 8000
"""Forms of lines that a command remembers, those that came but once too."""
FORM_CHARS_MAX = 2000
"""Characters of a line whose form is remembered."""
