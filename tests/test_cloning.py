"""What `apb.clone` promises: the least error that two linear layers have, on episodes that they were not fitted to."""

import json

import apb
import numpy as np
import pytest
from apb.adapter import Adapter
from apb.adapter_shape import AdapterShape
from apb.cloning import clone as cloning
from apb.cloning import ridge
from apb.cloning.demonstrations import Demonstrations
from apb.cloning.regression import ActorRegression
from cli_runs import ENV, PointEnv, register_env
from documentation import ROOT
from hypothesis import given
from hypothesis import strategies as st
from policies import action_box, observation_box, random_adapter

QUICK = {"gradient_steps": 60, "eval_freq": 20, "num_threads": 1, "n_eval_episodes": 0}
ALONE = {"num_threads": 1, "n_eval_episodes": 0}
QUICK_BY = {"gradient": QUICK, "ridge": ALONE}
METHODS = pytest.mark.parametrize("method", ["gradient", "ridge"])


@pytest.fixture(autouse=True)
def _point():
    register_env()


def backbone(seed=0, reading="B", input_size=6):
    return apb.Backbone.random(
        seed, reading=reading, input_size=input_size if reading == "B" else None, hidden_sizes=(24, 20)
    )


def teacher(own, observation_size=6, action_size=3, scale=0.3, permutation=None):
    """A policy around `own` whose pre-layer is an identity, or that of observations in another order."""
    parameters = random_adapter(own, observation_size, action_size, 5, scale).parameters.copy()
    shape = AdapterShape.of(own, observation_size, action_size)
    layers = shape.split(parameters)
    layers["pre.weight"][...] = np.eye(own.input_size, observation_size)
    layers["pre.bias"][...] = 0
    if permutation is not None:
        layers["pre.weight"][...] = layers["pre.weight"][:, permutation]
    return apb.Policy(own, Adapter(shape, parameters), observation_box(observation_size), action_box(action_size))


def shown_by(policy, episodes=12, length=150, seed=0):
    """What a policy does on normal observations."""
    size = policy.adapter.shape.observation_size
    observations = np.random.default_rng(seed).normal(size=(episodes * length, size)).astype(np.float32)
    return Demonstrations(observations, policy(observations), [length] * episodes)


# --- ridge ---------------------------------------------------------------------------------------------------------


