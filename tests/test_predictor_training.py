"""`PredictorTraining` is torch's Adam on the same rows and targets, changes nothing of what it watches, and continues
exactly."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from apb import _native, resume
from apb.backbone import Backbone
from apb.errors import DivergenceError
from apb.flap.predictor_training import PredictorTraining
from apb.learner import Learner
from apb.meta_training.settings import MetaSettings
from crashes import Crash, CrashAt
from emulated_device import emulated_cuda
from flap_runs import FEW, flap_meta
from learning import filled_replay, same_arrays, small_backbone, small_settings, small_shape
from meta_runs import FALLING, meta_run
from run_files import assert_same_outcome, outcome

SEEDS = (3, 14, 15)
VARIANTS = [
    {},
    {"predictor_input": "reward"},
    {"predictor_target": "joint"},
    {"predictor_input": "reward", "predictor_target": "joint", "predictor_depth": 1},
]


def learner_with_predictor(seeds=SEEDS, num_threads=1, device="cpu", learned_layers="post", **options):
    """A learner of several lanes with the training of a predictor beside it."""
    backbone, pool = small_backbone(), _native.ThreadPool(num_threads)
    common = {"learned_layers": learned_layers, "batch_size": 16, "learning_rate": 1e-2}
    learner = Learner(
        backbone,
        small_shape(backbone),
        seeds,
        small_settings(of=MetaSettings, **common),
        backbone_training="shared",
        device=device,
        pool=pool,
    )
    settings = MetaSettings(layer_predictor=True, **{**FEW, "predictor_batch_size": 11, **common, **options})
    learner.companions = [PredictorTraining(learner, settings, pool)]
    return learner


class Oracle:
    """A network of torch's own with torch's Adam, on the rows and heads that a companion sees."""

    def __init__(self, learner, with_next, joint, rows, learning_rate=1e-2):
        predictor = learner.companions[0].predictor()
        self.learner, self.with_next, self.joint, self.rows = learner, with_next, joint, rows
        layers = []
        for weight, bias in zip(predictor.weights, predictor.biases, strict=True):
            layers += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
            layers[-2].weight.data, layers[-2].bias.data = torch.tensor(weight), torch.tensor(bias)
        self.network = torch.nn.Sequential(*layers[:-1])
        self.adam = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.seen, self.losses = [], []

    def learn(self, batch):
        """A step, once the heads have moved."""
        parts = [batch.observation, batch.action, batch.reward[..., None], batch.next_observation]
        x = torch.cat(parts if self.with_next else parts[:3], dim=2)[:, : self.rows].clone()
        self.seen.append(x.flatten(0, 1).double())
        met = torch.cat(self.seen)
        inputs = ((x - met.mean(0)) / (met.var(0, unbiased=False) + 1e-8).sqrt()).clip(-10, 10).float()
        shape = self.learner.own_shapes[0]
        post = shape.action_size * (shape.output_size + 1)
        heads = torch.from_numpy(self.learner.adapters()[:, -post:]).double()
        deviation = heads.std(0, unbiased=False)
        if self.joint:
            deviation = deviation.square().mean().sqrt()
        wanted = ((heads - heads.mean(0)) / (deviation + 1e-6)).float()
        loss = (self.network(inputs) - wanted[:, None]).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.losses.append(loss.item())


def trained_beside(learner, oracle, updates=12):
    """Both, from the same batches."""
    companion = learner.companions[0]
    plain, found = companion.learn, []

    def learn(batch, moved):
        plain(batch, moved)
        if moved:
            with torch.enable_grad():
                oracle.learn(batch)
            found.append(float(companion.losses()["predictor_loss"][0]))

    companion.learn = learn
    learner.update(filled_replay(SEEDS), updates)
    return found


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_its_steps_are_those_of_torchs_adam_on_the_same_rows_and_targets(options):
    learner = learner_with_predictor(**options)
    with_next, joint = options.get("predictor_input") != "reward", options.get("predictor_target") == "joint"
    oracle = Oracle(learner, with_next, joint, rows=4)  # of each of three lanes, 11 in all and rounded up
    losses = trained_beside(learner, oracle)
    assert len(losses) == 6, "the heads move with each second update of the critics"
    np.testing.assert_allclose(losses, oracle.losses, rtol=2e-4)
    predictor = learner.companions[0].predictor()
    for number, (weight, bias) in enumerate(zip(predictor.weights, predictor.biases, strict=True)):
        np.testing.assert_allclose(weight, oracle.network[2 * number].weight.detach(), atol=2e-4)
        np.testing.assert_allclose(bias, oracle.network[2 * number].bias.detach(), atol=2e-4)
    met = torch.cat(oracle.seen).numpy()
    np.testing.assert_allclose(predictor.inputs.mean, met.mean(0), atol=1e-6)
    np.testing.assert_allclose(1 / predictor.inputs.inverse_std, met.std(0), rtol=1e-5)


def test_what_it_predicts_is_scaled_back_to_the_layers_as_they_are_now():
    learner = learner_with_predictor()
    learner.update(filled_replay(SEEDS), 6)
    predictor = learner.companions[0].predictor()
    heads = learner.adapters()[:, predictor.places]
    np.testing.assert_allclose(predictor.mean, heads.mean(0), atol=1e-6)
    np.testing.assert_allclose(predictor.deviation, heads.std(0), atol=2e-6)
    joint = learner_with_predictor(predictor_target="joint")
    joint.update(filled_replay(SEEDS), 6)
    expected = np.sqrt(np.mean(heads.var(0)))
    np.testing.assert_allclose(joint.companions[0].predictor().deviation, expected, rtol=1e-3)


def test_of_small_batches_it_takes_all_rows():
    learner = learner_with_predictor(predictor_batch_size=1_000)
    oracle = Oracle(learner, with_next=True, joint=False, rows=16)
    losses = trained_beside(learner, oracle, 4)
    np.testing.assert_allclose(losses, oracle.losses, rtol=1e-4)
    assert oracle.seen[0].shape[0] == len(SEEDS) * 16


@pytest.mark.parametrize("layers", ["both", "pre"])
def test_it_predicts_the_layers_that_are_learned(layers):
    learner = learner_with_predictor(learned_layers=layers)
    learner.update(filled_replay(SEEDS), 4)
    predictor = learner.companions[0].predictor()
    shape = learner.own_shapes[0]
    pre = shape.input_size * (shape.observation_size + 1)
    assert predictor.places.tolist() == list(range(pre if layers == "pre" else shape.num_parameters))
    np.testing.assert_allclose(predictor.mean, learner.adapters()[:, predictor.places].mean(0), atol=1e-6)


def test_a_loss_that_is_not_finite_is_told():
    learner = learner_with_predictor()
    for weight, _ in learner.companions[0]._network.chain:
        weight.fill_(1e30)
    with pytest.raises(DivergenceError, match=r"predictor_loss of all lanes is (inf|nan) at update 2"):
        learner.update(filled_replay(SEEDS), 4)


@pytest.mark.parametrize("num_threads", [2, 4])
def test_it_learns_the_same_bytes_on_any_number_of_threads(num_threads):
    states = []
    for threads in (1, num_threads):
        learner = learner_with_predictor(num_threads=threads, predictor_width=130)
        learner.update(filled_replay(SEEDS), 8)
        states.append(learner.state())
    assert same_arrays(*states)


def test_it_goes_on_from_its_state_to_the_bit():
    whole, first, second = (learner_with_predictor() for _ in range(3))
    whole.update(filled_replay(SEEDS), 9)
    first.update(filled_replay(SEEDS), 4)
    second.load_state(first.state(), first.counters())
    second.update(filled_replay(SEEDS), 5)
    assert same_arrays(second.state(), whole.state())
    assert second.companions[0].predictor().hash == whole.companions[0].predictor().hash


# --- on CUDA ---------------------------------------------------------------------------------------------------------


def test_on_cuda_it_learns_what_it_learns_on_a_cpu():
    cpu = learner_with_predictor()
    cpu.update(filled_replay(SEEDS), 9)
    expected = cpu.companions[0].state()
    with nullcontext() if torch.cuda.is_available() else emulated_cuda():
        cuda = learner_with_predictor(device="cuda")
        cuda.update(filled_replay(SEEDS), 9)
        found = cuda.companions[0].state()
        predictor = cuda.companions[0].predictor()
        again = learner_with_predictor(device="cuda")
        again.load_state(cuda.state(), cuda.counters())
        assert again.companions[0].predictor().hash == predictor.hash
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=5e-3, atol=1e-3, err_msg=name)


# --- in a meta-training ----------------------------------------------------------------------------------------------


def test_a_meta_training_learns_the_same_with_a_predictor_beside_it():
    plain = meta_run(learned_layers="post", adapter_init="shared")
    beside = flap_meta()
    assert beside.backbone.hash == plain.backbone.hash
    assert beside.backbone.adapters.hash == plain.backbone.adapters.hash
    assert plain.backbone.predictor is None
    assert beside.backbone.predictor is not None
    wide = flap_meta(predictor_width=40, predictor_target="joint", predictor_batch_size=7)
    assert wide.backbone.hash == plain.backbone.hash
    assert wide.backbone.predictor.hash != beside.backbone.predictor.hash


def test_the_heads_of_a_meta_training_begin_alike_and_their_pre_layers_stay():
    psi = flap_meta().backbone
    pre = psi.adapters.shape.split(psi.adapters.parameters)["pre.weight"]
    assert (pre == np.eye(*pre.shape[1:])).all()
    assert len({row.tobytes() for row in psi.adapters.parameters}) == 3


def test_a_meta_training_has_the_same_predictor_on_any_number_of_threads():
    hashes = {flap_meta(num_threads=threads).backbone.predictor.hash for threads in (1, 4)}
    assert len(hashes) == 1


@pytest.mark.parametrize("moments", [(40,), (70, 85)], ids=str)
def test_a_meta_training_that_crashed_ends_with_the_bytes_of_one_that_did_not(tmp_path, moments):
    options = {"checkpoint_freq": 10, "eval_freq": 40, "n_eval_episodes": 1, "log_freq": 20, "reset_interval": 90}
    whole = flap_meta(tasks=FALLING, n_tasks=None, run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        flap_meta(tasks=FALLING, n_tasks=None, run_dir=tmp_path / "cut", callback=CrashAt(moments[0]), **options)
    for moment in moments[1:]:
        with pytest.raises(Crash):
            resume(tmp_path / "cut", callback=CrashAt(moment))
    again = resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    assert again.backbone.predictor.hash == whole.backbone.predictor.hash
    saved = Backbone.from_pretrained(tmp_path / "cut" / "pretrained")
    assert saved.predictor.hash == whole.backbone.predictor.hash


def test_its_loss_is_in_the_history():
    assert "train/predictor_loss" in flap_meta(log_freq=20).history[-1]
    assert "train/predictor_loss" not in meta_run(log_freq=20).history[-1]
