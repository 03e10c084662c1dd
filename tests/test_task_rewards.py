"""What tasks promise of rewards: the written formulas, on recorded states, and the returns that they lead to."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.normalization import Normalizer
from apb.policy import Policy
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.tasks.family import Physics
from policies import random_adapter, random_normalizer, reference
from task_rig import EVERY, ORIGINAL, actions_for, drawn, of_row, same_bits, single

# --- the formulas, in plain Python -----------------------------------------------------------------------------------


class Recorded:
    """One step of a single env in plain numbers: what it was given, and the state before and after it."""

    def __init__(self, env, task, action):
        self.task = {name: np.asarray(value).tolist() for name, value in task.items()}
        self.action = [min(1.0, max(-1.0, float(each))) for each in action]
        self.before, centre = env.data.qpos.tolist(), centre_of_mass(env)
        self.observation, self.reward, self.terminated, _, self.info = env.step(action)
        self.after, self.speeds = env.data.qpos.tolist(), env.data.qvel.tolist()
        self.forces = env.data.cfrc_ext.ravel().tolist()
        self.seconds = env.model.opt.timestep * {"half": 5, "ant": 5, "humanoid": 5}.get(robot(env), 4)
        self.velocity = [(after - before) / self.seconds for before, after in zip(self.before, self.after, strict=True)]
        self.drift = [
            (after - before) / self.seconds for before, after in zip(centre, centre_of_mass(env), strict=True)
        ]

    @property
    def effort(self):
        return sum(each * each for each in self.action)

    @property
    def clipped_forces(self):
        return sum(min(1.0, max(-1.0, each)) ** 2 for each in self.forces)


def robot(env):
    return re.split("[_.]", env.family.xml)[0]


def centre_of_mass(env):
    """x and y of the centre of mass, from where MuJoCo last put the bodies."""
    total, sums = 0.0, [0.0, 0.0]
    for mass, place in zip(env.model.body_mass.tolist(), env.data.xipos.tolist(), strict=True):
        total += mass
        sums = [sums[0] + mass * place[0], sums[1] + mass * place[1]]
    return [each / total for each in sums]


def forward_run(step):
    return step.velocity[0] + 1 - 0.001 * step.effort


def ant_run(step, angle):
    ahead = step.velocity[0] * math.cos(angle) + step.velocity[1] * math.sin(angle)
    return ahead - 0.5 * step.effort - 0.0005 * step.clipped_forces + 1


def ant_goal(step, pay):
    offset = [place - goal for place, goal in zip(step.after[:2], step.task["goal"], strict=True)]
    return pay(*offset) - 0.1 * step.effort - 0.0005 * step.clipped_forces


def humanoid_dir(step):
    angle = step.task["angle"]
    ahead = 0.25 * 5 * (step.drift[0] * math.cos(angle) + step.drift[1] * math.sin(angle))
    effort = sum((0.4 * each) ** 2 for each in step.action)
    return ahead - 0.1 * effort - min(5e-7 * sum(each**2 for each in step.forces), 10.0) + 5.0


REWARDS = {
    "cheetah-vel": lambda step: -abs(step.velocity[0] - step.task["velocity"]) - 0.05 * step.effort,
    "cheetah-dir": lambda step: step.task["direction"] * step.velocity[0] - 0.05 * step.effort,
    "ant-dir": lambda step: ant_run(step, step.task["angle"]),
    "ant-goal": lambda step: ant_goal(step, lambda x, y: -abs(x) - abs(y)),
    "humanoid-dir": humanoid_dir,
    "hopper-rand-params": forward_run,
    "walker-rand-params": forward_run,
    "hopper-mass": forward_run,
    "walker-mass": forward_run,
    "cheetah-negated-joints": lambda step: step.velocity[0] - 0.1 * step.effort,
    "cheetah-permuted-joints": lambda step: step.velocity[0] - 0.1 * step.effort,
    "ant-negated-joints": lambda step: ant_run(step, 0.0),
    "sparse-cheetah-vel": lambda step: (
        max(0.0, 1 - abs(step.velocity[0] - step.task["velocity"]) / 0.5) - 0.05 * step.effort
    ),
    "sparse-ant-goal": lambda step: ant_goal(step, lambda x, y: max(0.0, 1 - math.hypot(x, y) / 0.8)),
}


def within(value, low, high):
    return low <= value <= high


def ends(step, name):
    """Whether a task ends, by the definitions of the line of code that it is from."""
    qpos, qvel = step.after, step.speeds
    if name.startswith("hopper"):
        wild = any(abs(each) >= 100 for each in (*qpos[2:], *qvel))
        return qpos[1] <= 0.7 or abs(qpos[2]) >= 0.2 or wild
    if name.startswith("walker"):
        return not (0.8 < qpos[1] < 2.0 and -1.0 < qpos[2] < 1.0)
    if name.startswith(("ant-dir", "ant-negated")):
        return not within(qpos[2], 0.2, 1.0)
    return name.startswith("humanoid") and not within(qpos[2], 1.0, 2.0)


def recorded(name, steps, seed, **task):
    env = single(name, **task).unwrapped
    env.reset(seed=seed)
    return [Recorded(env, task, action) for action in actions_for(env, steps, seed)]


def original(name):
    return name.removesuffix("-permuted-state")


def test_every_family_has_a_formula_here():
    assert REWARDS.keys() == set(ORIGINAL)


@pytest.mark.parametrize("name", EVERY)
def test_the_reward_is_the_written_formula_of_the_states_before_and_after(name):
    values = drawn(name, 3, seed=5)
    for row in range(3):
        for step in recorded(name, 12, row, **of_row(values, row)):
            assert step.reward == pytest.approx(REWARDS[original(name)](step), rel=1e-9, abs=1e-9)
            assert step.terminated == ends(step, original(name))


@pytest.mark.parametrize("name", ORIGINAL)
def test_a_task_ends_exactly_where_its_definition_says(name):
    family = FAMILIES[name]()
    # At and beside every bound that there is, and far from all of them.
    edges = [each + side for each in (0.2, 0.7, 0.8, 1.0, 2.0) for side in (-1e-9, 0, 1e-9)]
    angles = [side * each for each in (0.0, 0.199, 0.2, 0.201, 0.999, 1.0, 1.001) for side in (-1, 1)]
    # Hopper and Walker2d have their height at 1 and their angle at 2, the others their height at 2.
    planar = name.startswith(("hopper", "walker"))
    postures = [(height, angle) for height in [*edges, 0.5, 1.5] for angle in (angles if planar else [height])]
    wild = [(part, place, size) for part in (0, 1) for place in (3, 5) for size in (99.9, 100.0, -100.0, 1e6)]
    qpos, qvel = states = np.zeros((2, len(postures) + len(wild), family.model.nv + 1))
    qpos[:, 1:3] = [*postures, *[(1.25, 0.0 if planar else 1.25)] * len(wild)]
    for row, (part, place, size) in enumerate(wild, start=len(postures)):
        states[part][row, place] = size
    qpos, qvel = qpos[:, : family.model.nq], qvel[:, :-1]
    ended = family.terminated(Physics(qpos, qvel, {}))
    assert ended.dtype == bool
    for row in range(len(qpos)):
        step = SimpleNamespace(after=qpos[row].tolist(), speeds=qvel[row].tolist())
        assert ended[row] == ends(step, name), (qpos[row], qvel[row])
    assert ended.any() == name.startswith(("ant-dir", "ant-negated", "humanoid", "hopper", "walker"))


@pytest.mark.parametrize("name", ORIGINAL)
def test_no_term_of_the_reward_is_idle(name):
    # Targets that are near what random actions reach, so that sparse rewards are found.
    near = {"sparse-cheetah-vel": {"velocity": 0.3}, "sparse-ant-goal": {"goal": [0.2, 0.1]}}.get(name, {})
    steps = [step.info for seed in range(2) for step in recorded(name, 25, seed, **near)]
    for term in steps[0]:
        amounts = {info[term] for info in steps}
        assert len(amounts) > 3 or term == "reward_alive", term


def test_sparse_rewards_pay_at_the_target_and_not_beyond_the_radius():
    cheetah, ant = FAMILIES["sparse-cheetah-vel"](), FAMILIES["sparse-ant-goal"]()
    speeds = np.array([[2.0], [2.25], [1.6], [2.5], [1.5], [9.0]])
    terms = reward_terms(cheetah, speeds, cheetah.rows({"velocity": 2.0}, 6))
    np.testing.assert_allclose(terms["tracking"], [1, 0.5, 0.2, 0, 0, 0], atol=1e-12)
    places = np.array([[3.0, 4.0], [3.0, 4.4], [3.48, 3.36], [3.6, 4.6], [-3.0, -4.0]])
    terms = reward_terms(ant, np.zeros((5, 2)), ant.rows({"goal": [3.0, 4.0]}, 5), places)
    np.testing.assert_allclose(terms["goal"], [1, 0.5, 0, 0, 0], atol=1e-12)


def reward_terms(family, velocity, parameters, places=None):
    """Terms for made-up velocities and places, without control and contact."""
    rows = len(velocity)
    qpos = np.zeros((rows, family.model.nq))
    if places is not None:
        qpos[:, :2] = places
    outputs = {"cfrc_ext": np.zeros((rows, family.model.nbody, 6))}
    physics = Physics(qpos, np.zeros((rows, family.model.nv)), outputs)
    return family.reward_terms(physics, velocity, np.zeros((rows, family.action_size)), parameters)


@pytest.mark.parametrize("name", EVERY)
def test_the_terms_in_info_sum_to_the_reward(name):
    env = BatchedEnv(name, 4, num_threads=2, max_episode_steps=7, **drawn(name, 4))
    env.reset(seed=0)
    for actions in actions_for(env, 20):
        _, rewards, _, _, info = env.step(actions)
        terms = [info[key] for key in info if key.startswith("reward_")]
        np.testing.assert_allclose(sum(terms), rewards, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_the_text_of_the_formula_names_every_parameter(name):
    family = FAMILIES[name]()
    assert [parameter for parameter in family.parameters if parameter not in family.formula] == []


# --- returns ---------------------------------------------------------------------------------------------------------


def episode(name, act=None, **task):
    """Sums of the terms and the length of one episode, by default of zero actions."""
    env = single(name, **task)
    observation, _ = env.reset(seed=0)
    totals, steps, over = {}, 0, False
    while not over:
        action = np.zeros(env.action_space.shape) if act is None else act(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        for key, value in {**info, "reward": reward}.items():
            totals[key] = totals.get(key, 0.0) + value
        steps, over = steps + 1, terminated or truncated
    return totals, steps


@pytest.mark.parametrize("velocity", [0.5, 2.0, 3.5])
def test_a_cheetah_that_stands_still_loses_200_times_the_target_speed(velocity):
    totals, steps = episode("cheetah-vel", velocity=velocity)
    assert steps == 200
    assert totals["reward"] == pytest.approx(-200 * velocity, rel=0.05, abs=5)


def test_an_ant_that_stands_earns_about_1_per_step():
    totals, steps = episode("ant-dir", angle=0.7)
    assert steps == totals["reward_alive"] == 200
    assert totals["reward"] == pytest.approx(200, rel=0.1)


def test_a_humanoid_earns_5_per_step_until_it_falls():
    totals, steps = episode("humanoid-dir", angle=2.0)
    assert totals["reward_alive"] == 5 * steps
    assert 10 < steps < 200
    assert totals["reward"] == pytest.approx(5 * steps, rel=0.15)


@pytest.mark.parametrize("goal", [(0.9, 0.8), (-1.2, 2.1)])
def test_an_ant_that_stands_at_the_start_loses_200_times_the_distance_in_l1(goal):
    # It slides a little as it lands, which cancels between goals on opposite sides.
    totals = []
    for side in (1, -1):
        total, steps = episode("ant-goal", goal=[side * each for each in goal])
        assert steps == 200
        totals.append(total["reward"])
    assert np.mean(totals) == pytest.approx(-200 * (abs(goal[0]) + abs(goal[1])), rel=0.02)


@pytest.mark.parametrize("name", ["hopper-mass", "walker-rand-params"])
def test_a_walker_earns_about_1_per_step_until_it_falls(name):
    totals, steps = episode(name)
    assert totals["reward_alive"] == steps < 200
    assert totals["reward"] == pytest.approx(steps + totals["reward_forward"] + totals["reward_control"], rel=1e-9)


@pytest.mark.parametrize("speed", [0.5, 3.0, 12.0])
def test_exactly_the_target_speed_costs_control_alone(speed):
    # In the air nothing slows it down.
    env = BatchedEnv("cheetah-vel", 2, num_threads=1, velocity=speed)
    env.reset(seed=0)
    env._batch.bind("qpos")[:] = [0, 50, *[0] * 7]
    env._batch.bind("qvel")[:] = [speed, *[0] * 8]
    env._positions[:] = 0
    for _ in range(10):
        _, rewards, _, _, info = env.step(np.zeros((2, 6)))
        np.testing.assert_allclose(rewards, 0, atol=1e-6)
    _, rewards, _, _, info = env.step(np.full((2, 6), 0.5))
    np.testing.assert_allclose(info["reward_control"], -0.05 * 6 * 0.25, rtol=1e-12)


def test_full_speed_pays_as_much_as_runs_that_solve_the_task():
    # Of 1,500 to 1,900 in an episode are 8 to 10 m/s; backwards they are a loss.
    family = FAMILIES["cheetah-dir"]()
    both = family.rows({"direction": np.array([1.0, -1.0])}, 2)
    pay = reward_terms(family, np.full((2, 1), 9.0), both)["forward"]
    np.testing.assert_allclose(200 * pay, [1800, -1800])
    walking = FAMILIES["humanoid-dir"]()
    pay = reward_terms(walking, np.array([[0.0, 2.0]]), walking.rows({"angle": math.pi / 2}, 1))
    np.testing.assert_allclose(pay["forward"], 2.5)


# --- permuted observations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORIGINAL)
def test_a_task_of_permuted_states_shows_the_original_observations_in_another_order(name):
    permuted = f"{name}-permuted-state"
    values = drawn(permuted, 3)
    order = values["permutation"].astype(int)
    both = [
        BatchedEnv(
            each, 3, num_threads=2, max_episode_steps=6, **{key: values[key] for key in FAMILIES[each]().parameters}
        )
        for each in (name, permuted)
    ]
    first, second = (env.reset(seed=1)[0] for env in both)
    for actions in actions_for(both[0], 14):
        assert same_bits(np.take_along_axis(first, order, axis=1), second)
        assert not same_bits(first, second)
        (first, *ours), (second, *theirs) = (env.step(actions) for env in both)
        assert all(same_bits(*pair) for pair in zip(ours[:3], theirs[:3], strict=True))


def policy_of(name, adapter=Adapter.initial):
    """A policy of normalised observations, on a random frozen backbone."""
    space = single(name).observation_space
    actions = single(name).action_space
    backbone = Backbone.random(0, input_size=space.shape[0], hidden_sizes=(24, 24))
    layers = adapter(backbone, space.shape[0], actions.shape[0])
    return Policy(backbone, layers, space, actions, random_normalizer(space.shape[0]))


def permuted_policy(policy, order):
    """What acts on permuted observations as `policy` does on the original ones."""
    layers = {name: array.copy() for name, array in policy.adapter.layers.items()}
    layers["pre.weight"] = layers["pre.weight"][:, order]
    adapter = Adapter(policy.adapter.shape, np.concatenate([array.ravel() for array in layers.values()]))
    old = policy.normalizer
    normalizer = Normalizer(old.mean[order], old.inverse_std[order], old.clip)
    return Policy(policy.backbone, adapter, policy.observation_space, policy.action_space, normalizer)


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-goal", "walker-mass"])
def test_a_frozen_policy_with_a_permuted_pre_layer_lives_the_same_episode_in_the_permuted_task(name):
    # Each sum of an identity pre-layer has one term that is not zero: another order of summation changes no bit.
    policy = policy_of(name)
    order = np.random.default_rng(2).permutation(policy.observation_space.shape[0])
    lived = episode(name, policy)
    permuted = f"{name}-permuted-state", {"permutation": order}
    assert episode(permuted[0], permuted_policy(policy, order), **permuted[1]) == lived
    assert lived[0]["reward_control"] < 0
    assert episode(permuted[0], policy, **permuted[1]) != lived


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-goal"])
def test_any_pre_layer_that_is_permuted_acts_the_same_up_to_rounding(name):
    policy = policy_of(name, random_adapter)
    order = np.random.default_rng(3).permutation(policy.observation_space.shape[0])
    permuted = permuted_policy(policy, order)
    env, other = single(name), single(f"{name}-permuted-state", permutation=order)
    observation, shown = env.reset(seed=0)[0], other.reset(seed=0)[0]
    for _ in range(60):
        _, bound = reference(policy, observation[None])
        action = policy(observation)
        assert (np.abs(permuted(shown).astype(np.float64) - action) <= 2 * bound[0]).all()
        observation, shown = env.step(action)[0], other.step(action)[0]


def test_an_action_reaches_the_actuators_unrounded_where_their_range_is_that_of_actions():
    family = FAMILIES["cheetah-vel"]()
    action = np.array([[0.1, -0.3, 1e-17, 1.0, -1.0, 0.7]])
    assert np.array_equal(family.control(action, family.rows({}, 1)), action)
    humanoid = FAMILIES["humanoid-dir"]()
    action = np.linspace(-1, 1, 17)[None]
    assert np.array_equal(humanoid.control(action, humanoid.rows({}, 1)), 0.4 * action)