@given(
    rows=st.integers(2, 60),
    features=st.integers(1, 12),
    actions=st.integers(1, 4),
    strength=st.floats(-4, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_ridge_is_the_least_squares_solution_of_the_augmented_system(rows, features, actions, strength, seed):
    """`[phi 1; sqrt(lambda) I 0] [T t]^T = [z; 0]`, the intercept unpenalised."""
    generator = np.random.default_rng(seed)
    phi, z = generator.normal(1, 1, (rows, features)), generator.normal(size=(rows, actions))
    phi1 = np.concatenate([phi, np.ones((rows, 1))], axis=1)
    largest = np.linalg.eigvalsh(np.cov(phi.T, bias=True).reshape(features, features) * rows)[-1]
    penalty = np.concatenate([np.sqrt(10**strength * largest) * np.eye(features), np.zeros((features, 1))], axis=1)
    system = np.concatenate([phi1, penalty]), np.concatenate([z, np.zeros((features, actions))])
    expected = np.linalg.lstsq(*system)[0].T
    (found,) = ridge.ridge_path(phi1.T @ phi1, z.T @ phi1, np.array([10**strength]))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rows", [3, ridge.CHUNK - 1, ridge.CHUNK, 2 * ridge.CHUNK + 7])
def test_sums_over_chunks_are_those_over_all_rows(rows):
    own = backbone()
    shape = AdapterShape.of(own, 6, 2)
    start = random_adapter(own, 6, 2).parameters
    x, y = np.random.default_rng(0).normal(size=(2, rows, 6)).astype(np.float32)
    layers = shape.split(start)
    phi = own(x @ layers["pre.weight"].T + layers["pre.bias"])
    expected = y.T.astype(np.float64) @ np.concatenate([phi, np.ones((rows, 1))], axis=1)
    features = ridge._Features(own, start, shape, None)
    found = features.sums(x, lambda chosen, part: y[chosen][None], 6)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-3)


def test_the_curvature_and_gradient_of_a_step_are_those_of_the_error():
    """With all rows in it and hardly any damping, a step from near the minimum leads there."""
    own = backbone()
    policy = teacher(own)
    shown = shown_by(policy, episodes=4)
    shape = policy.adapter.shape
    features = ridge._Features(own, policy.adapter.parameters, shape, None)
    layers = policy.adapter.layers
    exact = np.concatenate([layers["post.weight"], layers["post.bias"][:, None]], axis=1).astype(np.float64)
    away = exact + 1e-2 * np.random.default_rng(0).normal(size=exact.shape)
    steps = ridge._gauss_newton(features, away, shown.observations, shown.actions)
    rows = shown.observations, shown.actions
    before = ridge.errors_of(features, away[None], rows)[0]
    assert ridge.errors_of(features, away + steps[:1], rows)[0] < before / 300


@pytest.mark.parametrize("rows", [100, 8 * 32, 8 * 37 + 5])
def test_of_many_rows_an_evenly_spread_part_stands_for_the_curvature_of_all(rows, monkeypatch):
    """`(H_j + lambda)^-1 g_j` with all rows in g, and in H the n of one chunk in so many, times N / n."""
    monkeypatch.setattr(ridge, "CHUNK", 8)
    policy = teacher(backbone())
    shown = shown_by(policy, episodes=1, length=rows)
    features = ridge._Features(policy.backbone, policy.adapter.parameters, policy.adapter.shape, None)
    layers = policy.adapter.layers
    away = np.concatenate([layers["post.weight"], layers["post.bias"][:, None]], axis=1).astype(np.float64)
    away += 1e-1 * np.random.default_rng(0).normal(size=away.shape)
    phi = policy.backbone(shown.observations @ layers["pre.weight"].T + layers["pre.bias"])
    phi = np.concatenate([phi, np.ones((rows, 1))], axis=1, dtype=np.float64)
    acted = np.tanh(phi @ away.T)
    slopes = 1 - acted * acted
    every = max(1, -(-rows // 8) // ridge.CURVATURE_CHUNKS)
    part = np.arange(rows) // 8 % every == 0
    assert (every > 1) == (rows > 100)
    steps = ridge._gauss_newton(features, away, shown.observations, shown.actions)
    for action in range(3):
        weighted = slopes[part, action, None] * phi[part]
        curvature = weighted.T @ weighted * rows / part.sum()
        gradient = phi.T @ (slopes[:, action] * (shown.actions - acted)[:, action])
        largest = np.linalg.eigvalsh(curvature)[-1]
        for strength, found in zip(ridge.STRENGTHS, steps[:, action], strict=True):
            if strength >= 1e-4:  # the curvature is of single precision
                expected = np.linalg.solve(curvature + strength * largest * np.eye(len(curvature)), gradient)
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_step_of_rows_that_repeat_is_that_of_all_of_them(monkeypatch):
    """Each chunk is the same, so that any part of them stands for all."""
    monkeypatch.setattr(ridge, "CHUNK", 8)
    policy = teacher(backbone())
    shown = shown_by(policy, episodes=1, length=8)
    observations, actions = (np.tile(each, (40, 1)) for each in (shown.observations, shown.actions))
    layer = np.random.default_rng(0).normal(size=(3, policy.backbone.output_size + 1))
    found = []
    for chunks in (ridge.CURVATURE_CHUNKS, 40):
        monkeypatch.setattr(ridge, "CURVATURE_CHUNKS", chunks)
        features = ridge._Features(policy.backbone, policy.adapter.parameters, policy.adapter.shape, None)
        found.append(ridge._gauss_newton(features, layer, observations, actions))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-9)


def test_the_documentation_tells_the_constants_of_the_regression():
    told = (ROOT / "docs" / "cloning.md").read_text()
    assert f"z = atanh(clip(a, ±{ridge.CLIP}))" in told
    assert f"| clipped at {ridge.CLIP}, two Gauss-Newton steps |" in told
    assert ridge.REFINEMENTS == 2
    assert f"for {len(ridge.STRENGTHS)} values of λ between 10⁻⁸ and 1 of" in told
    np.testing.assert_allclose(ridge.STRENGTHS[[0, -1]], [1e-8, 1])


def test_targets_of_the_regression_are_clipped_and_what_lies_within_is_not(monkeypatch):
    """Without Gauss-Newton steps, and with observations that tell the action: those of 1 are taken for `CLIP`."""
    own, actions = backbone(), np.tile(np.float32([[0.5], [1.0]]), (100, 1))
    observations = np.tile(np.eye(2, 6), (100, 1)).astype(np.float32)
    shape = AdapterShape.of(own, 6, 1)
    start = random_adapter(own, 6, 1).parameters
    monkeypatch.setattr(ridge, "REFINEMENTS", 0)
    fit = ridge.fit_post_layer(own, start, shape, (observations, actions), (observations, actions))
    acted = apb.Policy(own, Adapter(shape, fit.parameters), observation_box(6), action_box(1))(observations[:2])
    np.testing.assert_allclose(acted, [[0.5], [0.97]], atol=2e-3)


def test_a_policy_is_recovered_from_what_it_does_through_its_own_backbone():
    policy = teacher(backbone(), scale=3.0)
    assert (np.abs(shown_by(policy).actions) > ridge.CLIP).mean() > 0.5
    result = apb.clone(shown_by(policy), policy.backbone, method="ridge", n_eval_episodes=0)
    new = shown_by(policy, seed=1)
    error = np.square(result.policy(new.observations) - new.actions).mean()
    assert error < 1e-3 * new.actions.var()
    assert result.errors[-1] < result.errors[0] / 3, "actions beyond the clip are told apart by Gauss-Newton steps"


def test_each_refinement_lowers_the_held_out_error_and_the_strength_is_one_of_the_grid():
    rows = shown_by(teacher(backbone(), scale=1.0))
    train, held_out, _ = cloning.split(rows, 0.2, 0)
    own = backbone(1)
    start = random_adapter(own, 6, 3).parameters
    shape = AdapterShape.of(own, 6, 3)
    pairs = [(each.observations, each.unit_actions) for each in (train, held_out)]
    fit = ridge.fit_post_layer(own, start, shape, *pairs)
    assert list(fit.errors) == sorted(fit.errors, reverse=True)
    assert fit.strength in ridge.STRENGTHS
    kept, given_ = shape.split(fit.parameters), shape.split(start)
    for name in ("pre.weight", "pre.bias"):
        np.testing.assert_array_equal(kept[name], given_[name])


def test_features_that_never_vary_are_no_reason_to_fail():
    observations = np.zeros((40, 6))
    result = apb.clone(Demonstrations(observations, np.full((40, 2), 0.5), [20, 20]), backbone(), method="ridge")
    np.testing.assert_allclose(result.policy(np.zeros(6)), 0.5, atol=1e-3)


# --- gradient ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["A", "B"])
def test_a_step_is_one_of_adam_on_the_mean_squared_error(reading):
    import torch
    from torch.nn.functional import linear

    own = backbone(reading=reading)
    shape = AdapterShape.of(own, 6, 3)
    start = random_adapter(own, 6, 3).parameters
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 6)).astype(np.float32), generator.uniform(-1, 1, (40, 3)).astype(np.float32)
    regression = ActorRegression(own, start, shape, 40, 1e-2)
    layers = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in shape.split(start).items()}
    adam = torch.optim.Adam(layers.values(), lr=1e-2)
    for _ in range(5):
        z = linear(torch.from_numpy(x), layers["pre.weight"], layers["pre.bias"])
        z = z.relu() if own.input_activation else z
        for weight, bias in zip(own.weights, own.biases, strict=True):
            z = linear(z, torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())).relu()
        loss = (linear(z, layers["post.weight"], layers["post.bias"]).tanh() - torch.from_numpy(y)).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert regression.step(x, y) == pytest.approx(loss.item(), rel=1e-4)
    for name, parameter in layers.items():  # a step does not tell the scale of the gradient
        moment = adam.state[parameter]["exp_avg"]
        torch.testing.assert_close(regression._adam.exp_avg[name][0], moment, rtol=1e-3, atol=1e-6)
    expected = np.concatenate([layers[name].detach().numpy().ravel() for name in shape.layers])
    np.testing.assert_allclose(regression.parameters, expected, atol=3e-3)


