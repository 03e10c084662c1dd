"""That the simulations are right: against Gymnasium's own envs, against MuJoCo by hand, and against mechanics."""

import copy
from importlib.resources import files

import gymnasium
import mujoco
import numpy as np
import pytest
from apb.simulation import BatchedEnv
from apb.tasks.single import TaskEnv
from task_rig import actions_for, drawn, of_row, same_bits, single

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
DYNAMIC = ("hopper-rand-params", "walker-rand-params", "hopper-mass", "walker-mass")
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


# --- dynamics of a task ----------------------------------------------------------------------------------------------


def own_model(name, family, fields):
    """A model made here, from Gymnasium's file, with values for fields of it and all that follows from them."""
    path = files("gymnasium") / "envs" / "mujoco" / "assets" / family.xml
    spec = mujoco.MjSpec.from_file(str(path))
    spec.option.timestep = 0.004 if family.timestep_of_pearl else 0.002
    model = spec.compile()
    for field, values in fields.items():
        getattr(model, field)[...] = values
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def expected_fields(name, model, task, consistent):
    """The fields of a task, from the definition of the family in words."""
    if name.endswith("-mass"):
        factor = 1.5 ** task["exponent"]
        masses = {"body_mass": factor * model.body_mass}
        return masses | ({"body_inertia": factor * model.body_inertia} if consistent else {})
    fields = {field: getattr(model, field) * task[field] for field in task}
    if consistent:
        fields["body_inertia"] = model.body_inertia * task["body_mass"][:, None]
    return fields


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("name", DYNAMIC)
def test_a_row_is_a_model_of_its_own_with_all_that_follows_from_its_masses(name, consistent):
    rows, values = 3, drawn(name, 3)
    env = BatchedEnv(name, rows, num_threads=2, consistent_inertia=consistent, **values)
    env.reset(seed=0)
    models, datas = [], []
    for row in range(rows):
        base = own_model(name, env.family, {})
        model = own_model(name, env.family, expected_fields(name, base, of_row(values, row), consistent))
        in_batch = env._batch.get_model(row)
        for field in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
            np.testing.assert_allclose(getattr(in_batch, field), getattr(model, field), rtol=1e-15)
            # Powers of Python and of NumPy may differ in the last bit.
            getattr(model, field)[...] = getattr(in_batch, field)
        mujoco.mj_setConst(model, mujoco.MjData(model))
        differing = [
            field
            for field in dir(model)
            if isinstance(getattr(model, field), np.ndarray)
            and not same_bits(getattr(in_batch, field), getattr(model, field))
        ]
        assert not differing
        models.append(model)
        datas.append(mujoco.MjData(model))
        datas[row].qpos[:], datas[row].qvel[:] = env._physics.qpos[row], env._physics.qvel[row]
    for actions in actions_for(env, 4, bound=1):
        control = env.family.control(actions, env.parameters)
        env.step(actions)
        for row in range(rows):
            datas[row].ctrl[:] = control[row]
            mujoco.mj_step(models[row], datas[row], env.family.frame_skip)
            assert same_bits(datas[row].qpos, env._physics.qpos[row])
            assert same_bits(datas[row].qvel, env._physics.qvel[row])


@pytest.mark.parametrize("name", DYNAMIC)
def test_derived_constants_are_those_of_mechanics(name):
    values = drawn(name, 3)
    env = BatchedEnv(name, 3, num_threads=1, **values)
    for row in range(3):
        model = env._batch.get_model(row)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        matrix = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, matrix)
        np.testing.assert_allclose(model.dof_M0, np.diag(matrix), rtol=1e-9)
        inverse = np.linalg.inv(matrix)
        subtree = model.body_mass.copy()
        for body in range(model.nbody - 1, 0, -1):
            subtree[model.body_parentid[body]] += subtree[body]
            jacobians = np.zeros((2, 3, model.nv))
            mujoco.mj_jacBodyCom(model, data, *jacobians, body)
            weights = [np.trace(jacobian @ inverse @ jacobian.T) / 3 for jacobian in jacobians]
            np.testing.assert_allclose(model.body_invweight0[body], weights, rtol=1e-7)
        np.testing.assert_allclose(model.body_subtreemass, subtree, rtol=1e-12)
        np.testing.assert_allclose(model.dof_invweight0[3:], np.diag(inverse)[3:], rtol=1e-7)


@pytest.mark.parametrize("name", DYNAMIC)
def test_values_written_into_the_model_are_those_that_a_changed_file_compiles_to(name):
    # With consistent inertias: the compiler refuses those that no body can have.
    values = of_row(drawn(name, 1, seed=4), 0)
    env = TaskEnv(name, **values, consistent_inertia=True)
    spec = env.family.spec()
    base = spec.compile()
    fields = {"geom_friction": base.geom_friction, "dof_damping": base.dof_damping}
    fields |= expected_fields(name, base, values, True)
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
    for index, body in enumerate(spec.bodies):
        if index:
            body.explicitinertial = True
            body.mass, body.inertia = fields["body_mass"][index], fields["body_inertia"][index]
            body.ipos, body.iquat = base.body_ipos[index], base.body_iquat[index]
    for index, geom in enumerate(spec.geoms):
        geom.friction = fields["geom_friction"][index]
    for index, joint in enumerate(spec.joints):
        joint.damping[0] = fields["dof_damping"][index]
    model = spec.compile()
    for field in dir(model):
        if isinstance(values := getattr(model, field), np.ndarray) and values.dtype.kind == "f":
            np.testing.assert_allclose(getattr(env.model, field), values, rtol=1e-12, atol=1e-15, err_msg=field)
    env.reset(seed=0)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = env.data.qpos, env.data.qvel
    for action in actions_for(env, 3, bound=1):
        env.step(action)
        data.ctrl[:] = env.data.ctrl
        mujoco.mj_step(model, data, env.family.frame_skip)
    # MuJoCo's solver ends where a step improves by less than 1e-8 of the mean inertia, which is that of compilation.
    np.testing.assert_allclose(env.data.qpos, data.qpos, rtol=0, atol=1e-7)
    np.testing.assert_allclose(env.data.qvel, data.qvel, rtol=0, atol=1e-6)


