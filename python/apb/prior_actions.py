"""`PriorActions`: what a prior would do next, for the critics' targets: the extra action of Behavior Transfer."""

import torch

from apb.companions import Companion
from apb.prior import Prior
from apb.replay import Batch


class PriorActions(Companion):
    """Gives each batch the prior's actions at its next observations; see `TD3` for what becomes of them."""

    name = "prior_actions"

    def __init__(self, prior: Prior) -> None:
        self._prior = prior

    def prepare(self, batch: Batch) -> None:
        """See `Companion`."""
        batch.prior_action = torch.from_numpy(self._prior(batch.next_observation.numpy()))