def test_the_layer_before_the_backbone_recovers_what_the_one_behind_it_cannot():
    """The observations come in another order than the backbone's."""
    policy = teacher(backbone(), scale=2.0, permutation=[5, 3, 0, 1, 4, 2])
    shown = shown_by(policy)
    behind = apb.clone(shown, policy.backbone, method="ridge", n_eval_episodes=0)
    both = apb.clone(shown, policy.backbone, gradient_steps=3_000, learning_rate=1e-2, **ALONE)
    assert both.held_out_error < behind.held_out_error / 2


def test_the_adapter_of_the_lowest_error_is_kept_and_the_fit_ends_when_none_is_lower(monkeypatch):
    errors = iter([0.9, 0.5, 0.3, 0.4, 0.6, 0.7, 0.8])
    adapters = []

    def error(actors, parameters, shown):
        adapters.append(parameters)
        return next(errors)

    monkeypatch.setattr(cloning, "_error", error)
    result = apb.clone(shown_by(teacher(backbone())), backbone(), patience=3, **QUICK | {"gradient_steps": 1_000})
    assert result.steps.tolist() == [0, 20, 40, 60, 80, 100]
    assert result.errors.tolist() == [0.9, 0.5, 0.3, 0.4, 0.6, 0.7]
    assert (result.held_out_error, result.train_error) == (0.3, 0.8)
    np.testing.assert_array_equal(result.adapter.parameters, adapters[2])


