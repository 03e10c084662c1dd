// ThreadPool: runs the tasks of one call on a few threads, the calling one included.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace apb {

// A pool of `num_threads` threads: the caller of `parallel_for` and `num_threads - 1` workers.
//
// - Any thread may call. While one call has the workers, another runs its tasks on its own thread: calls never wait for
//   each other, and results never depend on who runs a task: the workers take over the caller's floating-point
//   environment (a program may round, or treat denormal numbers, in its own way).
// - Idle workers spin for a few microseconds, then sleep.
// - After fork(), the child has no workers; calls in it run on the calling thread.
class ThreadPool {
 public:
  // Throws std::invalid_argument unless 1 <= num_threads <= 1024.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls `body(task)` once for each task in [0, tasks), in any order and on any of the threads; returns when all are
  // done. `body` must not call this pool again. The first exception that it throws is thrown here once no thread is in
  // the call any more; some tasks may not have been begun then.
  template <class Body>
  void parallel_for(std::int64_t tasks, Body&& body) {
    static_assert(std::is_invocable_v<Body, std::int64_t>);
    using Plain = std::remove_reference_t<Body>;
    run(
        tasks, [](void* context, std::int64_t task) { (*static_cast<Plain*>(context))(task); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, std::int64_t task);
  void run(std::int64_t tasks, Function function, void* context);

  struct State;
  int num_threads_;
  std::unique_ptr<State> state_;
};

// `pool->parallel_for`, or a plain loop where there is no pool or only one task.
template <class Body>
void parallel_for(ThreadPool* pool, std::int64_t tasks, Body&& body) {
  if (pool == nullptr || tasks <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task);
  } else {
    pool->parallel_for(tasks, body);
  }
}

// How many threads `parallel_for` can use.
inline int parallelism(const ThreadPool* pool) {
  return pool == nullptr ? 1 : pool->num_threads();
}

}  // namespace apb
