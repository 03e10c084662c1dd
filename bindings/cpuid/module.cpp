// Which of the package's instruction sets this processor and its operating system can run.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

namespace py = pybind11;

namespace {

// `__builtin_cpu_supports` of GCC and Clang reads CPUID and, for the AVX family, XGETBV: it answers yes only where the
// operating system saves the wide registers.
std::vector<std::string> supported_isas() {
  std::vector<std::string> isas{"baseline"};
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (avx2) isas.emplace_back("avx2");
  if (avx2 && avx512) isas.emplace_back("avx512");
#endif
  return isas;
}

}  // namespace

PYBIND11_MODULE(_cpuid, module) {
  module.doc() = "Which of the package's instruction sets this processor and its operating system can run.";
  module.def("supported_isas", &supported_isas, "Names of the instruction sets that can run here, the plainest first.");
}
