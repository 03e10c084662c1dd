"""What simulations that fail do to learning: no transition comes of a failure, and it costs what is still to come."""

import apb
import gymnasium
import numpy as np
import pytest
from adapt_runs import finished_loop
from apb import SimulationError
from apb.batch_rows import BatchRows
from apb.environments import EnvSource, Simulations
from apb.loop import LearningLoop
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.settings import AdaptSettings
from apb.simulations import MAX_FAILURES
from apb.tasks import Task
from learning import SMALL, small_backbone

HOPPERS = [Task("hopper-mass", {"exponent": exponent}) for exponent in (-1.0, 2.0)]
SPEEDS = [Task("cheetah-vel", {"velocity": velocity}) for velocity in (2.0, 5.0)]

pytestmark = pytest.mark.filterwarnings("ignore:.*the other rows go on")


def blow_up(simulations, row):
    """Make the next step of a row unstable."""
    (env,) = simulations._rows.envs
    env._batch.bind("qvel")[row] = 1e12


def test_a_simulation_that_blows_up_ends_its_episode_without_a_transition_and_the_run_goes_on():
    class BlowUp(apb.Callback):
        def on_step(self, state):
            if state.timesteps == 50:
                blow_up(self.loop.simulations, 1)

    callback = BlowUp()
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 100})
    callback.loop = LearningLoop(EnvSource.resolve(HOPPERS), None, small_backbone(), settings, [callback])
    with pytest.warns(apb.ApbWarning, match=r"row 1 of hopper-mass \(exponent = 2\).*unstable.*the other rows go on"):
        result = run_to_end(callback.loop, None, StopSignals())
    assert result.total_timesteps == 100
    assert callback.loop.replay.size.tolist() == [100, 99]
    assert np.isfinite(callback.loop.replay.table).all()


def test_learning_waits_until_every_lane_has_a_transition(monkeypatch):
    restart, failures = BatchRows.restart, iter([True] * 15)

    def failing(rows, seeds, observations):
        restart(rows, seeds, observations)
        if 1 in seeds and next(failures, False):
            rows.envs[0]._batch.bind("qvel")[1] = 1e12

    monkeypatch.setattr(BatchRows, "restart", failing)
    monkeypatch.setattr(LearningLoop, "start", lambda loop: (loop.simulations.reset(), blow_up(loop.simulations, 1)))
    loop = finished_loop(HOPPERS, total_timesteps=60, learning_starts=10)
    assert loop.replay.size.tolist() == [60, 44]
    assert loop.learner.updates == 44


def test_a_simulation_that_fails_again_and_again_from_the_start_is_an_error_with_its_task():
    actions = np.zeros((2, 1, 3), np.float32)
    with Simulations(EnvSource.resolve(HOPPERS), 2, 1, [0, 1]) as simulations:
        simulations.reset()
        for _ in range(MAX_FAILURES - 1):
            blow_up(simulations, 1)
            assert simulations.step(actions).valid.tolist() == [[True], [False]]
        simulations.step(actions)  # one good step, and all is forgotten
        for _ in range(MAX_FAILURES):
            blow_up(simulations, 1)
            simulations.step(actions)
        blow_up(simulations, 1)
        message = r"lane 1.*task hopper-mass with exponent = 2.*failed 100 times in a row in a first step"
        with pytest.raises(SimulationError, match=message):
            simulations.step(actions)


@pytest.mark.parametrize("lane", [0, 1])
def test_an_episode_whose_simulation_fails_counts_as_if_the_worst_step_of_its_lane_went_on(lane):
    actions = np.zeros((2, 1, 6), np.float32)
    with Simulations(EnvSource.resolve(SPEEDS), 2, 1, [0, 1]) as simulations:
        simulations.reset()
        rewards = np.array([simulations.step(actions).reward[:, 0] for _ in range(5)])
        blow_up(simulations, lane)
        (episode,) = simulations.step(actions).episodes
    assert (episode.lane, episode.length, episode.failed) == (lane, 5, True)
    assert episode.return_ == pytest.approx(rewards[:, lane].sum() + 195 * rewards[:, lane].min())


def test_worst_steps_and_failures_before_a_snapshot_count_where_it_is_restored():
    actions = np.zeros((2, 1, 6), np.float32)
    source = EnvSource.resolve(SPEEDS)
    with Simulations(source, 2, 1, [0, 1]) as first, Simulations(source, 2, 1, [0, 1]) as second:
        first.reset()
        first.step(actions)
        second.restore(first.snapshot())
        returns = []
        for simulations in (first, second):
            blow_up(simulations, 1)
            returns += [episode.return_ for episode in simulations.step(actions).episodes]
        assert returns[0] == returns[1] < -190
        for _ in range(MAX_FAILURES - 1):
            blow_up(first, 1)
            first.step(actions)
        second.restore(first.snapshot())
        blow_up(second, 1)
        with pytest.raises(SimulationError, match="failed 100 times in a row in a first step"):
            second.step(actions)


def test_a_simulation_that_fails_in_a_batched_env_object_is_no_transition_either():
    envs = gymnasium.make_vec("apb/CheetahVel-v0", num_envs=3, velocity=2.0)
    with Simulations(EnvSource.resolve(envs), 1, 3, [0]) as simulations:
        simulations.reset()
        for _ in range(3):
            assert simulations.step(np.zeros((1, 3, 6), np.float32)).valid.all()
        envs.unwrapped._batch.bind("qvel")[1] = 1e12
        transition = simulations.step(np.zeros((1, 3, 6), np.float32))
        assert transition.valid.tolist() == [[True, False, True]]
        (episode,) = transition.episodes
        assert (episode.slot, episode.failed) == (1, True)
        assert episode.return_ < 3 * -1.5 + 190 * -1.5
    envs.close()
