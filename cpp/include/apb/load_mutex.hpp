// LoadMutex: shared by those who compute with parameters, exclusive for those who load new ones.
#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace apb {

// As std::shared_mutex, but a `lock` that waits goes before every `lock_shared` that comes later: usual systems let
// readers in while others read, and a load would wait as long as any two of them overlap.
class LoadMutex {
 public:
  void lock() {
    loads_.fetch_add(1);
    turnstile_.lock();
    mutex_.lock();
  }
  void unlock() {
    mutex_.unlock();
    turnstile_.unlock();
    loads_.fetch_sub(1);
  }
  void lock_shared() {
    if (loads_.load() > 0) const std::lock_guard behind_the_loads(turnstile_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  std::atomic<int> loads_{0};  // that wait or are under way: while there are none, readers pass by the turnstile
  std::mutex turnstile_;
  std::shared_mutex mutex_;
};

}  // namespace apb
