"""That the simulations are right: motion against Gymnasium's own envs, contact forces, and what actuators get."""

import copy

import gymnasium
import mujoco
import numpy as np
import pytest
from apb.simulation import BatchedEnv
from apb.tasks.families.cheetah_vel import CheetahVel
from apb.tasks.single import TaskEnv
from task_rig import actions_for, same_bits, single

ORACLES = {
    "cheetah-vel": ("HalfCheetah-v5", {}),
    "ant-dir": ("Ant-v5", {}),
    "ant-goal": ("Ant-v5", {}),
    "humanoid-dir": ("Humanoid-v5", {}),
    "hopper-rand-params": ("Hopper-v5", {"timestep_of_pearl": False}),
    "hopper-mass": ("Hopper-v5", {"timestep_of_pearl": False}),
    "walker-rand-params": ("Walker2d-v5", {"timestep_of_pearl": False}),
    "walker-mass": ("Walker2d-v5", {"timestep_of_pearl": False}),
}
GRAVITY = 9.81


@pytest.fixture
def quiet_models():
    """Gymnasium's HalfCheetah has MuJoCo write a remark on its file to the screen and into a file."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    yield
    mujoco.set_mju_user_warning(before)


# --- Gymnasium's own envs as the oracle ------------------------------------------------------------------------------


def shared_observation(name, ours, theirs, env):
    """The parts of the observations of a family and of Gymnasium's env that are to be equal."""
    if name == "cheetah-vel":
        return ours[:17], theirs
    if name == "ant-dir":
        return ours, theirs[:27]
    if name == "ant-goal":
        return ours[2:29], theirs[:27]
    if name == "humanoid-dir":
        # Gymnasium leaves out the world body, and the root's six degrees of freedom, which have no actuator.
        cinert, cvel, forces = ours[45:185].reshape(14, 10), ours[185:269].reshape(14, 6), ours[269:292]
        assert not cinert[0].any()
        assert not cvel[0].any()
        assert not forces[:6].any()
        return np.concatenate([ours[:45], cinert[1:].ravel(), cvel[1:].ravel(), forces[6:]]), theirs[:270]
    return ours, theirs


@pytest.mark.parametrize("name", ORACLES)
def test_motion_is_that_of_gymnasiums_own_env_to_the_bit(name, quiet_models):
    env_id, switches = ORACLES[name]
    ours, theirs = TaskEnv(name, **switches), gymnasium.make(env_id).unwrapped
    assert (ours.model.opt.timestep, ours.family.frame_skip) == (theirs.model.opt.timestep, theirs.frame_skip)
    # Of what the solver's tolerance is a multiple.
    for scale in ("meanmass", "meaninertia"):
        assert getattr(ours.model.stat, scale) == getattr(theirs.model.stat, scale)
    ours.reset(seed=3)
    theirs.reset(seed=0)
    theirs.set_state(ours.data.qpos.copy(), ours.data.qvel.copy())
    # Multiples of 1/256, which any way of scaling them to the actuators' range leaves exact.
    for action in np.round(256 * actions_for(ours, 60, bound=1)) / 256:
        observation = ours.step(action)[0]
        theirs.do_simulation(ours.data.ctrl.copy(), theirs.frame_skip)
        assert same_bits(ours.data.qpos, theirs.data.qpos)
        assert same_bits(ours.data.qvel, theirs.data.qvel)
        assert np.array_equal(*shared_observation(name, observation, theirs._get_obs(), theirs))
    scale = 0.4 if name == "humanoid-dir" else 1.0
    np.testing.assert_allclose(ours.data.ctrl, scale * action, rtol=0, atol=1e-16)


def test_pearls_timestep_of_the_hopper_is_twice_gymnasiums():
    assert TaskEnv("hopper-mass").family.dt == pytest.approx(0.016, abs=1e-12)
    assert TaskEnv("walker-rand-params").family.dt == pytest.approx(0.016, abs=1e-12)
    assert TaskEnv("hopper-mass", timestep_of_pearl=False).family.dt == pytest.approx(0.008, abs=1e-12)
    for name in ("cheetah-vel", "ant-dir"):
        assert TaskEnv(name).family.dt == pytest.approx(0.05, abs=1e-12)
    assert TaskEnv("humanoid-dir").family.dt == pytest.approx(0.015, abs=1e-12)


def test_the_torso_in_the_cheetahs_observation_is_where_mujoco_puts_it():
    env = single("cheetah-vel").unwrapped
    env.reset(seed=0)
    for action in actions_for(env, 20):
        observation = env.step(action)[0]
        now = copy.copy(env.data)
        mujoco.mj_kinematics(env.model, now)
        np.testing.assert_allclose(observation[17:], now.body("torso").xpos, rtol=0, atol=1e-12)


# --- contact forces --------------------------------------------------------------------------------------------------


def standing(name, steps, **arguments):
    """A single env after some steps with zero actions, and its states before each of them."""
    env = single(name, **arguments).unwrapped
    env.reset(seed=1)
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    states = []
    for _ in range(steps):
        state = np.empty(mujoco.mj_stateSize(env.model, spec))
        mujoco.mj_getState(env.model, env.data, state, spec)
        states.append(state)
        env.step(np.zeros(env.action_space.shape))
    return env, states


