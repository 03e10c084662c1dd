"""The native core: the names of the extension module built for the widest instruction set that this processor can run.

`APB_ISA=baseline|avx2|avx512` overrides the choice, for reports, comparisons and reproductions. Results of different
instruction sets differ in the last bits: FMA rounds once where the baseline rounds twice.
"""

import os
from typing import TYPE_CHECKING

from apb._cpuid import supported_isas
from apb.errors import ConfigError


def _choose_isa(requested: str, available: tuple[str, ...]) -> str:
    """Return the requested instruction set, or the widest available one where none is requested (`""`)."""
    if not requested:
        return available[-1]
    if requested not in available:
        raise ConfigError(
            f"APB_ISA = {requested!r}; expected one of {', '.join(available)}, which this processor can run; "
            "unset APB_ISA to let the package choose"
        )
    return requested


AVAILABLE_ISAS: tuple[str, ...] = tuple(supported_isas())
ISA: str = _choose_isa(os.environ.get("APB_ISA", ""), AVAILABLE_ISAS)

# One module per instruction set, all from the same sources, so that one of them tells a type checker about all.
if TYPE_CHECKING or ISA == "baseline":
    from apb._core_baseline import *  # noqa: F403
elif ISA == "avx2":
    from apb._core_avx2 import *  # noqa: F403
else:
    from apb._core_avx512 import *  # noqa: F403
