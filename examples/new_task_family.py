"""A family of tasks of your own: an ant that walks round circles of different sizes. Checked, then simulated."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
from apb.tasks import Parameter, Physics, check_family, register
from apb.tasks.robots import Ant, squared
from numpy.typing import NDArray

Rows = NDArray[np.float64]  # The first axis is that of simulations, each with a task of its own.


@register  # From here on "ant-circle" is known, and "apb/AntCircle-v0" to Gymnasium.
@dataclass(frozen=True)
class AntCircle(Ant):
    """Walk round a circle, counter-clockwise: fast, and near it."""

    name: ClassVar[str] = "ant-circle"
    formula: ClassVar[str] = "(x v_y - y v_x) / radius / (1 + |distance - radius|) - 0.1 sum(a^2) + 0.5"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """What tells tasks apart, with its default and its bounds."""
        return {"radius": Parameter("of the circle around the start, in m", 3.0, 0.5, 20.0)}

    def observe(self, physics: Physics, parameters: Mapping[str, Rows]) -> Rows:
        """All of qpos (15) and qvel (14): unlike in other tasks of the ant it matters where it is."""
        return np.concatenate([physics.qpos, physics.qvel], axis=1)

    def reward_terms(
        self, physics: Physics, velocity: Rows, control: Rows, parameters: Mapping[str, Rows]
    ) -> dict[str, Rows]:
        """The reward is the sum of these; `velocity` is the mean rate of x and y over the step."""
        radius = parameters["radius"]
        x, y = physics.qpos[:, 0], physics.qpos[:, 1]
        speed = (x * velocity[:, 1] - y * velocity[:, 0]) / radius
        return {
            "circling": speed / (1 + np.abs(np.sqrt(x * x + y * y) - radius)),
            "control": -0.1 * squared(control),
            "alive": np.full(len(radius), 0.5),
        }

    def terminated(self, physics: Physics) -> NDArray[np.bool_]:
        """The ant has fallen, or jumped."""
        return self.fallen(physics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64, help="simulations side by side")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()

    check_family(AntCircle)  # One error would say all that is wrong.

    env = gymnasium.make("apb/AntCircle-v0", radius=2.0)
    env.reset(seed=0)
    env.action_space.seed(0)
    _, reward, _, _, terms = env.step(env.action_space.sample())
    env.close()
    print(f"one step of one task: reward {reward:.3f}, of which " + ", ".join(f"{k} {v:.3f}" for k, v in terms.items()))

    radii = np.linspace(1.0, 8.0, options.rows)
    envs = gymnasium.make_vec("apb/AntCircle-v0", num_envs=options.rows, radius=radii)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    rewards = [envs.step(envs.action_space.sample())[1] for _ in range(options.steps)]
    envs.close()
    print(f"{options.rows} tasks in one batch, {options.steps} steps each: mean reward {np.mean(rewards):.3f}")


if __name__ == "__main__":
    main()
