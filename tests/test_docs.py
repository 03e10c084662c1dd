"""The promise that the documentation is true: its code runs, its links lead somewhere, its defaults are the code's."""

import inspect
import re
import subprocess
import sys
import tomllib
from dataclasses import fields, replace

import apb
import pytest
from apb.cli import VERBS
from apb.cli import _module as verb_module
from apb.cli.parsing import parse
from apb.cloning.settings import CloneSettings
from apb.environments import EnvSource
from apb.meta_training.settings import MetaSettings
from apb.networks import CRITIC_HIDDEN_SIZES
from apb.normalization import DEFAULT_CLIP, DEFAULT_EPSILON
from apb.pretraining.settings import PretrainSettings
from apb.settings import AdaptSettings, LearningSettings, SeedsSettings
from apb.strategies import action_distance, adaptive_param_noise, param_noise
from documentation import PAGES, ROOT, anchors, blocks, commands, links, name, table_rows

README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXTS = {page: page.read_text() for page in PAGES}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def python_blocks(page):
    return [block for block in blocks(TEXTS[page]) if block.language in ("python", "py")]


def run_blocks(page, chosen, folder, monkeypatch):
    """Run the blocks in order, in one namespace and an empty folder, with tracebacks that show lines of the page."""
    monkeypatch.chdir(folder)
    namespace = {"__name__": "__main__"}
    for block in chosen:
        padded = "\n" * (block.line - 1) + block.text
        exec(compile(padded, str(page), "exec"), namespace)


def shortened(block):
    """The block with the budget of a test where it has a long one; all else is run as the page has it."""
    short, replaced = re.subn(r"\btotal_timesteps=[\d_]+", "total_timesteps=300", block.text)
    assert replaced, f"the slow block in line {block.line} has no total_timesteps that a test could make small"
    return replace(block, text=short)


def pages_with_slow_blocks():
    return [page for page in PAGES if any(block.slow for block in python_blocks(page))]


@pytest.fixture(autouse=True)
def _leave_no_strategy_or_objective_behind(monkeypatch):
    from apb import intrinsic, strategies

    registries = strategies.STRATEGIES, intrinsic.OBJECTIVES
    before = [dict(registry) for registry in registries]
    yield
    for registry, own in zip(registries, before, strict=True):
        registry.clear()
        registry.update(own)


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name)
def test_python_blocks_run_page_by_page(page, tmp_path, monkeypatch, curves):
    found = python_blocks(page)
    run_blocks(page, [shortened(block) if block.slow else block for block in found], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with_slow_blocks(), ids=name)
def test_long_python_blocks_run_with_the_budget_that_they_have(page, tmp_path, monkeypatch, curves):
    run_blocks(page, python_blocks(page), tmp_path, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_and_anchor_leads_somewhere(page):
    for link in links(TEXTS[page]):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_the_map_leads_to_every_page_and_example():
    targets = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(TEXTS[ROOT / "docs" / "index.md"])}
    own = [page for page in PAGES if page.parent == ROOT / "docs" and page.name != "index.md"]
    assert set(own) | set(EXAMPLES) <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_has_a_verb_and_options_that_exist(page):
    for words in commands(TEXTS[page]):
        if words[0] != "apb" or words[1:] in (["--help"], ["VERB", "--help"]):
            continue
        assert words[1] in VERBS, words
        arguments = [word for word in words[2:] if word != "--help"]
        parse(verb_module(words[1]).Options, words[1], arguments, "")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_names_scripts_and_extras_that_exist(page):
    extras = PROJECT["project"]["optional-dependencies"].keys()
    for words in commands(TEXTS[page]):
        if words[0].startswith(".ci/"):
            assert (ROOT / words[0]).is_file(), words
        if words[0] == "pip":
            asked = [extra for word in words for extra in re.findall(r"^\.\[(.*)\]$", word)]
            assert {extra for group in asked for extra in group.split(",")} <= extras, words
        if words[:2] == ["python", "-m"] and words[2].split(".")[0] == "benchmarks":
            module = ROOT / words[2].replace(".", "/")
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), words
        if words[:1] == ["python"] and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), words


def test_the_build_requirements_that_pages_name_are_those_of_the_build():
    named = [words for page in PAGES for words in commands(TEXTS[page]) if "scikit-build-core>=1" in words]
    assert named
    for words in named:
        assert set(PROJECT["build-system"]["requires"]) <= set(words)


def test_the_readme_has_the_two_commands_and_ci_runs_the_second():
    found = commands(README)
    assert found[:2] == [["pip", "install", "."], ["apb", "adapt"]]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    for words in found[2:4]:
        command = " ".join(f'"{word}"' if "[" in word else word for word in words)
        assert any(line == command or line.startswith(f"{command} -") for line in script), command
    assert found[2:4] == [["pip", "install", ".[test]"], ["pytest", "-n", "auto"]]


def test_the_version_is_the_same_wherever_it_is_written():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [PROJECT["project"]["version"]]
    assert apb.__version__ == PROJECT["project"]["version"]


def test_the_readme_example_is_about_twenty_lines():
    (block,) = (block for block in blocks(README) if block.language == "python")
    assert len(block.text.splitlines()) <= 24


