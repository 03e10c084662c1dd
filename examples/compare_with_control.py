"""Compare adaptation with its control, plain TD3, on the same env, seeds and budget, and draw both curves."""

import argparse
from pathlib import Path

import apb
from apb.plotting import plot_runs
from apb.statistics import interquartile_mean, seed_band

# The control learns everything: TD3's own network (reading A) with a trainable middle.
METHODS = {
    "frozen-backbone": {"backbone": "random", "trainable_backbone": False},
    "plain-td3": {"backbone": apb.Backbone.random(seed=0, reading="A"), "trainable_backbone": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--total-timesteps", type=int, default=50_000)
    parser.add_argument("--learning-starts", type=int, default=1_000)
    parser.add_argument("--n-seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("comparison"), help="folder for run folders and picture")
    options = parser.parse_args()

    for name, method in METHODS.items():
        # All seeds of a call share one backbone. To draw another one for each seed, call adapt once per seed.
        result = apb.adapt(
            options.env,
            **method,
            total_timesteps=options.total_timesteps,
            learning_starts=options.learning_starts,
            n_seeds=options.n_seeds,
            run_dir=options.output / name,
        )
        means = [final.mean for final in result.final]
        low, high, band = seed_band(means)
        learned = result.policy.num_parameters if method["trainable_backbone"] else result.adapter.num_parameters
        print(
            f"{name}: interquartile mean {interquartile_mean(means):.1f}, {band} [{low:.1f}, {high:.1f}], of "
            f"{options.n_seeds} seeds; {learned:,} parameters of the policy learned in {result.wall_time:.0f} s"
        )
    picture = plot_runs([options.output / name for name in METHODS], options.output / "curves.png")
    print(f"learning curves: {picture}")


if __name__ == "__main__":
    main()
