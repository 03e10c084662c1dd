"""`coverage_table`: how far a pre-trained policy spreads over the states, beside random actions."""

from collections.abc import Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table

from apb.backbone_card import ACTING
from apb.files import NUMBER, list_of, table_of

COVERAGE = {"coverage": list_of(table_of(table_of(NUMBER)))}
"""What is shown of the `result.json` of a pre-training: of each lane the numbers of each way to act."""


def coverage_table(found: Sequence[Mapping[str, Mapping[str, float]]], names: Sequence[str]) -> list[RenderableType]:
    """A line of explanation and the table, a row for each way to act in each of the lanes
    of these `names`; or nothing where nothing was measured."""
    if not found:
        return []
    table = Table()
    for name in ("lane", "acting", "coverage", "distance", "return"):
        table.add_column(name, justify="left" if name == "acting" else "right")
    for lane_name, lane in zip(names, found, strict=False):
        for way, name in ACTING.items():
            numbers = lane.get(way, {})
            distance = f"{numbers['distance']:,.1f} m" if "distance" in numbers else "-"
            values = [f"{numbers[key]:,.2f}" if key in numbers else "-" for key in ("entropy", "mean_reward")]
            table.add_row(lane_name, name, values[0], distance, values[1])
    return [
        "coverage of the states that are visited from the same starts: the mean of log(1 + distance to the 12 nearest "
        "others), in units of the deviations under random actions; how far from its start the robot comes; and the "
        "return of the env's own reward, per episode",
        table,
    ]
