// Binding of apb/philox.hpp.
#include "apb/philox.hpp"

#include <pybind11/pybind11.h>

#include <variant>

#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::bind::Array;

namespace {

apb::PhiloxStream stream_of(const Array& key, const Array& counter) {
  const auto k = apb::bind::input<std::uint64_t, 1>(key, "key", {{{"2", 2}}});
  const auto c = apb::bind::input<std::uint64_t, 1>(counter, "counter", {{{"4", 4}}});
  return apb::PhiloxStream({k(0), k(1)}, {c(0), c(1), c(2), c(3)});
}

}  // namespace

void bind_philox(py::module_& module) {
  module.def(
      "philox_raw",
      [](const Array& key, const Array& counter, const Array& out) {
        const apb::PhiloxStream stream = stream_of(key, counter);
        const auto to = apb::bind::output<std::uint64_t, 1>(out, "out", {{{"n"}}});
        const apb::bind::Released released(to.size());
        stream.raw(0, to.data, to.size());
      },
      py::arg("key"), py::arg("counter"), py::arg("out"),
      R"(Fill `out` with the words of Philox4x64-10: those of `numpy.random.Philox(key=key, counter=counter).random_raw(n)`.

Args:
    key: uint64 (2,).
    counter: uint64 (4,), word 0 counts fastest.
    out: uint64 (n,), C-contiguous, written.)");
  module.def(
      "philox_uniform",
      [](const Array& key, const Array& counter, const Array& out) {
        const apb::PhiloxStream stream = stream_of(key, counter);
        const auto to = apb::bind::real_output<1>(out, "out", {{{"n"}}});
        std::visit(
            [&](const auto& view) {
              const apb::bind::Released released(view.size());
              stream.uniform(0, view.data, view.size());
            },
            to);
      },
      py::arg("key"), py::arg("counter"), py::arg("out"),
      R"(Fill `out` with numbers uniform on [0, 1): those of `numpy.random.Generator(Philox).random(n, dtype=out.dtype)`.

Args:
    key: uint64 (2,).
    counter: uint64 (4,).
    out: float32 or float64 (n,), C-contiguous, written.)");
  module.def(
      "philox_normal",
      [](const Array& key, const Array& counter, const Array& out) {
        const apb::PhiloxStream stream = stream_of(key, counter);
        const auto to = apb::bind::output<float, 1>(out, "out", {{{"n"}}});
        const apb::bind::Released released(to.size());
        stream.normal(0, to.data, to.size());
      },
      py::arg("key"), py::arg("counter"), py::arg("out"),
      R"(Fill `out` with standard normal numbers by the method of Box and Muller.

Word w of the stream gives elements 2w and 2w + 1: r cos θ and r sin θ with r = sqrt(-2 ln u), where u in (0, 1] comes from
the upper half of the word and θ in [-π, π) from the lower half. |z| <= 6.67.

Args:
    key: uint64 (2,).
    counter: uint64 (4,).
    out: float32 (n,), C-contiguous, written.)");
}
