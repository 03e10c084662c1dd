"""The study of FLAP: a cell is what `adapt` does, its table is what NumPy makes of the raw files, and a trial is no
result."""

import json

import apb
import numpy as np
import pytest
from documentation import ROOT
from flap_runs import drawn_backbone

SPLIT = "cheetah-vel/mier-hard"


@pytest.fixture
def study(monkeypatch, tmp_path):
    """`benchmarks.science.flap` and its report, whose results are in a folder of the test's own."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)
    from benchmarks.science import flap, flap_report, flap_variants

    for module in (flap, flap_report, flap_variants):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "flap")
    flap.report = flap_report
    flap.variants = flap_variants
    return flap


def write_cell(study, cell, returns, scale=1.0):
    """A raw file: returns (M, T) of M tasks at the budgets."""
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    told = {f"task {n}": dict(zip(map(str, study.BUDGETS), row, strict=True)) for n, row in enumerate(returns.tolist())}
    header = {"split": cell.split, "list": cell.part, "method": cell.method, "seed": cell.seed, "scale": scale}
    facts = {"commit": "c", "package": "p", "system": {}}
    cell.file.write_text(json.dumps(header | facts | {"returns": told, "runs": []}))


@pytest.fixture
def written(study):
    """Raw files of three seeds of two methods: (method, seed) -> returns (M, T)."""
    drawn = np.random.default_rng(0)
    found = {(method, seed): drawn.normal(-100, 30, (5, 4)) for method in ("flap", "nearest") for seed in range(3)}
    for (method, seed), returns in found.items():
        write_cell(study, study.Cell(SPLIT, "ood", method, seed), returns)
    return found


def test_a_cell_of_the_table_is_the_number_that_numpy_makes_of_the_raw_files(study, written):
    lines = study.report.table(study.report.read_raw()[0])
    rows = {cells[1]: cells for cells in ([each.strip() for each in line.split("|")[1:-1]] for line in lines)}
    for method in ("flap", "nearest"):
        means = np.array([written[method, seed].mean(axis=0) for seed in range(3)])
        expected = [f"{np.mean(each):,.0f} ({each.min():,.0f}, {each.max():,.0f})" for each in means.T]
        assert rows[study.METHODS[method].label][2:] == ["3", *expected]
    assert rows[study.METHODS["random"].label][2:4] == ["0", "not run"]


def test_how_likely_flap_is_ahead_is_the_share_of_pairs_of_runs_on_the_same_task(study, written):
    (line,) = [line for line in study.report.improvements(study.report.read_raw()[0]) if "ood" in line]
    own, others = (np.array([written[method, seed] for seed in range(3)]) for method in ("flap", "nearest"))
    expected = (own[:, None] > others[None]).mean(axis=(0, 1, 2))
    assert [cell.split()[0] for cell in line.split("|")[4:-1]] == [f"{share:.2f}" for share in expected]


def test_a_trial_of_the_script_is_told_to_be_no_result(study, written):
    page = "\n".join(study.report.page(*study.report.read_raw()))
    assert "no result" not in page
    write_cell(study, study.Cell(SPLIT, "ood", "random", 0), np.zeros((5, 4)), scale=0.1)
    assert "no result" in "\n".join(study.report.page(*study.report.read_raw()))


def test_a_cell_is_what_adapt_does_on_five_tasks_of_the_list(study, tmp_path):
    drawn_backbone().save_pretrained(tmp_path / "flap-model")
    models = {"flap": str(tmp_path / "flap-model"), "apb": "cheetah-vel"}
    cell = study.Cell(SPLIT, "test", "flap", 1)
    study.run_cell(cell, models, tmp_path / "runs", 0.005)
    raw = json.loads(cell.file.read_text())
    assert list(raw["returns"]) == [f"{SPLIT}/test:{n}" for n in (0, 7, 14, 22, 29)]
    options = {"n_eval_episodes": study.EVAL_EPISODES, "eval_freq": 50, "total_timesteps": 50, "seed": 1}
    expected = apb.adapt(cell.tasks[2], models["flap"], method="flap", **options).evaluations
    found = raw["returns"][f"{SPLIT}/test:14"]
    assert sorted(map(int, found)) == [0, 1, 5, 50]
    assert [found["0"], found["50"]] == [record["eval/mean_reward"] for record in expected]
    assert [run["predicted_start"]["transitions"] for run in raw["runs"]] == [[1] * 5, [5] * 5, [50] * 5]


def test_times_that_were_not_reached_are_bounds(study):
    row = {"task": "t", "return": -50.0, "flap": 0.5, "prediction": 0.001}
    row |= {
        "nearest": {"steps": 0, "seconds": 0.4, "best": -40.0},
        "scratch": {"steps": 400, "seconds": 5.0, "best": -49},
    }
    row |= {"random": {"steps": None, "seconds": 20.0, "best": -60.0}}
    *_, line = study.report.speeds({"tasks": [row]})
    assert "reached before anything is learned" in line
    assert "400 steps, 5.00 s, 10.0 times" in line
    assert "not reached (best -60): > 20.00 s, > 40.0 times" in line
    nearest, scratch, random = study.report.verdict({"tasks": [row]})
    assert "8 times on 0 of 1 tasks" in nearest
    assert "reached before anything was learned on 1" in nearest
    assert "8 times on 1 of 1 tasks" in scratch
    assert "not reached within the budget on 1" in random


def test_the_page_of_variants_has_the_means_and_their_differences_to_the_default(study):
    names, drawn = list(study.variants.VARIANTS), np.random.default_rng(1)
    returns = {name: {str(n): drawn.normal(-80, 9, 30).tolist() for n in study.variants.TRANSITIONS} for name in names}
    others = {name: drawn.normal(-90, 9, 30).tolist() for name in (study.variants.MEAN, study.variants.NEAREST)}
    study.variants.FOLDER.mkdir()
    told = {"split": SPLIT, "total_timesteps": 1_000_000, "returns": returns, "others": others}
    (study.variants.FOLDER / "variants-a.json").write_text(json.dumps(told))
    lines = [line for line in study.variants.page() if line.startswith(f"| {names[1]} ")]
    (cells,) = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert cells[1:-1] == [f"{np.mean(each):,.1f}" for each in returns[names[1]].values()]
    less = np.subtract(returns[names[1]]["200"], returns[names[0]]["200"])
    assert cells[-1].startswith(f"{less.mean():+,.1f} [")


def test_the_committed_pages_are_what_the_raw_files_make(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)
    from benchmarks.science import flap_report, flap_variants

    page = flap_report.FOLDER / "README.md"
    if page.exists():
        assert page.read_text() == "\n".join(flap_report.page(*flap_report.read_raw()))
        assert "no result" not in page.read_text()
    variants = flap_variants.FOLDER / flap_variants.PAGE
    if variants.exists():
        assert variants.read_text() == "\n".join(flap_variants.page())
