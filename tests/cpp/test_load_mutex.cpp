// What apb/load_mutex.hpp promises; run under ThreadSanitizer by .ci/cpp-tests.
#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "apb/load_mutex.hpp"
#include "check.hpp"

using apb::LoadMutex;

TEST(a_load_is_alone_and_readers_see_it_whole) {
  LoadMutex mutex;
  int first = 0;  // plain ints: a race here is a race in the mutex
  int second = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        const std::unique_lock lock(mutex);
        ++first;
        ++second;
      }
    });
    threads.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        const std::shared_lock lock(mutex);
        CHECK(first == second);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(first == 600);
}

TEST(readers_read_side_by_side) {
  LoadMutex mutex;
  const std::shared_lock own(mutex);
  std::thread([&] { const std::shared_lock other(mutex); }).join();
}

TEST(a_load_that_waits_goes_before_readers_that_come_later) {
  LoadMutex mutex;
  std::atomic<int> entries{0};
  std::atomic<bool> loaded{false};
  constexpr int kMost = 20'000;  // two seconds: so many, only if the load keeps nobody out
  std::shared_lock first(mutex);
  std::thread load([&] {
    const std::unique_lock lock(mutex);
    loaded.store(true);
  });
  std::thread later([&] {
    while (!loaded.load() && entries.load() < kMost) {
      const std::shared_lock lock(mutex);
      entries.fetch_add(1);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  for (int seen = -1; entries.load() != seen;) {  // until the later reader has to wait, or has ended
    seen = entries.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  first.unlock();
  load.join();
  later.join();
  CHECK(entries.load() < kMost);
}
