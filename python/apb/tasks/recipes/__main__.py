"""Draw the splits and write them."""

from apb.tasks.recipes import write

write()
