"""Each switch of a family does what it says, and its default is what PEARL's line of code does."""

import gymnasium
import numpy as np
import pytest
from apb.tasks import FAMILIES, Task

ORIGINAL = [name for name in FAMILIES if not name.endswith("-permuted-state")]


def model(family, **switches):
    return Task(family, switches).made_family.model


@pytest.mark.parametrize("family", [name for name in ORIGINAL if "cheetah" in name])
def test_the_position_of_the_torso_ends_the_observation_unless_it_is_left_out(family):
    (whole, _), (short, _) = (
        Task(family, {"include_torso_position": included}).make().reset(seed=3) for included in (True, False)
    )
    assert whole.shape == (20,)
    assert np.array_equal(short, whole[:17])
    env = Task(family, {}).make()
    env.reset(seed=0)
    observation = env.step(np.zeros(6))[0]
    qpos = env.unwrapped.data.qpos
    assert observation[17:].tolist() == [qpos[0], 0.0, qpos[1] + 0.7]


@pytest.mark.parametrize(("family", "default"), [("ant-dir", 27), ("ant-negated-joints", 27), ("ant-goal", 113)])
def test_clipped_contact_forces_end_the_observation_of_an_ant_if_they_are_included(family, default):
    with_forces, without = (Task(family, {"include_contact_forces": included}).make() for included in (True, False))
    assert Task(family, {}).made_family.observation_size == default
    for env in (with_forces, without):
        env.reset(seed=1)
    for _ in range(20):
        whole, short = with_forces.step(np.zeros(8))[0], without.step(np.zeros(8))[0]
    assert np.array_equal(whole[:-84], short)
    assert np.array_equal(whole[-84:], np.clip(with_forces.unwrapped.data.cfrc_ext, -1, 1).ravel())
    assert np.abs(whole[-84:]).max() == 1.0  # it stands on the ground by now


@pytest.mark.parametrize("family", ["hopper-rand-params", "hopper-mass", "walker-rand-params", "walker-mass"])
def test_substeps_are_those_of_pearl_unless_those_of_gymnasium_are_asked_for(family):
    assert model(family).opt.timestep == 0.004
    assert Task(family, {}).made_family.dt == pytest.approx(0.016)
    assert model(family, timestep_of_pearl=False).opt.timestep == 0.002


@pytest.mark.parametrize("family", ["walker-rand-params", "walker-mass"])
def test_the_walkers_right_foot_slips_like_the_classic_one_if_that_is_asked_for(family):
    for classic, friction in ((False, 1.9), (True, 0.9)):
        found = model(family, classic_feet=classic)
        assert found.geom("foot_geom").friction[0] == friction
        assert found.geom("foot_left_geom").friction[0] == 1.9


@pytest.mark.parametrize(("family", "values"), [("walker-mass", {"exponent": 2.0}), ("hopper-rand-params", {})])
def test_inertia_keeps_its_own_factors_unless_it_is_to_follow_the_mass(family, values):
    family_class = FAMILIES[family]
    shapes = {name: parameter.shape for name, parameter in family_class().parameters.items()}
    if "body_mass" in shapes:
        values = {"body_mass": np.linspace(0.5, 2, shapes["body_mass"][0]).tolist()}
    original = family_class().model
    for consistent in (False, True):
        env = gymnasium.make(Task(family, {}).env_id, consistent_inertia=consistent, **values)
        changed = env.unwrapped.model
        factors = changed.body_mass[1:] / original.body_mass[1:]
        assert (factors != 1).any()
        expected = original.body_inertia[1:] * (factors[:, None] if consistent else 1)
        assert np.allclose(changed.body_inertia[1:], expected, rtol=1e-12)


def test_every_switch_is_a_flag_that_the_docstring_of_its_class_explains():
    for name in ORIGINAL:
        family = FAMILIES[name]
        text = "\n".join(base.__doc__ or "" for base in family.__mro__)
        for switch, value in family().switches.items():
            assert isinstance(value, bool)
            assert f"        {switch}: " in text
