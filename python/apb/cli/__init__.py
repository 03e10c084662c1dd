"""`main`: the command `apb`: finds the verb, runs it, prints its outcome, turns errors into messages and exit codes."""

import contextlib
import io
import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType, ModuleType

from apb.errors import ApbError, ConfigError, UnknownNameError, nearest

VERBS = {
    "adapt": "adapt a backbone to an env; alone, cheetah-vel to an unseen speed",
    "clone": "fit a policy around a backbone to demonstrations",
    "meta-train": "learn a backbone over many tasks, to be adapted to others",
    "pretrain": "learn behaviour without rewards, to explore new tasks with",
    "eval": "evaluate the policy of a run, or a saved policy",
    "resume": "continue a run that was stopped or killed, exactly",
    "plot": "draw the learning curves of one run or of several",
    "render": "film a policy, as mp4 or GIF",
    "tasks": "list the families of tasks and their splits; show or draw one",
    "backbones": "list the meta-trained backbones of the package; show one",
    "info": "versions, processor, threads and devices, for reports",
}

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

RUNS = ("adapt", "meta-train", "pretrain", "resume")
"""Verbs that a signal stops at a checkpoint."""

_EXIT_CODES = """\
exit codes:
  0    done
  1    unexpected error, with a traceback: please report it
  2    something to correct: an argument, an env, a file; the message says what"""

EXIT_CODES_OF_RUNS = f"""\
{_EXIT_CODES}
  75   a signal (Ctrl-C, SIGTERM) stopped the run, which wrote a checkpoint:
       `apb resume RUN` continues it
  130  interrupted with nothing to save, or by a second Ctrl-C"""

EXIT_CODES_OF_OTHERS = f"""\
{_EXIT_CODES}
  130  a signal (Ctrl-C, SIGTERM) ended it; what it had said it saved is there"""

_USAGE = "\n".join(
    [
        "usage: apb VERB [options]",
        "",
        "Adapt a frozen policy backbone to a new control task by learning two linear",
        "layers.",
        "",
        "verbs:",
        *(f"  {verb:<10} {summary}" for verb, summary in VERBS.items()),
        "",
        "`apb VERB --help` shows the options of a verb; `--json` makes it print one",
        "JSON object on standard output. `apb --version` prints the version.",
        "",
        EXIT_CODES_OF_RUNS,
    ]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process); returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may have bytes that are no text
    try:
        return _dispatch(given)
    except ApbError as error:
        notes = getattr(error, "__notes__", [])
        print(f"apb: error: {error}", *notes, sep="\n", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt as error:
        print(f"apb: {str(error) or 'interrupted'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `apb ... | head`. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except SystemExit as leaving:
        # The option parser has already printed its help or its complaint.
        return leaving.code if isinstance(leaving.code, int) else EXIT_UNEXPECTED
    except Exception:
        traceback.print_exc()
        return EXIT_UNEXPECTED


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return EXIT_OK
    verb, *rest = given
    if verb in ("--version", "-v", "-V", "version"):
        from apb import __version__

        print(f"apb {__version__}")
        return EXIT_OK
    if verb not in VERBS:
        raise UnknownNameError(f"there is no verb {verb!r}; {nearest(verb, VERBS)}; `apb --help` explains them")
    from apb.cli.parsing import as_typed, parse

    try:
        module = _module(verb)
    except Exception as error:
        chosen = os.environ.get("MUJOCO_GL")
        if chosen is None:
            raise
        # MuJoCo loads the OpenGL library of that name while it is imported.
        raise ConfigError(
            f"MUJOCO_GL = {chosen!r} keeps MuJoCo from loading ({type(error).__name__}: {error}); unset it, or set egl,"
            " osmesa (`apt install libosmesa6`) or disable"
        ) from error
    options = parse(module.Options, verb, rest, EXIT_CODES_OF_RUNS if verb in RUNS else EXIT_CODES_OF_OTHERS)
    say = partial(as_typed, module.Options)
    # Standard output is for the outcome alone, whatever envs and libraries print on the way.
    with (
        contextlib.redirect_stdout(sys.stderr),
        warnings.catch_warnings(),
        _log_shown(),
        _errors_said(say),
        _terminable(),
    ):
        warnings.showwarning = _WarningPrinter(say)
        outcome = module.run(options)
    outcome.print(as_json=options.json)
    sys.stdout.flush()
    return int(outcome.exit_code)


def _module(verb: str) -> ModuleType:
    # One import statement per verb: nothing is ever imported by a computed name, and only what is needed is loaded.
    match verb:
        case "adapt":
            from apb.cli import adapt

            return adapt
        case "clone":
            from apb.cli import clone

            return clone
        case "meta-train":
            from apb.cli import meta_train

            return meta_train
        case "pretrain":
            from apb.cli import pretrain

            return pretrain
        case "eval":
            from apb.cli import evaluate

            return evaluate
        case "resume":
            from apb.cli import resume

            return resume
        case "plot":
            from apb.cli import plot

            return plot
        case "render":
            from apb.cli import render

            return render
        case "tasks":
            from apb.cli import tasks

            return tasks
        case "backbones":
            from apb.cli import backbones

            return backbones
        case "info":
            from apb.cli import info

            return info
        case _:
            raise RuntimeError(f"verb {verb!r} has no module: add its import here")


@contextlib.contextmanager
def _log_shown() -> Iterator[None]:
    """Show what the package logs, for example how large the replay will be."""
    log, handler = logging.getLogger("apb"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("apb: %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a verb as Ctrl-C does, so that it leaves no empty folder and says why it ends. A run that is on
    its way stops in its own manner (`apb.runs.StopSignals`)."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt("stopped by SIGTERM")

    taken = threading.current_thread() is threading.main_thread()
    if not taken or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # ignored, or handled by who calls `main`
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _errors_said(say: Callable[[str], str]) -> Iterator[None]:
    """Let the messages of errors be what `say` makes of them."""
    try:
        yield
    except ApbError as error:
        error.args = (say(str(error)),)
        raise


class _WarningPrinter:
    """Prints each warning once, wherever it comes from, as `say` makes it, without the colours that Gymnasium gives its
    own."""

    def __init__(self, say: Callable[[str], str]) -> None:
        self._say = say
        self._printed: set[str] = set()

    def __call__(self, message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        text = self._say(_COLOUR.sub("", str(message)).removeprefix("WARN: "))
        if text not in self._printed:
            print(f"apb: warning: {text}", file=sys.stderr)
        self._printed.add(text)


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
