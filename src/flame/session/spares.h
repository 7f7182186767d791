// Spares: Python processes that have imported the Runner's worker already, listen, and
// wait for a session. One that is claimed gets its orders (folder, files, environment)
// and becomes an instance as any other; it never serves a second session.
//
// A line (program, arguments, environment) that an instance was started with has spares
// for as long as it is in use, and a while longer. So has one other, which the next
// session is guessed to need.
//
// Thread-safe. Spares are started on a thread of its own, which lives as long as they
// may: the kernel kills them when it goes.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "flame/base/mutex.h"
#include "flame/session/launch.h"
#include "flame/session/process.h"

namespace flame {

struct SpareOptions {
  /// Kept ready for each line; 0 = none.
  int64_t count = 2;
  /// Ours alone; what is left there by an earlier server is removed at the start.
  std::string directory;
  /// Spares of a line go when no instance was started with it for so long.
  std::chrono::milliseconds idle_limit = std::chrono::minutes(10);
  /// The variables of an application's package, before it is installed (packages.h);
  /// nullopt = nobody can know them. Called on the thread of the spares.
  std::function<std::optional<EnvironmentMap>(const v1::ApplicationSpec&,
                                              const std::function<bool()>& go_on)>
      foresee;
  /// One that is not ready by then never will be, nor others of its line for that long.
  std::chrono::milliseconds start_timeout = std::chrono::minutes(2);
};

class Spares {
 public:
  /// What an instance is started with, apart from what is its own.
  struct Line {
    std::string program;
    std::vector<std::string> arguments;
    EnvironmentMap environment;
    auto operator<=>(const Line&) const = default;
  };

  Spares(SpareOptions options, LaunchOptions launch);
  /// Ends all that were not claimed.
  ~Spares();
  Spares(const Spares&) = delete;
  Spares& operator=(const Spares&) = delete;

  /// nullopt when the application is not one of Python running the Runner's worker.
  /// `package` are the variables of its package; where its modules lie is not part of a
  /// line.
  std::optional<Line> LineOf(const v1::ApplicationSpec& spec,
                             const EnvironmentMap& package) const;

  /// What has come of orders: nothing yet; it serves; or it starts anew as the same
  /// process, and its socket will be there when it serves. Also when it has ended.
  enum class Answer { kNone, kServes, kStartsAnew };

  /// A process that was claimed, and waits for its orders.
  class Claimed {
   public:
    Claimed(std::unique_ptr<ChildProcess> child, std::string socket, int orders)
        : child_(std::move(child)), socket_(std::move(socket)), orders_(orders) {}
    ~Claimed();
    Claimed(Claimed&& other) noexcept
        : child_(std::move(other.child_)),
          socket_(std::move(other.socket_)),
          orders_(std::exchange(other.orders_, -1)) {}
    Claimed& operator=(Claimed&&) = delete;
    /// Where it listens.
    const std::string& socket() const { return socket_; }
    /// Let it become the instance that `process` describes, and have its process; null
    /// when it is gone. `guard` is a folder for PYTHONPATH (python_guard.h).
    std::unique_ptr<ChildProcess> Order(const ProcessSpec& process,
                                        const std::string& guard);
    /// Until then nothing may be asked of its socket. REQUIRES: Order() was called.
    Answer AwaitAnswer(std::chrono::milliseconds patience);

   private:
    std::unique_ptr<ChildProcess> child_;
    std::string socket_;
    int orders_;
  };
  std::optional<Claimed> Claim(const Line& line);
  /// An instance of it has started well: have spares from now on.
  void Used(const Line& line);
  /// The next session may be one of this application: have spares, instead of those that
  /// were had for an earlier guess and not used. Others than workers are ignored.
  void Guess(const v1::ApplicationSpec& spec);

 private:
  struct Spare {
    std::unique_ptr<ChildProcess> child;
    std::string socket, directory;
    int orders = -1;  // Our end of its standard input.
    bool ready = false;
    std::chrono::steady_clock::time_point started;
  };
  struct Kept {
    std::list<Spare> spares;
    std::chrono::steady_clock::time_point used;
    std::chrono::steady_clock::time_point not_before;  // After one that failed.
    bool guessed = false;                              // Not used yet.
  };

  /// Start none for so long: a session that opens shall have the machine for itself.
  void Pause(std::chrono::milliseconds time) REQUIRES(mutex_);
  /// Keep the line that it needs.
  void TakeGuess(const v1::ApplicationSpec& guess);
  void Run();
  /// Whether it has said that it waits.
  static bool IsReady(Spare* spare);
  /// Look after one line; false = forget it. What is to be ended is moved to `ended`.
  bool Tend(const Line& line, Kept* kept, std::list<Spare>* ended) REQUIRES(mutex_);
  arrow::Result<Spare> Start(const Line& line) const;
  static void End(Spare* spare);

  const SpareOptions options_;
  const LaunchOptions launch_;

  Mutex mutex_;
  CondVar changed_;
  std::map<Line, Kept> kept_ GUARDED_BY(mutex_);
  std::optional<v1::ApplicationSpec> guess_ GUARDED_BY(mutex_);  // Not looked at yet.
  std::chrono::steady_clock::time_point quiet_until_ GUARDED_BY(mutex_);
  bool stopped_ GUARDED_BY(mutex_) = false;
  // The last guess as text, and what it came to; of the thread alone.
  std::string guessed_;
  std::optional<Line> guessed_line_;
  std::thread thread_;  // Constant after construction.
};

}  // namespace flame
