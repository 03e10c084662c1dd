"""What a batched simulation promises of its state: it goes on with the same bits, wherever it was saved."""

import mujoco
import numpy as np
import pytest
from apb import _native, rng, row_states
from apb.errors import ApbWarning, FileFormatError, MismatchError
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.tasks.families.cheetah_vel import CheetahVel
from gymnasium.vector import AutoresetMode
from safetensors.numpy import load, save
from task_rig import EVERY, FALLING, actions_for, assert_same_step, batched, go, run, same_bits, single

MODES = list(AutoresetMode)


def copied(state, way):
    if way == "bytes":
        return {key: np.frombuffer(each.tobytes(), each.dtype).reshape(each.shape) for key, each in state.items()}
    return load(save(state))


@pytest.mark.parametrize("name", EVERY)
def test_a_state_from_the_middle_of_episodes_goes_on_with_the_same_bits_in_a_new_env(name):
    env, actions = batched(name, 3, max_episode_steps=7), actions_for(batched(name, 3), 24)
    env.reset(seed=3)
    for step, mode in ((4, "bytes"), (11, "safetensors")):
        run(env, actions[: step - env._steps.max() % 3])
        state = copied(env.state(), mode)
        other = batched(name, 3, max_episode_steps=7, num_threads=1)
        other.load_state(state)
        for first, second in zip(run(env, actions), run(other, actions), strict=True):
            assert_same_step(second, first)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [FALLING, "ant-goal", "humanoid-dir"])
def test_a_state_after_every_step_goes_on_with_the_same_bits_in_every_mode(name, mode):
    options = {"max_episode_steps": 4, "autoreset_mode": mode}
    env, other = batched(name, 3, **options), batched(name, 3, num_threads=1, **options)
    env.reset(seed=8)
    other.reset(seed=99)
    actions = actions_for(env, 14)
    states = [env.state()]
    results = []
    for each in actions:
        results += go(env, [each])
        states.append(env.state())
    for step in range(len(actions)):
        other.load_state(states[step])
        for first, second in zip(results[step:], go(other, actions[step:]), strict=True):
            assert_same_step(second, first)


def test_a_state_is_a_copy_and_loading_it_twice_is_possible():
    env, actions = batched("cheetah-vel", 2), actions_for(batched("cheetah-vel", 2), 5)
    env.reset(seed=0)
    state = env.state()
    before = {key: each.copy() for key, each in state.items()}
    first = run(env, actions)
    assert all(same_bits(state[key], before[key]) for key in state)
    env.load_state(state)
    for ours, theirs in zip(run(env, actions), first, strict=True):
        assert_same_step(ours, theirs)


def test_an_env_goes_on_from_a_state_of_episodes_that_it_has_left_behind():
    env, actions = batched(FALLING, 6), actions_for(batched(FALLING, 6), 60)
    env.reset(seed=0)
    state = env.state()
    first = run(env, actions)
    assert len(set(env.state()["episodes"])) > 1
    env.load_state(state)
    for ours, theirs in zip(run(env, actions), first, strict=True):
        assert_same_step(ours, theirs)


def test_a_row_that_was_never_seeded_goes_on_as_it_would_have():
    env, other = batched(FALLING, 3, max_episode_steps=3), batched(FALLING, 3, max_episode_steps=3)
    env.reset()
    other.load_state(env.state())
    for first, second in zip(*(run(each, actions_for(env, 12)) for each in (env, other)), strict=True):
        assert_same_step(first, second)


def test_what_was_seen_last_is_a_part_of_the_state():
    env, other = (batched(FALLING, 3) for _ in range(2))
    env.reset(seed=0)
    last = run(env, actions_for(env, 2))[-1][0]
    other.load_state(env.state())
    mask = np.array([False, True, False])
    assert same_bits(other.reset(options={"reset_mask": mask})[0][[0, 2]], last[[0, 2]])
    other.load_state(env.state())
    other._batch.bind("qvel")[1] = 1e9
    with pytest.warns(ApbWarning):
        assert same_bits(other.step(np.zeros((3, 3)))[0][1], last[1])


