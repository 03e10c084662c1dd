"""What copies and pickles of an env of a task promise: they go on as it does, to the bit, and leave it alone."""

import copy
import pickle

import numpy as np
import pytest
from apb.tasks import FAMILIES, Task
from apb.tasks.families.cheetah_vel import CheetahVel
from apb.tasks.single import TaskEnv
from task_rig import EVERY, batched, drawn, of_row, same_bits, single

WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


class Impostor(CheetahVel):
    """Has the name of a registered family, and is none."""


def told(env, actions):
    """All that steps return, with a new episode after the end of one and after half of them."""
    for number, action in enumerate(actions):
        observation, reward, ended, _, info = env.step(action)
        yield observation.tobytes(), reward, ended, info
        if ended or number == len(actions) // 2:
            yield env.reset()[0].tobytes()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EVERY)
def test_a_copy_goes_on_as_the_env_does_and_neither_moves_the_other(name, way):
    env = TaskEnv(name, **of_row(drawn(name, 2), 1))
    generator = np.random.default_rng(0)
    before, after = generator.uniform(-1, 1, (2, 12, *env.action_space.shape))
    env.reset(seed=4)
    list(told(env, before[:4]))
    made = WAYS[way](env)
    assert str(made) == str(env)
    first = list(told(made, after))
    assert list(told(env, after)) == first
    third = WAYS[way](made)
    assert list(told(third, before)) == list(told(made, before))
    assert same_bits(third.reset(seed=8)[0], env.reset(seed=8)[0])


def test_an_env_of_gymnasiums_make_is_copied_with_its_wrappers():
    env = single("ant-goal", goal=[1.0, 2.0], max_episode_steps=3)
    env.reset(seed=0)
    env.step(np.zeros(8))
    made = copy.deepcopy(env)
    for _ in range(2):
        one, other = env.step(np.ones(8)), made.step(np.ones(8))
        assert same_bits(one[0], other[0])
        assert one[1:] == other[1:]
    assert other[3]


def test_an_env_that_draws_is_copied_without_its_renderer_and_draws_again():
    env = TaskEnv("hopper-mass", render_mode="rgb_array", width=64, height=48)
    env.reset(seed=0)
    picture = env.render()
    made = copy.deepcopy(env)
    assert same_bits(made.render(), picture)
    env.close()
    made.close()


@pytest.mark.parametrize("way", WAYS.values())
def test_a_batched_env_is_not_copied_and_says_what_to_do(way):
    with pytest.raises(TypeError, match=r"make another one .* `state\(\)`"):
        way(batched("cheetah-vel", 2))


@pytest.mark.parametrize("name", ["hopper-rand-params", "cheetah-vel-permuted-state"])
def test_a_family_is_copied_and_pickled_with_its_switches_alone(name):
    for family in (FAMILIES[name](), Task(name, {}).made_family):
        assert family.model.nq
        assert len(pickle.dumps(family)) < 300
        for made in (copy.deepcopy(family), pickle.loads(pickle.dumps(family))):
            assert made == family
            assert made.switches == family.switches


def test_a_family_with_the_name_of_another_one_is_copied_as_itself():
    for made in (copy.deepcopy(Impostor()), pickle.loads(pickle.dumps(Impostor()))):
        assert type(made) is Impostor
