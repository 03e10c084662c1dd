"""Benchmarks: ours against the peers, on the same machine in the same run; `python -m benchmarks --help`."""
