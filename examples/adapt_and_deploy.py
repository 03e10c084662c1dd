"""Adapt a frozen backbone to an env, compare before and after, save the policy, and drive the env with it."""

import argparse

import apb
import gymnasium


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--strategy", default="action_noise", help="or param_noise, adaptive_param_noise")
    parser.add_argument("--total-timesteps", type=int, default=30_000)
    parser.add_argument("--learning-starts", type=int, default=1_000)
    parser.add_argument("--output", default="my-policy", help="folder for the policy")
    options = parser.parse_args()

    result = apb.adapt(
        options.env,
        "random",  # a backbone drawn from the seed, as wide at its entrance as the env's observation
        strategy=options.strategy,
        total_timesteps=options.total_timesteps,
        learning_starts=options.learning_starts,
        seed=0,
    )
    # The first evaluation is made before learning starts; the final one uses episodes that nothing else used.
    print(f"untrained {result.evaluations[0]['eval/mean_reward']:.1f}, adapted {result.final[0]}")
    print(f"learned {result.adapter.num_parameters:,} of the policy's {result.policy.num_parameters:,} parameters")
    result.policy.save_pretrained(options.output)

    policy = apb.Policy.from_pretrained(options.output)
    env = gymnasium.make(options.env)
    observation, _ = env.reset(seed=1)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total += float(reward)
        ended = terminated or truncated
    env.close()
    print(f"one episode with the policy in {options.output}/: return {total:.1f}")


if __name__ == "__main__":
    main()
