"""A strategy driven by envs that pay what its adapters hold, for the tests of what strategies ask and are told."""

import numpy as np
from apb.actors import LaneActors
from apb.learner import Learner
from apb.settings import AdaptSettings
from apb.strategies import STRATEGIES, StrategyContext
from apb.transitions import Episode, Transition
from learning import ACTION_SIZE, OBSERVATION_SIZE, small_backbone, small_settings, small_shape

SEEDS = (3, 50)


NOISE_ALONE = {"behavior_transfer": {"flight_prob": 1e-12, "extra_action": "off"}}
"""Options with which a strategy adds its noise to what the actor does, and nothing else."""


EVENTFUL = {"behavior_transfer": {"flight_prob": 0.5, "flight_exponent": 0}}
"""Options with which what is rare by default is under way at most times."""


def small_prior(observations):
    """Something to do, of observations (..., obs): actions (..., act)."""
    return np.tanh(2 * observations[..., :ACTION_SIZE])


class Rig:
    """A strategy with a learner and actors, driven by envs that pay, per step, the sum of the acting adapter.

    Every second episode is terminated, the others are truncated. Options that are not given are those of `EVENTFUL`.
    """

    def __init__(self, name, seeds=SEEDS, slots=None, length=lambda lane, slot, episode: 4, **options):
        self.backbone = small_backbone()
        self.settings = AdaptSettings(strategy=name, num_threads=1, **{**EVENTFUL.get(name, {}), **options})
        self.slots = STRATEGIES[name].slots(self.settings) if slots is None else slots
        self.shape = small_shape(self.backbone)
        self.learner = Learner(
            self.backbone, self.shape, seeds, small_settings(learned_layers=self.settings.learned_layers)
        )
        actors = LaneActors(self.learner.backbones(), self.shape)
        prior = small_prior if name == "behavior_transfer" else None
        context = StrategyContext(self.settings, seeds, self.slots, self.shape, self.learner, actors, None, prior)
        self.strategy = STRATEGIES[name](context)
        self.seeds, self.length = seeds, length
        rows = (len(seeds), self.slots)
        self.steps = 0
        self.episode, self.age = (np.zeros(rows, dtype=np.int64) for _ in range(2))
        self.paid = np.zeros(rows)
        self.observations = np.zeros((*rows, OBSERVATION_SIZE), dtype=np.float32)

    def act(self):
        """The adapter that acts in each simulation: (K, S, n)."""
        adapters = self.strategy.adapters()
        return np.broadcast_to(adapters, (len(self.seeds), self.slots, adapters.shape[2]))

    def step(self, valid=None):
        """One step of all simulations; the actions, and what the strategy saw in `seen`."""
        acting = self.act()
        observation = np.stack(
            [
                np.random.default_rng([seed, self.steps]).standard_normal((self.slots, OBSERVATION_SIZE))
                for seed in self.seeds
            ]
        ).astype(np.float32)
        actions = np.zeros((len(self.seeds), self.slots, ACTION_SIZE), dtype=np.float32)
        self.strategy.perturb(actions, observation, self.steps)
        self.steps += 1
        valid = np.ones(self.age.shape, dtype=np.bool_) if valid is None else valid
        reward = acting.sum(axis=2)
        terminated = np.zeros(self.age.shape, dtype=np.bool_)
        episodes = []
        for lane, slot in np.argwhere(valid):
            where = int(lane), int(slot)
            self.age[where] += 1
            self.paid[where] += reward[where]
            if self.age[where] == self.length(*where, self.episode[where]):
                terminated[where] = self.episode[where] % 2
                episodes.append(Episode(*where, self.paid[where], int(self.age[where]), bool(terminated[where])))
                self.episode[where] += 1
                self.age[where] = self.paid[where] = 0
        following = -observation
        self.seen = Transition(observation, actions, reward, following, terminated, terminated, valid, episodes)
        self.strategy.observe(self.seen)
        return actions

    def arrays(self):
        return self.strategy.state()[0]

    def members(self):
        """The adapter of every member as it is now: (K, P, n)."""
        arrays = self.arrays()
        return self.learner.adapters()[:, None] + arrays["scale"][:, None, None] * arrays["directions"]

    def generation(self, lane=0):
        return int(self.arrays()["generation"][lane])

    def until_told(self, lane=0, limit=1000):
        before = self.generation(lane)
        while self.generation(lane) == before:
            self.step()
            limit -= 1
            assert limit, "the generation never ends"


def uneven(lane, slot, episode):
    return 1 + (3 * lane + 5 * slot + 7 * episode) % 6
