// The extension module: one `bind_<topic>` per file of this folder, listed by the build.
#include <pybind11/pybind11.h>

namespace py = pybind11;

#define APB_BINDING_TOPIC(topic) void bind_##topic(py::module_& module);
#include "binding_topics.inc"
#undef APB_BINDING_TOPIC

PYBIND11_MODULE(APB_MODULE_NAME, module) {
  module.doc() = "The native core of apb, built for the instruction set " APB_ISA_NAME ".";
  module.attr("ISA") = APB_ISA_NAME;
#define APB_BINDING_TOPIC(topic) bind_##topic(module);
#include "binding_topics.inc"
#undef APB_BINDING_TOPIC
}
