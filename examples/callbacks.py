"""Watch a run with a callback of your own, and stop it early with one of the package's."""

import argparse
from typing import Any

import apb
from apb.callbacks import RunState, StopTrainingOnRewardThreshold
from apb.environments import Episode


class BestEpisode(apb.Callback):
    """Remembers the best training episode; its state is saved with every checkpoint, so a resumed run keeps it."""

    def __init__(self) -> None:
        self.best_return: float | None = None

    def on_episode_end(self, state: RunState, episode: Episode) -> None:
        if self.best_return is None or episode.return_ > self.best_return:
            self.best_return = episode.return_
            print(f"{state.timesteps:,} of {state.total_timesteps:,} steps: best episode {episode.return_:.1f}")

    def state_dict(self) -> dict[str, Any]:
        return {"best_return": self.best_return}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_return = state["best_return"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--total-timesteps", type=int, default=20_000)
    parser.add_argument("--learning-starts", type=int, default=1_000)
    parser.add_argument("--eval-freq", type=int, default=1_000)
    parser.add_argument("--reward-threshold", type=float, default=-200.0)
    options = parser.parse_args()

    best = BestEpisode()
    result = apb.adapt(
        options.env,
        total_timesteps=options.total_timesteps,
        learning_starts=options.learning_starts,
        eval_freq=options.eval_freq,
        callback=[best, StopTrainingOnRewardThreshold(options.reward_threshold)],
    )
    print(f"stopped by {result.stopped_by} after {result.total_timesteps:,} steps")


if __name__ == "__main__":
    main()
