"""`shipped`: the meta-trained backbones that come with the package, by name."""

from pathlib import Path

FOLDER = Path(__file__).parent / "pretrained"


def shipped() -> dict[str, Path]:
    """Name and folder of each backbone of the package."""
    found = sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []
    return {folder.name: folder for folder in found if (folder / "config.json").is_file()}
