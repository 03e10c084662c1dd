"""`StopSignals`: Ctrl-C and SIGTERM ask a run to stop at a safe place; a second one stops it at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

BUDGET = "budget"
"""Why a run ended that spent its budget; else it was stopped by a callback or a signal."""

EXIT_STOPPED = 75
"""Exit code of a run that was asked to stop and wrote a full checkpoint; `apb resume` continues it.

It is EX_TEMPFAIL of sysexits.h ("try again later"), which cluster schedulers can be told to requeue on. The shell's own
130 and 143 mean that a signal ended the process, which is not what happened.
"""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequested(Exception):  # noqa: N818 - no error, as StopIteration is none
    """Raised by `StopSignals.check`; its text is the name of the signal."""


class StopSignals:
    """A context in which the first SIGINT or SIGTERM only sets `requested` to its name; the second raises
    `KeyboardInterrupt`, and sets `repeated`.

    The previous handlers come back at the end. A signal that the process was started to ignore (`nohup`, a background
    job) stays ignored. Python delivers signals to the main thread only; in any other thread this does nothing.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self.repeated = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def check(self) -> None:
        """Raise `StopRequested` if a stop is requested: for work that can be left anywhere."""
        if self.requested is not None:
            raise StopRequested(self.requested)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            self.repeated = True
            raise KeyboardInterrupt(f"second stop signal ({signal.Signals(number).name})")
        self.requested = signal.Signals(number).name
