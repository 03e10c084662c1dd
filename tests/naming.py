"""`words`: what a parameter of a test is called: the same in each of the processes that share the tests."""

import re


def words(value):
    """Its text, without where it lies in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{value!s:.300}")[:80]
