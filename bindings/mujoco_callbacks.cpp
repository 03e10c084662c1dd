// C functions for MuJoCo to call, from any thread and at any time: no Python runs in them, so that no exception and no
// signal of the interpreter's can meet MuJoCo's own frames, and they stay callable after they are unset.
#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

constexpr std::size_t kMostRemarks = 1000;

struct Remarks {
  std::mutex mutex;
  std::vector<std::string> texts;
};
Remarks* remarks = new Remarks;  // never freed: MuJoCo's threads may outlive the module

extern "C" double apb_stopped_clock() {
  return 0.0;
}

extern "C" void apb_keep_remark(const char* text) {
  try {
    const std::lock_guard lock(remarks->mutex);
    if (remarks->texts.size() < kMostRemarks) remarks->texts.emplace_back(text);
  } catch (...) {  // no memory: a remark is lost
  }
}

std::vector<std::string> take_remarks() {
  std::vector<std::string> texts;
  const std::lock_guard lock(remarks->mutex);
  texts.swap(remarks->texts);
  return texts;
}

}  // namespace

void bind_mujoco_callbacks(py::module_& module) {
  module.def(
      "stopped_clock", [] { return reinterpret_cast<std::uintptr_t>(&apb_stopped_clock); },
      "The address of a C function `double f(void)` that returns 0.");
  module.def(
      "keep_remark", [] { return reinterpret_cast<std::uintptr_t>(&apb_keep_remark); },
      "The address of a C function `void f(const char*)` that keeps a text for `take_remarks`, up to 1,000 of them.");
  module.def(
      "take_remarks",
      [] {
        py::typing::List<py::str> list;
        for (const std::string& text : take_remarks()) {
          list.append(py::reinterpret_steal<py::object>(
              PyUnicode_DecodeUTF8(text.data(), static_cast<py::ssize_t>(text.size()), "replace")));
        }
        return list;
      },
      "The texts kept since the last call, the oldest first.");
  module.def(
      "forget_remarks", [] { remarks = new Remarks; },
      "To be called in a forked process, where another thread's lock may have stayed locked.");
}
