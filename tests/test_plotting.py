"""What learning curves promise: they show the numbers of the run folders, and say what they show."""

import json

import apb.plotting
import numpy as np
import pytest
from apb.errors import ApbError, ConfigError, RunFolderError
from apb.plotting import LearningCurve, plot_runs
from cli_runs import write_run
from matplotlib.axes import Axes

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def drawn(monkeypatch):
    """What the pictures of a test hold: (x, y) of each line and band by label, and the texts of the axes."""
    lines, bands, texts = [], [], {}
    plot, fill, legend = Axes.plot, Axes.fill_between, Axes.legend

    def record_plot(axes, x, y, **options):
        lines.append((options.get("label"), np.asarray(x), np.asarray(y)))
        return plot(axes, x, y, **options)

    def record_fill(axes, x, low, high, **options):
        bands.append((np.asarray(low), np.asarray(high)))
        return fill(axes, x, low, high, **options)

    def record_legend(axes, **options):
        texts["legend"] = [handle.get_label() for handle in options["handles"]]
        texts.setdefault("panels", []).append((axes.get_title(), texts["legend"]))
        texts["legend title"] = options["title"]
        texts["title"], texts["x"], texts["y"] = axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
        return legend(axes, **options)

    monkeypatch.setattr(Axes, "plot", record_plot)
    monkeypatch.setattr(Axes, "fill_between", record_fill)
    monkeypatch.setattr(Axes, "legend", record_legend)
    return lines, bands, texts


@pytest.fixture
def figure(monkeypatch):
    """A function that returns the last picture of a test."""
    figures = []
    save = apb.plotting.save_figure

    def record_save(figure, target):
        figures.append(figure)
        return save(figure, target)

    monkeypatch.setattr(apb.plotting, "save_figure", record_save)
    return lambda: figures[-1]


def test_a_curve_holds_mean_and_deviation_of_every_evaluation(tmp_path):
    returns = GENERATOR.normal(size=(4, 3, 5))
    curve = LearningCurve.read(write_run(tmp_path / "run", returns, seeds=(7, 8, 9)))[0]
    assert curve.seeds == (7, 8, 9)
    assert curve.timesteps.tolist() == [0, 1000, 2000, 3000]
    np.testing.assert_allclose(curve.returns, returns.mean(axis=2))
    np.testing.assert_allclose(curve.spreads, returns.std(axis=2))
    assert curve.episodes == 5


def test_an_evaluation_that_a_kill_left_half_written_is_not_drawn(tmp_path):
    run = write_run(tmp_path / "run", GENERATOR.normal(size=(3, 2, 5)), seeds=(0, 1))
    path = run / "evaluations.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert LearningCurve.read(run)[0].timesteps.tolist() == [0, 1000]


def test_one_seed_is_drawn_with_the_deviation_over_its_episodes(tmp_path, drawn):
    returns = GENERATOR.normal(size=(4, 1, 5))
    plot_runs([write_run(tmp_path / "run", returns)], tmp_path / "a.png")
    lines, bands, texts = drawn
    ((label, x, y),) = lines
    mean, std = returns.mean(axis=2)[:, 0], returns.std(axis=2)[:, 0]
    assert label == "seed 0 ± standard deviation over 5 episodes"
    np.testing.assert_allclose((x, y), (np.arange(4) * 1000, mean))
    np.testing.assert_allclose(bands[0], (mean - std, mean + std))
    assert texts["legend"] == [label]


def test_several_seeds_are_drawn_thin_with_their_interquartile_mean_and_interval(tmp_path, drawn):
    returns = GENERATOR.normal(size=(3, 5, 2))
    plot_runs([write_run(tmp_path / "run", returns, seeds=range(5))], tmp_path / "a.png")
    lines, bands, texts = drawn
    seeds = returns.mean(axis=2)
    np.testing.assert_allclose(lines[0][2], seeds)
    assert lines[1][0] == "interquartile mean of 5 seeds, 95 % bootstrap interval"
    np.testing.assert_allclose(lines[1][2], np.sort(seeds, axis=1)[:, 1:4].mean(axis=1))
    (low, high) = bands[0]
    assert (low <= lines[1][2]).all()
    assert (lines[1][2] <= high).all()
    assert (seeds.min(axis=1) <= low).all()
    assert (high <= seeds.max(axis=1)).all()
    assert texts["legend"] == [lines[1][0], "single seeds"]


