"""Promises of `Policy`: shapes, bounds, independence of the batch, clear refusals, and use by others."""

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import gymnasium
import numpy as np
import pytest
import torch
from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.env_spaces import action_scale_and_offset
from apb.errors import ConfigError, InvalidEnvError, MismatchError
from apb.policy import Policy
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import (
    action_box,
    draw_observations,
    make_policy,
    observation_box,
    policies,
    random_adapter,
    random_normalizer,
)

# --- shapes, dtypes, bounds


@settings(max_examples=40)
@given(policies(), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_row_has_the_same_bits_alone_and_in_any_batch(policy, rows, seed):
    observations = draw_observations(policy, rows, seed)
    together = policy(observations)
    assert together.shape == (rows, policy.action_space.shape[0])
    assert all(np.array_equal(policy(row), action) for row, action in zip(observations, together, strict=True))
    assert np.array_equal(policy(observations[::-1]), together[::-1])


def test_strides_dtypes_and_lists_do_not_change_the_action():
    policy = make_policy(5, 3)
    exact = np.round(draw_observations(policy, 6) * 8) / 8  # the same numbers in every float dtype
    expected = policy(exact)
    wide = np.zeros((12, 15))
    wide[::2, ::3] = exact
    read_only = exact.copy()
    read_only.flags.writeable = False
    for same in (
        exact.astype(np.float16),
        exact.astype(np.float32),
        exact.astype(np.longdouble),
        exact.astype(">f8"),
        np.asfortranarray(exact),
        wide[::2, ::3],
        exact[:, ::-1].copy()[:, ::-1],
        read_only,
        exact.tolist(),
    ):
        assert np.array_equal(policy(same), expected)
    unaligned = np.frombuffer(b"x" + exact.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(exact.shape)
    assert np.array_equal(policy(unaligned), expected)
    assert np.array_equal(policy(np.arange(5)), policy(np.arange(5.0)))


def test_a_batch_may_have_any_leading_axes_or_no_rows():
    policy = make_policy(5, 3)
    observations = draw_observations(policy, 24).reshape(2, 3, 4, 5)
    assert np.array_equal(policy(observations).reshape(-1, 3), policy(observations.reshape(-1, 5)))
    assert policy(np.zeros((0, 5))).shape == (0, 3)
    assert policy(np.zeros((2, 0, 5))).shape == (2, 0, 3)


def test_spaces_of_higher_rank_are_flattened_row_major():
    flat = make_policy(6, 4)
    spaces = Box(-np.inf, np.inf, (2, 3), np.float64), Box(-1, 1, (2, 2), np.float32)
    shaped = Policy(flat.backbone, flat.adapter, *spaces)
    observations = draw_observations(flat, 5)
    assert shaped(observations[0].reshape(2, 3)).shape == (2, 2)
    assert np.array_equal(shaped(observations.reshape(5, 2, 3)).reshape(5, 4), flat(observations))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spaces_without_axes_hold_one_number(dtype):
    flat = make_policy(1, 1)
    single = Policy(flat.backbone, flat.adapter, Box(-9, 9, (), dtype), Box(-1, 1, (), dtype))
    action = single(np.float32(0.5))
    assert isinstance(action, np.ndarray)
    assert single.action_space.contains(action)
    assert single(np.zeros((2, 3))).shape == (2, 3)
    assert np.array_equal(single([0.5, 0.25]), flat([[0.5], [0.25]])[:, 0])


def test_an_observation_shaped_like_a_batch_is_one_observation_if_its_space_says_so():
    flat = make_policy(5, 3)
    shaped = Policy(flat.backbone, flat.adapter, Box(-1, 1, (1, 5), np.float64), flat.action_space)
    assert shaped(np.zeros((1, 5))).shape == (3,)
    assert shaped(np.zeros((7, 1, 5))).shape == (7, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_actions_have_the_dtype_of_the_action_space(dtype):
    policy = make_policy(5, 3)
    policy = Policy(policy.backbone, policy.adapter, policy.observation_space, action_box(3, dtype=dtype))
    assert policy(np.zeros(5)).dtype == dtype
    assert policy(np.zeros((2, 5))).dtype == dtype


def test_each_call_returns_an_array_of_its_own():
    policy = make_policy(5, 3)
    first = policy(np.ones(5))
    kept = first.copy()
    policy(-np.ones(5))
    assert np.array_equal(first, kept)
    first[:] = 9
    assert np.array_equal(policy(np.ones(5)), kept)


finite_bounds = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(finite_bounds, finite_bounds, st.floats(0, 1))
def test_no_rounding_carries_an_action_past_its_bounds(one, other, inside):
    low, high = sorted((np.float32(one), np.float32(other)))
    scale, offset = action_scale_and_offset(Box(low, high, (1,)))
    assert scale.dtype == offset.dtype == np.float32
    for a in (-1, 1, inside, -inside):
        assert low <= offset[0] + scale[0] * np.float32(a) <= high


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (2.0**24 - 1, 2.0**24 + 2),
        (-1, -1e-8),
        (1e-30, 1e30),
        (1e8, 1e8 + 8),
        (-3.4e38, 3.4e38),
        (1e-45, 2e-45),
        (0.1, 0.3),
    ],
)
def test_bounds_of_unequal_binades_are_kept(low, high):
    space = Box(np.float32(low), np.float32(high), (1,))
    scale, offset = action_scale_and_offset(space)
    assert space.low <= offset - scale <= offset + scale <= space.high


@pytest.mark.parametrize("low", [0.1, 1 / 3, -1e38])
def test_actions_of_float64_spaces_stay_within_bounds_that_float32_cannot_hold(low):
    plain = make_policy(5, 3)
    space = Box(low, low + abs(low) * 1e-12, (3,), np.float64)
    policy = Policy(plain.backbone, plain.adapter, plain.observation_space, space)
    assert all(space.contains(action) for action in policy(draw_observations(policy, 20)))


@given(finite_bounds, finite_bounds)
def test_the_scale_reaches_the_bounds_to_the_last_bits(one, other):
    low, high = sorted((np.float32(one), np.float32(other)))
    scale, offset = (array[0].astype(np.float64) for array in action_scale_and_offset(Box(low, high, (1,))))
    unit = 2.0**-22 * max(abs(float(low)), abs(float(high))) + 1e-44
    assert abs(offset - scale - float(low)) <= unit
    assert abs(offset + scale - float(high)) <= unit


@settings(max_examples=30)
@given(policies(), st.floats(0, 30))
def test_saturated_actions_stay_within_the_action_space(policy, exponent):
    actions = policy(draw_observations(policy, 20) * 10.0**exponent)
    assert all(policy.action_space.contains(action) for action in actions)


# --- refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_bad_number_of_an_observation_is_named(bad, dtype):
    policy = make_policy(5, 3, normalize=True)
    observation = np.zeros(5, dtype)
    observation[[3, 4]] = bad
    with pytest.raises(ConfigError, match=rf"observation\[3\] = {bad}; expected finite"):
        policy(observation)
    batch = np.zeros((7, 5), dtype)
    batch[4, 2] = bad
    with pytest.raises(ConfigError, match=rf"observation\[4, 2\] = {bad}; expected finite"):
        policy(batch)


def test_a_number_too_large_for_float32_is_refused_not_made_infinite():
    policy = make_policy(5, 3)
    with pytest.raises(ConfigError, match=r"observation\[1\] = 1e\+39"):
        policy(np.array([0, 1e39, 0, 0, 0]))


@pytest.mark.parametrize("size", [1, 5])
def test_what_reset_returns_is_told_to_be_taken_apart(size):
    with pytest.raises(ConfigError, match=r"looks like \(observation, info\).*`observation, _ = env.reset\(\)`"):
        make_policy(size, 3)((np.zeros(size), {}))


@pytest.mark.parametrize("shape", [(), (4,), (6,), (1, 4), (5, 2), (2, 3, 4)])
def test_observations_of_other_shapes_are_refused(shape):
    with pytest.raises(MismatchError, match=r"expected \(5,\) or a batch \(\.\.\., 5\)"):
        make_policy(5, 3)(np.zeros(shape))


@pytest.mark.parametrize(
    "observation", ["abcde", [None] * 5, np.zeros(5, complex), np.zeros(5, bool), np.array(["1"] * 5)]
)
def test_observations_that_are_not_real_numbers_are_refused(observation):
    with pytest.raises(ConfigError, match="expected real numbers"):
        make_policy(5, 3)(observation)


def test_observations_that_numpy_cannot_read_are_refused_with_what_to_do():
    policy = make_policy(5, 3)
    with pytest.raises(ConfigError, match=r"observation is a list that NumPy cannot read .*rows of equal length"):
        policy([[1, 2], [3]])
    tensor = torch.zeros(5, requires_grad=True)
    with pytest.raises(ConfigError, match=r"observation is a Tensor that NumPy cannot read .*\.detach\(\)"):
        policy(tensor)
    assert np.array_equal(policy(tensor.detach()), policy(np.zeros(5)))


@pytest.mark.parametrize(
    ("observation_space", "action_space", "error", "message"),
    [
        (Discrete(5), action_box(3), InvalidEnvError, "observation_space"),
        (Dict({"a": observation_box(5)}), action_box(3), InvalidEnvError, "observation_space"),
        (Box(0, 255, (5,), np.uint8), action_box(3), InvalidEnvError, "observation_space"),
        (observation_box(5, np.longdouble), action_box(3), InvalidEnvError, "observation_space"),
        (observation_box(5), Discrete(3), InvalidEnvError, "action_space"),
        (observation_box(5), Box(-np.inf, np.inf, (3,)), InvalidEnvError, "action_space"),
        (observation_box(5), Box(0, np.inf, (3,)), InvalidEnvError, "action_space"),
        (observation_box(6), action_box(3), MismatchError, "observation_size 5, .* has 6 elements"),
        (observation_box(5), action_box(2), MismatchError, "action_size 3, .* has 2 elements"),
    ],
)
def test_spaces_that_the_policy_cannot_serve_are_refused(observation_space, action_space, error, message):
    policy = make_policy(5, 3)
    with pytest.raises(error, match=message):
        Policy(policy.backbone, policy.adapter, observation_space, action_space)


def test_parts_that_do_not_belong_together_are_refused():
    policy = make_policy(5, 3)
    spaces = policy.observation_space, policy.action_space
    other = Backbone.random(9, input_size=12, hidden_sizes=(12, 9))
    with pytest.raises(MismatchError, match="learned for backbone"):
        Policy(other, policy.adapter, *spaces)
    with pytest.raises(MismatchError, match="normalizer is for 4 elements"):
        Policy(policy.backbone, policy.adapter, *spaces, random_normalizer(4))
    with pytest.raises(ConfigError, match="nan"):
        Policy(policy.backbone, policy.adapter, *spaces, metadata={"score": float("nan")})


# --- in the hands of others


def test_predict_hands_back_the_state_and_the_action_of_the_call():
    policy = make_policy(5, 3)
    observation = draw_observations(policy, 1)[0]
    action, state = policy.predict(observation, state=None, episode_start=np.ones(1, bool), deterministic=True)
    assert state is None
    assert np.array_equal(action, policy(observation))
    assert np.array_equal(policy.predict(observation, deterministic=False)[0], action)
    marker = (np.zeros(1),)
    assert policy.predict(observation, marker)[1] is marker


@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")
def test_evaluate_policy_of_stable_baselines3_finds_the_returns_that_ours_finds():
    from stable_baselines3.common.evaluation import evaluate_policy

    env = gymnasium.make("Pendulum-v1")
    backbone = Backbone.random(0)
    policy = Policy(backbone, Adapter.initial(backbone, 3, 1), env.observation_space, env.action_space)
    starts = iter([7, 8, 9])
    seeded = gymnasium.wrappers.TransformObservation(env, lambda observation: observation, None)
    seeded.reset = lambda **options: env.reset(seed=next(starts))
    theirs, lengths = evaluate_policy(policy, seeded, n_eval_episodes=2, return_episode_rewards=True)
    assert lengths == [200, 200]
    for seed, found in zip((7, 8), theirs, strict=True):
        observation, _ = env.reset(seed=seed)
        total = 0.0
        for _ in range(200):
            observation, reward, *_ = env.step(policy(observation))
            total += float(reward)
        assert found == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("vectorised", [False, True])
def test_a_policy_controls_the_env_whose_spaces_it_has(vectorised):
    env = gymnasium.make_vec("Pendulum-v1", num_envs=3) if vectorised else gymnasium.make("Pendulum-v1")
    backbone = Backbone.random(0)
    single = gymnasium.make("Pendulum-v1")
    adapter = Adapter.initial(backbone, 3, 1)
    policy = Policy(backbone, adapter, single.observation_space, single.action_space)
    policy.check_env(env)
    observation, _ = env.reset(seed=0)
    for _ in range(5):
        action, _ = policy.predict(observation)
        assert env.action_space.contains(action)
        observation = env.step(action)[0]
    env.close()
    single.close()


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (observation_box(3), action_box(2), r"observation_space has shape \(3,\), expected \(5,\)"),
        (observation_box(5), action_box(2), r"action_space has shape \(2,\), expected \(3,\)"),
        (observation_box(5), action_box(3, 2.0), r"action_space has low\[0\] = -2, expected -1"),
        (Box(-1, 1, (5,)), action_box(3), r"observation_space has low\[0\] = -1, expected -inf"),
        (observation_box(5), Discrete(3), r"action_space is Discrete\(3\)"),
    ],
)
def test_an_env_of_other_spaces_is_refused_with_both_spaces_named(observation_space, action_space, message):
    env = gymnasium.Env()
    env.observation_space, env.action_space = observation_space, action_space
    with pytest.raises(MismatchError, match=message) as caught:
        make_policy(5, 3).check_env(env)
    assert "the policy's" in str(caught.value)
    assert "the env's" in str(caught.value)


