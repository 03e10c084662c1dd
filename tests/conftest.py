"""What holds for the whole test run."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Tests send SIGINT to themselves and to children; a shell that runs pytest in the background has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
