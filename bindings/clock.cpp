// A clock for MuJoCo that takes no time to read.
#include <pybind11/pybind11.h>

#include <cstdint>

namespace py = pybind11;

namespace {

double stopped_clock() {
  return 0.0;
}

}  // namespace

void bind_clock(py::module_& module) {
  module.def(
      "stopped_clock", [] { return reinterpret_cast<std::uintptr_t>(&stopped_clock); },
      "The address of a C function `double f(void)` that returns 0.");
}
