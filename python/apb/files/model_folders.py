"""Folders of saved backbones, adapters and policies: what it is in `config.json`, arrays in `model.safetensors`."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from apb.errors import ConfigError, FileFormatError, MismatchError, RunFolderError, nearest_path, require_path
from apb.files.atomic import published_folder, refuse_to_delete_foreign_files, staged_folder
from apb.files.json_files import (
    PathLike,
    dump_json,
    dump_json_file,
    parse_json,
    read_json,
    sha256_file,
    write_json_atomic,
)
from apb.files.tensor_files import check_header, read_tensors, write_tensors

CONFIG_FILE = "config.json"
TENSORS_FILE = "model.safetensors"
MAX_CONFIG_BYTES = 16 * 2**20
STAMP_BYTES = 1000  # at most what `write_folder` adds: the package version and checksums

KINDS = {
    "apb.policy": "a policy, which apb.Policy.from_pretrained, `apb eval` and `apb render` take",
    "apb.backbone": "a backbone, which apb.Backbone.from_pretrained and `apb adapt --backbone` take",
    "apb.adapter": "an adapter, which apb.Adapter.from_pretrained takes",
}
"""What folders with a `config.json` may hold, by their format, and what takes it."""

RUN_KIND = (
    "a run, which apb.resume and `apb eval`, `apb render`, `apb plot`, `apb resume` take; its policies are the folders "
    "best/* and checkpoints/<step>/policy, its backbone is the folder backbone, and pretrained is what a meta-training "
    "has learned"
)


def kind_of_folder(config: object) -> str | None:
    """The middle of an error message: what a folder with that `config.json` holds and what takes it, if known."""
    if not isinstance(config, dict):
        return None
    return RUN_KIND if "job" in config else KINDS.get(str(config.get("format")))


READ_ATTEMPTS = 10


def write_folder(
    path: PathLike,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Publish the folder `path` in one step, replacing as a whole one that this function wrote there in this format.

    Args:
        config: JSON values with "format" and "format_version"; the package version and checksums are added.
        tensors: Named arrays.
        texts: Further files, name -> content, such as a README.md. They are for people: `read_folder` does not look at
            them.

    Raises:
        ConfigError: a value cannot be written. RunFolderError: `path` is a file, holds something else, is the current
            folder, or cannot be written (disk full, no permission).
    """
    require_path("path", path)
    require_config(config)
    try:
        _require_not_current(Path(path))
        _require_ours(Path(path), {CONFIG_FILE, TENSORS_FILE, *(texts or {})}, config["format"])
        with staged_folder(path) as staging:
            write_tensors(staging / TENSORS_FILE, tensors)
            stamp = {"apb_version": version("apb"), "tensors_sha256": sha256_file(staging / TENSORS_FILE)}
            stamped = parse_json(dump_json({**config, **stamp}).encode(), CONFIG_FILE)
            write_json_atomic(staging / CONFIG_FILE, {**stamped, "config_sha256": config_sha256(stamped)})
            for name, text in (texts or {}).items():
                (staging / name).write_text(text, encoding="utf-8")
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be written: {error}; what was there before is kept: make room, or give a folder that you "
            "may write to"
        ) from error
    return Path(path)


def require_place(path: Path, format: str, texts: Iterable[str] = ()) -> None:
    """Raise `RunFolderError` where `write_folder` could not write, since something else is there."""
    names = {CONFIG_FILE, TENSORS_FILE, *texts}
    if os.path.lexists(path):
        _require_ours(path, names, format)
        refuse_to_delete_foreign_files(path, names)