def test_no_interval_between_measurements_has_the_batches_of_another(monkeypatch):
    shown, batches, real = shown_by(teacher(backbone())), [], ActorRegression.step

    def step(self, rows, actions):
        batches.append(hash(rows.tobytes()))
        return real(self, rows, actions)

    monkeypatch.setattr(ActorRegression, "step", step)
    apb.clone(shown, backbone(), **QUICK)
    assert len(batches) == len(set(batches)) == 60


def test_errors_that_are_not_finite_stop_it(monkeypatch):
    monkeypatch.setattr(ActorRegression, "parameters", np.full(6 * 6 + 6 + 20 * 3 + 3, np.nan, np.float32))
    with pytest.raises(apb.DivergenceError, match="after 20 steps; expected a finite one: lower learning_rate"):
        apb.clone(shown_by(teacher(backbone())), backbone(), **QUICK)


# --- both ----------------------------------------------------------------------------------------------------------


@METHODS
def test_held_out_episodes_are_whole_and_never_fitted_to(method, monkeypatch):
    """Each observation has the number of its episode in it."""
    policy = teacher(backbone())
    shown = shown_by(policy, episodes=8, length=40)
    observations = shown.observations.copy()
    observations[:, 0] = np.repeat(np.arange(8), 40)
    shown = Demonstrations(observations, shown.actions, [40] * 8)
    seen = []
    real_step, real_fit = ActorRegression.step, cloning.fit_post_layer

    def step(self, rows, actions):
        seen.extend(rows[:, 0].tolist())
        return real_step(self, rows, actions)

    def fit(backbone, start, shape, train, held_out, pool):
        seen.extend(train[0][:, 0].tolist())
        return real_fit(backbone, start, shape, train, held_out, pool)

    monkeypatch.setattr(ActorRegression, "step", step)
    monkeypatch.setattr(cloning, "fit_post_layer", fit)
    result = apb.clone(shown, policy.backbone, method=method, held_out=0.25, seed=3, **QUICK_BY[method])
    assert len(result.held_out_episodes) == 2
    assert set(seen) == set(range(8)) - set(result.held_out_episodes.tolist())
    assert sorted(set(result.held_out.observations[:, 0])) == result.held_out_episodes.tolist()
    assert len(result.held_out) == 80


