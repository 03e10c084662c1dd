"""The numbers on a results page are what its raw files say, and the test behind its p is exact."""

import dataclasses
import json

import numpy as np
import pytest
from apb.backbone import Backbone
from apb.cli import adapt
from apb.cli.parsing import parse
from apb.environments import EnvSource
from apb.settings import AdaptSettings
from apb.shipped import shipped
from documentation import ROOT

BUDGETS = {"HalfCheetah-v5": 100_000, "Hopper-v5": 50_000, "Walker2d-v5": 50_000}
METHODS = {"b-action": "APB, reading B, action noise", "td3": "plain TD3, 1,000 random steps"}


@pytest.fixture
def report(monkeypatch):
    """`benchmarks.science.report`, which is no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)
    from benchmarks.science import report

    return report


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        ([1, 2], [3, 4], 2 / 6),
        ([1, 3], [2, 4], 4 / 6),
        ([1, 4], [2, 3], 6 / 6),
        ([4, 5, 6], [1, 2, 3], 2 / 20),
        ([10], [1, 2, 3], 1 / 4),  # the differences are 8, 4, 8/3 and 4/3
        ([2], [1, 3, 10], 3 / 4),
        ([0.1, 0.1], [0.1, 0.1, 0.1], 1),
    ],
)
def test_p_is_the_share_of_all_deals_that_differ_at_least_as_much(report, one, other, p):
    one, other = (np.array(scores, dtype=np.float64) for scores in (one, other))
    assert report.permutation_p(one, other) == pytest.approx(p)
    assert report.permutation_p(other, one) == pytest.approx(p)
    assert report.permutation_p(1e5 - one, 1e5 - other) == pytest.approx(p)


def middle(scores):
    """Of five scores, the mean of the three in the middle, as a cell shows it."""
    assert len(scores) == 5
    return f"{np.sort(scores)[1:4].mean():,.0f}"


def cells_of(env, method):
    """Cells of the random-backbone table by their heads, from the raw files by NumPy alone."""
    found = {"10,000": [], "30,000": [], "50,000": [], "mean over the budget": [], "last five": [], "new episodes": []}
    for seed in range(5):
        path = ROOT / "docs" / "results" / "raw" / f"{env}-{method}-{seed}.jsonl"
        header, *records = map(json.loads, path.read_text().splitlines())
        curve = {record["timesteps"]: np.mean(record["returns"]) for record in records}
        means = np.array([curve[timestep] for timestep in range(0, BUDGETS[env] + 1, 5_000)])
        for timestep in (10_000, 30_000, 50_000):
            found[f"{timestep:,}"].append(curve[timestep])
        found["mean over the budget"].append(((means[1:] + means[:-1]) / 2).mean())
        found["last five"].append(means[-5:].mean())
        found["new episodes"].append(np.mean(header["final_returns"]))
        longer = header["total_timesteps"] > BUDGETS[env]
    return {head: middle(scores) for head, scores in found.items()} | ({"new episodes": "-"} if longer else {})


@pytest.mark.parametrize("env", BUDGETS)
def test_a_cell_of_a_results_page_is_the_number_that_numpy_makes_of_the_raw_files(report, env):
    study = dataclasses.replace(
        report.STUDIES["random-backbone"], budgets={env: BUDGETS[env]}, methods=tuple(METHODS), published={}
    )
    curves = report.read_curves("random-backbone")
    lines = report.table(study, {(env, method): curves[env, method] for method in METHODS})
    page = (ROOT / "docs" / "results" / "random-backbone" / "README.md").read_text().splitlines()
    assert set(lines) <= set(page)
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    for row, (method, label) in zip(rows, METHODS.items(), strict=True):
        assert row[:3] == [env, label, "5"]
        shown = {name: cell.split(" ")[0] for name, cell in zip(head, row, strict=True)}
        expected = cells_of(env, method)
        assert {name: shown[name] for name in expected} == expected


def test_every_page_is_what_its_command_makes_of_the_raw_files(report):
    for name, study in report.STUDIES.items():
        if name == "task-scales":  # it has a page of another form
            continue
        page = ROOT / "docs" / "results" / name / "README.md"
        missing = [cell for cell in study.cells() if not report.read_raw(cell)]
        if len(missing) == len(list(study.cells())):
            assert not page.exists()
            continue
        assert set(report.table(study, report.read_curves(name))) <= set(page.read_text().splitlines()), name
        assert ("Not finished" in page.read_text()) == bool(missing)
        assert "\n".join(report.commands(study)) in page.read_text(), name


def test_the_page_of_scales_is_what_its_command_makes_of_the_returns_and_the_raw_files(report):
    from benchmarks.science import scales

    returns = json.loads(scales.RETURNS.read_text())
    curves = {env: curve for (env, _), curve in report.read_curves(scales.STUDY).items()}
    found = scales.scales(returns, curves)
    text = (ROOT / "docs" / "results" / scales.STUDY / "README.md").read_text()
    page = text.splitlines()
    assert set(scales.table(returns, found)) <= set(page)
    assert "\n".join(report.commands(scales.STUDIES[scales.STUDY])) in text
    assert json.loads(scales.FILE.read_text())["scales"] == found
    missing = len(scales.SCALED_TASKS) - len(found)
    assert (f"**Not finished: {missing} of {len(scales.SCALED_TASKS)} tasks.**" in page) == (missing > 0)


def test_the_largest_difference_of_the_exact_case_is_told_on_both_pages():
    results = ROOT / "docs" / "results"
    page = (results / "permuted-state" / "exact.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| cheetah")]
    largest = max(abs(float(original) - float(permuted)) for _, _, original, permuted, _, _ in rows)
    assert f"up to {largest:.3f}:" in page
    assert f"at most {largest:.3f} in returns" in " ".join((results / "README.md").read_text().split())


def test_how_likely_a_method_is_ahead_is_what_numpy_makes_of_the_raw_files(report):
    curves = report.read_curves("random-backbone")
    head, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in report.improvements(report.STUDIES["random-backbone"], curves)
        if line.startswith("|")
    ]
    at, short = head.index("10,000"), head.index("100,000")
    for row in rows:
        method = next(key for key, each in report.METHODS.items() if each.label == row[0])
        won = []
        for env in BUDGETS:
            own, control = (
                [json.loads(path.read_text().splitlines()[3])["eval/mean_reward"] for path in paths]
                for paths in (
                    [ROOT / "docs" / "results" / "raw" / f"{env}-{each}-{seed}.jsonl" for seed in range(5)]
                    for each in (method, "td3")
                )
            )
            won.append(np.mean([[(a > b) + (a == b) / 2 for a in own] for b in control]))
        assert row[at].split(" ")[0] == f"{np.mean(won):.2f}"
        # Only one env has so long a budget.
        own, control = (curves["HalfCheetah-v5", each].at(100_000) for each in (method, "td3"))
        assert row[short].split(" ")[0] == f"{np.mean(own[:, None] > control):.2f}"


OLDEST = {f"HalfCheetah-v5-b-action-{seed}" for seed in range(3)}
"""Runs whose backbone was described in other words, "input_size": "observation", which is the same one."""


def test_every_raw_file_is_of_the_method_and_the_shipped_backbone_that_its_name_tells(report):
    """Files are found by name alone: one from before a method or a backbone was changed would be taken for one of
    now."""
    compared = 0
    for study in report.STUDIES.values():
        for cell in study.cells():
            header = next(iter(report.read_raw(cell)), None)
            if header is None or cell.name in OLDEST:
                continue
            method = report.METHODS[cell.method]
            # The oldest headers have the settings only.
            assert header.get("options", cell.options) == cell.options, cell.name
            assert header.get("backbone", method.backbone) == method.backbone, cell.name
            for option, value in cell.options.items():
                assert header.get("settings", {}).get(option, value) == value, cell.name
            if cell.pretrained in shipped():
                # The hash is of the end: that of a frozen one is what it was.
                kept = header["backbone_hash"] == Backbone.from_pretrained(cell.pretrained).hash
                assert kept != method.options.get("trainable_backbone", False), cell.name
                compared += 1
    assert compared


def test_the_command_of_a_method_begins_the_run_that_its_number_is_of(report):
    """Its env, backbone and options, as the verb reads them."""
    from benchmarks.science.cell import backbone_of
    from benchmarks.science.commands import command_of

    checked = set()
    for study in report.STUDIES.values():
        for cell in study.cells():
            method = report.METHODS[cell.method]
            kept = cell.pretrained is None or cell.pretrained in shipped()
            if method.peer != "apb" or not kept or (cell.method, cell.seed) in checked:
                continue
            _, verb, *arguments = command_of(cell)
            asked = parse(adapt.Options, verb, arguments, "")
            source = EnvSource.resolve(asked.env)
            chosen = asked.backbone_named(asked.backbone or "random", asked.seed, source)
            backbone = Backbone.from_pretrained(chosen) if isinstance(chosen, str) else chosen
            made = backbone_of(cell, method)
            assert made is None or backbone.hash == made.hash, cell.name
            options = {"total_timesteps": cell.total_timesteps, "seed": cell.seed, **cell.options}
            assert asked.prior == options.pop("prior", None), cell.name
            given = {field.name: getattr(asked, field.name) for field in dataclasses.fields(AdaptSettings)}
            given["adapter_init"] = given["adapter_init"] or AdaptSettings.adapter_init
            assert AdaptSettings(**given) == AdaptSettings(**options), cell.name
            assert asked.env == cell.env
            checked.add((cell.method, cell.seed))
    assert {method for method, _ in checked} >= {"meta", "meta-nearest", "random", "td3", "b-action-orthogonal"}
