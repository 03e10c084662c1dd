"""`new_figure`, `save_figure`: figures of matplotlib, without a window system; `require_picture`: their files;
`printed`: what users called their things."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from apb.errors import ConfigError, RunFolderError
from apb.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def require_picture(path: str | Path) -> Path:
    """`path` if its ending is that of a picture, and it is no folder; raises `ConfigError` else."""
    target = Path(path)
    if target.suffix.lower().removeprefix(".") not in FORMATS:
        raise ConfigError(f"{str(target)!r} is not a picture; expected a name that ends with .{', .'.join(FORMATS)}")
    if target.is_dir():
        raise ConfigError(f"{str(target)!r} is a folder; expected a new file, or one that the picture may replace")
    return target


def new_figure(width: float, height: float, dpi: int = 150) -> "Figure":
    """An empty figure, of this size in inches."""
    # The object interface: pyplot keeps figures in a global list and may open a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def printed(text: str, width: int) -> str:
    """`text`, with names in it that are the user's, as matplotlib prints it: in lines of so many characters, and no
    formula, whatever is between its dollars."""
    readable = text.encode(errors="replace").decode().replace("$", r"\$")
    return textwrap.fill(readable, width, break_on_hyphens=False)


def save_figure(figure: "Figure", target: Path) -> None:
    """Write the figure in the format of its ending; what was there is replaced. Raises `RunFolderError`: it cannot."""
    try:
        with atomic_file(target) as file:
            figure.savefig(file, format=target.suffix[1:].lower())
    except OSError as error:
        raise RunFolderError(f"{target} cannot be written: {error.strerror or error}; choose another place") from error
