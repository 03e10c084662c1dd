"""That a task's masses, inertias, damping and friction are real: by MuJoCo's compiler, and by mechanics."""

from importlib.resources import files

import mujoco
import numpy as np
import pytest
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.tasks.single import TaskEnv
from task_rig import actions_for, drawn, of_row, same_bits

DYNAMIC = ("hopper-rand-params", "walker-rand-params", "hopper-mass", "walker-mass")
GRAVITY = 9.81


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
def test_the_values_of_a_task_are_not_written_into_the_model_of_its_family(name):
    values = drawn(name, 2)
    for env in (TaskEnv(name, **of_row(values, 1)), BatchedEnv(name, 2, num_threads=1, **values)):
        env.reset(seed=0)
        untouched = own_model(name, env.family, {})
        for field in ("body_mass", "body_inertia", "dof_damping", "geom_friction", "dof_M0"):
            assert same_bits(getattr(env.family.model, field), getattr(untouched, field))


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
        positions, velocities = (self.env._batch.bind(name) for name in ("qpos", "qvel"))
        # Knees and hips are bent by half a radian, away from their limits.
        positions[:] = [*position, -0.5, -0.5, 0, -0.5, -0.5, 0]
        velocities[:] = [*velocity, *[joints] * 6]

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


@pytest.mark.parametrize("name", ["hopper-rand-params", "walker-rand-params"])
def test_simulations_begin_well_with_all_factors_that_may_be_given(name):
    rows, generator = 64, np.random.default_rng(0)
    bounds = FAMILIES[name]().parameters
    values = {
        key: np.exp(generator.uniform(np.log(each.low), np.log(each.high), (rows, *each.shape)))
        for key, each in bounds.items()
    }
    for row, bound in enumerate(("low", "high")):
        for key, each in bounds.items():
            values[key][row] = getattr(each, bound)
    env = BatchedEnv(name, rows, num_threads=2, **values)
    env.reset(seed=0)
    for actions in actions_for(env, 10):
        assert "simulation_error" not in env.step(actions)[4]