@METHODS
def test_the_errors_told_are_those_of_the_policy(method):
    shown = shown_by(teacher(backbone(), scale=1.0))
    result = apb.clone(shown, backbone(3), method=method, **QUICK_BY[method])
    train = shown.episodes(np.setdiff1d(np.arange(12), result.held_out_episodes))
    for told, part in ((result.held_out_error, result.held_out), (result.train_error, train)):
        assert told == pytest.approx(np.square(result.policy(part.observations) - part.actions).mean(), rel=1e-3)
    assert result.held_out_error == result.errors.min()


@METHODS
def test_the_bits_do_not_depend_on_the_number_of_threads(method):
    shown = shown_by(teacher(backbone(), scale=1.0), length=200)
    found = [apb.clone(shown, backbone(3), method=method, **QUICK_BY[method] | {"num_threads": n}) for n in (1, 4)]
    assert found[0].adapter.parameters.tobytes() == found[1].adapter.parameters.tobytes()
    assert found[0].errors.tobytes() == found[1].errors.tobytes()
    other = apb.clone(shown, backbone(3), method=method, seed=1, **QUICK_BY[method])
    assert other.adapter.parameters.tobytes() != found[0].adapter.parameters.tobytes()


@given(episodes=st.integers(2, 30), share=st.floats(1e-3, 1), seed=st.integers(0, 100))
def test_the_share_that_is_held_out_leaves_an_episode_on_both_sides(episodes, share, seed):
    shown = Demonstrations(np.zeros((episodes, 2)), np.zeros((episodes, 1)), [1] * episodes)
    train, held_out, numbers = cloning.split(shown, share, seed)
    assert train.num_episodes + held_out.num_episodes == episodes
    assert held_out.num_episodes == len(set(numbers)) == min(max(round(share * episodes), 1), episodes - 1)


def test_of_one_episode_the_end_is_held_out_with_a_warning():
    shown = shown_by(teacher(backbone()), episodes=1, length=50)
    with pytest.warns(apb.ApbWarning, match="1 episode, so that none can be held out: its last 5 of 50 steps are"):
        result = apb.clone(shown, backbone(), **QUICK)
    np.testing.assert_array_equal(result.held_out.observations, shown.observations[-5:])
    one = Demonstrations(np.zeros((1, 2)), np.zeros((1, 1)), [1])
    with pytest.raises(apb.ConfigError, match="1 transition; expected at least 2"):
        apb.clone(one)


@METHODS
def test_a_clone_in_a_known_env_is_evaluated_and_saved_as_an_ordinary_policy(method, tmp_path):
    policy = teacher(backbone(input_size=2), 2, 1)
    own = apb.environments.EnvSource.resolve(ENV)
    policy = apb.Policy(policy.backbone, policy.adapter, own.observation_space, own.action_space)
    shown = Demonstrations.collect(policy, ENV, 4)
    result = apb.clone(shown, policy.backbone, method=method, **QUICK_BY[method] | {"n_eval_episodes": 3})
    np.testing.assert_array_equal(result.evaluation.returns, apb.evaluate(result.policy, ENV, 3).returns)
    np.testing.assert_array_equal(result.demonstrator_returns, shown.returns)
    loaded = apb.Policy.from_pretrained(result.policy.save_pretrained(tmp_path / "clone"))
    assert loaded.metadata["env_id"] == ENV
    assert (loaded.metadata["kind"], loaded.metadata["transitions"]) == ("clone", 80)
    np.testing.assert_array_equal(loaded(shown.observations), result.policy(shown.observations))
    json.dumps(result.to_json())