def test_an_env_that_differs_only_in_float_dtype_is_accepted():
    env = gymnasium.Env()
    env.observation_space, env.action_space = observation_box(5, np.float32), action_box(3, dtype=np.float64)
    make_policy(5, 3).check_env(env)


def test_threads_may_share_a_policy():
    policy = make_policy(17, 6, normalize=True)
    observations = draw_observations(policy, 400)
    expected = policy(observations)

    def act(_):
        return np.stack([policy(row) for row in observations])

    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(actions, expected) for actions in pool.map(act, range(8)))


def test_a_copy_acts_alike():
    policy = make_policy(5, 3, normalize=True, metadata={"env_id": "X"})
    twin = copy.deepcopy(policy)
    observations = draw_observations(policy, 4)
    assert np.array_equal(twin(observations), policy(observations))
    assert twin.metadata == {"env_id": "X"}


def test_metadata_is_a_copy_of_plain_json_values():
    metadata = {"scores": [np.float64(1.5)], "steps": np.int64(3)}
    policy = make_policy(metadata=metadata)
    metadata["scores"].append(2)
    assert policy.metadata == {"scores": [1.5], "steps": 3}


def test_the_text_form_names_sizes_backbone_and_parameters():
    policy = make_policy(5, 3, normalize=True)
    expected_adapter = 12 * 5 + 12 + 3 * 9 + 3
    assert policy.num_parameters == 12 * 12 + 12 + 9 * 12 + 9 + expected_adapter
    assert repr(policy) == (
        f"Policy((5,) float64 -> (3,) float32, backbone 12-12-9 [{policy.backbone.hash[:12]}], "
        f"adapter {expected_adapter} parameters, normalizer on)"
    )


def test_a_policy_made_of_many_layers_runs_where_torch_is_not_imported():
    program = """
import sys, tempfile
import numpy as np
import apb
backbone = apb.Backbone.random(0)
adapter = apb.Adapter.initial(backbone, 3, 1)
from gymnasium.spaces import Box
policy = apb.Policy(backbone, adapter, Box(-np.inf, np.inf, (3,)), Box(-2, 2, (1,)))
with tempfile.TemporaryDirectory() as folder:
    loaded = apb.Policy.from_pretrained(policy.save_pretrained(folder + "/policy"))
assert np.array_equal(loaded(np.ones(3)), policy.predict(np.ones(3))[0])
assert "torch" not in sys.modules, "torch was imported"
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_an_adapter_for_no_backbone_in_particular_is_bound_by_the_policy():
    backbone = Backbone.random(0, input_size=4, hidden_sizes=(5, 6))
    adapter = random_adapter(backbone, 3, 2)
    assert adapter.backbone_hash is None
    assert Policy(backbone, adapter, observation_box(3), action_box(2)).adapter.backbone_hash == backbone.hash
