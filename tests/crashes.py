"""`CrashAt`: ends a run as a kill would, within one process."""

from apb import Callback


class Crash(BaseException):
    """Not an `Exception`: nothing may catch it and save, as nothing can when a process is killed."""


class CrashAt(Callback):
    """Raises `Crash` once the run has this many timesteps."""

    def __init__(self, timesteps):
        self.timesteps = timesteps

    def on_step(self, state):
        if state.timesteps >= self.timesteps:
            raise Crash
