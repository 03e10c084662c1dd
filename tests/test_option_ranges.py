"""Every option has a range or a stated kind, in its type alone: what is checked, and what the help tells."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args, get_origin

import pytest
from apb.cli.parsing import _field_docs
from apb.errors import ConfigError
from apb.meta_training.settings import MetaSettings
from apb.pretraining.settings import PretrainSettings
from apb.ranges import Range, ThreadRange, checked, range_of
from apb.settings import AdaptSettings
from cli_runs import call

SETTINGS = (AdaptSettings, MetaSettings, PretrainSettings)
OPTIONS = {field.name: field for settings in SETTINGS for field in fields(settings)}
RANGES = {name: range_of(field) for name, field in OPTIONS.items() if range_of(field) is not None}
NAMES = {"strategy", "device", "learned_layers", "objective", "elements"}
WORDS = {"adapter_init", "extra_action", "predictor_input", "predictor_target"}
FLAGS = {
    "trainable_backbone",
    "normalize_observations",
    "keep_best",
    "replay_on_disk",
    "resample_tasks",
    "layer_predictor",
}


def test_every_option_has_a_docstring_and_a_range_or_is_a_flag_or_a_name():
    assert {name for name, field in OPTIONS.items() if field.type is str} == NAMES
    assert {name for name, field in OPTIONS.items() if get_origin(field.type) is Literal} == WORDS
    assert {name for name, field in OPTIONS.items() if field.type is bool} == FLAGS
    assert RANGES.keys() == OPTIONS.keys() - NAMES - WORDS - FLAGS
    for settings in SETTINGS:
        docs = {name for parent in settings.__mro__ for name in _field_docs(parent)}
        assert docs == {field.name for field in fields(settings)}


def test_an_option_without_a_range_is_not_taken():
    @dataclass
    class Settings:
        warmth: int = 3
        coldness: Annotated[int | None, "some words"] = None

    for field in fields(Settings):
        with pytest.raises(TypeError, match=rf"{field.name}: .* has no range; expected Annotated"):
            checked(field, 3)


@pytest.mark.parametrize("name", [name for name, each in RANGES.items() if not isinstance(each, ThreadRange)])
def test_the_range_in_the_type_is_the_one_that_is_checked(name):
    low, high = RANGES[name].low, RANGES[name].high
    kind = (get_args(get_args(OPTIONS[name].type)[0]) or get_args(OPTIONS[name].type))[0]
    smallest = low + (0.001 if RANGES[name].low_open else 0)
    beside = {"layer_predictor": True} if name.startswith("predictor_") else {}
    for settings in SETTINGS:
        if name not in {field.name for field in fields(settings)}:
            continue
        for value in (smallest, high):
            taken = getattr(settings(**{name: value}, **beside), name)
            assert (type(taken), taken) == (kind, value)
        for value in (low - 1, high + 1, *([low] if RANGES[name].low_open else [])):
            with pytest.raises(ConfigError, match=rf"^{name} = {value} is out of range"):
                settings(**{name: value})


def test_the_help_tells_each_default_and_range(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call(capsys, "adapt", "--help").out.replace("│", " ").split())
    shown = {}
    for part in text.split(" --")[1:]:
        shown.setdefault(part.split()[0].replace("-", "_"), part)
    for field in fields(AdaptSettings):
        if field.name in RANGES:
            assert f"in {RANGES[field.name]})" in shown[field.name], field.name


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(0, 1), "[0, 1]"),
        (Range(0, 1, low_open=True), "(0, 1]"),
        (Range(2, 10_000), "[2, 10,000]"),
        (Range(1, 10**12), "[1, 10^12]"),
        (Range(0, 2**63 - 1), "[0, 2^63 - 1]"),
        (Range(4095, 200_000), "[4,095, 200,000]"),
    ],
)
def test_a_range_is_told_as_in_mathematics(allowed, text):
    assert repr(allowed) == text
