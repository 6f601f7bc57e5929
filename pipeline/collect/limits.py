"""Every limit on input, in one place, with its unit."""

BATCH_EVENTS_MAX = 2000
"""Events in one batch."""
BATCH_BYTES_MAX = 256 * 1024
"""Bytes of one encoded batch that an agent sends."""
READ_BYTES_MAX = 1 << 20
"""Bytes of one message that the metering worker looks into."""
LETTER_HEADERS_BYTES_MAX = 64 * 1024
"""Bytes of record headers that a dead letter keeps beside its message."""
DICTIONARY_MAX = BATCH_EVENTS_MAX
"""Entries of each dictionary of a batch."""
MANTISSA_MAX = 1 << 52
"""|mantissa| below this travels in the int64 column, at or above it in the sparse one:
BATCH_EVENTS_MAX of them cannot overflow an int64 sum."""
WIDE_DIGITS_MAX = 38
"""Digits of a mantissa in the sparse column."""
ID_CHARS_MAX = 256
"""Characters of an event id, source, customer, producer or epoch."""
METER_CHARS_MAX = 128
"""Characters of a meter's name."""
DIMENSIONS_MAX = 32
"""Dimensions of one event."""
DIMENSION_CHARS_MAX = 256
"""Characters of a dimension's name or value."""
DIMENSIONS_BYTES_MAX = 1024
"""Bytes of one event's dimensions as canonical JSON: with customer and meter they name a series,
which must fit a row of a database index."""
LINE_BYTES_MAX = 256 * 1024
"""Bytes of one line of CloudEvents JSON, or of one message of raw usage."""
