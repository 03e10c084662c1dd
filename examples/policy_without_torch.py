"""Drive an env with a saved policy in a process that never loads torch; start it with the folder of a policy."""

import argparse
import sys
import time

import apb
import gymnasium
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="written by save_pretrained, or a run's checkpoints/<step>/policy")
    parser.add_argument("--steps", type=int, default=1_000)
    options = parser.parse_args()

    policy = apb.Policy.from_pretrained(options.folder)
    env = gymnasium.make(policy.metadata["env_id"], **(policy.metadata["env_kwargs"] or {}))
    observation, _ = env.reset(seed=0)
    seconds = []
    for _ in range(options.steps):
        begin = time.perf_counter()
        action = policy(observation)
        seconds.append(time.perf_counter() - begin)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()
    print(f"{policy}\nmedian time of one action: {1e6 * np.median(seconds):.1f} µs over {options.steps} steps")
    print(f"torch loaded: {'torch' in sys.modules}")


if __name__ == "__main__":
    main()
