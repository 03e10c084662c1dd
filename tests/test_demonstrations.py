"""What demonstrations promise: they hold what was done, by episodes, and say what is wrong with what they are given."""

import itertools
import sys
from types import SimpleNamespace

import apb
import gymnasium
import numpy as np
import pytest
from apb.batch_rows import BatchRows
from apb.cloning.demonstrations import Demonstrations
from cli_runs import ENV, PointEnv, register_env
from clone_cases import demonstrated_arrays
from envs_for_tests import UnevenEnv
from gymnasium.spaces import Box, Dict
from hypothesis import given
from hypothesis import strategies as st
from policies import make_policy


@pytest.fixture(autouse=True)
def _point():
    register_env()


def push_to_origin(observations):
    return -np.clip(observations[:, :1], -0.5, 0.5)


# --- arrays --------------------------------------------------------------------------------------------------------


def test_arrays_are_copied_flattened_and_read_only():
    given = demonstrated_arrays() | {"observations": np.arange(5 * 2 * 3).reshape(5, 2, 3), "returns": [1, 2]}
    shown = Demonstrations(**given)
    assert (len(shown), shown.num_episodes) == (5, 2)
    assert shown.observations.shape == (5, 6)
    assert shown.observation_space == Box(-np.inf, np.inf, (2, 3), np.float32)
    assert shown.action_space == Box(-1, 1, (2,), np.float32)
    assert [shown.observations.dtype, shown.actions.dtype, shown.returns.dtype] == ["float32", "float32", "float64"]
    given["actions"][:] = 0
    assert shown.actions.any()
    with pytest.raises(ValueError, match="read-only"):
        shown.observations[0] = 1


def test_actions_in_the_units_of_the_env_are_those_of_a_policy_in_normalised_ones():
    space = Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    given = demonstrated_arrays() | {"actions": [[-2, 0], [0, 5], [2, 10], [1, 7.5], [-1, 2.5]]}
    shown = Demonstrations(**given, action_space=space)
    np.testing.assert_allclose(shown.unit_actions, [[-1, -1], [0, 0], [1, 1], [0.5, 0.5], [-0.5, -0.5]])


def test_actions_that_rounding_carries_past_the_bounds_are_taken_and_put_inside():
    shown = Demonstrations(**demonstrated_arrays() | {"actions": np.full((5, 2), 1 + 1e-6)})
    assert (shown.actions == 1).all()


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
def test_episodes_are_taken_as_a_whole_in_the_order_that_is_asked_for(lengths, data):
    numbers = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=4))
    shown = Demonstrations(**demonstrated_arrays(lengths), returns=np.arange(len(lengths)))
    parts = np.split(shown.observations, np.cumsum(lengths)[:-1])
    chosen = shown.episodes(numbers)
    np.testing.assert_array_equal(chosen.observations, np.concatenate([parts[number] for number in numbers]))
    np.testing.assert_array_equal(chosen.returns, numbers)
    assert chosen.episode_lengths.tolist() == [lengths[number] for number in numbers]


def with_value(name, index, value):
    changed = demonstrated_arrays()
    changed[name][index] = value
    return changed


def masked(name):
    given = demonstrated_arrays()
    return given | {name: np.ma.array(given[name], mask=np.arange(given[name].size).reshape(given[name].shape) == 1)}


