// Binding of apb/thread_pool.hpp.
#include "apb/thread_pool.hpp"

#include <pybind11/pybind11.h>

#include "released.hpp"

namespace py = pybind11;

void bind_thread_pool(py::module_& module) {
  py::class_<apb::ThreadPool>(module, "ThreadPool", py::module_local(),
                              R"(Threads for the native calls that take `pool=`.

Args:
    num_threads: 1 to 1024. The thread that makes a call is one of them, so 1 starts no thread at all.

Any Python thread may use the pool at any time; results do not depend on the number of threads. In a child made by
`os.fork()` the workers do not exist, and calls run on the calling thread. An object that another thread was using at the moment
of the fork may stay locked in the child: a call that changes it, such as `load`, then waits for ever.

Raises:
    ValueError: `num_threads` is out of range.)")
      .def(py::init<int>(), py::arg("num_threads"), py::call_guard<apb::bind::Released>())
      .def_property_readonly("num_threads", &apb::ThreadPool::num_threads, "How many threads a call can use.");
}