VELOCITIES = {"velocity": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-dir", 3, {})),
        (("cheetah-vel", 3, VELOCITIES), ("sparse-cheetah-vel", 3, VELOCITIES)),
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-vel-permuted-state", 3, VELOCITIES)),
        (("cheetah-vel", 3, VELOCITIES), ("ant-dir", 3, {})),
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-vel", 2, {})),
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-vel", 3, {"velocity": [1.0, 2.0, 2.5]})),
        (("cheetah-vel", 3, {}), ("cheetah-vel", 3, {"include_torso_position": False})),
        (("hopper-mass", 3, {}), ("hopper-mass", 3, {"consistent_inertia": True})),
        (("hopper-mass", 3, {}), ("hopper-mass", 3, {"timestep_of_pearl": False})),
    ],
)
def test_a_state_of_another_family_of_other_tasks_or_rows_is_refused_and_nothing_is_changed(ours, theirs):
    env, other = (BatchedEnv(name, rows, num_threads=1, **options) for name, rows, options in (ours, theirs))
    for seed, each in enumerate((env, other)):
        each.reset(seed=seed)
    before = env.state()
    with pytest.raises(MismatchError, match=r"saved simulations.*another family|saved simulations.*other tasks"):
        env.load_state(other.state())
    assert all(same_bits(each, before[key]) for key, each in env.state().items())


def test_a_state_with_a_part_missing_or_of_another_kind_is_refused_and_nothing_is_changed():
    env = batched(FALLING, 2)
    env.reset(seed=0)
    before = env.state()
    for name in before:
        for wrong in (None, before[name].astype(np.float32), before[name][:1], "text"):
            state = {key: each + (each.dtype != bool) for key, each in before.items()} | {name: wrong}
            with pytest.raises(MismatchError, match=f"saved simulations: {name} is"):
                env.load_state(state if wrong is not None else {k: v for k, v in state.items() if k != name})
    assert all(same_bits(each, before[key]) for key, each in env.state().items())


