"""TD3 as in the paper, with `nn.Module` and `optim.Adam`, one lane at a time: the oracle for the tests of `TD3`."""

import torch
from apb import _native, rng
from learning import FIELDS
from torch import nn

# Both sides compute in float32 with sums in another order. A gradient then differs by about 1e-7 of its terms, and Adam
# turns a relative difference d of a gradient, large only where terms cancel, into a difference of about
# learning_rate * d. Weights that a wrong rule moves differ by about learning_rate, 1e-3. A unit whose input is 0 up to
# rounding may be on for one side and off for the other, which touches few weights: one in ten may lie farther apart.
TOLERANCE = {"rtol": 1e-4, "atol": 5e-5}


def assert_same_weights(found, expected, name):
    apart = (found - expected).abs()
    assert apart.max() < 1e-2, name
    assert (apart <= TOLERANCE["atol"] + TOLERANCE["rtol"] * expected.abs()).float().mean() >= 0.9, name


class OracleActor(nn.Module):
    """TD3's actor cut in three: only `pre`, `post` or both and, if asked for, `body` have parameters that learn."""

    def __init__(self, layers, lane, backbone, trainable, learned="both"):
        super().__init__()
        frozen = {name: torch.from_numpy(value.copy()) for name, value in backbone.tensors().items()}
        values = frozen | {name: value[lane].clone() for name, value in layers.items()}
        modules = {}
        for name, weight in values.items():
            layer, kind = name.rsplit(".", 1)
            if kind == "weight":
                modules[layer] = nn.Linear(weight.shape[1], weight.shape[0])
        for name, value in values.items():
            layer, kind = name.rsplit(".", 1)
            getattr(modules[layer], kind).data = value
        self.pre, self.post = modules["pre"], modules["post"]
        self.body = nn.ModuleList(modules[name] for name in sorted(modules) if name.startswith("layers."))
        self.body.requires_grad_(trainable)
        self.pre.requires_grad_(learned != "post")
        self.post.requires_grad_(learned != "pre")
        self.entrance = nn.ReLU() if backbone.input_activation else nn.Identity()

    def forward(self, observation):
        x = self.entrance(self.pre(observation))
        for layer in self.body:
            x = torch.relu(layer(x))
        return torch.tanh(self.post(x))


class OracleCritic(nn.Module):
    def __init__(self, layers, lane, twin):
        super().__init__()
        self.layers = nn.ModuleList()
        for i in range(3):
            weight = layers[f"{i}.weight"][lane, twin].clone()
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = weight, layers[f"{i}.bias"][lane, twin].clone()
            self.layers.append(layer)

    def forward(self, observation, action):
        x = torch.cat([observation, action], 1)
        return self.layers[2](torch.relu(self.layers[1](torch.relu(self.layers[0](x))))).squeeze(1)


