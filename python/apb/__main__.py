"""`python -m apb`: the command `apb`."""

import sys

from apb.cli import main

sys.exit(main())
