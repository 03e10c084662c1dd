"""`parse`: the arguments of a verb into its options: a dataclass whose fields and docstrings say it all."""

import ast
import contextlib
import dataclasses
import inspect
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from apb.errors import ConfigError, UnknownNameError, nearest, nearest_name, usual_name
from apb.ranges import range_of
from apb.settings import FIXED, AdaptSettings

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
        UnknownNameError: an option has another name here, or there is none for a word. ConfigError: a flag has a value.
    """
    _check_names(options, verb, arguments)
    parsed: object
    parsed, surplus = tyro.cli(
        _described(options),
        prog=f"apb {verb}",
        args=arguments,
        description=f"{_filled(inspect.getdoc(options) or '')}\n\n{epilog}",
        registry=_REGISTRY,
        return_unknown_args=True,
    )
    if surplus:
        raise UnknownNameError(f"apb {verb} does not know what {surplus[0]!r} is for; {how_to_say(verb, surplus[0])}")
    made = options(**{field.name: getattr(parsed, field.name) for field in _offered(options)})
    words = {word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for word in arguments}
    object.__setattr__(made, "named", frozenset(words & {field.name for field in dataclasses.fields(options)}))
    return made


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


@_REGISTRY.primitive_rule
def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[str] | None:
    """Answer what is no choice with the nearest one, as everywhere."""
    choices = get_args(info.type)
    if get_origin(info.type) is not Literal:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=lambda words: _one_of(words[0], choices),
        is_instance=lambda value: value in choices,
        str_from_instance=lambda value: [value],
    )


def _one_of(word: str, choices: Sequence[str]) -> str:
    if word not in choices:
        raise ValueError(f"{word!r} is unknown; {nearest(word, choices)}")
    return word


def how_to_say(verb: str, word: str) -> str:
    """The end of a message on a word that stands where it means nothing: how to say what it may stand for."""
    from apb.strategies import STRATEGIES  # this loads torch, and only a slip needs it

    if verb == "adapt" and word in STRATEGIES:
        return f"did you mean `--strategy {word}`?"
    return f"give the option first that it is a value of: see `apb {verb} --help`"


def as_typed(options: type, text: str) -> str:
    """A message of the library with what it says to pass as one types it: `device='cpu'` as `--device cpu`."""
    fields = {field.name: field for field in dataclasses.fields(options)}
    named = [name for name, field in fields.items() if tyro.conf.Positional not in get_args(field.type)]

    def typed(found: re.Match[str]) -> str:
        name, quoted, bare = found.groups()
        option = f"--{name.replace('_', '-')}"
        if fields[name].type is not bool:
            return f"{option} {shlex.quote(quoted or bare or '')}"
        off = f"--no-{option[2:]}" if fields[name].default else f"no {option}"
        return option if bare == "True" else off

    return re.sub(rf"(?<![\w./'\"-])({'|'.join(named)})=(?:'([^']*)'|([\w.+-]*\w))", typed, text)


def _offered(options: type) -> "list[dataclasses.Field[Any]]":
    """The fields that the verb makes use of."""
    return [field for field in dataclasses.fields(options) if field.name not in getattr(options, "unused", ())]


def _check_names(options: type, verb: str, arguments: Sequence[str]) -> None:
    """Refuse what the parser would misread or only call unrecognised: positional arguments by their names, options that
    are not there or have one dash, and flags with a value.
    """
    fields = {field.name: field for field in _offered(options)}
    named = {name: field for name, field in fields.items() if tyro.conf.Positional not in get_args(field.type)}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        word, _, value = argument.partition("=")
        if not _OPTION.match(word) or word in ("-h", "--help", *_aliases(named.values())):
            continue
        name = word.lstrip("-").replace("-", "_")
        bare = name.removeprefix("no_")
        flag = named.get(bare) if word.startswith("--") else None
        if flag is not None and flag.type is bool:
            off = f"--no-{bare} for False" if flag.default else "leave it out for False"
            hint = f"--{bare} alone for True, {off}".replace("_", "-")
            if name != bare and not flag.default:
                raise UnknownNameError(f"apb {verb} has no option {word}: {hint}")
            if value or following.lower() in ("true", "false"):
                raise ConfigError(f"{word} is a flag and takes no value: {hint}")
        elif name not in named or not word.startswith("--"):
            raise UnknownNameError(_unknown(word, name, verb, fields, named))


_OPTION = re.compile(r"--?[A-Za-z]")


def _unknown(
    word: str, name: str, verb: str, fields: "Mapping[str, dataclasses.Field[Any]]", named: Iterable[str]
) -> str:
    """The message on an option that the verb does not have."""
    for field in fields.values():
        if field.name not in named and name in _names(field):
            return f"apb {verb} takes {_metavar(field)} without {word}: see `apb {verb} --help`"
    near = nearest_name(name, named)
    if near is not None:
        return f"apb {verb} has no option {word}; did you mean --{near.replace('_', '-')}?"
    for alias in _aliases(fields.values()):
        if word.startswith(alias):
            return f"apb {verb} has no option {word}; did you mean {alias} {word.removeprefix(alias)}?"
    known = [field.name for field in dataclasses.fields(AdaptSettings)]
    if verb == "resume" and (name in known or usual_name(name, known)):
        return f"apb resume has no option {word}; {FIXED}"
    return f"apb {verb} has no option {word}: see `apb {verb} --help`"


def _metavar(field: "dataclasses.Field[Any]") -> str:
    return next(str(each.metavar) for each in get_args(field.type) if getattr(each, "metavar", None))


def _names(field: "dataclasses.Field[Any]") -> set[str]:
    """What a positional argument is called: in the code, and in the help, where RUN_OR_POLICY has two names."""
    return {field.name, *_metavar(field).lower().strip("[]").split()[0].split("_or_")}


def _aliases(fields: "Iterable[dataclasses.Field[Any]]") -> set[str]:
    marks = [mark for field in fields for mark in get_args(field.type)]
    return {alias for mark in marks for alias in getattr(mark, "aliases", None) or ()}


def _described(options: type) -> type:
    """A dataclass like `options` with each field's docstring as its help, the verb's own fields before inherited ones.

    The parser would find the docstrings, but keep their line breaks.
    """
    docs = {name: text for parent in reversed(options.__mro__) for name, text in _field_docs(parent).items()}
    fields = sorted(_offered(options), key=lambda field: field.name not in vars(options)["__annotations__"])
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
    allowed = range_of(field)
    if field.default is None:  # the docstring tells what happens then
        hint = "" if allowed is None else f"(in {allowed})"
        more = [tyro.conf.arg(help_behavior_hint=hint, metavar=plain[0].__name__.upper())]
    elif field.default is False:
        more = [tyro.conf.FlagCreatePairsOff]
    elif allowed is not None:
        more = [tyro.conf.arg(help_behavior_hint=f"(default: {field.default}, in {allowed})")]
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
