// Binding of apb/optimizer.hpp.
#include "apb/optimizer.hpp"

#include <pybind11/pybind11.h>

#include "arguments.hpp"
#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::bind::Array;
using apb::bind::input;
using apb::bind::output;
using apb::bind::require_disjoint;

void bind_optimizer(py::module_& module) {
  module.def(
      "adam_step",
      [](const Array& parameters, const Array& gradient, const Array& exp_avg, const Array& exp_avg_sq,
         std::int64_t step, double learning_rate, double beta1, double beta2, double epsilon,
         const apb::bind::OptionalPool& pool) {
        const auto theta = output<float, 1>(parameters, "parameters", {{{"n"}}});
        const auto g = input<float, 1>(gradient, "gradient", {{{"n", theta.shape[0]}}});
        const auto m = output<float, 1>(exp_avg, "exp_avg", {{{"n", theta.shape[0]}}});
        const auto v = output<float, 1>(exp_avg_sq, "exp_avg_sq", {{{"n", theta.shape[0]}}});
        require_disjoint({{"parameters", theta}, {"gradient", g}, {"exp_avg", m}, {"exp_avg_sq", v}});
        const apb::bind::Released released;
        apb::adam_step(theta, g, m, v, step, {learning_rate, beta1, beta2, epsilon}, pool.value_or(nullptr));
      },
      py::arg("parameters"), py::arg("gradient"), py::arg("exp_avg"), py::arg("exp_avg_sq"), py::arg("step"),
      py::arg("learning_rate"), py::arg("beta1") = 0.9, py::arg("beta2") = 0.999, py::arg("epsilon") = 1e-8,
      py::arg("pool") = py::none(),
      R"(One step of Adam (Kingma & Ba 2015) over a flat vector, in single precision.

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
    TypeError, ValueError: an argument is not as listed, or arrays share memory. Nothing was written then.)");
  module.def(
      "polyak_step",
      [](const Array& target, const Array& source, double tau, const apb::bind::OptionalPool& pool) {
        const auto to = output<float, 1>(target, "target", {{{"n"}}});
        const auto from = input<float, 1>(source, "source", {{{"n", to.shape[0]}}});
        require_disjoint({{"target", to}, {"source", from}});
        const apb::bind::Released released;
        apb::polyak_step(to, from, tau, pool.value_or(nullptr));
      },
      py::arg("target"), py::arg("source"), py::arg("tau"), py::arg("pool") = py::none(),
      R"(Move target networks towards their source: target += tau (source - target), and exactly onto it where tau is 1.

Args:
    target: float32 (n,), written.
    source: float32 (n,).
    tau: the share that is taken over, in [0, 1].
    pool: threads to use; the calling thread alone if None.

Raises:
    TypeError, ValueError: an argument is not as listed, or the arrays share memory.)");
}
