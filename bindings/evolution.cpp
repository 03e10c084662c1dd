// Binding of apb/evolution.hpp.
#include "apb/evolution.hpp"

#include <pybind11/pybind11.h>

#include "arguments.hpp"
#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::bind::Array;
using apb::bind::counter_word;
using apb::bind::input;
using apb::bind::Integer;
using apb::bind::output;
using apb::bind::require_disjoint;
using apb::bind::require_not_empty;

void bind_evolution(py::module_& module) {
  module.def(
      "evolution_ask",
      [](const Array& mean, const Array& sigma, const Array& keys, const Integer& generation, const Array& out,
         const apb::bind::OptionalPool& pool) {
        const auto x = output<float, 3>(out, "out", {{{"K"}, {"P"}, {"n"}}});
        const auto [lanes, members, parameters] = x.shape;
        const auto m = input<float, 2>(mean, "mean", {{{"K", lanes}, {"n", parameters}}});
        const auto s = input<float, 2>(sigma, "sigma", {{{"K", lanes}, {"n", parameters}}});
        const auto k = input<std::uint64_t, 2>(keys, "keys", {{{"K", lanes}, {"2", 2}}});
        const std::uint64_t g = counter_word(generation, "generation");
        require_not_empty(x, "out");
        require_disjoint({{"mean", m}, {"sigma", s}, {"keys", k}, {"out", x}});
        const apb::bind::Released released;
        apb::evolution_ask(m, s, k, g, x, pool.value_or(nullptr));
      },
      py::arg("mean"), py::arg("sigma"), py::arg("keys"), py::arg("generation"), py::arg("out"),
      py::arg("pool") = py::none(),
      R"(Draw the members of a generation in antithetic pairs around the mean of each lane.

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
    TypeError, ValueError: an argument is not as listed, or `out` shares memory with another array.)");
  module.def(
      "evolution_recombine",
      [](const Array& members, const Array& weights, const Array& mean, const Array& variance, const Array& damping,
         double mean_rate, double variance_rate, const apb::bind::OptionalPool& pool) {
        const auto x = input<float, 3>(members, "members", {{{"K"}, {"P"}, {"n"}}});
        const auto [lanes, count, parameters] = x.shape;
        const auto w = input<float, 2>(weights, "weights", {{{"K", lanes}, {"P", count}}});
        const auto m = output<float, 2>(mean, "mean", {{{"K", lanes}, {"n", parameters}}});
        const auto v = output<float, 2>(variance, "variance", {{{"K", lanes}, {"n", parameters}}});
        const auto d = input<float, 1>(damping, "damping", {{{"K", lanes}}});
        require_not_empty(x, "members");
        require_disjoint({{"members", x}, {"weights", w}, {"mean", m}, {"variance", v}, {"damping", d}});
        const apb::bind::Released released;
        apb::evolution_recombine(x, w, m, v, d, {mean_rate, variance_rate}, pool.value_or(nullptr));
      },
      py::arg("members"), py::arg("weights"), py::arg("mean"), py::arg("variance"), py::arg("damping"),
      py::arg("mean_rate"), py::arg("variance_rate"), py::arg("pool") = py::none(),
      R"(Move mean and variance of each lane towards its weighted members, in place.

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
    TypeError, ValueError: an argument is not as listed, or an updated array shares memory with another one.)");
  module.def(
      "centered_ranks",
      [](const Array& fitness, const Array& out) {
        const auto ranks = output<float, 2>(out, "out", {{{"K"}, {"P"}}});
        const auto [lanes, members] = ranks.shape;
        const auto values = apb::bind::real_input<2>(fitness, "fitness", {{{"K", lanes}, {"P", members}}});
        require_not_empty(ranks, "out");
        require_disjoint({{"fitness", values}, {"out", ranks}});
        const apb::bind::Released released;
        apb::centered_ranks(values, ranks);
      },
      py::arg("fitness"), py::arg("out"),
      R"(Rank the fitness of the members within each lane and scale the ranks to [-0.5, 0.5], the best member getting 0.5.

out[k, i] = r / (P - 1) - 0.5, where r counts the members below i plus half of the others equal to it. P = 1 gives 0.
Time grows with P^2; meant for up to a few thousand members.

Args:
    fitness: float32 or float64 (K, P). Infinities are ordered.
    out: float32 (K, P), C-contiguous, written.

Raises:
    TypeError, ValueError: an argument is not as listed, or a fitness is NaN.)");
  module.def(
      "openai_es_step",
      [](const Array& mean, const Array& sigma, const Array& weights, const Array& keys, const Integer& generation,
         double learning_rate, double weight_decay, const Array& moment1, const Array& moment2, std::int64_t step,
         const apb::bind::OptionalPool& pool) {
        const auto m = output<float, 2>(mean, "mean", {{{"K"}, {"n"}}});
        const auto [lanes, parameters] = m.shape;
        const auto s = input<float, 1>(sigma, "sigma", {{{"K", lanes}}});
        const auto w = input<float, 2>(weights, "weights", {{{"K", lanes}, {"P"}}});
        const auto k = input<std::uint64_t, 2>(keys, "keys", {{{"K", lanes}, {"2", 2}}});
        const auto m1 = output<float, 2>(moment1, "moment1", {{{"K", lanes}, {"n", parameters}}});
        const auto m2 = output<float, 2>(moment2, "moment2", {{{"K", lanes}, {"n", parameters}}});
        const std::uint64_t g = counter_word(generation, "generation");
        require_not_empty(m, "mean");
        require_not_empty(w, "weights");
        require_disjoint({{"mean", m}, {"sigma", s}, {"weights", w}, {"keys", k}, {"moment1", m1}, {"moment2", m2}});
        const apb::bind::Released released;
        apb::openai_es_step(m, s, w, k, g, {learning_rate, weight_decay, step}, m1, m2, pool.value_or(nullptr));
      },
      py::arg("mean"), py::arg("sigma"), py::arg("weights"), py::arg("keys"), py::arg("generation"),
      py::arg("learning_rate"), py::arg("weight_decay"), py::arg("moment1"), py::arg("moment2"), py::arg("step"),
      py::arg("pool") = py::none(),
      R"(Take one uphill step of OpenAI-ES (Salimans et al. 2017), in place, drawing the noise of the generation again.

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
    TypeError, ValueError: an argument is not as listed, or an updated array shares memory with another one.)");
}
