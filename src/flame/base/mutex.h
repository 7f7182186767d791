// Mutex, SharedMutex, MutexLock, CondVar: std:: primitives that carry clang's
// thread-safety annotations, so that "guarded by" is checked by `make tsa` and not only
// written down. GCC ignores the annotations.
//
// std:: rather than absl::Mutex, because the client library is loaded into Python beside
// the Arrow wheel's own abseil.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define FLAME_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define FLAME_THREAD_ANNOTATION(x)
#endif
// gRPC's headers bring abseil's macros of these names, which mean the same.
#undef GUARDED_BY
#undef PT_GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS
#define GUARDED_BY(x) FLAME_THREAD_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) FLAME_THREAD_ANNOTATION(pt_guarded_by(x))
#define REQUIRES(...) FLAME_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) FLAME_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS FLAME_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace flame {

class FLAME_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void Lock() FLAME_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void Unlock() FLAME_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

/// Holds `mutex` for the scope; Unlock/Lock open a window in it.
class FLAME_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) FLAME_THREAD_ANNOTATION(acquire_capability(mutex))
      : lock_(mutex.native()) {}
  ~MutexLock() FLAME_THREAD_ANNOTATION(release_capability()) {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Unlock() FLAME_THREAD_ANNOTATION(release_capability()) { lock_.unlock(); }
  void Lock() FLAME_THREAD_ANNOTATION(acquire_capability()) { lock_.lock(); }
  std::unique_lock<std::mutex>& native() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

class CondVar {
 public:
  /// REQUIRES: `lock` is held. Spurious wake-ups happen: wait in a loop on the condition.
  void Wait(MutexLock& lock) { condition_.wait(lock.native()); }
  /// False when `deadline` passed first.
  template <typename Clock, typename Duration>
  bool WaitUntil(MutexLock& lock, std::chrono::time_point<Clock, Duration> deadline) {
    return condition_.wait_until(lock.native(), deadline) == std::cv_status::no_timeout;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace flame
