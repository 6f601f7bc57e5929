"""RATING.md, rules 16 to 38, worked out by hand; rules 1 to 15 stand in test_rate_rules.py."""

import json

import pytest
from rooms.test_rate_rules import (
    ONE_EACH,
    SERVED,
    THREE_TIERS,
    TWO_VOLUMES,
    Object,
    amount,
    ask,
    error,
    events,
    fixed,
    percents,
    rows,
    shares,
)