SECONDS = 0.016
"""Of a step of PEARL's Hopper and Walker2d."""


class Pair:
    """Two walkers in the same state, the second of them with other factors of its model's fields."""

    def __init__(self, position=(0.0, 6.0, 0.0), velocity=(0.0, 0.0, 0.0), joints=0.0, **factors):
        values = {name: np.ones_like(value) for name, value in drawn("walker-rand-params", 2).items()}
        for name, factor in factors.items():
            values[name][1] *= factor
        self.env = BatchedEnv("walker-rand-params", 2, num_threads=1, autoreset_mode="disabled", **values)
        self.env.reset(seed=0)
        physics = self.env._physics
        # Knees and hips are bent by half a radian, away from their limits.
        physics.qpos[:] = [*position, -0.5, -0.5, 0, -0.5, -0.5, 0]
        physics.qvel[:] = [*velocity, *[joints] * 6]

    def go(self, steps, action):
        for _ in range(steps):
            self.env._ended[:] = False  # a fall does not matter here
            self.env.step(np.full((2, 6), float(action)))
        return self

    @property
    def joints(self):
        """The sums of the speeds of the joints of both, in rad/s."""
        return np.abs(self.env._physics.qvel[:, 3:]).sum(axis=1)

    @property
    def energies(self):
        """Kinetic and potential energy of both, in J."""
        energies = np.empty(2)
        for row in range(2):
            model, data = self.env._batch.get_model(row), self.env._batch.get_data(row)
            model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
            mujoco.mj_forward(model, data)
            energies[row] = data.energy.sum()
        return energies

    def falls(self, seconds):
        """Whether the centre of mass of both has the velocity of a free fall."""
        for row in range(2):
            model, data = self.env._batch.get_model(row), self.env._batch.get_data(row)
            mujoco.mj_forward(model, data)
            mujoco.mj_subtreeVel(model, data)
            np.testing.assert_allclose(data.subtree_linvel[0], [0, 0, -GRAVITY * seconds], atol=1e-4)
        return True


def test_a_heavier_body_gains_less_speed_from_the_same_torque():
    pair = Pair(body_mass=3, body_inertia=3).go(1, 0.3)
    assert pair.joints[1] < 0.6 * pair.joints[0]
    assert pair.falls(SECONDS)


def test_mass_alone_changes_the_motion():
    pair = Pair(body_mass=3).go(1, 0.3)
    assert abs(pair.joints[1] / pair.joints[0] - 1) > 0.05
    assert pair.falls(SECONDS)


def test_inertia_alone_changes_the_motion():
    pair = Pair(body_inertia=3).go(1, 0.3)
    assert pair.joints[1] < 0.95 * pair.joints[0]
    assert pair.falls(SECONDS)


def test_damping_alone_takes_energy_from_joints_in_proportion():
    pair = Pair(joints=1.0, dof_damping=2)
    before = pair.energies
    lost = before - pair.go(1, 0).energies
    # 0.1 N m s / rad in six joints, from 1 rad/s: 0.6 W at first.
    assert lost[0] == pytest.approx(0.6 * SECONDS, rel=0.1)
    assert lost[1] == pytest.approx(1.2 * SECONDS, rel=0.1)


def test_friction_alone_stops_what_slides():
    pair = Pair(position=(0, 0.2, np.pi / 2), velocity=(4.0, 0, 0), geom_friction=0.1).go(60, 0)
    near, far = pair.env._physics.qpos[:, 0]
    assert far > near + 0.5
    # Coulomb: without a fall, v^2 / (2 mu g) is a bound for how far it slides, with mu = 0.9 of torso, thighs and legs.
    assert 0 < near < 4.0**2 / (2 * 0.9 * GRAVITY) + 0.5


def test_the_ground_carries_the_weight_of_each_row():
    exponents = np.array([-2, 0, 1.25, 3])
    env = BatchedEnv("hopper-mass", 4, num_threads=1, exponent=exponents)
    weights = []
    for row in range(4):
        model, data = env._batch.get_model(row), env._batch.get_data(row)
        mujoco.mj_step(model, data, 3000)
        mean, force = 0.0, np.zeros(6)
        for _ in range(100):
            mujoco.mj_step(model, data)
            mujoco.mj_forward(model, data)
            for contact in range(data.ncon):
                mujoco.mj_contactForce(model, data, contact, force)
                mean += force[0] / 100
        weights.append(mean)
    mass = env.family.model.body_mass.sum()
    np.testing.assert_allclose(weights, GRAVITY * mass * 1.5**exponents, rtol=0.05)


def test_actions_are_scaled_to_the_range_of_the_actuators():
    env = TaskEnv("humanoid-dir")
    env.reset(seed=0)
    for action, control in ((np.ones(17), 0.4), (np.full(17, -3.0), -0.4), (np.zeros(17), 0.0)):
        env.step(action)
        np.testing.assert_allclose(env.data.ctrl, control, rtol=0, atol=1e-16)


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
