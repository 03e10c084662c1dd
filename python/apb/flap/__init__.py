"""FLAP (arXiv 2101.04750): layers of a new task are predicted from a few transitions, without any gradient."""
