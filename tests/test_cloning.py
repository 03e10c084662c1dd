"""What `apb.clone` promises: the least error that two linear layers have, on episodes that they were not fitted to."""

import json

import apb
import numpy as np
import pytest
from apb.adapter_shape import AdapterShape
from apb.cloning import clone as cloning
from apb.cloning import picture, regression
from apb.cloning.demonstrations import Demonstrations
from apb.cloning.regression import ActorRegression
from cli_runs import ENV, PointEnv, register_env
from clone_cases import backbone, shown_by, teacher
from crashes import Crash
from hypothesis import given
from hypothesis import strategies as st
from policies import action_box, random_adapter

QUICK = {"gradient_steps": 60, "eval_freq": 20, "num_threads": 1, "n_eval_episodes": 0}
ALONE = {"num_threads": 1, "n_eval_episodes": 0}
QUICK_BY = {"gradient": QUICK, "ridge": ALONE}
METHODS = pytest.mark.parametrize("method", ["gradient", "ridge"])


@pytest.fixture(autouse=True)
def _point():
    register_env()


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


def test_each_step_has_a_batch_of_its_own_that_does_not_depend_on_when_the_error_is_measured(monkeypatch):
    shown, batches, real = shown_by(teacher(backbone())), [], ActorRegression.step

    def step(self, rows, actions):
        batches.append(rows.tobytes())
        return real(self, rows, actions)

    monkeypatch.setattr(ActorRegression, "step", step)
    for eval_freq in (20, 7):
        apb.clone(shown, backbone(), patience=60, **QUICK | {"eval_freq": eval_freq})
    assert len(batches) == 120
    assert len(set(batches[:60])) == 60
    assert batches[60:] == batches[:60]


def test_no_batch_is_drawn_before_its_step(monkeypatch):
    """Those of an interval of 100,000,000 steps would need 191 GiB."""

    def step(self, rows, actions):
        raise Crash

    monkeypatch.setattr(ActorRegression, "step", step)
    many = QUICK | {"gradient_steps": 100_000_000, "eval_freq": 100_000_000}
    with pytest.raises(Crash):
        apb.clone(shown_by(teacher(backbone())), backbone(), **many)


def test_a_batch_that_finds_no_room_is_refused(monkeypatch):
    monkeypatch.setattr(regression, "available_memory", lambda: 2**20)
    monkeypatch.setattr(regression.NativeLayerStack, "__init__", lambda *sizes: pytest.fail("it is allocated"))
    words = r"batch_size = 1000000 needs \d{3,} MiB of memory for .*; 1 MiB are free; choose a smaller batch_size"
    with pytest.raises(apb.ConfigError, match=words):
        apb.clone(shown_by(teacher(backbone())), backbone(), batch_size=1_000_000, **QUICK)


def test_errors_that_are_not_finite_stop_it(monkeypatch):
    monkeypatch.setattr(ActorRegression, "parameters", np.full(6 * 6 + 6 + 20 * 3 + 3, np.nan, np.float32))
    with pytest.raises(apb.DivergenceError, match="after 20 steps; expected a finite one: lower learning_rate"):
        apb.clone(shown_by(teacher(backbone())), backbone(), **QUICK)


def test_an_error_that_is_not_finite_on_rows_of_no_batch_is_told(monkeypatch):
    measured, sizes = cloning._error, []

    def nan_where_fitted(actors, layers, shown):
        sizes.append(len(shown[0]))  # the held-out part comes first
        return measured(actors, layers, shown) if sizes[-1] == sizes[0] else np.nan

    monkeypatch.setattr(cloning, "_error", nan_where_fitted)
    with pytest.raises(apb.DivergenceError, match=r"on what was fitted to is nan; .*scale them"):
        apb.clone(shown_by(teacher(backbone())), backbone(), **QUICK)


def test_an_error_that_is_not_finite_before_the_first_step_is_told(monkeypatch):
    monkeypatch.setattr(cloning, "_error", lambda actors, parameters, shown: np.nan)
    with pytest.raises(apb.DivergenceError, match=r"error is nan after 0 steps; expected .*: scale the observations"):
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


NO_FILES = [
    (
        "r1",
        "demonstrations = 'r1' is no file; did you mean 'r1.npz'?; expected apb.Demonstrations or the path of a .npz",
    ),
    ("demos.npy", "'demos.npy' is no file; did you mean 'demos.npz'?"),
    ("demo.npz", "'demo.npz' is no file; did you mean 'demos.npz'?"),
    ("runs", "'runs' is no file; expected apb.Demonstrations or the path of a .npz file: roll a policy out with"),
    ("mujoco/halfcheetah/expert-v0", "read a Minari data set with apb.Demonstrations.from_minari(id)"),
    ("x" * 5000, "xxx is no file; expected apb.Demonstrations"),
    ("", "demonstrations = '' is no name"),
]


@pytest.mark.parametrize(("word", "words"), NO_FILES, ids=[word[:30] for word, _ in NO_FILES])
def test_a_word_that_is_no_file_is_told_with_the_nearest_and_what_can_be_given(word, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("r1.npz", "demos.npz", "demos.csv"):
        (tmp_path / name).touch()
    with pytest.raises(apb.ApbError) as failure:
        apb.clone(word, backbone())
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


@pytest.mark.parametrize(
    ("method", "actions", "told"),
    [("ridge", 1, "Gauss-Newton steps after the regression"), ("gradient", 13, "steps of Adam")],
)
def test_the_picture_tells_units_what_is_counted_which_step_was_kept_and_what_is_left_out(
    method, actions, told, tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(picture, "save_figure", lambda figure, target: figures.append(figure))
    result = apb.clone(
        shown_by(teacher(backbone(), action_size=actions)), backbone(3), method=method, **QUICK_BY[method]
    )
    picture.draw_clone(result, tmp_path / "clone.png")
    *panels, way = figures[0].axes
    title = figures[0].get_suptitle()
    assert title.startswith("actions scaled to [-1, 1] on 150 steps of 1 episode, held out")
    assert f"\nmean squared error {result.held_out_error:.3g}" in title
    assert ("the first 11 of 13 are drawn" in title) == (actions == 13)
    assert len(panels) == min(actions, 11)
    errors = np.square(result.policy(result.held_out.observations) - result.held_out.actions).mean(axis=0)
    told_errors = [float(panel.get_title().split()[-1]) for panel in panels]
    np.testing.assert_allclose(told_errors, errors[: len(panels)], rtol=1e-2)
    assert {(panel.get_xlabel(), panel.get_ylabel()) for panel in panels} == {("demonstrated", "cloned")}
    assert (way.get_xlabel(), way.get_ylabel()) == (told, "mean squared error")
    curve, kept = way.get_lines()
    np.testing.assert_array_equal(curve.get_xydata(), np.stack([result.steps, result.errors], axis=1))
    assert kept.get_xydata().tolist() == [[result.steps[result.errors.argmin()], result.held_out_error]]
    assert all(float(tick).is_integer() for tick in way.get_xticks())
