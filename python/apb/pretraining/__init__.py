"""Reward-free pre-training: a policy and a backbone learned from intrinsic rewards alone."""
