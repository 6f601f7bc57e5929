"""The two kinds of failure.

Bad input is data: a `Rejection` travels beside the good events and the line goes on.
A broken invariant is an exception: `BrokenInvariant` stops the partition, loudly.
What a person did wrong, or a server, ends a command with one line and an exit status::

    TaleaError (what, where, how to mend it)
     ├── CheckFailed      exit 1   a check did not hold
     ├── BadInput         exit 2   bad input or usage
     └── ServerFailed     exit 3   a server or tool failed
    BrokenInvariant       a worker dies of it; never caught to go on
"""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Why an event was not billed: the whole list, as it stands in `usage.rejected`."""

    UNREADABLE = "unreadable"
    """The bytes are no record of a schema we know."""
    NO_TICK = "no_tick"
    """The record lies before the first tick of its log."""
    UNKNOWN_TICK = "unknown_tick"
    """A tick whose row nobody committed."""
    COUNT_MISMATCH = "count_mismatch"
    """The record header counts other events than the body."""
    BAD_LENGTH = "bad_length"
    """A column is not as long as the batch says."""
    BAD_INDEX = "bad_index"
    """A column names an entry that its dictionary does not have."""
    BAD_BATCH = "bad_batch"
    """The header of a batch contradicts itself."""
    TOO_LARGE = "too_large"
    """A batch, dictionary or string above its limit."""
    WRONG_PARTITION = "wrong_partition"
    """The customer belongs to another partition."""
    UNKNOWN_METER = "unknown_meter"
    """No such meter in force when the event was logged."""
    MISSING_FIELD = "missing_field"
    """A required field is absent or empty."""
    BAD_FIELD = "bad_field"
    """A field of the wrong type or form."""
    BAD_VALUE = "bad_value"
    """Not a plain decimal number, or beyond the limits."""
    BAD_TIME = "bad_time"
    """Not an instant with a zone, or outside the years we bill."""
    FUTURE = "future"
    """Event time ahead of log time by more than the tolerance."""
    LATE = "late"
    """Event time behind log time by more than the horizon."""
    UNKNOWN_PASS = "unknown_pass"
    """A batch whose gate pass is not in force, has expired, or names other events."""
    CONFLICT = "conflict"
    """The idempotency key was used before, with another payload."""
    SKIPPED = "skipped"
    """A person decided to go on without the message, which the worker could not get past."""
    NOT_REVERSIBLE = "not_reversible"
    """A reversal of usage whose meter keeps only its minimum or maximum."""
    NEGATIVE_VALUE = "negative_value"
    """A negative value where the meter allows none."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an input was refused: a code, the path inside the input, one sentence."""

    code: Code
    path: str
    message: str


class TaleaError(Exception):
    """A failure with one line for a person: what, where, and how to mend it."""

    exit_status = 3


class CheckFailed(TaleaError):
    """A check did not hold (exit status 1)."""

    exit_status = 1


class BadInput(TaleaError):
    """Bad input or usage (exit status 2)."""

    exit_status = 2


class ServerFailed(TaleaError):
    """A server or tool failed (exit status 3)."""

    exit_status = 3


class BrokenInvariant(Exception):
    """Something that cannot happen did: stop the partition, page, never go on."""
