"""The returns on a card are those that anybody has who evaluates the policy that the card names."""

import apb
import numpy as np
import pytest
from apb.adapter import Adapter
from apb.environments import EnvSource
from apb.meta_training.evaluation import returns_on
from apb.tasks import Task, get
from meta_runs import SPLIT, meta_run

EPISODES = 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("meta") / "run"
    options = {"total_timesteps": 330, "eval_freq": 110, "n_eval_episodes": EPISODES, "seed": 5}
    # Adapters that act differently after so little learning.
    return meta_run(run_dir=run_dir, learning_rate=0.03, **options), run_dir


def policy_of(backbone, number, task):
    source = EnvSource.resolve(task)
    adapter = Adapter(backbone.adapters.shape, backbone.adapters.parameters[number])
    return apb.Policy(backbone, adapter, source.observation_space, source.action_space)


@pytest.mark.parametrize("name", ["test", "ood"])
def test_returns_on_a_list_are_those_of_evaluate_with_the_adapter_of_the_nearest_train_task(trained, name):
    result, _ = trained
    backbone, tasks = result.backbone, getattr(get(SPLIT), name)
    speeds = np.array([told["arguments"]["velocity"] for told in backbone.adapters.tasks])
    numbers = [int(np.abs(speeds - task.arguments["velocity"]).argmin()) for task in tasks]
    assert len(set(numbers)) > 1 or name == "ood"  # all unseen speeds are beyond the fastest train task
    for task, number, found in list(zip(tasks, numbers, result.zero_shot[name].results, strict=True))[::6]:
        expected = apb.evaluate(policy_of(backbone, number, task), task, EPISODES, seed=5)
        np.testing.assert_allclose(found.returns, expected.returns, rtol=1e-6)
        others = [policy_of(backbone, other, task) for other in range(len(speeds)) if other != number]
        assert all(apb.evaluate(other, task, EPISODES, seed=5).mean != pytest.approx(found.mean) for other in others)


def test_the_number_of_tasks_and_timesteps_on_the_card_are_those_of_all_lanes(trained):
    result, run_dir = trained
    metadata = apb.Backbone.from_pretrained(run_dir / "pretrained").metadata
    assert (metadata["n_tasks"], metadata["total_timesteps"], metadata["seed"]) == (3, 330, 5)
    card = (run_dir / "pretrained" / "README.md").read_text()
    assert "330 in all" in card
    for name, found in result.zero_shot.items():
        assert f"| {name} ({len(found.tasks)}) | {found.mean:.1f} | {found.adapters} |" in card


def test_a_backbone_without_adapters_cannot_be_evaluated_at_once():
    with pytest.raises(apb.ConfigError, match="the backbone has no adapters; expected one that was meta-trained"):
        returns_on(
            [Task("cheetah-vel", {"velocity": 1.0})], apb.Backbone.random(0, input_size=20), n_eval_episodes=1, seed=0
        )
