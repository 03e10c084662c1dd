"""`LearningLoop`: act, store, learn, evaluate, for K lanes in step; `loop_state` takes its state out and back in."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.actors import LaneActors
from apb.adapter import Adapter
from apb.adapter_shape import AdapterShape
from apb.adapter_starts import starts_of
from apb.backbone import Backbone
from apb.callbacks import Callback, PolicyMaker, RunState, save_states
from apb.companions import Companion
from apb.env_spaces import flat_size
from apb.environments import EnvSource, Simulations
from apb.errors import DivergenceError, SimulationError
from apb.evaluation import EvalResult
from apb.lane_envs import LaneEnvs, Resampled
from apb.lane_noise import LaneNoise
from apb.lanes import Lane, lane_budget, warn_of_idle
from apb.learner import Learner
from apb.normalization import RunningNormalizer
from apb.policy import Policy
from apb.prior import Prior
from apb.replay import Replay
from apb.settings import LearningSettings
from apb.strategies import ActionNoise, Strategy, StrategyContext, strategy_named
from apb.td3_settings import TD3Settings
from apb.threads import available_cpus
from apb.torch_threads import one_torch_thread

RECENT_EPISODES = 100
"""Episodes that "rollout/ep_rew_mean" averages over, as in SB3."""

Companions = Callable[[Learner, _native.ThreadPool], list[Companion]]
"""Makes what takes part beside a learner, with so many native threads."""

PHASES = ("simulation", "forward", "sampling", "update", "evaluation", "checkpoint")
"""What `LearningLoop.profile` tells apart; the remainder of the wall time is "rest"."""


class LearningLoop:
    """K lanes that learn in step.

    Args:
        source: The env to learn in; evaluation makes its own.
        eval_source: Where evaluation envs are made; None if there is no evaluation.
        backbone: psi.
        settings: All options.
        callbacks: Hooks.
        resampled: The tasks that the lanes take at a reset. Default: they keep theirs.
        companions: What takes part in the learning beside TD3. Default: nothing.
        prior: A policy that was known before, for strategies and starts that make use of it.
    """

    def __init__(
        self,
        source: EnvSource,
        eval_source: EnvSource | None,
        backbone: Backbone,
        settings: LearningSettings,
        callbacks: Sequence[Callback] = (),
        resampled: Resampled = lambda reset: None,
        companions: Companions = lambda learner, pool: [],
        prior: Prior | None = None,
    ) -> None:
        self._begun = time.perf_counter()
        self.settings = settings
        self.in_words = settings.in_words + ("" if prior is None else f", prior {prior.name}")
        self.source = source
        self.backbone = backbone
        self.callbacks = list(callbacks)
        save_states(self.callbacks)  # refuses now what a checkpoint could not hold
        self.timesteps = 0
        self.steps = 0
        self.evaluated_to = 0  # all evaluations before this timestep were made
        self.metrics: dict[str, float] = {}
        self.profile = dict.fromkeys(PHASES, 0.0)
        self.earlier_seconds = 0.0
        self.run_dir: Path | None = None
        self._episode_ended = False
        self._last_count = 0
        strategy_type = strategy_named(settings.strategy)
        self.envs = LaneEnvs(source, eval_source, settings, resampled)
        seeds = tuple(lane.seed for lane in self.lanes)
        pool = _native.ThreadPool(settings.num_threads or available_cpus())
        slots = source.slots(strategy_type.slots(settings))
        self.budget = lane_budget(len(seeds), slots, settings)
        observation_size, action_size = flat_size(source.observation_space), flat_size(source.action_space)
        self.shape = AdapterShape.of(backbone, observation_size, action_size)
        spaces = [(lane.source.observation_space, lane.source.action_space) for lane in self.lanes]
        own_shapes = [AdapterShape.of(backbone, *map(flat_size, pair)) for pair in spaces]
        tasks = [next(iter(lane.source.tasks), None) for lane in self.lanes]
        self.learner = Learner(
            backbone,
            self.shape,
            seeds,
            TD3Settings.of(settings),
            own_shapes=own_shapes,
            starts=starts_of(
                settings.adapter_init, backbone, own_shapes, seeds, tasks, None if prior is None else prior.policy
            ),
            backbone_training=settings.backbone_training,
            device=settings.device,
            pool=pool,
        )
        with one_torch_thread():
            self.learner.companions = companions(self.learner, pool)
        capacity = min(settings.buffer_size, self.budget)
        self.replay = Replay(
            seeds, capacity, observation_size, action_size, settings.batch_size, pool, settings.replay_on_disk
        )
        self.actors = LaneActors(self.learner.backbones(), self.shape, pool)
        context = StrategyContext(settings, seeds, slots, self.shape, self.learner, self.actors, pool, prior)
        self.strategy = strategy_type(context)
        self._unlearned = ActionNoise(context)  # strategies may ask critics, which know nothing yet
        self.normalizer = RunningNormalizer(len(seeds), observation_size) if settings.normalize_observations else None
        action_sizes = [own.action_size for own in own_shapes]
        self._warmup = LaneNoise(seeds, rng.Stream.WARMUP_ACTION, slots, action_sizes)
        self.recent_episodes: deque[tuple[float, int]] = deque(maxlen=RECENT_EPISODES)
        self._share_statistics()
        self.policies()  # refuses now what could not be saved
        # Envs come last, so that none is left open by what fails before.
        self.envs.open(slots)
        warn_of_idle(len(seeds), settings)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """What each lane is now."""
        return self.envs.lanes

    @property
    def simulations(self) -> Simulations:
        """What the lanes learn in now."""
        return self.envs.simulations

    @property
    def wall_time(self) -> float:
        """Seconds since the loop was made, with those that the run took before it was resumed."""
        return self.earlier_seconds + time.perf_counter() - self._begun

    # --- one step --------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether another step would exceed the budget."""
        return self.timesteps + self.simulations.slots > self.budget

    @property
    def warming_up(self) -> bool:
        """Whether nothing is learned yet, and actions are random, unless the learner has them be the policies'."""
        return self.timesteps - self.envs.since < self.settings.learning_starts

    def start(self) -> None:
        """Begin the first episodes of a new run."""
        self.envs.start()

    def step(self) -> bool:
        """Step all simulations once and do the updates that this earns; True unless a callback wants to stop.

        A reset that is due happens first, so that evaluations, checkpoints and the end of the run find what was
        learned.
        """
        begin = time.perf_counter()
        interval = self.settings.reset_interval
        if interval and self.timesteps // interval > self.learner.resets:
            self._reset()
        warming_up = self.warming_up
        random = warming_up and not self.learner.acts_in_warmup
        acting = self._unlearned if warming_up else self.strategy
        actions = self._warmup.uniform(self.steps).copy() if random else self._actions_of(acting)
        acted = time.perf_counter()
        transition = self.simulations.step(actions)
        stepped = time.perf_counter()
        self.replay.add(
            transition.observation,
            transition.action,
            transition.reward,
            transition.next_observation,
            transition.terminated,
            transition.valid,
        )
        if self.normalizer is not None:
            self.normalizer.update(transition.observation, transition.valid)
            self._share_statistics()
        self.strategy.observe(transition)
        # Lanes are in step: only one in which a simulation blew up has fewer valid rows than the others.
        count = int(transition.valid.sum(axis=1).max())
        self.timesteps += count
        self._last_count = count
        self.steps += 1
        self._episode_ended = bool(transition.episodes)
        self.recent_episodes.extend((episode.return_, episode.length) for episode in transition.episodes)
        sampled, updating = self.learner.sampling_seconds, time.perf_counter()
        over = self.finished or not self.warming_up
        if warming_up and over:
            self.learner.warmed_up(self.replay)
        # A lane may have nothing to learn from yet: one in which each first step has blown up so far.
        ready = not self.warming_up and self.replay.size.all()
        if ready and self._placed(lambda: self.learner.update(self.replay, count * self.settings.gradient_steps)):
            self._share_backbones()
        end = time.perf_counter()
        sampled = self.learner.sampling_seconds - sampled
        self._spend(
            forward=acted - begin, simulation=stepped - acted, sampling=sampled, update=end - updating - sampled
        )
        answers = [self.emit("on_episode_end", episode) for episode in transition.episodes]
        return self.emit("on_step") and all(answers)

    def _reset(self) -> None:
        self.learner.reset()
        self.strategy.reset()
        self._share_backbones()
        if self.envs.take_tasks(self.learner.resets):
            self.envs.start()
            self.replay.clear()
            self.recent_episodes.clear()

    def due(self, interval: int) -> bool:
        """Whether the last step reached or passed a multiple of `interval` timesteps; never for 0."""
        return interval > 0 and self.timesteps // interval > (self.timesteps - self._last_count) // interval

    @property
    def evaluation_due(self) -> bool:
        """Whether an evaluation has to be made now: before anything is learned, when a multiple of `eval_freq` was
        reached since the last one, and at the end, so that no curve ends before the run does. It is made once
        `evaluated` says so."""
        interval, last = self.settings.eval_freq, self.evaluated_to - 1
        return interval > 0 and (
            self.timesteps // interval > last // interval or (self.finished and self.timesteps > last)
        )

    def evaluated(self) -> None:
        """The evaluation of this moment was made."""
        self.evaluated_to = self.timesteps + 1

    def _actions_of(self, strategy: Strategy) -> NDArray[np.float32]:
        actions = self.actors.forward(strategy.adapters(), self.simulations.observations)
        strategy.perturb(actions, self.simulations.observations, self.steps)
        return actions

    def _placed(self, work: Callable[[], object]) -> object:
        """What `work` returns; if that is a divergence, with env and timestep."""
        try:
            return work()
        except DivergenceError as error:
            raise DivergenceError(f"env {self.source.name}, timestep {self.timesteps}: {error}") from error

    def share(self) -> None:
        """Give the actors the backbones, and actors and learner the statistics, as they are now."""
        self._share_backbones()
        self._share_statistics()

    def _share_backbones(self) -> None:
        if self.settings.backbone_training != "frozen":
            self.actors.load_backbones(self.learner.backbones())

    def _share_statistics(self) -> None:
        if self.normalizer is not None:
            self.learner.set_normalization(self.normalizer.mean, self.normalizer.inverse_std, self.normalizer.clip)
            self.actors.load_normalizers([self.normalizer.snapshot(lane) for lane in range(len(self.lanes))])

    def _spend(self, **seconds: float) -> None:
        for phase, value in seconds.items():
            self.profile[phase] += value

    # --- looking at it ---------------------------------------------------------------------------------------------

    def require_finite(self) -> None:
        """Raise `DivergenceError` if something that was learned is not finite; see `Learner`."""
        self._placed(self.learner.require_finite)

    def evaluate(
        self, stream: rng.Stream = rng.Stream.EVAL_EPISODE, before_step: Callable[[], object] = lambda: None
    ) -> list[EvalResult]:
        """Evaluate the noise-free policies, one result per lane, always in the same envs from the same starts of the
        stream, so that the results depend on the policies alone. `before_step` may raise to leave it."""
        begin = time.perf_counter()
        adapters = self.learner.adapters()[:, None]

        def act(observations: NDArray[np.float32]) -> NDArray[np.float32]:
            before_step()
            return self.actors.forward(adapters, observations)

        try:
            results = self.envs.evaluate(act, stream)
        except SimulationError as error:
            raise SimulationError(f"in the evaluation at timestep {self.timesteps}: {error}") from error
        self._spend(evaluation=time.perf_counter() - begin)
        return results

    def policies(self) -> list[Policy]:
        """The noise-free policy of each lane as it is now, at the lane's own sizes."""
        statistics = self.normalizer
        learned = zip(
            self.lanes, self.learner.backbones(), self.learner.own_shapes, self.learner.own_adapters(), strict=True
        )
        return [
            Policy(
                backbone,
                Adapter(shape, adapter),
                lane.source.observation_space,
                lane.source.action_space,
                normalizer=None if statistics is None else statistics.snapshot(number).cut(shape.observation_size),
                metadata={**lane.metadata, "strategy": self.settings.strategy, "timesteps": self.timesteps},
            )
            for number, (lane, backbone, shape, adapter) in enumerate(learned)
        ]

    def record(self) -> dict[str, float]:
        """The current metrics, with the keys of SB3; also kept in `metrics`."""
        losses = {f"train/{name}": float(values.mean()) for name, values in self.learner.losses().items()}
        recent = np.array(self.recent_episodes, dtype=np.float64).reshape(-1, 2)
        rollout = (
            {"rollout/ep_rew_mean": float(recent[:, 0].mean()), "rollout/ep_len_mean": float(recent[:, 1].mean())}
            if len(recent)
            else {}
        )
        seconds = self.wall_time
        self.metrics = {
            "timesteps": self.timesteps,
            **rollout,
            **losses,
            "train/updates": self.learner.updates,
            "time/fps": self.timesteps * self.simulations.lanes / max(seconds, 1e-9),
            "time/seconds": seconds,
        }
        return self.metrics

    def emit(self, hook: str, *arguments: Any) -> bool:
        """Call a hook of every callback; False if one of them returned False."""
        if not self.callbacks:
            return True
        state = RunState(
            f"{self.source.name}, {self.in_words}",
            self.timesteps,
            self.budget,
            self.learner.updates,
            tuple(lane.task for lane in self.lanes),
            tuple(lane.seed for lane in self.lanes),
            dict(self.metrics),
            PolicyMaker(self.policies),
            self.run_dir,
        )
        answers = [getattr(callback, hook)(state, *arguments) for callback in self.callbacks]
        return not any(isinstance(answer, bool | np.bool_) and not answer for answer in answers)

    # --- before it is saved, and at its end --------------------------------------------------------------------------

    @property
    def can_save(self) -> bool:
        """Whether now is a good moment for a checkpoint: any, if the envs' state can be saved; else when an episode has
        just ended, or none is under way or can go on."""
        of = self.simulations
        return of.can_snapshot or of.at_episode_start or of.lost or self._episode_ended or self.finished

    def prepare_to_save(self) -> None:
        """Where the envs' state cannot be saved, cut off the episodes that are still under way, so that all are at a
        start."""
        if not self.simulations.can_snapshot:
            self.strategy.restarted(self.simulations.restart_unfinished())

    def close(self) -> None:
        """Close the envs."""
        self.envs.close()