def require_config(config: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for values that `write_folder` cannot write, or that could not be read back."""
    try:
        dump_json_file(config, max_bytes=MAX_CONFIG_BYTES - STAMP_BYTES)
    except ConfigError as error:
        raise ConfigError(
            f"{CONFIG_FILE} of {config.get('format')} cannot be saved: {error}; give less metadata, or spaces of fewer "
            "elements"
        ) from error


def _require_not_current(folder: Path) -> None:
    """Raise `RunFolderError` if `folder` is the current one: whoever works in it would be left in the replaced one."""
    if folder.exists() and folder.samefile(os.curdir):
        raise RunFolderError(
            f"path = {str(folder)!r} is the current folder, which cannot be replaced while work goes on in it; "
            "expected another one: give the name of a folder in it, or change to its parent"
        )


def _require_ours(folder: Path, names: set[str], format: str) -> None:
    """Raise `RunFolderError` if `folder` has files of these names that are not of a folder of this format."""
    present = sorted(name for name in names if os.path.lexists(folder / name))
    if not present:
        return
    try:
        config = read_json(folder / CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
    except FileFormatError:
        config = None
    if not (isinstance(config, dict) and config.get("format") == format):
        what = kind_of_folder(config) or f"{', '.join(present)}, and no {CONFIG_FILE} with format {format!r}"
        raise RunFolderError(
            f"folder {folder} already holds {what}; expected a new or empty folder, or one that the same function "
            "wrote: give another name, or move it away"
        )


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of the values of a config, whatever their order and layout in the file; "config_sha256" is left out."""
    values = {key: value for key, value in config.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()


def read_folder(path: PathLike, format: str, format_version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The config and arrays of a folder that `write_folder` wrote; sizes, structure and checksum are verified.

    Args:
        format: What the config must call itself, such as "apb.policy".
        format_version: The latest version of that format that the caller understands.

    Raises:
        FileFormatError: a file is missing, cut short, tampered with, or of another format. MismatchError: a later
            format version.
    """
    require_path("path", path)
    for _ in range(READ_ATTEMPTS):
        before = _folder_identity(path)
        try:
            found = _read_once(path, format, format_version)
        except (FileFormatError, MismatchError):
            if _folder_identity(path) == before:
                raise
        else:
            if _folder_identity(path) == before:
                return found
    raise FileFormatError(f"{path} was replaced {READ_ATTEMPTS} times while it was read; read it when its writer rests")


def _folder_identity(path: PathLike) -> tuple[int, ...] | None:
    """What changes when another process publishes a folder in the place of this one."""
    try:
        status = published_folder(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _read_once(path: PathLike, format: str, format_version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    folder = published_folder(path)
    if not folder.is_dir():
        raise FileFormatError(
            f"there is no folder {path}{nearest_path(Path(path))}; expected one with {CONFIG_FILE} and {TENSORS_FILE}: "
            "check the path"
        )
    config = read_json(folder / CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
    found = config.get("format") if isinstance(config, dict) else None
    kind = kind_of_folder(config)
    if found != format and kind is not None:
        raise FileFormatError(f"{folder} holds {kind}; expected a folder with format {format!r}")
    if found != format:
        raise FileFormatError(f"{folder / CONFIG_FILE} has format {found!r:.80}; expected {format!r}")
    found_version = config.get("format_version")
    if type(found_version) is not int or found_version < 1:
        raise FileFormatError(
            f"{folder / CONFIG_FILE} has format_version {found_version!r:.80}; expected an integer >= 1"
        )
    if found_version > format_version:
        raise MismatchError(
            f"{folder} has format_version {found_version}, this package reads up to {format_version}; "
            f"it was written by apb {config.get('apb_version')!s:.40}, install that or a later version"
        )
    if config_sha256(config) != config.get("config_sha256"):
        raise FileFormatError(
            f"{folder / CONFIG_FILE} was changed after it was written: its values no longer have the SHA-256 that it "
            "names; fetch or write the folder anew"
        )
    check_header(folder / TENSORS_FILE)  # first, so that nothing is read of a file that someone has blown up
    checksum = sha256_file(folder / TENSORS_FILE)
    if checksum != config.get("tensors_sha256"):
        raise FileFormatError(
            f"{folder / TENSORS_FILE} has SHA-256 {checksum[:12]}, "
            f"{CONFIG_FILE} says {config.get('tensors_sha256')!s:.12}; "
            "the file was changed after it was written, or is cut short: fetch or write the folder anew"
        )
    return config, read_tensors(folder / TENSORS_FILE)
