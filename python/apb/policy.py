"""`Policy`: what acts; backbone, adapter and normalisation in one object that needs no torch and runs natively."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray

from apb import _native, env_spaces, files, rng, spaces
from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.errors import ConfigError, FileFormatError, MismatchError
from apb.model_card import model_card
from apb.normalization import Normalizer
from apb.reference import reference_forward

if TYPE_CHECKING:
    from apb.env_source import EnvSource

FORMAT = "apb.policy"
FORMAT_VERSION = 1
PROBE_ROWS = 8


class Policy:
    """The policy `action = offset + scale * tanh(T psi(P s + p) + t)`, with s normalised if it was in learning.

    `scale = (high - low) / 2` and `offset = (high + low) / 2` come from the action space, whose bounds actions keep.

    Args:
        backbone: psi.
        adapter: P, p, T, t; learned for this backbone, or for none in particular.
        observation_space: Float `Box` of the env; of rank 2 and more it is flattened row-major. Its size is the
            adapter's.
        action_space: Bounded float `Box` of the env.
        normalizer: Observation statistics that the adapter was learned with. Default: none.
        metadata: JSON values that travel with the file, such as env_id, strategy and timesteps.

    Raises:
        InvalidEnvError: a space is not supported. MismatchError: sizes differ, or the adapter belongs to another
            backbone.
        ConfigError: metadata has values that are not JSON, or the policy is too large to be saved.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: Adapter,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        normalizer: Normalizer | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.backbone = backbone
        self.adapter = adapter.bind(backbone)
        self.observation_space: Box = env_spaces.require_observation_space(observation_space)
        self.action_space: Box = env_spaces.require_action_space(action_space)
        self.normalizer = normalizer
        # Through JSON and back: a copy, and an early error for what could not be saved after hours of learning.
        self.metadata: dict[str, Any] = files.parse_json(files.dump_json(metadata or {}).encode(), "metadata")
        shape = adapter.shape
        for name, own, space in (
            ("observation", shape.observation_size, self.observation_space),
            ("action", shape.action_size, self.action_space),
        ):
            size = env_spaces.flat_size(space)
            if own != size:
                raise MismatchError(f"the adapter has {name}_size {own}, {name}_space {space} has {size} elements")
        if normalizer is not None and normalizer.observation_size != shape.observation_size:
            raise MismatchError(
                f"normalizer is for {normalizer.observation_size} elements; "
                f"observation_space has {shape.observation_size}"
            )
        files.require_config(self._config())
        self._bounds = env_spaces.ActionBounds(self.action_space)
        self.scale, self.offset = self._bounds.scale, self._bounds.offset
        native_backbone = _native.Backbone(list(backbone.weights), list(backbone.biases), backbone.input_activation)
        population = _native.Population(native_backbone, 1, shape.observation_size, shape.action_size)
        population.load(self.adapter.parameters[None])
        statistics = {} if normalizer is None else normalizer.native_arguments()
        population.set_transform(scale=self.scale, offset=self.offset, **statistics)
        self._act: Callable[[Any], NDArray[np.float32]] = population.act
        # Vectors in and float32 vectors out need no reshaping and no cast: the native call is all of `__call__`.
        ranks = len(self.observation_space.shape), len(self.action_space.shape)
        self._is_plain = ranks == (1, 1) and self.action_space.dtype == np.float32

    def __call__(self, observation: ArrayLike) -> NDArray[Any]:
        """Actions for one observation, shaped as its space, or for a batch with any leading axes `(..., *shape)`.

        Observations may have any float dtype and strides, and are read as float32. Returns a new array `(..., *action
        shape)` of the action space's dtype. A row's action does not depend on the rows around it. Safe to call from
        several threads.

        Raises:
            MismatchError: the shape does not fit. ConfigError: it is not made of numbers, or holds NaN or infinity.
        """
        if self._is_plain:
            try:
                return self._act(observation)
            except (TypeError, ValueError):
                pass
        return self._act_any(observation)

    def predict(
        self,
        observation: ArrayLike,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """`(self(observation), state)`: the protocol of Stable-Baselines3, for its `evaluate_policy` and the like.

        The policy keeps no state and draws nothing at random: `state` is handed back, the other arguments change
        nothing.
        """
        return self(observation), state

    @property
    def num_parameters(self) -> int:
        """Number of weights and biases, backbone and adapter together."""
        return self.backbone.num_parameters + self.adapter.num_parameters

    @property
    def hash(self) -> str:
        """SHA-256 of all that its actions are computed from, hex; metadata has no part in it."""
        digest = hashlib.sha256(self.backbone.hash.encode() + self.adapter.parameters.tobytes())
        if self.normalizer is not None:
            for array in (self.normalizer.mean, self.normalizer.inverse_std, np.float64(self.normalizer.clip)):
                digest.update(array.tobytes())
        digest.update(files.dump_json([self.scale.tolist(), self.offset.tolist()]).encode())
        return digest.hexdigest()

    def check_env(self, env: "gymnasium.Env[Any, Any] | gymnasium.vector.VectorEnv[Any, Any, Any] | EnvSource") -> None:
        """Raise unless `env` has the spaces of the policy: equal shapes and bounds; the float dtype may differ.

        Raises:
            MismatchError: names both spaces and where they differ.
        """
        for name, own in (("observation_space", self.observation_space), ("action_space", self.action_space)):
            found = getattr(env, f"single_{name}", None) or getattr(env, name)
            words = spaces.differences(own, found)
            if words:
                raise MismatchError(
                    f"the env's {name} {' and '.join(words)}; the policy's {name} is {own}, the env's is {found}; "
                    "use the env that the policy was adapted to, or adapt to this one"
                )

    def save_pretrained(self, path: str | Path) -> Path:
        """Write the folder `path`: `config.json`, `model.safetensors` and a `README.md`; it needs no other file.

        A few observations and their actions go with it, and are replayed by `from_pretrained`.
        """
        probes = _probe_observations(self)
        tensors: dict[str, NDArray[Any]] = {
            f"backbone.{name}": array for name, array in self.backbone.tensors().items()
        }
        tensors |= {f"adapter.{name}": array for name, array in self.adapter.layers.items()}
        if self.normalizer is not None:
            tensors |= {"normalizer.mean": self.normalizer.mean, "normalizer.inverse_std": self.normalizer.inverse_std}
        tensors |= {"parity.observations": probes, "parity.actions": self._act(probes)}
        return files.write_folder(path, self._config(), tensors, texts={"README.md": model_card(self)})

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Policy":
        """Read a policy from a folder written by `save_pretrained`, and replay the observations stored in it.

        Raises:
            FileFormatError: a file is missing, cut short, tampered with, or not a policy. MismatchError: a later format
                version, weights with another hash, or actions that differ from the stored ones by more than rounding
                explains.
        """
        config, tensors = files.read_folder(path, FORMAT, FORMAT_VERSION)
        groups: dict[str, dict[str, NDArray[Any]]] = {"backbone": {}, "adapter": {}, "normalizer": {}, "parity": {}}
        try:
            for name, array in tensors.items():
                group, _, rest = name.partition(".")
                groups[group][rest] = array
            backbone = Backbone.from_description(config["backbone"], groups["backbone"], str(path))
            adapter = Adapter.from_description(config["adapter"], groups["adapter"], str(path))
            described = config["normalizer"]
            normalizer = None if described is None else Normalizer(**groups["normalizer"], clip=described["clip"])
            policy = cls(
                backbone,
                adapter,
                spaces.from_json("observation_space", config["observation_space"]),
                spaces.from_json("action_space", config["action_space"]),
                normalizer,
                dict(config["metadata"]),
            )
            policy._replay(groups["parity"]["observations"], groups["parity"]["actions"], path)
        except (FileFormatError, MismatchError):
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FileFormatError(
                f"{path} does not hold a valid policy: {error!r}; write it anew with save_pretrained"
            ) from error
        return policy

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.backbone.layer_sizes)
        return (
            f"Policy({self.observation_space.shape} {self.observation_space.dtype} -> "
            f"{self.action_space.shape} {self.action_space.dtype}, backbone {sizes} [{self.backbone.hash[:12]}], "
            f"adapter {self.adapter.num_parameters:,} parameters, "
            f"normalizer {'off' if self.normalizer is None else 'on'})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # The native object cannot be copied or sent to another process; the parts that it was built from can.
        parts = (self.backbone, self.adapter, self.observation_space, self.action_space, self.normalizer, self.metadata)
        return type(self), parts

    def _config(self) -> dict[str, Any]:
        """What `config.json` of a saved policy says."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "observation_space": spaces.to_json(self.observation_space),
            "action_space": spaces.to_json(self.action_space),
            "backbone": self.backbone.description(),
            "adapter": self.adapter.description(),
            "normalizer": None if self.normalizer is None else {"clip": self.normalizer.clip},
            "metadata": self.metadata,
        }

    def _act_any(self, observation: ArrayLike) -> NDArray[Any]:
        """Actions for whatever NumPy can read as observations, or an error that says what is wrong with it."""
        if isinstance(observation, tuple) and observation and isinstance(observation[-1], dict):
            raise ConfigError(
                f"observation is a tuple of {len(observation)} that ends with a dict, and looks like (observation, "
                "info): take it apart first, `observation, _ = env.reset()`"
            )
        try:
            array = np.asarray(observation)
        except Exception as error:  # a ragged list, a tensor that wants a gradient
            raise ConfigError(
                f"observation is a {type(observation).__name__} that NumPy cannot read ({error}); expected real "
                f"numbers, shape {self.observation_space.shape}: rows of equal length, a tensor without gradient "
                "(.detach())"
            ) from error
        if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
            raise ConfigError(
                f"observation has dtype {array.dtype}; expected real numbers, shape {self.observation_space.shape}"
            )
        shape = self.observation_space.shape
        leading = array.ndim - len(shape)
        if leading < 0 or array.shape[leading:] != shape:
            raise MismatchError(
                f"observation has shape {array.shape}; "
                f"expected {shape} or a batch (..., {', '.join(map(str, shape))}): the policy was made for this space"
            )
        with np.errstate(over="ignore"):
            rows = array.astype(np.float32).reshape(-1, self.adapter.shape.observation_size)
        finite = np.isfinite(rows)
        if not finite.all():
            index = tuple(int(i) for i in np.argwhere(~finite.reshape(array.shape))[0])
            place = ", ".join(map(str, index))
            raise ConfigError(
                f"observation[{place}] = {array[index]}; expected finite float32 numbers: look for the env's fault"
            )
        actions = self._bounds.inside(self._act(rows))
        return actions.reshape((*array.shape[:leading], *self.action_space.shape))

    def _replay(self, observations: NDArray[Any], actions: NDArray[Any], source: str | Path) -> None:
        """Raise `MismatchError` unless this machine's actions are the stored ones, up to the rounding of both."""
        shape = self.adapter.shape
        for name, array, width in (
            ("observations", observations, shape.observation_size),
            ("actions", actions, shape.action_size),
        ):
            if array.dtype != np.float32 or array.shape != (PROBE_ROWS, width):
                raise FileFormatError(
                    f"{source}: parity.{name} is {array.dtype} {array.shape}; expected float32 {(PROBE_ROWS, width)}"
                )
        found = self._act(observations)
        _, bound = reference_forward(
            self.backbone, self.adapter, observations, self.normalizer, self.scale, self.offset
        )
        excess = np.abs(found.astype(np.float64) - actions) - 2 * bound
        if not (excess <= 0).all():
            at = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
            raise MismatchError(
                f"{source}: stored observation {at[0]} gives action[{at[1]}] = {found[at]}, when it was saved it gave "
                f"{actions[at]} (tolerance {2 * bound[at]:.2g}); the folder was changed, or is of another version"
            )


def _probe_observations(policy: Policy) -> NDArray[np.float32]:
    """Observations (8, obs) that exercise the policy: normal; in units of its normaliser, if any, up to its clip."""
    rows = rng.generator(0, rng.Stream.PROBE).standard_normal((PROBE_ROWS, policy.adapter.shape.observation_size))
    if policy.normalizer is not None:
        rows *= np.geomspace(1, max(policy.normalizer.clip, 1), PROBE_ROWS)[:, None]
        rows = policy.normalizer.mean + rows / policy.normalizer.inverse_std
    return rows.astype(np.float32)
