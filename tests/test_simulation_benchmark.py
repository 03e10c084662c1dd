"""The promises of `python -m benchmarks simulation`: what its rates count, and that both sides of a row do the same."""

from types import SimpleNamespace

import apb
import mujoco.batch
import numpy as np
import pytest
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from documentation import ROOT
from gymnasium.spaces import Box


@pytest.fixture
def simulation(monkeypatch):
    """`benchmarks.simulation`, which is no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import simulation

    return simulation


def tick(monkeypatch, simulation, times):
    """The clock of the benchmark shows these times, one per look."""
    monkeypatch.setattr(simulation, "time", SimpleNamespace(perf_counter=iter(times).__next__))


def short_episodes():
    """An env of five rows, of which some start anew at every step, and actions for ten steps."""
    env = BatchedEnv("cheetah-vel", 5, max_episode_steps=4, num_threads=1)
    actions = np.random.default_rng(0).uniform(-1, 1, (10, *env.action_space.shape)).astype(np.float32)
    env.reset(seed=0)
    for row in range(3):
        env.step(actions[row])
        env.reset(options={"reset_mask": np.arange(env.num_envs) == row})
    return env, actions


def takes_times(model):
    """Whether MuJoCo adds the seconds of a step to `MjData.timer`."""
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    return sum(timer.duration for timer in data.timer) > 0


# --- beside the bare batch -----------------------------------------------------------------------------------------


def test_our_rate_counts_the_steps_of_rows_that_move_and_not_those_that_start_anew(simulation, monkeypatch):
    env, actions = short_episodes()
    twin, _ = short_episodes()
    counts = []
    for action in actions:
        before = twin.state()["steps"]
        twin.step(action)
        counts.append(np.count_nonzero(twin.state()["steps"] == before + 1))
    moved = sum(counts)
    assert actions.size / env.family.action_size > moved > 30
    tick(monkeypatch, simulation, [3.0, 5.0])
    rate, _ = simulation.step_ours(env, actions)
    assert rate == moved / 2.0


def test_our_time_is_that_of_one_stretch_from_its_first_step_to_its_last(simulation, monkeypatch):
    env, actions = short_episodes()
    made, step = [], env.step
    monkeypatch.setattr(env, "step", lambda action: made.append(0) or step(action))
    looks = []
    clock = SimpleNamespace(perf_counter=lambda: looks.append(len(made)) or float(len(looks)))
    monkeypatch.setattr(simulation, "time", clock)
    simulation.step_ours(env, actions)
    assert looks == [0, len(actions)]


def test_the_states_that_the_bare_batch_is_given_are_those_of_the_stretch_that_was_timed(simulation):
    env, actions = short_episodes()
    twin, _ = short_episodes()
    _, states = simulation.step_ours(env, actions)
    for state, action in zip(states, actions, strict=True):
        assert np.array_equal(state, twin.state()["physics"])
        twin.step(action)
    assert np.array_equal(env.state()["physics"], twin.state()["physics"])


def test_the_bare_batch_does_the_physics_that_it_is_compared_with(simulation):
    env, actions = simulation.staggered("humanoid-dir", 2)
    _, states = simulation.step_ours(env, actions[:3])
    moved = ~(env.state()["steps"] == 0)
    bare = mujoco.batch.Batch(env.family.model, simulation.ROWS, 1)
    controls = [env.family.control(action.astype(np.float64), env.parameters) for action in actions[:3]]
    simulation.step_bare(bare, states, controls, env.family.frame_skip)
    assert np.array_equal(bare.state[moved], env.state()["physics"][moved])
    assert moved.sum() > 32


def test_the_rate_of_the_bare_batch_counts_all_rows_and_times_steps_without_the_loading_of_states(
    simulation, monkeypatch
):
    rows, now, substeps = 4, [0.0], []

    class Slow:
        """A batch of which loading a state takes 100 s, and a step 2 s."""

        nsim = rows
        bind = staticmethod(lambda name: np.zeros((rows, 1)))

        @property
        def state(self):
            now[0] += 100
            return np.zeros((rows, 3))

        def step(self, *, nstep):
            now[0] += 2
            substeps.append(nstep)

    monkeypatch.setattr(simulation, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    states, controls = np.zeros((6, rows, 3)), np.zeros((6, rows, 1))
    assert simulation.step_bare(Slow(), list(states), list(controls), 5) == 6 * rows / (6 * 2)
    assert substeps == [5] * 6


def test_rows_that_never_fall_are_measured_at_different_steps_of_their_episodes(simulation):
    env, actions = simulation.staggered("cheetah-vel", 2)
    assert len(np.unique(env.state()["steps"])) == simulation.ROWS
    assert actions.shape == (simulation.STRETCH, *env.action_space.shape)
    assert actions.min() < -0.99
    assert actions.max() > 0.99


def test_only_the_bare_batch_of_the_rows_on_equal_terms_is_told_to_take_no_times(simulation, monkeypatch):
    stretches = [[np.full(3, number)] for number in range(6)]
    given, timed = [], []
    family = short_episodes()[0].family

    def step_ours(env, actions):
        assert takes_times(family.model)
        return 8.0, stretches[len(given)]

    def step_bare(batch, states, controls, frame_skip):
        given.append(states)
        timed.append(takes_times(family.model))
        assert (batch.nsim, frame_skip) == (simulation.ROWS, family.frame_skip)
        return 10.0

    for name, value in {
        "FAMILIES": (family.name,),
        "ON_EQUAL_TERMS": (family.name,),
        "PEER_ENVS": {},
        "_lanes": lambda quick: [],
        "_memory": list,
        "staggered": lambda family, threads: short_episodes(),
        "step_ours": step_ours,
        "step_bare": step_bare,
    }.items():
        monkeypatch.setattr(simulation, name, value)
    beside, without = simulation.run(quick=True)
    assert timed == [True] * 3 + [False] * 3
    assert given == stretches
    assert without.case == f"{beside.case}, the bare batch as quiet"
    assert (beside.ours_value, beside.peer_value, beside.ratio) == ((8.0,) * 3, (10.0,) * 3, 0.8)
    assert beside.target == without.target == ">= 0.8 x peer"
    assert beside.reached


def test_every_robot_is_compared_on_equal_terms_too(simulation):
    robots = {FAMILIES[name].xml for name in simulation.ON_EQUAL_TERMS}
    assert robots == {family.xml for family in FAMILIES.values()}


# --- beside other packages -----------------------------------------------------------------------------------------


def test_peers_make_as_many_steps_as_the_simulation_whatever_their_number_of_rows(simulation):
    for rows in (1, 4, 64):
        steps = []
        env = SimpleNamespace(step=steps.append, action_space=Box(-1, 1, (3,), np.float64))
        simulation.stepping(env, rows)()
        assert {action.shape for action in steps} == {(rows, 3)}
        assert rows * len(steps) == simulation.STRETCH * simulation.ROWS


def test_rates_of_peers_are_a_stretch_of_all_rows_over_the_seconds_of_each(simulation, monkeypatch):
    def nothing(*arguments, **named):
        pass

    workers = SimpleNamespace(reset=nothing, step=nothing, close=nothing, action_space=Box(-1, 1, (6,)))
    monkeypatch.setattr(simulation.gymnasium, "make_vec", lambda env_id, **options: workers)
    monkeypatch.setattr(simulation, "installed", lambda module: False)
    monkeypatch.setattr(simulation, "staggered", lambda family, threads: short_episodes())
    monkeypatch.setattr(
        simulation,
        "interleave",
        lambda calls, repetitions: {name: [8.0 if name.startswith("Async") else 2.0] * repetitions for name in calls},
    )
    beside, pool = simulation._beside_peers("HalfCheetah-v5", 4, 3)
    steps = simulation.STRETCH * simulation.ROWS
    assert (beside.ours_value[0], beside.peer_value[0], beside.ratio) == (steps / 2, steps / 8, 4)
    assert (beside.peer, beside.target, beside.reached) == ("AsyncVectorEnv, 4 workers", ">= 3 x peer", True)
    assert (pool.peer_value, pool.target, pool.reached) == (None, ">= 0.9 x peer", None)


# --- lanes and memory ----------------------------------------------------------------------------------------------


def test_the_rate_of_several_seeds_is_that_of_all_of_them_together(simulation, monkeypatch):
    made = []

    def adapt(env, backbone, **options):
        made.append(options)
        return SimpleNamespace(wall_time=5.0)

    monkeypatch.setattr(apb, "adapt", adapt)
    learning, idle = simulation._lanes(quick=True)
    for row, steps in ((learning, 150), (idle, 5_000)):
        assert row.ours_value[0] == 8 * steps / 5
        assert row.peer_value[0] == steps / 5
        assert (row.ours, row.peer, row.ratio) == ("8 seeds at once", "1 seed", 8)
    assert (learning.target, learning.reached, idle.target) == (">= 3 x peer", True, "")
    found = [(options["gradient_steps"], options["n_seeds"], options["total_timesteps"]) for options in made]
    assert found == [(1, 1, 150), (1, 8, 150), (0, 1, 5_000), (0, 8, 5_000)]


def test_the_timesteps_of_a_run_of_several_seeds_are_those_of_each(simulation):
    """So that a rate of all of them has their number as a factor."""
    result = apb.adapt(simulation.TASK, "random", n_seeds=2, total_timesteps=12, learning_starts=12, eval_freq=0)
    assert len(result.policies) == 2
    assert result.total_timesteps == 12


def test_memory_is_told_of_the_whole_process_and_without_what_it_held_after_the_imports(simulation, monkeypatch):
    monkeypatch.setattr(simulation.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="200000\n700000\n"))
    whole, beyond = simulation._memory()
    assert whole.ours_value == pytest.approx((716.8,) * 3)
    assert beyond.ours_value == pytest.approx((512.0,) * 3)
    assert (whole.unit, whole.target, whole.reached, beyond.target) == ("MB", "<= 1000 MB", True, "")


def test_the_simulations_hold_memory_beside_that_of_the_imports(simulation, monkeypatch):
    monkeypatch.chdir(ROOT)
    whole, beyond = (row.ours_value[0] for row in simulation._memory())
    assert 0 < beyond < whole


def test_memory_is_read_from_the_field_that_is_asked_for(simulation, monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  9 kB\nVmHWM:\t  700000 kB\nVmRSS:\t  200000 kB\n")
    monkeypatch.setattr(simulation, "Path", lambda path: status if path == "/proc/self/status" else None)
    assert simulation._kibibytes("VmRSS") == 200_000
    assert simulation._kibibytes("VmHWM") == 700_000
    with pytest.raises(RuntimeError, match="has no VmSwap"):
        simulation._kibibytes("VmSwap")
