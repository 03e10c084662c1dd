"""Files of the package: JSON and safetensors, written atomically, read without trust, never executed.

Every write goes to a temporary beside its destination and takes its place in one step, so that a kill or a full disk
leaves either the old or the new. Every read checks size, structure, names, types and values before it returns; what
is wrong with a file is a `FileFormatError`, and one that cannot be read a `RunFolderError`.
"""

from apb.files.atomic import (
    atomic_file,
    carry_over,
    discard,
    first_free,
    free_name,
    published_folder,
    remove_leftovers,
    staged_folder,
    sync,
)
from apb.files.fields import COUNT, NUMBER, TEXT, Kind, list_of, object_with, require_fields, table_of
from apb.files.json_files import (
    append_jsonl,
    dump_json,
    dump_json_file,
    open_regular,
    parse_json,
    read_json,
    require_content,
    sha256_file,
    write_json_atomic,
)
from apb.files.model_folders import kind_of_folder, read_folder, require_config, require_place, write_folder
from apb.files.tensor_files import read_tensors, write_tensors

__all__ = [
    "COUNT",
    "NUMBER",
    "TEXT",
    "Kind",
    "append_jsonl",
    "atomic_file",
    "carry_over",
    "discard",
    "dump_json",
    "dump_json_file",
    "first_free",
    "free_name",
    "kind_of_folder",
    "list_of",
    "object_with",
    "open_regular",
    "parse_json",
    "published_folder",
    "read_folder",
    "read_json",
    "read_tensors",
    "remove_leftovers",
    "require_config",
    "require_content",
    "require_fields",
    "require_place",
    "sha256_file",
    "staged_folder",
    "sync",
    "table_of",
    "write_folder",
    "write_json_atomic",
    "write_tensors",
]
