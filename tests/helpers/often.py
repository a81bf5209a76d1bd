"""How often tests try what they try again and again: `scripts/test --full` sets TEST_FULL.

By default a share of it, the same on each machine and day, so that a commit that passes goes on to;
all in full runs. TEST_TURN names another share.
"""

import os
from zlib import crc32

FULL = "TEST_FULL" in os.environ
EXAMPLES = 10  # of hypothesis
SHARE = int(os.environ.get("TEST_TURN", "0"))


def times(few: int, many: int) -> int:
    """`many` in full runs, else `few`."""
    return many if FULL else few


def up_to(examples: int) -> int:
    """So many examples of hypothesis in full runs, else 10 at most."""
    return times(min(EXAMPLES, examples), examples)


def turn(of: int) -> int:
    """A number from 0 to `of` - 1: which share of what is left out by default is tried; 0 in full
    runs, and where TEST_TURN names no other."""
    return 0 if FULL else SHARE % of


def is_turn_of(name: str, of: int) -> bool:
    """Whether a test of this name is in the share that is tried, one of so many; in full runs all
    are."""
    return FULL or crc32(name.encode()) % of == SHARE % of


def is_nth_turn(number: int, of: int) -> bool:
    """The same of what has a number, counted from 0."""
    return FULL or number % of == SHARE % of