@pytest.mark.parametrize("name", ["ant-dir", "ant-goal", "humanoid-dir"])
def test_contact_forces_are_those_before_the_last_substep(name):
    # Where a sensor asks for them, MuJoCo computes them at the state in which a substep begins; the later stages of its
    # Runge-Kutta integrator skip sensors. (Gymnasium's envs compute them after the substep, from the last of its four
    # stages, so that theirs differ.)
    env, states = standing(name, 60)
    assert env.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    data = mujoco.MjData(env.model)
    mujoco.mj_setState(env.model, data, states[-1], mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_step(env.model, data, env.family.frame_skip - 1)
    plain = copy.copy(env.model)
    plain.sensor_needstage[:] = mujoco.mjtStage.mjSTAGE_NONE
    mujoco.mj_forward(plain, data)
    mujoco.mj_rnePostConstraint(plain, data)
    assert np.abs(data.cfrc_ext).max() > 1
    assert same_bits(env.data.cfrc_ext, data.cfrc_ext)


def test_the_centre_of_mass_of_the_humanoid_is_where_it_is_now():
    # What no sensor asks for is that of the last stage, at the end of the substep, up to the integrator's error, which
    # is far smaller than the way of a substep.
    env = single("humanoid-dir").unwrapped
    env.reset(seed=0)
    for action in actions_for(env, 8):
        env.step(action)
        now = copy.copy(env.data)
        mujoco.mj_forward(env.model, now)
        np.testing.assert_allclose(env.data.subtree_com[0], now.subtree_com[0], rtol=0, atol=1e-4)
    assert np.abs(env.data.qvel[:3]).max() * env.model.opt.timestep > 2e-3


@pytest.mark.parametrize("name", ["ant-dir", "ant-goal", "humanoid-dir"])
def test_contact_forces_reach_observations_and_rewards_of_single_and_batched_envs(name):
    env, batch = single(name).unwrapped, BatchedEnv(name, 2, num_threads=2, autoreset_mode="disabled")
    env.reset(seed=1)
    batch.reset(seed=0)
    for _ in range(40):
        observation, _, _, _, info = env.step(np.zeros(env.action_space.shape))
        observations, *_, batch_info = batch.step(np.zeros(batch.action_space.shape))
        if batch._ended.any():
            break
    assert info["reward_contact"] < 0
    assert (batch_info["reward_contact"] < 0).all()
    if name != "ant-dir":
        size = env.data.cfrc_ext.size
        assert np.abs(observation[-size:]).max() > 0
        assert (np.abs(observations[:, -size:]).max(axis=1) > 0).all()


@pytest.mark.parametrize("name", ["ant-dir", "ant-goal"])
def test_contact_forces_carry_the_weight_of_what_stands_still(name):
    env, _ = standing(name, 400)
    assert np.abs(env.data.qvel).max() < 0.05
    # A force on a body is (torque, force) in the world's directions.
    total = env.data.cfrc_ext[1:, 3:].sum(axis=0)
    weight = GRAVITY * env.model.body_mass.sum()
    np.testing.assert_allclose(total, [0, 0, weight], atol=0.02 * weight)
    assert not env.data.cfrc_ext[0].any()


# --- actuators -------------------------------------------------------------------------------------------------------


def test_actions_are_scaled_to_the_range_of_the_actuators():
    env = TaskEnv("humanoid-dir")
    env.reset(seed=0)
    for action, control in ((np.ones(17), 0.4), (np.full(17, -3.0), -0.4), (np.zeros(17), 0.0)):
        env.step(action)
        np.testing.assert_allclose(env.data.ctrl, control, rtol=0, atol=1e-16)


def test_a_range_that_does_not_lie_around_zero_is_reached_from_end_to_end():
    class Shifted(CheetahVel):
        def spec(self):
            spec = super().spec()
            spec.actuators[0].ctrlrange = [0, 4]
            return spec

    control = Shifted().control(np.array([[-1.0] * 6, [0.0] * 6, [1.0] * 6]), {})
    assert control[:, 0].tolist() == [0, 2, 4]
    assert control[:, 1].tolist() == [-1, 0, 1]


def test_flipped_and_permuted_actuators_move_as_the_plain_ones_with_other_actions():
    signs, order = np.array([1, -1, 1, 1, -1, -1.0]), np.array([3, 0, 5, 1, 2, 4])
    envs = [
        TaskEnv("cheetah-negated-joints"),
        TaskEnv("cheetah-negated-joints", signs=signs),
        TaskEnv("cheetah-permuted-joints", order=order),
    ]
    for env in envs:
        env.reset(seed=0)
    for action in actions_for(envs[0], 10):
        plain = envs[0].step(action)
        assert same_bits(plain[0], envs[1].step(signs * action)[0])
        # Actuator i is given element order[i].
        permuted = np.empty(6)
        permuted[order] = action
        assert same_bits(plain[0], envs[2].step(permuted)[0])
