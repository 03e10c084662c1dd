"""Meta-training: one backbone learned over many tasks, each with layers of its own."""
