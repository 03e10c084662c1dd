// Binding of apb/bounds.hpp.
#include "apb/bounds.hpp"

#include <pybind11/pybind11.h>

#include <variant>

#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::bind::Array;

void bind_bounds(py::module_& module) {
  module.def(
      "all_within",
      [](const Array& values, double low, double high) {
        const auto table =
            apb::bind::real_input<2>(values, "values", {{{"rows"}, {"columns"}}}, apb::bind::Layout::strided);
        return std::visit(
            [&](const auto& view) {
              const apb::bind::Released released(view.size());
              return apb::all_within(view, low, high);
            },
            table);
      },
      py::arg("values"), py::arg("low"), py::arg("high"),
      R"(Whether every number lies in [low, high]; a NaN lies in none. True of an array without elements.

Args:
    values: float32 or float64 (rows, columns), of any strides.
    low, high: the ends, which lie inside.)");
}