BAD = [
    (with_value("observations", (3, 1), np.nan), "observations[3, 1] = nan; expected finite"),
    (with_value("observations", (0, 0), 1e300), "observations[0, 0] = 1e+300; expected finite float32"),
    (with_value("actions", (4, 0), np.inf), "actions[4, 0] = inf; expected finite"),
    (with_value("actions", (2, 1), 1.5), "actions[2, 1] = 1.5; expected a number in [-1.0, 1.0]"),
    (
        demonstrated_arrays() | {"observations": np.empty((0, 4)), "actions": np.empty((0, 2))},
        "observations has shape (0, 4)",
    ),
    (
        demonstrated_arrays() | {"observations": np.zeros(5)},
        "observations has shape (5,); expected (N, ...), a row for each step: if each step has one number, give "
        "observations.reshape(-1, 1), of shape (5, 1)",
    ),
    (
        demonstrated_arrays() | {"actions": np.zeros(5)},
        "actions has shape (5,); expected (N, ...), a row for each step: if each",
    ),
    (demonstrated_arrays() | {"actions": 0.0}, "actions has shape (); expected (N, ...)"),
    (masked("observations"), "observations masks 1 of 20 entries; expected none that is masked"),
    (masked("actions"), "actions masks 1 of 10 entries; expected none that is masked"),
    (masked("episode_lengths"), "episode_lengths masks 1 of 2 entries; expected none that is masked"),
    (
        demonstrated_arrays() | {"actions": list(masked("actions")["actions"])},
        "actions masks 1 of 10 entries; expected none that is masked",
    ),
    (
        demonstrated_arrays() | {"returns": np.ma.array([1, 2], mask=[0, 1])},
        "returns masks 1 of 2 entries; expected none that is masked",
    ),
    (demonstrated_arrays() | {"observations": [[1], [2, 3]]}, "NumPy cannot read"),
    (demonstrated_arrays() | {"actions": np.array([["a"]] * 5)}, "actions has dtype <U1; expected real numbers"),
    (
        demonstrated_arrays() | {"actions": np.zeros((6, 2))},
        "5 observations and 6 actions; expected one action for each",
    ),
    (demonstrated_arrays() | {"episode_lengths": [3, 3]}, "episode_lengths sum to 6; expected 5"),
    (demonstrated_arrays() | {"episode_lengths": [5, 0]}, "episode_lengths[1] = 0; expected at least 1"),
    (demonstrated_arrays() | {"episode_lengths": []}, "expected integers, shape (E,) with E >= 1"),
    (demonstrated_arrays() | {"episode_lengths": [2.5, 2.5]}, "episode_lengths is float64"),
    (
        demonstrated_arrays() | {"episode_lengths": [2**62, 2**62, 2**62, 2**62 + 5]},
        f"episode_lengths[0] = {2**62}; expected",
    ),
    (
        demonstrated_arrays() | {"episode_lengths": np.array([2**63, 2**63 + 5], np.uint64)},
        f"episode_lengths[0] = {2**63}",
    ),
    (
        demonstrated_arrays() | {"episode_lengths": [6, -1]},
        "[0] = 6; expected at least 1 step in each episode, and at most the 5 of",
    ),
    (demonstrated_arrays() | {"returns": [1.0]}, "returns has shape (1,); expected (2,)"),
    (
        demonstrated_arrays() | {"returns": [1.0, np.nan]},
        "returns[1] = nan; expected finite numbers: leave that episode out, or",
    ),
    (
        demonstrated_arrays() | {"returns": ["1", "2"]},
        "returns has dtype <U1; expected real numbers, shape (2,), one for each",
    ),
    (demonstrated_arrays() | {"returns": [b"1", b"2"]}, "returns has dtype |S1; expected real numbers"),
    (demonstrated_arrays() | {"returns": [1j, 2]}, "returns has dtype complex128; expected real numbers"),
    (demonstrated_arrays() | {"returns": [[1], [2, 3]]}, "returns is a list that NumPy cannot read"),
    (demonstrated_arrays() | {"observation_space": Box(-1, 1, (3,))}, "observations has shape (5, 4); expected (N, 3)"),
    (demonstrated_arrays() | {"action_space": Box(-1, 1, (3,))}, "actions has shape (5, 2); expected (N, 3)"),
    (demonstrated_arrays() | {"action_space": gymnasium.spaces.Discrete(2)}, "only continuous actions"),
]


