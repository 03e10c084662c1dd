"""`recipe`: a split from what its lists are: given tasks, or a law and how many to draw of it."""

from dataclasses import dataclass

from apb.tasks.recipes.laws import Arguments, Draws, Law
from apb.tasks.splits import LISTS, Split
from apb.tasks.task import Task

PEARL, MIER = "PEARL (katerakelly/oyster)", "MIER (russellmendonca/mier_public)"
LDM, TAVT = "LDM (suyoung-lee/LDM)", "TAVT (JM-Kim-94/tavt)"

NO_OOD = "nothing; the tasks to adapt to are those of the test list"
FRESH_TEST = "Ours: the numbers drawn, and the test list, of the training law"
FRESH_OOD = (
    "The OOD tasks are its user's. Ours: the OOD list, the numbers drawn, and the test list, of the training law"
)
TEST_IS_TRAIN = "The test tasks are the training tasks"
NO_OTHERS = "Ours: the test tasks are the training tasks, as there are no others"


@dataclass(frozen=True)
class Drawn:
    """So many tasks of a law."""

    count: int
    law: Law


def recipe(
    family: str,
    name: str,
    *,
    train: Arguments | Drawn,
    test: Arguments | Drawn,
    ood: Arguments | Drawn,
    about: str,
    source: str,
) -> Split:
    """The split; the numbers of each list are those of its label."""
    tasks = {}
    for part, given in zip(LISTS, (train, test, ood), strict=True):
        label = f"{family}/{name}/{part}"
        tasks[part] = labelled(label, given.law(Draws(label), given.count) if isinstance(given, Drawn) else given)
    return Split(family, name, **tasks, about=about, source=source)


def labelled(label: str, arguments: Arguments) -> tuple[Task, ...]:
    """The tasks of a list, "cheetah-vel/mier-hard/ood"."""
    family = label.partition("/")[0]
    return tuple(Task(family, values, f"{label}:{index}") for index, values in enumerate(arguments))


def arguments_of(tasks: tuple[Task, ...]) -> Arguments:
    """What `labelled` makes tasks of."""
    return [dict(task.arguments) for task in tasks]