def test_the_picture_says_env_strategy_and_what_the_axes_are(tmp_path, drawn):
    run = write_run(tmp_path / "run", GENERATOR.normal(size=(3, 1, 2)), env="Hopper-v5", strategy="param_noise")
    plot_runs([run], tmp_path / "a.png")
    texts = drawn[2]
    assert texts["title"] == "Hopper-v5, param_noise"
    assert "timesteps" in texts["x"]
    assert "return per episode" in texts["y"]


def test_a_legend_says_no_strategy_that_the_title_says_and_leaves_its_panel_the_width(tmp_path, drawn):
    long = "-".join(["an-env-with-a-long-name"] * 4)
    runs = [
        write_run(tmp_path / f"{long}-1", GENERATOR.normal(size=(3, 1, 2)), env="A-v0", strategy="param_noise"),
        write_run(tmp_path / f"{long}-2", GENERATOR.normal(size=(3, 2, 2)), seeds=(4, 5), env="B-v0"),
    ]
    plot_runs(runs, tmp_path / "a.png")
    (title, (label, *_)), (other, _) = drawn[2]["panels"]
    assert (title, other) == ("A-v0, param_noise", "B-v0, action_noise")
    assert max(map(len, label.split("\n"))) <= 80
    assert label.replace("\n", "") == f"{long}-1, seed 0 ± standard deviation over 2 episodes"


def test_several_runs_share_a_picture_and_the_legend_tells_them_apart(tmp_path, drawn):
    runs = [
        write_run(tmp_path / "one", GENERATOR.normal(size=(3, 1, 2)), strategy="param_noise"),
        write_run(tmp_path / "two", GENERATOR.normal(size=(3, 2, 2)), seeds=(4, 5)),
    ]
    plot_runs(runs, tmp_path / "a.png")
    texts = drawn[2]
    assert texts["title"] == "Env-v0"
    assert texts["legend"][:2] == [
        "one, param_noise, seed 0 ± standard deviation over 2 episodes",
        "two, action_noise, mean of 2 seeds, range",
    ]


def test_runs_are_called_what_they_are_said_to_be_and_what_all_have_in_common_is_said_once(tmp_path, drawn):
    runs = [write_run(tmp_path / name, GENERATOR.normal(size=(3, 1, 5))) for name in ("a", "b")]
    plot_runs(runs, tmp_path / "a.png", labels=["meta-trained", "random"])
    assert drawn[2]["legend"] == ["meta-trained", "random"]
    assert drawn[2]["legend title"] == "seed 0 ± standard deviation over 5 episodes"
    with pytest.raises(ConfigError, match="there are 1 labels of 2 runs; expected one of each"):
        plot_runs(runs, tmp_path / "a.png", labels=["meta-trained"])


def test_runs_of_one_name_are_called_by_the_shortest_ends_of_their_paths_that_differ(tmp_path, drawn):
    names = ["a/x/run", "b/x/run", "b/run", "run", "other"]
    plot_runs([write_run(tmp_path / name, np.zeros((2, 1, 2))) for name in names], tmp_path / "a.png")
    called = [label.partition(", ")[0] for label in drawn[2]["legend"]]
    assert called == ["a/x/run", "b/x/run", "b/run", f"{tmp_path.name}/run", "other"]


def test_a_run_that_is_given_twice_is_drawn_once(tmp_path, drawn):
    run = write_run(tmp_path / "run", np.zeros((2, 1, 2)))
    (tmp_path / "link").symlink_to(run)
    plot_runs([run, tmp_path / "run" / ".." / "run", tmp_path / "link"], tmp_path / "a.png")
    assert drawn[2]["legend"] == ["seed 0 ± standard deviation over 2 episodes"]