@pytest.mark.parametrize(("given", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_bad_arrays_are_named_with_what_was_found_and_expected(given, words):
    with pytest.raises(apb.ApbError) as failure:
        Demonstrations(**given)
    assert words in str(failure.value)


def test_a_masked_array_in_which_nothing_is_masked_is_taken():
    given = demonstrated_arrays()
    shown = Demonstrations(**{name: np.ma.array(array) for name, array in given.items()})
    assert type(shown.observations) is type(shown.actions) is type(shown.episode_lengths) is np.ndarray
    np.testing.assert_array_equal(shown.observations, given["observations"].astype(np.float32))


def test_a_number_that_no_episode_has_is_refused():
    for numbers in ([2], [-1], 0.5):
        with pytest.raises(apb.ConfigError, match=r"expected integers in \[0, 1\]"):
            Demonstrations(**demonstrated_arrays()).episodes(numbers)


# --- policies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_what_is_collected_is_what_the_policy_does_in_the_states_that_it_came_through(noise):
    shown = Demonstrations.collect(push_to_origin, ENV, 3, seed=4, noise=noise)
    assert shown.episode_lengths.tolist() == [20, 20, 20]
    np.testing.assert_allclose(shown.actions, push_to_origin(shown.observations), atol=1e-6)
    position, time = shown.observations.reshape(3, 20, 2).transpose(2, 0, 1)
    np.testing.assert_allclose(time, np.broadcast_to(np.arange(20) / 20, (3, 20)), atol=1e-6)
    moved = np.diff(position, axis=1) - 0.1 * shown.actions.reshape(3, 20)[:, :-1]
    # New noise in each step of each episode.
    np.testing.assert_allclose(moved.std(axis=1), 0.1 * noise, rtol=0.5, atol=1e-6)
    np.testing.assert_allclose(moved.std(axis=0).mean(), 0.1 * noise, rtol=0.5, atol=1e-6)
    if not noise:
        last = position[:, -1] + 0.1 * shown.actions.reshape(3, 20)[:, -1]
        following = np.concatenate([position[:, 1:], last[:, None]], axis=1)
        np.testing.assert_allclose(shown.returns, -np.square(following).sum(axis=1), rtol=1e-4)


def test_episodes_of_any_lengths_are_kept_apart():
    shown = Demonstrations.collect(lambda observations: np.zeros((len(observations), 1)), UnevenEnv, 50)
    assert shown.num_episodes == 50
    assert len(set(shown.episode_lengths.tolist())) > 3
    again = Demonstrations.collect(lambda observations: np.zeros((len(observations), 1)), UnevenEnv(), 50)
    np.testing.assert_array_equal(again.episode_lengths, shown.episode_lengths)
    np.testing.assert_array_equal(again.observations, shown.observations)


@pytest.mark.filterwarnings("ignore:.*the other rows go on")
def test_a_step_in_which_a_simulation_fails_shows_nothing_nor_does_an_episode_of_none_other(monkeypatch):
    """Of three episodes the first fails in its first step, and the third in its fourth."""
    task = apb.tasks.get("cheetah-vel/mier-hard:0")
    whole = Demonstrations.collect(lambda observations: np.tanh(observations[:, :6]), task, 3)
    steps, real = itertools.count(), BatchRows.step

    def failing(rows, actions):
        row = {0: 0, 3: 2}.get(next(steps))
        if row is not None:
            rows.envs[0]._batch.bind("qvel")[row] = 1e12
        return real(rows, actions)

    monkeypatch.setattr(BatchRows, "step", failing)
    shown = Demonstrations.collect(lambda observations: np.tanh(observations[:, :6]), task, 3)
    assert whole.episode_lengths.tolist() == [200, 200, 200]
    assert shown.episode_lengths.tolist() == [200, 3]
    np.testing.assert_array_equal(shown.observations, whole.observations[200:403])
    np.testing.assert_array_equal(shown.actions, whole.actions[200:403])
    assert shown.returns.shape == (2,)
    assert shown.returns[0] == whole.returns[1]


def test_collecting_is_a_function_of_the_seed_with_starts_that_no_evaluation_has():
    first, again, other = (Demonstrations.collect(push_to_origin, ENV, 2, seed=s, noise=0.1) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.observations, again.observations)
    assert (first.observations[0] != other.observations[0]).any()
    clean = Demonstrations.collect(push_to_origin, ENV, 2, seed=1)
    assert not np.isin(clean.returns, apb.evaluate(push_to_origin, ENV, 2, seed=1).returns).any()


def test_policies_of_the_package_and_of_sb3_are_rolled_out_in_the_units_of_the_env():
    policy = make_policy(3, 1, bound=2.0)

    class OfSB3:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            assert deterministic
            return policy(observation), None

    pendulum = gymnasium.make("Pendulum-v1")
    own = apb.Policy(policy.backbone, policy.adapter, pendulum.observation_space, pendulum.action_space)
    shown, other = (Demonstrations.collect(each, "Pendulum-v1", 2) for each in (own, OfSB3()))
    np.testing.assert_allclose(shown.actions, own(shown.observations), atol=1e-5)
    np.testing.assert_allclose(shown.observations, other.observations, atol=1e-4)
    assert shown.env.env_id == "Pendulum-v1"


@pytest.mark.parametrize(
    ("policy", "options", "words"),
    [
        (push_to_origin, {"n_episodes": 0}, "n_episodes = 0 is out of range"),
        (push_to_origin, {"noise": -0.1}, "noise = -0.1 is out of range"),
        (push_to_origin, {"noise": float("nan")}, "noise = nan"),
        (push_to_origin, {"seed": -1}, "seed = -1"),
        (lambda observations: np.zeros((len(observations), 3)), {}, "the policy returned actions of shape"),
        (3, {}, "policy is a int; expected an apb.Policy"),
    ],
)
def test_bad_options_of_collecting_are_named(policy, options, words):
    with pytest.raises(apb.ConfigError, match=words):
        Demonstrations.collect(policy, ENV, **options)


def test_slips_of_collecting_are_told_in_its_own_name_and_what_an_env_raises_as_in_an_evaluation(monkeypatch):
    with pytest.raises(
        apb.ConfigError, match=r"expected apb\.Demonstrations\.collect\(policy, env\), and a policy that"
    ):
        Demonstrations.collect(ENV, push_to_origin)
    with pytest.raises(apb.ConfigError, match="expected one of them: give them one by one"):
        Demonstrations.collect(push_to_origin, "cheetah-vel/mier-hard")

    def step(self, action):
        raise RuntimeError("the motor broke")

    monkeypatch.setattr(PointEnv, "step", step)
    with pytest.raises(apb.SimulationError, match="RuntimeError: the motor broke"):
        Demonstrations.collect(push_to_origin, ENV)


# --- Minari --------------------------------------------------------------------------------------------------------


class Dataset:
    """What Minari's data sets have that is read: three episodes of Pendulum, of 15 steps."""

    def __init__(self, **changes):
        self.env_spec = gymnasium.spec("Pendulum-v1")
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = Box(-2, 2, (1,), np.float32)
        vars(self).update(changes)

    def iterate_episodes(self):
        for episode in range(3):
            observations = np.random.default_rng(episode).normal(size=(16, 3)).astype(np.float32)
            actions = np.clip(-observations[:-1, 2:], -2, 2)
            yield SimpleNamespace(observations=observations, actions=actions, rewards=np.full(15, -float(episode)))


def with_minari(monkeypatch, load_dataset):
    monkeypatch.setitem(sys.modules, "minari", SimpleNamespace(load_dataset=load_dataset))


def test_a_minari_data_set_is_read_with_its_env_spaces_and_returns(monkeypatch):
    asked = []
    with_minari(monkeypatch, lambda *args, **options: asked.append((args, options)) or Dataset())
    shown = Demonstrations.from_minari("pendulum/some-v0")
    assert asked == [(("pendulum/some-v0",), {"download": True})]
    assert shown.episode_lengths.tolist() == [15, 15, 15]
    np.testing.assert_array_equal(shown.actions, np.clip(-shown.observations[:, 2:], -2, 2))
    assert shown.action_space.high.tolist() == [2.0]
    assert shown.env.env_id == "Pendulum-v1"
    assert shown.returns.tolist() == [0, -15, -30]


def test_the_env_of_a_minari_data_set_is_made_only_if_its_id_is_registered(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Gone-v0", entry_point="code_of_somebody:Env")
    with_minari(monkeypatch, lambda *args, **options: Dataset(env_spec=spec))
    assert Demonstrations.from_minari("pendulum/some-v0").env is None


def test_a_minari_data_set_of_other_spaces_is_refused(monkeypatch):
    with_minari(monkeypatch, lambda *args, **options: Dataset(observation_space=Dict({"a": Box(-1, 1, (3,))})))
    with pytest.raises(apb.ConfigError, match="expected at least one episode, of Box"):
        Demonstrations.from_minari("pendulum/some-v0")


def test_a_data_set_that_minari_cannot_load_is_named(monkeypatch):
    def offline(dataset_id, download):
        raise OSError("no network")

    with_minari(monkeypatch, offline)
    with pytest.raises(apb.ConfigError, match=r"Minari cannot load 'apb/gone-v0' \(OSError: no network\)"):
        Demonstrations.from_minari("apb/gone-v0")


def test_without_minari_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(
        apb.ConfigError, match=r'needs the package minari .* install it with pip install "apb\[minari\]"'
    ):
        Demonstrations.from_minari("mujoco/halfcheetah/expert-v0")
