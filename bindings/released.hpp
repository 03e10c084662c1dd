// Released: the interpreter's lock is free for other threads as long as this object lives.
//
// Not `pybind11::gil_scoped_release`: a daemon thread whose native call ends after the interpreter gets no lock any
// more. Python up to 3.13 ends such a thread by `pthread_exit`, which unwinds its stack; the unwinding may not leave a
// destructor, and would end the process with SIGABRT. Here the thread waits for the end of the process instead, as
// Python 3.14 makes it do by itself.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <cstdint>

namespace apb::bind {

class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  // For work on so many numbers: few of them are done sooner than a busy thread gives the lock back (5 ms).
  explicit Released(std::int64_t numbers) : state_(numbers > 16384 ? PyEval_SaveThread() : nullptr) {}
  ~Released() {
    if (state_ == nullptr) return;
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // no C++ exception, but the unwinding
      for (;;) pause();
    }
  }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace apb::bind