def test_each_env_has_a_panel_of_its_own(tmp_path, drawn):
    envs = {"a": "Hopper-v5", "b": "Pendulum-v1", "c": "Hopper-v5"}
    runs = [write_run(tmp_path / name, GENERATOR.normal(size=(2, 1, 3)), env=env) for name, env in envs.items()]
    plot_runs(runs, tmp_path / "a.png")
    named = [(title, [label[0] for label in legend]) for title, legend in drawn[2]["panels"]]
    assert named == [("Hopper-v5, action_noise", ["a", "c"]), ("Pendulum-v1, action_noise", ["b"])]


def write_tasks(folder, number):
    """A run of so many tasks, with two evaluations of each."""
    write_run(folder, np.zeros((2, number, 2)), seeds=range(number))
    path = folder / "evaluations.jsonl"
    records = map(json.loads, path.read_text().splitlines())
    path.write_text("".join(json.dumps(each | {"task": f"task:{each['seed']}"}) + "\n" for each in records))
    return folder


def test_of_a_hundred_tasks_twenty_have_panels_evenly_spread_and_a_title_says_so(tmp_path, drawn, figure):
    plot_runs([write_tasks(tmp_path / "run", 100)], tmp_path / "a.png")
    assert [title for title, _ in drawn[2]["panels"]] == [f"task:{number}, action_noise" for number in range(0, 100, 5)]
    assert figure().get_suptitle() == "20 of 100 tasks, evenly spread"
    assert max(figure().get_size_inches() * figure().dpi) < 3000


def test_of_twenty_tasks_all_have_panels(tmp_path, drawn, figure):
    plot_runs([write_tasks(tmp_path / "run", 20)], tmp_path / "a.png")
    assert [title for title, _ in drawn[2]["panels"]] == [f"task:{number}, action_noise" for number in range(20)]
    assert figure().get_suptitle() == ""


@pytest.mark.parametrize("evaluations", [1, 2])
def test_the_timesteps_of_a_run_that_was_stopped_early_are_told_once_each(tmp_path, figure, evaluations):
    plot_runs([write_run(tmp_path / "run", GENERATOR.normal(size=(evaluations, 1, 2)), every=1)], tmp_path / "a.png")
    (axes,) = figure().axes
    low, high = axes.get_xlim()
    told = [label.get_text() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert told == ["0", "1"][:evaluations]


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_ending_decides_the_format(tmp_path, ending, magic):
    run = write_run(tmp_path / "run", GENERATOR.normal(size=(1, 1, 2)))
    assert plot_runs([run], tmp_path / f"a.{ending}").read_bytes().startswith(magic)


def test_the_same_run_gives_the_same_picture(tmp_path):
    run = write_run(tmp_path / "run", GENERATOR.normal(size=(5, 4, 3)), seeds=range(4))
    pictures = [plot_runs([run], tmp_path / f"{name}.png").read_bytes() for name in "ab"]
    assert pictures[0] == pictures[1]


def test_a_run_without_evaluations_says_so(tmp_path):
    run = write_run(tmp_path / "run", np.empty((0, 1, 2)))
    with pytest.raises(RunFolderError, match=r"no evaluation to plot.*eval_freq"):
        plot_runs([run], tmp_path / "a.png")


@pytest.mark.parametrize(
    ("runs", "name", "error", "words"),
    [
        ([], "a.png", ConfigError, "no run to plot"),
        (["run"], "a.jpg", ConfigError, r"a\.jpg.*\.png, \.svg, \.pdf"),
        (["run"], "a", ConfigError, "not a picture"),
        (["run"], "run/folder.png", ConfigError, r"run/folder\.png' is a folder; expected a new file"),
        (["nowhere"], "a.png", RunFolderError, "nowhere"),
        (["run"], "no/such/folder/a.png", RunFolderError, "cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_explained(tmp_path, monkeypatch, runs, name, error, words):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", GENERATOR.normal(size=(2, 1, 2)))
    (tmp_path / "run" / "folder.png").mkdir()
    with pytest.raises(error, match=words):
        plot_runs(runs, name)
    assert issubclass(error, ApbError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