WRONG_VALUES = [
    ("steps", -1, r"steps of row 1 is -1; expected integers in \[0, 200\]"),
    ("steps", 201, r"steps of row 1 is 201; expected integers in \[0, 200\]"),
    ("episodes", 0, "episodes of row 1 is 0; expected at least 1"),
    ("episodes", -1, "episodes of row 1 is -1; expected counts"),
    ("episodes", 2**62, "episodes of row 1 is 4611686018427387904; expected counts"),
    ("seeds", 2**63, r"seeds of row 1 is 9223372036854775808; expected integers"),
    ("physics", np.nan, "physics of row 1 is .*; expected finite"),
    ("physics", np.inf, "physics of row 1 is .*; expected finite"),
    ("physics", 1e11, "physics of row 1 is .*; expected numbers that a simulation goes on from"),
    ("positions", np.nan, "positions of row 1 is .*; expected finite"),
    ("positions", -1e11, "positions of row 1 is .*; expected numbers that a simulation goes on from"),
    ("observations", np.nan, "observations of row 1 is .*; expected finite"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG_VALUES, ids=lambda value: str(value)[:12])
def test_a_state_with_numbers_that_no_simulation_has_is_refused_and_nothing_is_changed(name, value, words):
    env, other = batched(FALLING, 3), batched(FALLING, 3)
    env.reset(seed=0)
    other.reset(seed=9)
    state, before = other.state(), env.state()
    state[name][1] = value
    with pytest.raises(FileFormatError, match=f"saved simulations: {words}.*; use an older checkpoint"):
        env.load_state(state)
    assert all(same_bits(each, before[key]) for key, each in env.state().items())


@pytest.mark.parametrize(
    "changed",
    [
        {"formula": "v_x"},
        {"frame_skip": 4},
        {"spec": lambda self: _with(CheetahVel.spec(self), lambda spec: setattr(spec.option, "timestep", 0.02))},
        {
            "spec": lambda self: _with(
                CheetahVel.spec(self), lambda spec: setattr(spec.bodies[2], "pos", [-0.5, 0, 0.1])
            )
        },
    ],
    ids=["reward", "frame_skip", "timestep", "body"],
)
def test_a_state_of_a_family_that_was_defined_anew_is_refused(changed, monkeypatch):
    env = BatchedEnv("cheetah-vel", 2, num_threads=1)
    env.reset(seed=0)
    monkeypatch.setitem(FAMILIES, "cheetah-vel", type("CheetahVel", (CheetahVel,), changed))
    other = BatchedEnv("cheetah-vel", 2, num_threads=1)
    with pytest.raises(MismatchError, match="or its reward or model was changed"):
        other.load_state(env.state())
    monkeypatch.setitem(FAMILIES, "cheetah-vel", type("CheetahVel", (CheetahVel,), {}))
    BatchedEnv("cheetah-vel", 2, num_threads=1).load_state(env.state())


def _with(spec, change):
    change(spec)
    return spec


@pytest.mark.parametrize(
    "field",
    [
        *("body_parentid", "body_pos", "body_quat", "body_mass", "body_inertia", "body_ipos", "body_iquat"),
        *("body_gravcomp", "qpos0", "qpos_spring", "jnt_type", "jnt_axis", "jnt_pos", "jnt_limited", "jnt_range"),
        *("jnt_margin", "jnt_stiffness", "jnt_solref", "jnt_solimp", "dof_armature", "dof_damping"),
        *("dof_frictionloss", "geom_type", "geom_size", "geom_pos", "geom_quat", "geom_contype", "geom_conaffinity"),
        *("geom_condim", "geom_priority", "geom_friction", "geom_margin", "geom_gap", "geom_solmix", "geom_solref"),
        *("geom_solimp", "actuator_trntype", "actuator_trnid", "actuator_dyntype", "actuator_gaintype"),
        *("actuator_biastype", "actuator_dynprm", "actuator_gainprm", "actuator_biasprm", "actuator_gear"),
        *("actuator_ctrllimited", "actuator_ctrlrange", "actuator_forcelimited", "actuator_forcerange"),
        *("opt.timestep", "opt.gravity", "opt.wind", "opt.integrator", "opt.density", "opt.viscosity", "opt.cone"),
        *("opt.impratio", "opt.solver", "opt.iterations", "opt.tolerance", "opt.disableflags", "opt.enableflags"),
    ],
)
def test_tasks_are_told_from_those_of_a_model_with_another_number(field):
    family = CheetahVel()
    before = row_states.digest(family, {})
    owner, _, name = field.rpartition(".")
    owner = getattr(family.model, owner) if owner else family.model
    if isinstance(getattr(owner, name), np.ndarray):
        last = getattr(owner, name).flat[-1]
        getattr(owner, name).flat[-1] = last + 1 if last.dtype != np.bool_ else not last
    else:
        setattr(owner, name, getattr(owner, name) + 1)
    assert not same_bits(row_states.digest(family, {}), before)


CHANGES = {
    "contacts that are left out": lambda spec: spec.add_exclude(bodyname1="torso", bodyname2="bfoot"),
    "a joint that is held": lambda spec: spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1="bfoot"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_tasks_are_told_from_those_of_a_model_with_something_more(change):
    changed = type("Changed", (CheetahVel,), {"spec": lambda self: _with(CheetahVel.spec(self), change)})
    assert not same_bits(row_states.digest(changed(), {}), row_states.digest(CheetahVel(), {}))


def test_a_state_of_a_family_that_differs_in_its_name_alone_is_refused(monkeypatch):
    monkeypatch.setitem(FAMILIES, "other-vel", type("OtherVel", (CheetahVel,), {"name": "other-vel"}))
    env, other = (BatchedEnv(name, 2, num_threads=1) for name in ("cheetah-vel", "other-vel"))
    env.reset(seed=0)
    with pytest.raises(MismatchError, match="those of another family"):
        other.load_state(env.state())


def test_a_state_is_taken_where_the_model_was_compiled_with_another_last_bit():
    env, other = (BatchedEnv("cheetah-vel", 2, num_threads=1) for _ in range(2))
    env.reset(seed=0)
    other.family.model.body_mass[1] = np.nextafter(other.family.model.body_mass[1], 99)
    env._tasks, other._tasks = (row_states.digest(each.family, each.parameters) for each in (env, other))
    other.load_state(env.state())
    assert all(same_bits(each, env.state()[key]) for key, each in other.state().items())


def test_starts_are_drawn_from_the_packages_own_stream_by_seed_and_episode():
    # What was saved, and every published return, depends on these numbers.
    env = single("cheetah-vel").unwrapped
    for episode in range(3):
        env.reset(seed=None if episode else 21)
        uniform, normal = np.empty(18), np.empty(9, np.float32)
        key = rng.key(21, rng.Stream.TASK_START)
        _native.philox_uniform(key, rng.counter(episode, 0), uniform)
        _native.philox_normal(key, rng.counter(episode, 1), normal)
        np.testing.assert_allclose(env.data.qpos, 0.1 * (2 * uniform[:9] - 1), rtol=0, atol=1e-15)
        np.testing.assert_allclose(env.data.qvel, 0.1 * normal.astype(float), rtol=0, atol=1e-15)
