"""What `fit_post_layer` promises: the post-layer of ridge regression and of steps of Gauss and Newton from there."""

import os
import subprocess
import sys

import apb
import numpy as np
import pytest
from apb.adapter import Adapter
from apb.adapter_shape import AdapterShape
from apb.cloning import clone as cloning
from apb.cloning import ridge
from apb.cloning.demonstrations import Demonstrations
from clone_cases import backbone, shown_by, teacher
from documentation import ROOT
from hypothesis import given
from hypothesis import strategies as st
from policies import action_box, observation_box, random_adapter


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


def test_the_bits_do_not_depend_on_the_threads_of_the_blas_of_numpy():
    """400 features are so many that two threads of OpenBLAS add in another order than one."""
    code = """
import hashlib
import numpy as np
from apb.cloning import ridge
generator = np.random.default_rng(0)
phi, z = np.maximum(generator.normal(size=(500, 400)), 0), generator.normal(size=(500, 17))
phi = np.concatenate([phi, np.ones((500, 1))], axis=1)
scatter, cross = np.einsum("ni,nj->ij", phi, phi), np.einsum("ni,nj->ij", z, phi)
print(hashlib.sha256(ridge.ridge_path(scatter, cross, ridge.STRENGTHS).tobytes()).hexdigest())
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert told[0] == told[1]


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


def test_observations_whose_features_overflow_are_told_of():
    generator = np.random.default_rng(0)
    observations = 1e20 * generator.normal(size=(40, 6))
    shown = Demonstrations(observations, generator.uniform(-1, 1, (40, 2)), [20, 20])
    with pytest.raises(apb.DivergenceError, match=r"features are not finite; .* observations are too large .*; scale"):
        apb.clone(shown, backbone(), method="ridge")


def test_strengths_whose_error_is_not_finite_are_not_chosen(monkeypatch):
    own = backbone()
    shown, shape = shown_by(teacher(own)), AdapterShape.of(own, 6, 3)
    rows = shown.observations, shown.actions
    start, real = random_adapter(own, 6, 3).parameters, ridge.errors_of
    monkeypatch.setattr(ridge, "errors_of", lambda *given_: np.where(np.arange(17) == 9, real(*given_), np.nan))
    fit = ridge.fit_post_layer(own, start, shape, rows, rows)
    assert fit.strength == ridge.STRENGTHS[9]
    assert np.isfinite(fit.errors).all()
    monkeypatch.setattr(ridge, "errors_of", lambda *given_: np.full(17, np.nan))
    with pytest.raises(apb.DivergenceError, match="error is nan of each strength; expected a finite one"):
        ridge.fit_post_layer(own, start, shape, rows, rows)
