"""`parse`: the arguments of a verb into its options: a dataclass whose fields and docstrings say it all."""

import ast
import contextlib
import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from apb.errors import UnknownNameError, usual_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_WIDTH = 100
"""Columns that a description fills at most."""


Options = TypeVar("Options", bound="DataclassInstance")


def parse(options: type[Options], verb: str, arguments: Sequence[str], epilog: str) -> Options:
    """Read the arguments, or leave with a message (`SystemExit`), as after `--help`.

    Args:
        options: A frozen dataclass. Its docstring explains the verb, that of a field the option.
        verb: Its name.
        arguments: What follows the verb.
        epilog: Shown under the verb's description.

    Raises:
        UnknownNameError: an option has another name here, or none.
    """
    _check_names(options, verb, arguments)
    parsed: object = tyro.cli(
        _described(options),
        prog=f"apb {verb}",
        args=arguments,
        description=f"{_filled(inspect.getdoc(options) or '')}\n\n{epilog}",
        registry=_REGISTRY,
    )
    return options(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(options)})


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _integer(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Let `1e5` be an integer, as budgets are often written."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _whole(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        with contextlib.suppress(ValueError):
            if (number := float(word)).is_integer():
                return int(number)
        raise ValueError(f"expected an integer, found {word}") from None


def _check_names(options: type, verb: str, arguments: Sequence[str]) -> None:
    """Refuse what the parser could only call unrecognised: a positional argument by its name, and usual other names."""
    positional = {field.name: tyro.conf.Positional in get_args(field.type) for field in dataclasses.fields(options)}
    for argument in arguments:
        if not argument.startswith("--"):
            continue
        name = argument[2:].partition("=")[0].replace("-", "_")
        if positional.get(name):
            raise UnknownNameError(f"apb {verb} takes {name} without --{name}: see `apb {verb} --help`")
        usual = usual_name(name, positional)
        if usual is not None:
            hint = f"--{usual}".replace("_", "-")
            raise UnknownNameError(f"apb {verb} has no option {argument}; did you mean {hint}?")


def _described(options: type) -> type:
    """A dataclass like `options` with each field's docstring as its help, the verb's own fields before inherited ones.

    The parser would find the docstrings, but keep their line breaks.
    """
    docs = {name: text for parent in reversed(options.__mro__) for name, text in _field_docs(parent).items()}
    fields = sorted(dataclasses.fields(options), key=lambda field: field.name not in vars(options)["__annotations__"])
    return dataclasses.make_dataclass(
        options.__name__,
        [(field.name, _annotated(field, docs[field.name]), _default(field)) for field in fields],
        frozen=True,
        kw_only=True,
    )


def _annotated(field: "dataclasses.Field[Any]", text: str) -> Any:
    more: list[Any] = []
    kind = get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type
    plain = [each for each in get_args(kind) if each is not type(None)]
    if field.default is None:  # the docstring tells what happens then
        more = [tyro.conf.arg(help_behavior_hint="", metavar=plain[0].__name__.upper())]
    elif field.default is False:
        more = [tyro.conf.FlagCreatePairsOff]
    own = get_args(field.type)[1:] if get_origin(field.type) is Annotated else ()
    return Annotated[(kind, tyro.conf.arg(help=text), *more, *own)]


def _default(field: "dataclasses.Field[Any]") -> Any:
    return dataclasses.field() if field.default is dataclasses.MISSING else dataclasses.field(default=field.default)


def _field_docs(owner: type) -> dict[str, str]:
    """The docstring below each field of a dataclass, as one line."""
    if not dataclasses.is_dataclass(owner):
        return {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101
    docs: dict[str, str] = {}
    for field, doc in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(doc.value)).split())
    return docs


def _filled(text: str) -> str:
    """The text as wide as the terminal, and indented, since the parser joins lines that are not."""
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    return textwrap.fill(" ".join(text.split()), width, initial_indent="  ", subsequent_indent="  ")
