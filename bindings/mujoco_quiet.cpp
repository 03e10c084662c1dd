// Quiet: a context in which MuJoCo takes no times and tells its remarks to us.
//
// MuJoCo's callbacks are two pointers of its library. What they point to here is C without Python, so that no exception
// and no signal of the interpreter's meets MuJoCo's own frames, and stays callable after they point elsewhere. They are
// written to directly: by Python's `mujoco.set_mjcb_time` a step of light models would be a twentieth slower.
#include <dlfcn.h>
#include <link.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

using Warning = void (*)(const char*);
using Clock = double (*)();

constexpr std::size_t kMostRemarks = 1000;

// Of the whole process, as the callbacks are. Never freed: MuJoCo's threads may outlive the module.
struct State {
  std::mutex mutex;
  std::int64_t inside = 0;
  std::vector<std::string> remarks;
};
State* state = new State;

extern "C" double apb_stopped_clock() {
  return 0.0;
}

extern "C" void apb_keep_remark(const char* text) {
  try {
    const std::lock_guard lock(state->mutex);
    if (state->remarks.size() < kMostRemarks) state->remarks.emplace_back(text);
  } catch (...) {  // no memory: a remark is lost
  }
}

// MuJoCo's threads read the pointers at any time.
template <class Pointer>
void replace(Pointer* where, Pointer expected, Pointer wanted) {
  std::atomic_ref<Pointer>(*where).compare_exchange_strong(expected, wanted);
}

// The address of a variable of the MuJoCo library of Python's package in `folder`, whose file's name tells its version;
// if there is none in it, of any that is loaded; else null.
void* variable_of_mujoco(const char* name, const std::string& folder) {
  struct Search {
    const char* name;
    const std::string& folder;
    void* found;
  } search{name, folder, nullptr};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto* wanted = static_cast<Search*>(data);
        const std::string_view path(info->dlpi_name);
        if (path.find("libmujoco") == path.npos || path.find(wanted->folder) == path.npos) return 0;
        if (void* library = dlopen(info->dlpi_name, RTLD_NOLOAD | RTLD_LAZY)) {
          wanted->found = dlsym(library, wanted->name);
          dlclose(library);
        }
        return wanted->found == nullptr ? 0 : 1;
      },
      &search);
  return search.found == nullptr && !folder.empty() ? variable_of_mujoco(name, "") : search.found;
}

class Quiet {
 public:
  Quiet(py::object log, const std::string& folder)
      : log_(std::move(log)),
        warning_(static_cast<Warning*>(variable_of_mujoco("mju_user_warning", folder))),
        clock_(static_cast<Clock*>(variable_of_mujoco("mjcb_time", folder))) {
    if (clock_ != nullptr) usual_clock_ = *clock_;
  }

  void enter() const {
    const std::lock_guard lock(state->mutex);
    if (state->inside++ > 0) return;
    if (warning_ != nullptr) replace<Warning>(warning_, nullptr, &apb_keep_remark);
    if (clock_ != nullptr) replace<Clock>(clock_, usual_clock_, &apb_stopped_clock);
  }

  void exit() const {
    std::vector<std::string> remarks;
    {
      const std::lock_guard lock(state->mutex);
      if (state->inside > 0 && --state->inside == 0) put_back();  // 0 in a child that was forked within
      remarks.swap(state->remarks);
    }
    for (const std::string& text : remarks) {
      log_("%s", py::reinterpret_steal<py::object>(
                     PyUnicode_DecodeUTF8(text.data(), static_cast<py::ssize_t>(text.size()), "replace")));
    }
  }

  // In a forked process: nobody is inside, and a lock that another thread held would stay locked.
  void begin_anew() const {
    state = new State;
    put_back();
  }

 private:
  void put_back() const {
    if (warning_ != nullptr) replace<Warning>(warning_, &apb_keep_remark, nullptr);
    if (clock_ != nullptr) replace<Clock>(clock_, &apb_stopped_clock, usual_clock_);
  }

  py::object log_;
  Warning* warning_;
  Clock* clock_;
  Clock usual_clock_ = nullptr;
};

}  // namespace

void bind_mujoco_quiet(py::module_& module) {
  py::class_<Quiet>(module, "Quiet",
                    R"(A context for any number of threads: MuJoCo takes no times, and its remarks go to `log`.

Callbacks that the user has set stay, and are called. Entering and leaving are one native call each, which no signal of
the interpreter's divides.

Args:
    log: Called as `log("%s", text)` with each remark when a thread leaves.
    folder: Of the package mujoco, whose library is meant if several are loaded.

To be made when MuJoCo has been imported and has its usual clock.)")
      .def(py::init<py::object, std::string>(), py::arg("log"), py::arg("folder"))
      .def("__enter__", &Quiet::enter)
      .def(
          "__exit__", [](const Quiet& quiet, const py::object&, const py::object&, const py::object&) { quiet.exit(); },
          py::arg("type"), py::arg("value"), py::arg("traceback"))
      .def("begin_anew", &Quiet::begin_anew, "To be called in a forked process.");
}
