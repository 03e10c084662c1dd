"""What is promised of simulations that blow up: each ends its own episode, says so once, and leaves no trace."""

import logging

import mujoco
import numpy as np
import pytest
from apb.errors import ApbWarning, SimulationError
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.tasks.families.cheetah_vel import CheetahVel
from apb.tasks.single import TaskEnv
from gymnasium.vector import AutoresetMode
from task_rig import FALLING, actions_for, batched, drawn, go, of_row, run, same_bits, single

MODES = list(AutoresetMode)
BREAKAGES = {
    "huge speed": lambda env, row: env._batch.bind("qvel")[row].fill(1e9),
    "NaN": lambda env, row: env._batch.bind("qpos")[row].fill(np.nan),
    "infinite": lambda env, row: env._batch.bind("qvel")[row].fill(np.inf),
}


@pytest.fixture
def silent(tmp_path, monkeypatch, capfd):
    """An empty working directory; at the end it is empty still, nothing was printed and no handler was left behind."""
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    yield
    assert mujoco.get_mju_user_warning() is before
    assert not any(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", BREAKAGES)
@pytest.mark.parametrize("name", ["cheetah-vel", FALLING, "ant-goal", "humanoid-dir"])
def test_a_simulation_that_blows_up_ends_its_own_episode_only(name, how, mode, silent):
    broken, whole = (batched(name, 3, max_episode_steps=50, autoreset_mode=mode) for _ in range(2))
    actions = actions_for(whole, 6)
    for env in (broken, whole):
        env.reset(seed=5)
        last = run(env, actions[:2])[-1][0]
    BREAKAGES[how](broken, 1)
    with pytest.warns(
        ApbWarning, match=rf"row 1 of {name} \(.*\), step 3 of the episode: .*unstable.*other rows go on"
    ):
        found = broken.step(actions[2])
    expected = whole.step(actions[2])
    others = [0, 2]
    for ours, theirs in zip(found[:4], expected[:4], strict=True):
        assert same_bits(ours[others], theirs[others])
    final = found[4]["final_obs"][1] if mode is AutoresetMode.SAME_STEP else found[0][1]
    assert same_bits(final, last[1])
    assert [part[1] for part in found[1:4]] == [0.0, False, True]
    text = found[4]["simulation_error"][1]
    assert text.startswith(f"row 1 of {name} (")
    assert "step 3 of the episode" in text
    assert found[4]["_simulation_error"].tolist() == [False, True, False]
    terms = found[4]["final_info"] if mode is AutoresetMode.SAME_STEP else found[4]
    assert all(terms[key][1] == 0 for key in terms if key.startswith("reward_"))
    # The row begins its next episode as the mode has it, and the others never notice.
    if mode is AutoresetMode.DISABLED:
        with pytest.raises(SimulationError, match=r"rows \[1\] have no episode under way"):
            broken.step(actions[3])
        started = broken.reset(options={"reset_mask": np.array([False, True, False])})[0][1]
    else:
        started = found[0][1] if mode is AutoresetMode.SAME_STEP else broken.step(actions[3])[0][1]
    fresh = single(name, **of_row(drawn(name, 3), 1))
    fresh.reset(seed=6)
    assert same_bits(started, fresh.reset()[0])
    skip = 4 if mode is AutoresetMode.NEXT_STEP else 3
    if skip == 4:
        whole.step(actions[3])
    for each in actions[skip:]:
        ours, theirs, alone = broken.step(each), whole.step(each), fresh.step(each[1])
        assert "simulation_error" not in ours[4]
        assert same_bits(ours[0][1], alone[0])
        assert ours[1][1] == alone[1]
        for first, second in zip(ours[:4], theirs[:4], strict=True):
            assert same_bits(first[others], second[others])


def test_all_rows_may_blow_up_at_once_and_in_turn(silent):
    env = batched("ant-dir", 4, max_episode_steps=9)
    env.reset(seed=0)
    env._batch.bind("qvel")[:] = 1e9
    with pytest.warns(ApbWarning) as caught:
        truncated = env.step(np.zeros((4, 8)))[3]
    assert [f"row {row} of" in str(each.message) for row, each in enumerate(caught)] == [True] * 4
    assert truncated.all()
    env.step(np.zeros((4, 8)))
    for row in range(4):
        env._batch.bind("qpos")[row] = np.nan
        with pytest.warns(ApbWarning, match=f"row {row} of"):
            info = env.step(np.zeros((4, 8)))[4]
        assert info["_simulation_error"].tolist() == [each == row for each in range(4)]


def test_a_row_that_is_to_start_anew_is_not_simulated(silent):
    env = batched("cheetah-vel", 2, max_episode_steps=2)
    env.reset(seed=0)
    env.step(np.zeros((2, 6)))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.step(np.zeros((2, 6)))[3].tolist() == [False, True]
    env._batch.bind("qvel")[1] = 1e9
    assert "simulation_error" not in env.step(np.zeros((2, 6)))[4]


def wild_ants(mode):
    """400 ants, so fast that some of them will blow up."""
    env = BatchedEnv("ant-goal", 400, num_threads=2, autoreset_mode=mode)
    env.reset(seed=0)
    generator = np.random.default_rng(1)
    env._batch.bind("qvel")[:] = generator.normal(0, 1, env._physics.qvel.shape) * 10 ** generator.uniform(
        1, 4, (400, 1)
    )
    return env


@pytest.mark.filterwarnings("ignore:.*the other rows go on")
def test_a_row_that_blew_up_does_not_blow_up_again_before_its_next_episode(silent):
    env = wild_ants(AutoresetMode.NEXT_STEP)
    first, second = run(env, np.zeros((2, 400, 8)))
    failed = first[4]["_simulation_error"]
    assert failed.sum() > 10
    assert not (failed & second[4].get("_simulation_error", np.zeros(400, bool))).any()
    assert not second[3][failed].any()


def test_a_state_that_mujoco_would_refuse_next_gives_no_reward(silent):
    # Runge-Kutta can leave the last substep of a step with numbers beyond MuJoCo's limit of 1e10, which MuJoCo sees in
    # the next step only; until then rewards of 1e18 came of it.
    env = wild_ants(AutoresetMode.DISABLED)
    before, actions = np.array(env._batch.state), actions_for(env, 4)
    step, warned = env._batch.step, []
    env._batch.step = lambda *given: (step(*given), warned.append(env._batch.warning[:, :, 1].any(axis=1)))
    with pytest.warns(ApbWarning, match="unstable"):
        results = go(env, actions)
    ended = [result[4].get("_simulation_error", np.zeros(400, bool)) for result in results]
    unseen = np.flatnonzero(ended[0] & ~warned[0])
    assert unseen.size
    assert max(np.abs(result[0]).max() for result in results) <= 1e10
    assert max(np.abs(result[1]).max() for result in results) <= 1e12
    alone = single("ant-goal").unwrapped
    alone.reset(seed=0)
    mujoco.mj_setState(alone.model, alone.data, before[unseen[0]], mujoco.mjtState.mjSTATE_INTEGRATION)
    with pytest.raises(SimulationError, match="unstable"):
        alone.step(actions[0, unseen[0]])


def test_an_error_that_mujoco_raises_in_some_rows_ends_them_too():
    env, whole = (batched("cheetah-vel", 3) for _ in range(2))
    for each in (env, whole):
        each.reset(seed=0)
    step, error = env._batch.step, env._batch.error

    def failing(rows, count):
        step(np.array([0, 1]), count)
        raise mujoco.batch.SimulationError(np.array([2]), "stack overflow", 3)

    env._batch.step, env._batch.error = failing, lambda row: f"stack overflow in {row}"
    with pytest.warns(ApbWarning, match="row 2 of cheetah-vel.*stack overflow in 2"):
        found = env.step(np.zeros((3, 6)))
    expected = whole.step(np.zeros((3, 6)))
    assert found[3].tolist() == [False, False, True]
    assert all(same_bits(ours[:2], theirs[:2]) for ours, theirs in zip(found[:4], expected[:4], strict=True))
    env._batch.step, env._batch.error = step, error
    assert not env.step(np.zeros((3, 6)))[3].any()


def test_a_row_that_fails_has_no_end_of_its_task_wherever_it_lies():
    env = batched(FALLING, 2)
    env.reset(seed=0)
    step = env._batch.step

    def failing(rows, count):
        step(rows, count)
        env._batch.bind("qpos")[1, 1] = 0.1
        raise mujoco.batch.SimulationError(np.array([1]), "stack overflow", 2)

    env._batch.step, env._batch.error = failing, lambda row: "stack overflow"
    with pytest.warns(ApbWarning, match="row 1 of"):
        _, _, terminated, truncated, _ = env.step(np.zeros((2, 3)))
    assert env.family.terminated(env._physics).tolist() == [False, True]
    assert (terminated.tolist(), truncated.tolist()) == ([False, False], [False, True])


def test_warnings_as_errors_leave_the_batch_as_it_would_be():
    env, same = (batched(FALLING, 3) for _ in range(2))
    for each in (env, same):
        each.reset(seed=0)
        each._batch.bind("qvel")[1] = 1e9
    with pytest.raises(ApbWarning):
        env.step(np.zeros((3, 3)))
    with pytest.warns(ApbWarning):
        same.step(np.zeros((3, 3)))
    assert all(same_bits(each, same.state()[key]) for key, each in env.state().items())


def test_a_single_env_that_blows_up_says_so_and_can_be_reset(silent):
    for name in ("cheetah-vel", "ant-goal"):
        env, fresh = (single(name).unwrapped for _ in range(2))
        env.reset(seed=0)
        env.data.qvel[:] = 1e9
        with pytest.raises(SimulationError, match=f"{name} with its defaults: .*unstable at .* s; reset it"):
            env.step(np.zeros(env.action_space.shape))
        assert same_bits(env.reset(seed=4)[0], fresh.reset(seed=4)[0])
        zero = np.zeros(env.action_space.shape)
        assert same_bits(env.step(zero)[0], fresh.step(zero)[0])


def test_remarks_of_mujoco_go_to_the_log_and_to_the_handler_of_a_user_who_has_one(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)

    def blow_up():
        env = batched("cheetah-vel", 2)
        env.reset(seed=0)
        env._batch.bind("qvel")[0] = 1e9
        with pytest.warns(ApbWarning):
            env.step(np.zeros((2, 6)))

    with caplog.at_level(logging.DEBUG, logger="apb"):
        blow_up()
    assert "simulation is unstable" in caplog.text
    remarks = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(remarks.append)
    try:
        blow_up()
        assert len(remarks) == 1
        remarks.clear()
        env = TaskEnv("hopper-mass")
        env.reset(seed=0)
        env.data.qpos[:] = np.nan
        with pytest.raises(SimulationError):
            env.step(np.zeros(3))
        assert len(remarks) == 1
    finally:
        mujoco.set_mju_user_warning(before)
    assert not any(tmp_path.iterdir())


def test_remarks_on_masses_come_to_the_log_from_the_making_of_envs_and_from_resets_too(silent, monkeypatch, caplog):
    def weightless(self, parameters):
        names = ("body_mass", "body_inertia", "dof_armature")
        return {name: np.zeros((len(parameters["velocity"]), *getattr(self.model, name).shape)) for name in names}

    changed = {"outputs": ("cvel",), "model_fields": weightless}
    monkeypatch.setitem(FAMILIES, "cheetah-vel", type("CheetahVel", (CheetahVel,), changed))
    for make in (lambda: BatchedEnv("cheetah-vel", 2, num_threads=1), lambda: TaskEnv("cheetah-vel")):
        for use in (make, make().reset):
            caplog.clear()
            with caplog.at_level(logging.DEBUG, logger="apb"):
                use()
            assert "too close to singular" in caplog.text