def test_arrays_are_evaluated_in_the_env_that_is_named_and_have_its_spaces(tmp_path):
    path = Demonstrations(np.zeros((6, 3)), np.full((6, 1), 1.5), [3, 3], action_space=action_box(1, 2.0)).save(
        tmp_path / "a.npz"
    )
    result = apb.clone(path, env="Pendulum-v1", method="ridge", n_eval_episodes=1)
    assert result.policy.action_space.high.tolist() == [2.0]
    assert len(result.evaluation.returns) == 1
    assert result.policy.metadata["env_id"] == "Pendulum-v1"
    assert apb.clone(path, method="ridge").evaluation is None


def test_what_is_drawn_is_drawn_from_the_seed():
    shown = shown_by(teacher(backbone()))
    found = [apb.clone(shown, seed=seed, method="ridge").policy.backbone.hash for seed in (0, 0, 1)]
    assert found[0] == found[1] == apb.Backbone.random(0, input_size=6).hash
    assert found[2] != found[0]


def test_the_kept_adapter_of_the_nearest_task_is_a_beginning():
    task = apb.tasks.get("cheetah-vel/mier-hard:0")
    kept = apb.Backbone.from_pretrained("cheetah-vel").adapters
    shown = Demonstrations.collect(lambda observations: np.zeros((len(observations), 6)), task, 2)
    result = apb.clone(shown, "cheetah-vel", adapter_init="nearest", method="ridge", n_eval_episodes=0)
    nearest = kept.shape.split(kept.parameters[kept.nearest(task)])["pre.weight"]
    np.testing.assert_array_equal(result.adapter.layers["pre.weight"], nearest)


BAD = [
    ({"method": "adam"}, "method = 'adam' is unknown; known: gradient, ridge"),
    ({"held_out": 0}, "held_out = 0 is out of range"),
    ({"lr": 1e-3}, "clone() has no option 'lr'; did you mean 'learning_rate'?"),
    ({"batch_size": 0}, "batch_size = 0"),
    ({"adapter_init": "nearest"}, "the backbone keeps no adapters of train tasks"),
    ({"backbone": "cheetah-val"}, "did you mean 'cheetah-vel'?"),
    ({"backbone": 3}, "backbone is a int"),
    ({"demonstrations": 3}, "demonstrations is a int; expected apb.Demonstrations or the path of a .npz file"),
    ({"demonstrations": "gone.npz"}, "'gone.npz' is no file"),
    ({"env": "Pendulum-v1"}, "observations has shape (1800, 6); expected (N, 3)"),
    ({"env": "cheetah-vel/mier-hard"}, "expected one of them"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_bad_input_is_explained(changes, words):
    given_ = {"demonstrations": shown_by(teacher(backbone())), "backbone": backbone(), **QUICK} | changes
    with pytest.raises(apb.ApbError) as failure:
        apb.clone(given_.pop("demonstrations"), given_.pop("backbone"), **given_)
    assert words in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gradient_steps", 10), ("eval_freq", 5), ("patience", 3), ("learning_rate", 0.01), ("batch_size", 7)],
)
def test_an_option_of_the_gradient_is_refused_where_none_is_taken(name, value):
    words = f"{name} = {value} with method = 'ridge', where it has no effect; expected method='gradient' beside it, or"
    with pytest.raises(apb.ConfigError, match=words):
        apb.clone(shown_by(teacher(backbone())), method="ridge", **ALONE | {name: value})


def test_a_clone_whose_evaluation_fails_is_returned_with_a_warning(monkeypatch):
    shown = Demonstrations.collect(lambda observations: np.zeros((len(observations), 1)), ENV, 2)

    def step(self, action):
        raise RuntimeError("the motor broke")

    monkeypatch.setattr(PointEnv, "step", step)
    with pytest.warns(apb.ApbWarning, match="could not be evaluated .*the motor broke.* it is returned, without an"):
        result = apb.clone(shown, method="ridge", num_threads=1)
    assert result.evaluation is None
    assert result.to_json()["evaluation"] is None
    np.testing.assert_allclose(result.policy(shown.observations), 0, atol=1e-3)
