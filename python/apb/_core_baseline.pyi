"""
The native core of apb, built for the instruction set baseline.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['Backbone', 'ISA', 'LayerStack', 'Population', 'Quiet', 'ThreadPool', 'adam_step', 'all_within', 'centered_ranks', 'evolution_ask', 'evolution_recombine', 'openai_es_step', 'philox_normal', 'philox_raw', 'philox_uniform', 'polyak_step', 'replay_add', 'replay_sample']
class ThreadPool:
    """
    Threads for the native calls that take `pool=`.
    
    Args:
        num_threads: 1 to 1024. The thread that makes a call is one of them, so 1 starts no thread at all.
    
    Any Python thread may use the pool at any time; results do not depend on the number of threads. In a child made by
    `os.fork()` the workers do not exist, and calls run on the calling thread. An object that another thread was using at the moment
    of the fork may stay locked in the child: a call that changes it, such as `load`, then waits for ever.
    
    Raises:
        ValueError: `num_threads` is out of range.
    """
    def __init__(self, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def num_threads(self) -> int:
        """
        How many threads a call can use.
        """
class Backbone:
    """
    The shared nonlinear network ψ, packed for the native kernels.
    
    ψ(x) = h_L with h_0 = ReLU(x) if `input_activation` else x, and h_i = ReLU(W_i h_{i-1} + b_i).
    
    Args:
        weights: one float32 array (out, in) per layer, as in `torch.nn.Linear`; C-contiguous. They are copied.
        biases: one float32 array (out,) per layer.
        input_activation: whether a ReLU stands before the first layer.
    
    Raises:
        TypeError: an array has another dtype.
        ValueError: no layer, or sizes that do not chain.
    """
    def __init__(self, weights: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]], biases: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]], input_activation: bool) -> None:
        ...
    def load(self, weights: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]], biases: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]]) -> None:
        """
        Replace the weights in place by others of the same sizes; every `Population` on this backbone sees them.
        
        Waits for forward passes under way in other threads.
        
        Args:
            weights: one float32 array (out, in) per layer; C-contiguous. They are copied.
            biases: one float32 array (out,) per layer.
        """
    @property
    def input_activation(self) -> bool:
        """
        Whether a ReLU stands before the first layer.
        """
    @property
    def input_size(self) -> int:
        """
        Number of inputs, d_in.
        """
    @property
    def output_size(self) -> int:
        """
        Number of features.
        """
class Population:
    """
    M adapters around one shared backbone: M policies in one call.
    
    Policy of member m: a = tanh(T_m ψ(P_m s + p_m) + t_m), with s = clip((observation - mean) · inverse_std, ±clip); the result is
    offset + scale · a. Every row is computed alone in a fixed order, so its bits depend neither on the batch around it nor on the
    number of threads.
    
    Args:
        backbone: ψ.
        members: M >= 1.
        observation_size: obs >= 1.
        action_size: act >= 1.
    
    The parameters are zero until `load`.
    """
    def __init__(self, backbone: Backbone, members: typing.SupportsInt | typing.SupportsIndex, observation_size: typing.SupportsInt | typing.SupportsIndex, action_size: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def act(self, obs: numpy.typing.NDArray[typing.Any]) -> numpy.typing.NDArray[numpy.float32]:
        """
        Return the action at one observation, or the actions at a batch, through the constants of `set_transform`.
        
        Args:
            obs: float32 or float64 (obs,) or (B, obs), any strides.
        
        Returns:
            A new float32 array (act,) or (B, act).
        
        Raises:
            ValueError: the population has more than one member, or an observation is NaN or infinite as a float32.
        """
    def forward(self, obs: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any], *, mean: numpy.typing.NDArray[typing.Any] | None = None, inverse_std: numpy.typing.NDArray[typing.Any] | None = None, clip: typing.SupportsFloat | typing.SupportsIndex = 0.0, scale: numpy.typing.NDArray[typing.Any] | None = None, offset: numpy.typing.NDArray[typing.Any] | None = None, pool: ThreadPool | None = None) -> None:
        """
        Compute the actions of all members: out[m, b] = policy of member m at obs[m, b].
        
        Args:
            obs: float32 or float64 (M, B, obs), any strides; float64 is rounded to float32 first. B may be 0.
            out: float32 or float64 (M, B, act), any strides without overlap, written. No part of it lies between the ends of another
                array.
            mean: float32 (obs,), or None for 0.
            inverse_std: float32 (obs,), or None for 1.
            clip: limit of the normalised observation, > 0 as a float32, or 0 for none.
            scale: float32 (act,), or None for 1.
            offset: float32 (act,), or None for 0.
            pool: threads to use, or None for the calling thread alone.
        
        NaN passes through to the actions of its row.
        """
    def load(self, adapters: numpy.typing.NDArray[typing.Any]) -> None:
        """
        Take over the parameters of all members.
        
        Args:
            adapters: float32 (M, n), C-contiguous; each row is [P row-major (d_in, obs) | p (d_in) | T row-major (act, features) | t (act)].
                It is copied.
        """
    def set_transform(self, *, mean: numpy.typing.NDArray[typing.Any] | None = None, inverse_std: numpy.typing.NDArray[typing.Any] | None = None, clip: typing.SupportsFloat | typing.SupportsIndex = 0.0, scale: numpy.typing.NDArray[typing.Any] | None = None, offset: numpy.typing.NDArray[typing.Any] | None = None) -> None:
        """
        Set the constants that `act` uses, replacing all of them; the arrays are copied. Arguments as for `forward`.
        """
    @property
    def action_size(self) -> int:
        """
        act.
        """
    @property
    def members(self) -> int:
        """
        M.
        """
    @property
    def num_parameters(self) -> int:
        """
        Parameters of one adapter, n = d_in·obs + d_in + act·features + act.
        """
    @property
    def observation_size(self) -> int:
        """
        obs.
        """
class LayerStack:
    """
    N networks of one shape side by side, `W x + b` or `ReLU(W x + b)` layer by layer, and their gradient.
    
    Every number is computed in an order that depends on the sizes alone: the same bits for any number of threads, and for a network
    beside others as alone. Layers are pairs (weight, bias) of float32 (N or 1, out, in) and (N or 1, out), contiguous behind the
    first axis; 1 is a layer that all networks share. One call at a time: a second waits.
    
    Args:
        sizes: width of the input and of each layer's output.
        relus: for each layer, whether a ReLU follows.
        networks: N >= 1.
        rows: R >= 1, rows that every network is given.
    
    Raises:
        ValueError: a size is out of [1, 2^24], or their numbers do not match.
        MemoryError: the intermediate values do not fit into memory.
    """
    def __init__(self, sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], relus: collections.abc.Sequence[bool], networks: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def backward(self, layers: collections.abc.Sequence[tuple[numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any]]], slope: numpy.typing.NDArray[typing.Any], gradients: collections.abc.Sequence[tuple[numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any]] | None], pool: ThreadPool | None = None) -> None:
        """
        Write the gradients of a loss with respect to the parameters, right after `forward` with the same layers.
        
        Args:
            layers: the pairs, from the first layer to the last.
            slope: float32 (N, R, out), C-contiguous: the gradient with respect to the outputs.
            gradients: for each layer a pair of float32 (N, out, in) and (N, out), written, or None if it is not learned. Where all
                networks share a layer, each network's own part of its gradient.
            pool: threads to use; the calling thread alone if None.
        
        Raises:
            RuntimeError: there was no `forward` yet.
        """
    def forward(self, layers: collections.abc.Sequence[tuple[numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any]]], x: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any], pool: ThreadPool | None = None) -> None:
        """
        Compute the outputs of all networks.
        
        Args:
            layers: the pairs, from the first layer to the last.
            x: float32 (N, R, in), C-contiguous.
            out: float32 (N, R, out), C-contiguous, written; it shares no memory with the others.
            pool: threads to use; the calling thread alone if None.
        """
    def input_gradient(self, layers: collections.abc.Sequence[tuple[numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any]]], slope: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any], pool: ThreadPool | None = None) -> None:
        """
        Write the gradient of a loss with respect to the inputs, right after `forward` with the same layers.
        
        Args:
            layers: the pairs, from the first layer to the last.
            slope: float32 (N, R, out), C-contiguous: the gradient with respect to the outputs.
            out: float32 (N, R, in), C-contiguous, written.
            pool: threads to use; the calling thread alone if None.
        
        Raises:
            RuntimeError: there was no `forward` yet.
        """
class Quiet:
    """
    A context for any number of threads: MuJoCo takes no times, and its remarks go to `log`.
    
    Callbacks that the user has set stay, and are called. Entering and leaving are one native call each, which no signal of
    the interpreter's divides.
    
    Args:
        log: Called as `log("%s", text)` with each remark when a thread leaves.
        folder: Of the package mujoco, whose library is meant if several are loaded.
    
    To be made when MuJoCo has been imported and has its usual clock.
    """
    def __enter__(self) -> None:
        ...
    def __exit__(self, type: typing.Any, value: typing.Any, traceback: typing.Any) -> None:
        ...
    def __init__(self, log: typing.Any, folder: str) -> None:
        ...
    def begin_anew(self) -> None:
        """
        To be called in a forked process.
        """
def adam_step(parameters: numpy.typing.NDArray[typing.Any], gradient: numpy.typing.NDArray[typing.Any], exp_avg: numpy.typing.NDArray[typing.Any], exp_avg_sq: numpy.typing.NDArray[typing.Any], step: typing.SupportsInt | typing.SupportsIndex, learning_rate: typing.SupportsFloat | typing.SupportsIndex, beta1: typing.SupportsFloat | typing.SupportsIndex = 0.9, beta2: typing.SupportsFloat | typing.SupportsIndex = 0.999, epsilon: typing.SupportsFloat | typing.SupportsIndex = 1e-08, pool: ThreadPool | None = None) -> None:
    """
    One step of Adam (Kingma & Ba 2015) over a flat vector, in single precision.
    
    m += (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2, theta -= learning_rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) +
    epsilon). Every element is computed alone: nothing depends on the number of threads or on its place.
    
    Args:
        parameters: float32 (n,), theta, written.
        gradient: float32 (n,), g.
        exp_avg: float32 (n,), m, written.
        exp_avg_sq: float32 (n,), v, written.
        step: t, 1 for the first step.
        learning_rate: >= 0; learning_rate / (1 - beta1^t) is finite in float32.
        epsilon: >= 0, finite in float32.
        beta1, beta2: in [0, 1); these defaults are those of `torch.optim.Adam`, as that of epsilon.
        pool: threads to use; the calling thread alone if None.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or arrays share memory. Nothing was written then.
    """
def all_within(values: numpy.typing.NDArray[typing.Any], low: typing.SupportsFloat | typing.SupportsIndex, high: typing.SupportsFloat | typing.SupportsIndex) -> bool:
    """
    Whether every number lies in [low, high]; a NaN lies in none. True of an array without elements.
    
    Args:
        values: float32 or float64 (rows, columns), of any strides.
        low, high: the ends, which lie inside.
    """
def centered_ranks(fitness: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any]) -> None:
    """
    Rank the fitness of the members within each lane and scale the ranks to [-0.5, 0.5], the best member getting 0.5.
    
    out[k, i] = r / (P - 1) - 0.5, where r counts the members below i plus half of the others equal to it. P = 1 gives 0.
    Time grows with P^2; meant for up to a few thousand members.
    
    Args:
        fitness: float32 or float64 (K, P). Infinities are ordered.
        out: float32 (K, P), C-contiguous, written.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or a fitness is NaN.
    """
def evolution_ask(mean: numpy.typing.NDArray[typing.Any], sigma: numpy.typing.NDArray[typing.Any], keys: numpy.typing.NDArray[typing.Any], generation: typing.SupportsIndex, out: numpy.typing.NDArray[typing.Any], pool: ThreadPool | None = None) -> None:
    """
    Draw the members of a generation in antithetic pairs around the mean of each lane.
    
    out[k, 2i] = mean[k] + sigma[k] * z_i and out[k, 2i + 1] = mean[k] - sigma[k] * z_i, rounded after each operation; with an odd
    P the last member has no partner. z_i is what `philox_normal(keys[k], [0, generation, i, 0], ...)` gives: nothing depends on
    the number of threads, and the noise can be drawn again without being stored.
    
    Args:
        mean: float32 (K, n).
        sigma: float32 (K, n), standard deviations, finite and >= 0.
        keys: uint64 (K, 2), the Philox key of each lane.
        generation: integer in [0, 2^64); another generation gives other noise.
        out: float32 (K, P, n), C-contiguous, written; every axis at least 1.
        pool: threads to use; the calling thread alone if None.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or `out` shares memory with another array.
    """
def evolution_recombine(members: numpy.typing.NDArray[typing.Any], weights: numpy.typing.NDArray[typing.Any], mean: numpy.typing.NDArray[typing.Any], variance: numpy.typing.NDArray[typing.Any], damping: numpy.typing.NDArray[typing.Any], mean_rate: typing.SupportsFloat | typing.SupportsIndex, variance_rate: typing.SupportsFloat | typing.SupportsIndex, pool: ThreadPool | None = None) -> None:
    """
    Move mean and variance of each lane towards its weighted members, in place.
    
    With d_i = members[k, i] - mean[k], taken before the update, and sums over i in order:
        mean[k]     += mean_rate * sum_i weights[k, i] d_i
        variance[k] += variance_rate * (sum_i weights[k, i] d_i^2 + damping[k] - variance[k])
    As the weights sum to one, the first line is mean + mean_rate * (sum_i weights[k, i] members[k, i] - mean).
    
    Args:
        members: float32 (K, P, n). A member of weight zero is not read.
        weights: float32 (K, P), >= 0, of sum 1 within 1e-4 in each lane.
        mean: float32 (K, n), updated.
        variance: float32 (K, n), updated.
        damping: float32 (K,), finite and >= 0: variance that is added so that the search does not end early.
        mean_rate: in [0, 1].
        variance_rate: in [0, 1].
        pool: threads to use; the calling thread alone if None. The result is the same for any number.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or an updated array shares memory with another one.
    """
def openai_es_step(mean: numpy.typing.NDArray[typing.Any], sigma: numpy.typing.NDArray[typing.Any], weights: numpy.typing.NDArray[typing.Any], keys: numpy.typing.NDArray[typing.Any], generation: typing.SupportsIndex, learning_rate: typing.SupportsFloat | typing.SupportsIndex, weight_decay: typing.SupportsFloat | typing.SupportsIndex, moment1: numpy.typing.NDArray[typing.Any], moment2: numpy.typing.NDArray[typing.Any], step: typing.SupportsInt | typing.SupportsIndex, pool: ThreadPool | None = None) -> None:
    """
    Take one uphill step of OpenAI-ES (Salimans et al. 2017), in place, drawing the noise of the generation again.
    
    The noise is that of `evolution_ask` with the same keys and generation and with every element of its sigma[k] equal to sigma[k]:
        g = sum_i (weights[k, 2i] - weights[k, 2i + 1]) z_i / (P sigma[k]) - weight_decay * mean[k]
        moment1 = 0.9 moment1 + 0.1 g,  moment2 = 0.999 moment2 + 0.001 g^2
        mean[k] += learning_rate / (1 - 0.9^step) * moment1 / (sqrt(moment2 / (1 - 0.999^step)) + 1e-8)
    The constants of Adam are those of its paper (Kingma and Ba 2015).
    
    Args:
        mean: float32 (K, n), updated.
        sigma: float32 (K,), > 0; 1 / (P sigma) is neither 0 nor infinite in float32.
        weights: float32 (K, P), finite: the fitness of the members, usually its `centered_ranks`.
        keys: uint64 (K, 2).
        generation: integer in [0, 2^64).
        learning_rate: >= 0; learning_rate / (1 - 0.9^step) is finite in float32.
        weight_decay: >= 0, finite in float32; the factor of an L2 penalty in the gradient.
        moment1: float32 (K, n), updated; zeros before the first step.
        moment2: float32 (K, n), updated; zeros before the first step.
        step: how many steps the moments have seen, this one included; at least 1.
        pool: threads to use; the calling thread alone if None. The result is the same for any number.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or an updated array shares memory with another one.
    """
def philox_normal(key: numpy.typing.NDArray[typing.Any], counter: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any]) -> None:
    """
    Fill `out` with standard normal numbers by the method of Box and Muller.
    
    Word w of the stream gives elements 2w and 2w + 1: r cos θ and r sin θ with r = sqrt(-2 ln u), where u in (0, 1] comes from
    the upper half of the word and θ in [-π, π) from the lower half. |z| <= 6.67.
    
    Args:
        key: uint64 (2,).
        counter: uint64 (4,).
        out: float32 (n,), C-contiguous, written.
    """
def philox_raw(key: numpy.typing.NDArray[typing.Any], counter: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any]) -> None:
    """
    Fill `out` with the words of Philox4x64-10: those of `numpy.random.Philox(key=key, counter=counter).random_raw(n)`.
    
    Args:
        key: uint64 (2,).
        counter: uint64 (4,), word 0 counts fastest.
        out: uint64 (n,), C-contiguous, written.
    """
def philox_uniform(key: numpy.typing.NDArray[typing.Any], counter: numpy.typing.NDArray[typing.Any], out: numpy.typing.NDArray[typing.Any]) -> None:
    """
    Fill `out` with numbers uniform on [0, 1): those of `numpy.random.Generator(Philox).random(n, dtype=out.dtype)`.
    
    Args:
        key: uint64 (2,).
        counter: uint64 (4,).
        out: float32 or float64 (n,), C-contiguous, written.
    """
def polyak_step(target: numpy.typing.NDArray[typing.Any], source: numpy.typing.NDArray[typing.Any], tau: typing.SupportsFloat | typing.SupportsIndex, pool: ThreadPool | None = None) -> None:
    """
    Move target networks towards their source: target += tau (source - target), and exactly onto it where tau is 1.
    
    Args:
        target: float32 (n,), written.
        source: float32 (n,).
        tau: the share that is taken over, in [0, 1].
        pool: threads to use; the calling thread alone if None.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or the arrays share memory.
    """
def replay_add(table: numpy.typing.NDArray[typing.Any], position: numpy.typing.NDArray[typing.Any], size: numpy.typing.NDArray[typing.Any], obs: numpy.typing.NDArray[typing.Any], action: numpy.typing.NDArray[typing.Any], reward: numpy.typing.NDArray[typing.Any], next_obs: numpy.typing.NDArray[typing.Any], terminated: numpy.typing.NDArray[typing.Any], valid: numpy.typing.NDArray[typing.Any]) -> None:
    """
    Store one transition for each valid slot of each lane, slot by slot; a full lane loses its oldest rows.
    
    A row of the table is [obs | next_obs | action | reward | not_terminated], where not_terminated is 1 or 0. Values are rounded to
    float32. Inputs may have any strides.
    
    Args:
        table: float32 (K, capacity, 2 obs + act + 2), C-contiguous, updated.
        position: int64 (K,), updated: the row that is written next. Zeros at the start.
        size: int64 (K,), updated: how many rows hold data. Zeros at the start; while size < capacity, position = size.
        obs: float32 or float64 (K, S, obs).
        action: float32 (K, S, act).
        reward: float32 or float64 (K, S).
        next_obs: float32 or float64 (K, S, obs).
        terminated: bool (K, S): whether next_obs ends the episode for good; a truncated episode is not terminated.
        valid: bool (K, S): whether the slot holds a transition.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, position and size do not describe a ring, a valid transition holds a
            number that is not finite as float32, or an updated array shares memory with another one. Nothing is stored then.
    """
def replay_sample(table: numpy.typing.NDArray[typing.Any], size: numpy.typing.NDArray[typing.Any], keys: numpy.typing.NDArray[typing.Any], draw: typing.SupportsIndex, obs: numpy.typing.NDArray[typing.Any], action: numpy.typing.NDArray[typing.Any], reward: numpy.typing.NDArray[typing.Any], next_obs: numpy.typing.NDArray[typing.Any], not_terminated: numpy.typing.NDArray[typing.Any], pool: ThreadPool | None = None, indices: numpy.typing.NDArray[typing.Any] | None = None) -> None:
    """
    Draw a minibatch for each lane, uniformly and with replacement, into the given arrays.
    
    Row b of lane k is floor(w_b * size[k] / 2^64), where w_b is word b of `philox_raw(keys[k], [0, draw, 0, 0], ...)`. The same
    draw gives the same rows, for any number of threads; count draws up to get new ones.
    
    Args:
        table: float32 (K, capacity, 2 obs + act + 2), C-contiguous, as written by `replay_add`.
        size: int64 (K,), 1 to capacity in every lane.
        keys: uint64 (K, 2), the Philox key of each lane.
        draw: integer in [0, 2^64).
        obs: float32 (K, B, obs), C-contiguous, written.
        action: float32 (K, B, act), C-contiguous, written.
        reward: float32 (K, B), C-contiguous, written.
        next_obs: float32 (K, B, obs), C-contiguous, written.
        not_terminated: float32 (K, B), C-contiguous, written.
        pool: threads to use; the calling thread alone if None.
        indices: int64 (K, B), C-contiguous, written with the rows that were drawn; or None.
    
    Raises:
        TypeError, ValueError: an argument is not as listed, or a written array shares memory with another one.
    """
ISA: str = 'baseline'
