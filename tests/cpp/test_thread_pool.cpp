// What apb/thread_pool.hpp promises; run under ThreadSanitizer by .ci/cpp-tests.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cfenv>
#include <chrono>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "apb/thread_pool.hpp"
#include "check.hpp"

using apb::ThreadPool;

TEST(pool_refuses_thread_counts_out_of_range) {
  CHECK_THROWS(std::invalid_argument, ThreadPool(0));
  CHECK_THROWS(std::invalid_argument, ThreadPool(-1));
  CHECK_THROWS(std::invalid_argument, ThreadPool(1025));
}

TEST(pool_runs_every_task_once_and_returns_when_all_are_done) {
  for (const int threads : {1, 2, 4, 7}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 300; ++round) {
      const std::int64_t tasks = round % 23;
      std::vector<int> runs(static_cast<std::size_t>(tasks));  // plain ints: a race here is a race in the pool
      pool.parallel_for(tasks, [&](std::int64_t task) { ++runs[static_cast<std::size_t>(task)]; });
      for (const int count : runs) CHECK(count == 1);
    }
  }
}

TEST(pool_wakes_up_after_sleeping) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::vector<int> runs(64);
    pool.parallel_for(64, [&](std::int64_t task) { ++runs[static_cast<std::size_t>(task)]; });
    for (const int count : runs) CHECK(count == 1);
  }
}

TEST(pool_uses_its_workers) {
  ThreadPool pool(2);
  // Each of the two tasks waits until the other has started: it ends only if two threads run them.
  std::atomic<int> started{0};
  pool.parallel_for(2, [&](std::int64_t) {
    started.fetch_add(1);
    while (started.load() < 2) std::this_thread::yield();
  });
  CHECK(started.load() == 2);
}

TEST(pool_computes_with_the_arithmetic_of_its_caller) {
  ThreadPool pool(4);
  const int before = std::fegetround();
  for (const int rounding : {FE_DOWNWARD, FE_UPWARD, before}) {
    std::fesetround(rounding);
    std::atomic<int> started{0};
    std::atomic<int> same{0};
    pool.parallel_for(4, [&](std::int64_t) {  // on four threads, as above
      started.fetch_add(1);
      while (started.load() < 4) std::this_thread::yield();
      same.fetch_add(std::fegetround() == rounding);
    });
    CHECK(same.load() == 4);
  }
}

TEST(pool_serves_several_callers_at_once) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<std::int64_t> total{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        std::vector<std::int64_t> squares(37);
        pool.parallel_for(37, [&](std::int64_t task) { squares[static_cast<std::size_t>(task)] = task * task; });
        for (std::int64_t i = 0; i < 37; ++i) CHECK(squares[static_cast<std::size_t>(i)] == i * i);
        total.fetch_add(37);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total.load() == 4 * 200 * 37);
}

TEST(pool_throws_what_a_task_throws_once_all_threads_are_out_and_works_on) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      std::atomic<int> inside{0};
      std::atomic<int> begun{0};
      CHECK_THROWS(std::out_of_range, pool.parallel_for(50, [&](std::int64_t task) {
        inside.fetch_add(1);
        begun.fetch_add(1);
        for (int i = 0; i < 100; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
        inside.fetch_sub(1);
        if (task >= round % 7) throw std::out_of_range("task");  // several tasks of several threads, too
      }));
      CHECK(inside.load() == 0);
      CHECK(begun.load() <= round % 7 + threads);  // a thread that failed begins no other task
      std::vector<int> runs(64);
      pool.parallel_for(64, [&](std::int64_t task) { ++runs[static_cast<std::size_t>(task)]; });
      for (const int count : runs) CHECK(count == 1);
    }
  }
}

TEST(pool_throws_what_only_a_worker_met) {
  ThreadPool pool(2);
  const std::thread::id own = std::this_thread::get_id();
  // The two tasks run on two threads, since each waits for the other.
  std::atomic<int> started{0};
  CHECK_THROWS(std::bad_alloc, pool.parallel_for(2, [&](std::int64_t) {
    started.fetch_add(1);
    while (started.load() < 2) std::this_thread::yield();
    if (std::this_thread::get_id() != own) throw std::bad_alloc();
  }));
}

TEST(pool_lets_no_call_wait_for_another) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> other_is_done{false};
  std::thread other([&] {
    while (inside.load() < 2) std::this_thread::yield();
    pool.parallel_for(8, [](std::int64_t) {});
    other_is_done.store(true);
  });
  // A call whose tasks end after the other call only; would that wait for this one, both stood still.
  const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  pool.parallel_for(2, [&](std::int64_t) {
    inside.fetch_add(1);
    while (!other_is_done.load() && std::chrono::steady_clock::now() < late) std::this_thread::yield();
  });
  CHECK(other_is_done.load());
  other.join();
}

TEST(pool_works_in_children_forked_while_its_workers_go_to_sleep) {
  ThreadPool pool(8);
  for (int round = 0; round < 500; ++round) {
    pool.parallel_for(8, [](std::int64_t) {});
    const pid_t child = fork();
    if (child == 0) {
      // A worker may have held a lock of the pool just now. Without that worker, who waits for the lock waits for ever.
      alarm(60);
      int sum = 0;
      pool.parallel_for(8, [&](std::int64_t task) { sum += static_cast<int>(task); });
      _exit(sum == 28 ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
}

TEST(pool_ends_cleanly_at_any_moment) {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(4);
    std::atomic<int> done{0};
    if (round % 2 == 0) pool.parallel_for(5, [&](std::int64_t) { done.fetch_add(1); });
    CHECK(done.load() == (round % 2 == 0 ? 5 : 0));
  }
}

TEST(pool_does_not_allocate_per_call) {
  ThreadPool pool(3);
  std::atomic<std::int64_t> sum{0};
  pool.parallel_for(8, [&](std::int64_t task) { sum.fetch_add(task); });
  const std::int64_t before = apb::test::allocations();
  for (int round = 0; round < 100; ++round) pool.parallel_for(8, [&](std::int64_t task) { sum.fetch_add(task); });
  CHECK(apb::test::allocations() == before);
  CHECK(sum.load() == 101 * 28);
}
