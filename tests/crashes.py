"""`CrashAt`: ends a run as a kill would, within one process; `StopAt`: stops one as a callback may."""

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


class StopAt(Callback):
    """Stops the run in the step that brings it to this many timesteps of each lane."""

    def __init__(self, timesteps):
        self.timesteps = timesteps

    def on_step(self, state):
        return state.timesteps != self.timesteps
