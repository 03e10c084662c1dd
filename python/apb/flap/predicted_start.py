"""`PredictedStart`: an adaptation that begins with layers predicted from its first transitions (FLAP)."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.backbone import Backbone
from apb.companions import Companion
from apb.errors import MismatchError
from apb.learner import Learner
from apb.replay import Replay


class PredictedStart(Companion):
    """Acts with the mean layers of the train tasks until learning starts, and then with what is predicted of all that
    was met until then. No gradient is taken for it.

    Args:
        learner: K lanes, which begin with the mean adapter.
        backbone: With a predictor.

    Raises:
        ConfigError: it has none.
    """

    name = "predicted_start"
    acts_in_warmup = True

    def __init__(self, learner: Learner, backbone: Backbone) -> None:
        self._learner = learner
        self._predictor = backbone.required_predictor
        self._adapters = learner.adapters()
        self._transitions = np.zeros(len(self._adapters), dtype=np.int64)

    def warmed_up(self, replay: Replay) -> None:
        """See `Companion`: predict the layers of each lane from its own transitions."""
        begin = time.perf_counter()
        for lane in np.flatnonzero(replay.size).tolist():
            observation, following, action, reward, _ = replay.rows(lane)
            predicted = self._predictor.predict(observation, action, reward, following)
            if not np.isfinite(predicted).all():
                raise MismatchError(
                    f"the backbone's predictor gives NaN or infinity for {len(reward):,} transitions of lane {lane}; "
                    "expected finite layers: use a backbone as meta_train saved it, on a task like its train tasks"
                )
            self._adapters[lane, self._predictor.places] = predicted
        self._transitions[:] = replay.size
        self._learner.begin_with(self._adapters)
        self.seconds = time.perf_counter() - begin

    def reset(self) -> None:
        """See `Companion`: begin with the same layers again, once they are predicted."""
        if self._transitions.any():
            self._learner.begin_with(self._adapters)

    def told(self) -> dict[str, Any]:
        """See `Companion`: from how many transitions of each lane, and the seconds that it took for all of them."""
        return {"transitions": self._transitions.tolist(), "seconds": self.seconds}

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Companion`."""
        return {"adapters": self._adapters.copy(), "transitions": self._transitions.copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Companion`."""
        self._adapters[...] = state["adapters"]
        self._transitions[...] = state["transitions"]
