// Workers that watch for the next job for a moment, then sleep, and take tasks from one counter.
#include "apb/thread_pool.hpp"

#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace apb {
namespace {

// How often the process has been forked since its first pool; a pool of another generation has no workers here.
std::atomic<unsigned> fork_generation{0};

void watch_forks() {
#if defined(__unix__) || defined(__APPLE__)
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { fork_generation.fetch_add(1); }); });
#endif
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A few tens of microseconds, about the time in which the next layer of a loop calls again.
constexpr int kSpins = 1000;

}  // namespace

struct ThreadPool::State {
  // The job of the moment. These change only while it is closed and nobody works on it.
  Function function = nullptr;
  void* context = nullptr;
  std::int64_t tasks = 0;
  std::fenv_t arithmetic{};            // the caller's rounding, and what it does with denormal numbers
  std::atomic<std::int64_t> next{0};   // the first task that nobody has taken
  std::atomic<int> working{0};         // workers inside the job
  std::atomic<std::uint64_t> jobs{0};  // counts jobs opened; workers watch it
  bool open = false;                   // guarded by `mutex`, as are `failure` and all changes of `jobs` and `stop`
  bool stop = false;
  std::exception_ptr failure;  // the first exception of the job
  std::mutex mutex;
  std::condition_variable wake;
  std::mutex caller;  // held by the thread whose job it is
  std::vector<std::thread> workers;
  unsigned generation = 0;

  void stop_workers() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
      jobs.fetch_add(1, std::memory_order_relaxed);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void take_tasks() noexcept {
    try {
      for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) function(context, task);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && jobs.load(std::memory_order_relaxed) == seen; ++spin) relax();
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || jobs.load(std::memory_order_relaxed) != seen; });
        if (stop) return;
        seen = jobs.load(std::memory_order_relaxed);
        if (!open) continue;
        working.fetch_add(1, std::memory_order_relaxed);
      }
      std::fesetenv(&arithmetic);
      take_tasks();
      working.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int num_threads) : num_threads_(num_threads) {
  if (num_threads < 1 || num_threads > 1024) {
    throw std::invalid_argument("num_threads = " + std::to_string(num_threads) +
                                " is out of range; expected 1 to 1024");
  }
  watch_forks();
  state_ = std::make_unique<State>();
  state_->generation = fork_generation.load();
  try {
    for (int i = 1; i < num_threads; ++i) state_->workers.emplace_back([state = state_.get()] { state->work(); });
  } catch (...) {
    state_->stop_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  if (state_->generation != fork_generation.load()) {
    // A child of fork(): its threads and the state of its locks are the parent's, not to be joined or freed.
    static_cast<void>(state_.release());
    return;
  }
  state_->stop_workers();
}

void ThreadPool::run(std::int64_t tasks, Function function, void* context) {
  State& state = *state_;
  const bool alone =
      num_threads_ == 1 || tasks <= 1 || state.generation != fork_generation.load(std::memory_order_relaxed);
  if (alone || !state.caller.try_lock()) {
    for (std::int64_t task = 0; task < tasks; ++task) function(context, task);
    return;
  }
  const std::lock_guard caller(state.caller, std::adopt_lock);
  {
    const std::lock_guard lock(state.mutex);
    state.function = function;
    state.context = context;
    state.tasks = tasks;
    std::fegetenv(&state.arithmetic);
    state.next.store(0, std::memory_order_relaxed);
    state.open = true;
    state.jobs.fetch_add(1, std::memory_order_relaxed);
  }
  state.wake.notify_all();
  state.take_tasks();
  {
    const std::lock_guard lock(state.mutex);
    state.open = false;  // workers that wake up late stay out
  }
  for (int spin = 0; state.working.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins)
      relax();
    else
      std::this_thread::yield();
  }
  if (state.failure) std::rethrow_exception(std::exchange(state.failure, nullptr));
}

}  // namespace apb
