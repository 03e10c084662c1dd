"""
Which of the package's instruction sets this processor and its operating system can run.
"""
from __future__ import annotations
__all__: list[str] = ['supported_isas']
def supported_isas() -> list[str]:
    """
    Names of the instruction sets that can run here, the plainest first.
    """