class OracleTD3:
    """One lane of TD3 as in the paper, with the initial weights of lane `lane` of `td3`."""

    def __init__(self, td3, lane):
        s = self.settings = td3.settings
        self.seed = td3.networks.seeds[lane]
        trainable = td3.networks.backbone_training == "per_lane"
        self.actor = OracleActor(td3.networks.actor, lane, td3.networks.backbone, trainable, s.learned_layers)
        self.critics = nn.ModuleList(OracleCritic(td3.networks.critics, lane, twin) for twin in range(2))
        self.target_actor = OracleActor(td3.networks.target_actor, lane, td3.networks.backbone, trainable)
        self.target_critics = nn.ModuleList(OracleCritic(td3.networks.target_critics, lane, twin) for twin in range(2))
        self.actor_adam = torch.optim.Adam([p for p in self.actor.parameters() if p.requires_grad], lr=s.learning_rate)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), lr=s.critic_learning_rate or s.learning_rate)
        self.updates = 0
        self.actor_loss = torch.tensor(0.0)
        self.prior_is_better = 0.0
        self.clipped_noise = self.clipped_actions = self.second_is_smaller = 0.0

    def update(self, batch):
        s = self.settings
        self.updates += 1
        observation, action, reward, following, alive = (getattr(batch, name)[0] for name in FIELDS)
        with torch.no_grad():
            noise = torch.empty_like(action).numpy()
            _native.philox_normal(
                rng.key(self.seed, rng.Stream.TARGET_NOISE), rng.counter(self.updates), noise.reshape(-1)
            )
            noise = torch.from_numpy(noise) * s.target_policy_noise
            clipped = noise.clamp(-s.target_noise_clip, s.target_noise_clip)
            noisy = self.target_actor(following) + clipped
            next_action = noisy.clamp(-1, 1)
            first, second = (critic(following, next_action) for critic in self.target_critics)
            future = torch.minimum(first, second)
            if batch.prior_action is not None:
                prior = torch.minimum(*(critic(following, batch.prior_action[0]) for critic in self.target_critics))
                self.prior_is_better += (prior > future).float().mean().item()
                if s.extra_action == "hard":
                    future = torch.where(prior > future, prior, future)
                else:
                    share = torch.softmax(10 * torch.stack([future, prior]), dim=0)
                    future = share[0] * future + share[1] * prior
            target = reward + alive * s.gamma * future
            self.clipped_noise += (noise != clipped).float().mean().item()
            self.clipped_actions += (noisy != next_action).float().mean().item()
            self.second_is_smaller += (second < first).float().mean().item()
        self.critic_loss = sum(nn.functional.mse_loss(critic(observation, action), target) for critic in self.critics)
        self.critic_adam.zero_grad()
        self.critic_loss.backward()
        self.critic_adam.step()
        if self.updates % s.policy_delay == 0:
            pairs = [(self.target_critics, self.critics)]
            if self.updates > s.policy_starts:
                self.actor_loss = -self.critics[0](observation, self.actor(observation)).mean()
                self.actor_adam.zero_grad()
                self.actor_loss.backward()
                self.actor_adam.step()
                pairs.append((self.target_actor, self.actor))
            for target_net, net in pairs:
                for target_value, value in zip(target_net.parameters(), net.parameters(), strict=True):
                    target_value.data.copy_((1 - s.tau) * target_value.data + s.tau * value.data)

    def parts(self, td3, lane):
        """Name, own parameter and, in a state of `td3`, index of the same weights, for all networks."""
        for group in ("actor", "target_actor"):
            net = getattr(self, group)
            modules = {"pre": net.pre, "post": net.post} | {f"layers.{i}": layer for i, layer in enumerate(net.body)}
            for name in getattr(td3.networks, group):
                layer, kind = name.rsplit(".", 1)
                yield group, name, getattr(modules[layer], kind), lane
        for group in ("critics", "target_critics"):
            for name in getattr(td3.networks, group):
                layer, kind = name.rsplit(".", 1)
                for twin, critic in enumerate(getattr(self, group)):
                    yield group, name, getattr(critic.layers[int(layer)], kind), (lane, twin)

    def assert_equals(self, td3, lane):
        state = {name: torch.from_numpy(value) for name, value in td3.state().items()}
        for group, name, parameter, at in self.parts(td3, lane):
            assert_same_weights(state[f"{group}.{name}"][at], parameter.data, f"{group}.{name}")
        torch.testing.assert_close(td3.critic_loss[lane], self.critic_loss.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(td3.actor_loss[lane], self.actor_loss.detach(), rtol=1e-4, atol=1e-5)

    def adopt(self, td3, lane):
        """Take over weights and moments, so that a difference of rounding does not grow from update to update."""
        state = {name: torch.from_numpy(value) for name, value in td3.state().items()}
        for group, name, parameter, at in self.parts(td3, lane):
            parameter.data.copy_(state[f"{group}.{name}"][at])
            moments = {"actor": self.actor_adam, "critics": self.critic_adam}.get(group)
            if moments is not None and parameter in moments.state:
                for moment in ("exp_avg", "exp_avg_sq"):
                    found = state[f"{group}_adam.{moment}.{name}"][at]
                    assert_same_weights(found, moments.state[parameter][moment], f"{group} {moment} {name}")
                    moments.state[parameter][moment].copy_(found)
