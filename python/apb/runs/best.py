"""The policy of the best evaluation: kept beside the checkpoints, with a copy in each of them, since a run that goes
back to an older checkpoint goes back to the best policy of that time."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from apb.files import carry_over, staged_folder, write_json_atomic

EVALUATION = "evaluation.json"


def write_best(best: Path, policy_writer: Callable[[Path], object], evaluation: Mapping[str, Any]) -> None:
    """Replace the folder `best` by a policy and its evaluation; what else lies in it stays there."""
    with staged_folder(best) as staging:
        policy_writer(staging)
        write_json_atomic(staging / EVALUATION, evaluation)
        carry_over(best.resolve(), staging)


def copy_best(best: Path, checkpoint: Path) -> None:
    """Copy the best policy into a checkpoint, whose own policy has files of the same names."""
    _copy([*_names(checkpoint / "policy"), Path(EVALUATION)], best, checkpoint / "best")


def restore_best(checkpoint: Path, best: Path) -> None:
    """Put the best policy of a checkpoint back, if another one has taken its place since then."""
    then, now = checkpoint / "best" / EVALUATION, best / EVALUATION
    if not then.is_file() or (now.is_file() and now.read_bytes() == then.read_bytes()):
        return
    with staged_folder(best) as staging:
        _copy(_names(then.parent), then.parent, staging)
        carry_over(best.resolve(), staging)


def _names(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*")]


def _copy(names: Iterable[Path], source: Path, target: Path) -> None:
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
