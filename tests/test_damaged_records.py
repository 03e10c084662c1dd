"""Records that somebody damaged are named by file, line and field; none ends in a raw error or costs a result."""

import json
import random
import shutil

import pytest
from adapt_runs import run
from apb import ApbWarning, Callback
from apb.cli import main
from apb.errors import FileFormatError
from apb.runs import read_evaluations
from cli_runs import call, write_run

ODD = [None, True, -1, 2**63, 2**64, 10**400, "x", [], {}, [None], {"a": 1}]


@pytest.fixture
def spoilt(finished, tmp_path):
    """A copy of a finished run, to be damaged."""
    return shutil.copytree(finished, tmp_path / "run")


def put(value, path, new):
    """`value` with another one at `path`."""
    if not path:
        return new
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


def paths(value, prefix=()):
    """The places of all values in a JSON value."""
    yield prefix
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(child, (*prefix, key))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", r"has no 'timesteps'; expected an integer in \[0, 2\^63\)"),
        ('{"timesteps": 1, "wall_time": 1, "stopped_by": "budget"}', "has no 'profile'"),
        ('{"timesteps": 1, "wall_time": null}', "has 'wall_time' = None; expected a number"),
        ("[]", "is not a JSON object"),
    ],
)
def test_a_damaged_result_is_named_by_field_and_written_again_by_a_resume_without_it(spoilt, capsys, text, words):
    final = json.loads((spoilt / "result.json").read_text())["final"]
    (spoilt / "result.json").write_text(text)
    refused = call(capsys, "resume", spoilt)
    assert refused.code == 2
    assert f"{spoilt / 'result.json'} " in refused.err
    assert words.replace("\\", "") in refused.err
    assert "move it away, and `apb resume" in refused.err
    (spoilt / "result.json").unlink()
    assert call(capsys, "resume", spoilt, "--json").json["final"] == final


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"timesteps": 0}', "line 1, has no 'seed'; expected an integer"),
        ('{"timesteps": 0, "seed": [null]}', r"line 1, has 'seed' = \[None\]; expected an integer"),
        ('{"timesteps": 18446744073709551616}', "line 1, has 'timesteps' = 18446744073709551616; expected an integer"),
        ('{"timesteps": 0, "seed": 0, "eval/mean_reward": "x"}', "line 1, has 'eval/mean_reward' = 'x'"),
    ],
)
def test_a_line_that_is_no_evaluation_is_named_by_file_line_and_field(tmp_path, line, words):
    folder = write_run(tmp_path / "run", [[[1.0]]])
    rest = (folder / "evaluations.jsonl").read_text()
    (folder / "evaluations.jsonl").write_text(line + "\n" + rest)
    with pytest.raises(FileFormatError, match=rf"evaluations\.jsonl, {words}.*: mend or remove the line"):
        read_evaluations(folder)


def test_no_odd_value_in_a_record_or_the_configuration_ends_in_a_raw_error(finished, tmp_path, capsys):
    draw = random.Random(0)
    verbs = {"result.json": "resume", "evaluations.jsonl": "plot", "config.json": "resume"}
    for name, verb in verbs.items():
        lines = (finished / name).read_text().splitlines() if name.endswith("l") else [(finished / name).read_text()]
        places = [(number, path) for number, line in enumerate(lines) for path in paths(json.loads(line))]
        for number, path in draw.sample(places, 8):
            spoilt = shutil.copytree(finished, tmp_path / "run", dirs_exist_ok=True)
            value = put(json.loads(lines[number]), path, draw.choice(ODD))
            (spoilt / name).write_text("\n".join([*lines[:number], json.dumps(value), *lines[number + 1 :], ""]))
            assert main([verb, str(spoilt)]) in (0, 2), (name, number, path, value, capsys.readouterr().err)


class Junk(Callback):
    def on_step(self, state):
        if state.timesteps == 50:
            with (state.run_dir / "evaluations.jsonl").open("a") as file:
                file.write("garbage\n")


def test_a_line_that_others_write_into_the_records_does_not_cost_the_result(tmp_path, curves):
    options = {"eval_freq": 30, "n_eval_episodes": 1, "callback": Junk()}
    with pytest.warns(ApbWarning, match=r"evaluations\.jsonl had 1 lines that are no records"):
        result = run(run_dir=tmp_path / "run", **options)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["final"] == [result.final[0].to_json()]
    assert read_evaluations(tmp_path / "run") == list(result.evaluations)
    assert (tmp_path / "run" / "curve.png").is_file()