@pytest.mark.parametrize(
    ("page", "settings", "others"),
    [
        ("algorithm", AdaptSettings, None),
        ("meta-training", MetaSettings, LearningSettings),
        ("cloning", CloneSettings, None),
        ("pretraining", PretrainSettings, SeedsSettings),
    ],
    ids=str,
)
def test_every_option_in_the_table_of_defaults_has_that_default(page, settings, others):
    """Where a page leaves options to another one, those are of `others` and have its defaults."""
    options = {field.name for field in fields(settings)}
    defaults = settings().to_json()
    checked = set()
    if others is not None:
        elsewhere = AdaptSettings().to_json()
        checked = {field.name for field in fields(others) if elsewhere[field.name] == defaults[field.name]}
    for names, values, _ in table_rows(TEXTS[ROOT / "docs" / f"{page}.md"], "## Defaults"):
        pairs = zip(names.split(", "), values.split(", "), strict=False)
        for option, value in pairs:
            if option.strip("`") in options:
                assert option == f"`{option.strip('`')}`"
                found = defaults[option.strip("`")]
                number = value.replace(",", "")
                word = value.strip('"') if isinstance(found, str) else number
                expected = {"none": None, "off": False, "on": True}.get(word, word)
                expected = float(word) if word[0].isdigit() else expected
                assert found == expected, option
                checked.add(option.strip("`"))
    assert checked == options


def test_the_constants_in_the_table_of_defaults_are_those_of_the_code():
    rows = {row[0]: row[1] for row in table_rows(TEXTS[ROOT / "docs" / "algorithm.md"], "## Defaults")}
    told = [float(number) for number in rows["variance rate η, damping, probe rows, largest scale c"].split(", ")]
    assert told == [
        param_noise.VARIANCE_RATE,
        param_noise.DAMPING,
        action_distance.PROBE_ROWS,
        action_distance.MAX_SCALE,
    ]
    adaptation = [adaptive_param_noise.FACTOR, adaptive_param_noise.ADAPTED_EVERY]
    assert rows["`adaptive_param_noise`: factor, steps between measurements"] == ", ".join(map(str, adaptation))
    beginning = [adaptive_param_noise.FIRST_COPIES, adaptive_param_noise.FIRST_GUESS]
    assert rows["`adaptive_param_noise`: first draws, first guess"] == ", ".join(map(str, beginning))
    told = [float(number) for number in rows["observation normalisation: clip C, ε"].split(", ")]
    assert told == [DEFAULT_CLIP, DEFAULT_EPSILON]
    assert rows["critic"].startswith(", ".join(map(str, CRITIC_HIDDEN_SIZES)))


def test_the_equations_of_the_algorithm_are_numbered_without_a_gap():
    numbers = re.findall(r"^ {4,}.* \((\d+)\)$", TEXTS[ROOT / "docs" / "algorithm.md"], re.MULTILINE)
    assert sorted(map(int, numbers)) == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 17


def test_the_page_of_tasks_says_how_they_are_drawn_and_what_programs_get_of_policies():
    drawing = inspect.signature(apb.tasks.plot_split).parameters.values()
    marks = [f"{each.name}=" for each in drawing if each.kind is each.KEYWORD_ONLY]
    for words in (*marks, "`--plot` alone", "tasks-cheetah-vel-mier-hard-1.png", "`env_kwargs`"):
        assert words in TEXTS[ROOT / "docs" / "tasks.md"]
    for words in (*marks, "--plot [FILE]", "`env_kwargs`"):
        assert words in TEXTS[ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("public", apb.__all__)
def test_every_public_name_has_a_docstring_and_a_place_in_the_docs(public):
    if public != "__version__":
        assert getattr(apb, public).__doc__
    text = "\n".join(TEXTS[page] for page in PAGES if page.parent == ROOT / "docs")
    assert re.search(rf"\bapb\.{public}\b", text)


def test_the_list_of_public_names_is_complete():
    text = TEXTS[ROOT / "docs" / "concepts.md"].partition("\nThe public names are ")[2]
    errors = [row[0] for row in table_rows(TEXTS[ROOT / "docs" / "troubleshooting.md"], "## Errors")]
    listed = set(re.findall(r"`apb\.(\w+)`", " ".join([text, *errors, "`apb.ApbError`"])))
    assert listed == set(apb.__all__)


FEW = ["--total-timesteps", "220", "--learning-starts", "200"]
ARGUMENTS = {
    "adapt_and_deploy": ["--env", "Pendulum-v1", *FEW, "--strategy", "param_noise"],
    "callbacks": [*FEW, "--eval-freq", "110", "--reward-threshold=1"],
    "compare_with_control": ["--env", "Pendulum-v1", *FEW, "--n-seeds", "2"],
    "new_task_family": ["--rows", "4", "--steps", "20"],
    "policy_without_torch": ["my-policy", "--steps", "250"],
}
SAID = {
    "adapt_and_deploy": "one episode with the policy in my-policy/",
    "callbacks": "stopped by budget after 220 steps",
    "compare_with_control": "learning curves: comparison/curves.png",
    "new_task_family": "4 tasks in one batch, 20 steps each",
    "policy_without_torch": "torch loaded: False",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(example, tmp_path):
    if example.stem == "policy_without_torch":
        backbone = apb.Backbone.random()
        adapter = apb.Adapter.initial(backbone, 3, 1)
        env = EnvSource.resolve("Pendulum-v1")
        metadata = {"env_id": "Pendulum-v1", "env_kwargs": {}}
        policy = apb.Policy(backbone, adapter, env.observation_space, env.action_space, metadata=metadata)
        policy.save_pretrained(tmp_path / "my-policy")
    command = [sys.executable, "-W", "error::ResourceWarning", example, *ARGUMENTS[example.stem]]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert SAID[example.stem] in finished.stdout
