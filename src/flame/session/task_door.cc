#include "flame/session/task_door.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <list>
#include <optional>
#include <thread>
#include <unordered_map>

#include <fmt/format.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/grpc_status.h"
#include "flame/session/manager_internal.h"
#include "flame/storage/uuid.h"

namespace flame {
namespace {

namespace asio = boost::asio;
using asio::local::stream_protocol;
using ErrorCodeOf = boost::system::error_code;

constexpr size_t kLength = 4;
constexpr size_t kNumberEnd = 9;  // Of a task's number, in a frame.
constexpr size_t kReadBytes = 64 << 10;
/// More than this is not made ready for a client that does not read.
constexpr size_t kAheadBytes = 256 << 10;
/// A client that hands over tasks and does not read what becomes of them goes.
constexpr size_t kUnreadBytes = 64 << 20;
constexpr std::chrono::milliseconds kAcknowledge{2};
constexpr std::chrono::milliseconds kAcceptAgain{100};

// Of frames.
constexpr uint8_t kHasPayload = 1;
constexpr uint8_t kAtOnce = 2;

template <typename Number>
void Put(std::string* to, Number number) {
  for (size_t i = 0; i < sizeof(Number); ++i)
    *to += static_cast<char>(static_cast<uint64_t>(number) >> (8 * i));
}

template <typename Number>
Number Take(std::string_view* from) {
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof(Number); ++i)
    number |= static_cast<uint64_t>(static_cast<unsigned char>((*from)[i])) << (8 * i);
  from->remove_prefix(sizeof(Number));
  return static_cast<Number>(number);
}

/// Appends a frame's length when its content is there.
class FrameIn {
 public:
  FrameIn(std::string* out, char kind) : out_(out), start_(out->size()) {
    out_->append(kLength, '\0');
    *out_ += kind;
  }
  ~FrameIn() {
    const size_t size = out_->size() - start_ - kLength;
    for (size_t i = 0; i < kLength; ++i)
      (*out_)[start_ + i] = static_cast<char>(size >> (8 * i));
  }
  FrameIn(const FrameIn&) = delete;
  FrameIn& operator=(const FrameIn&) = delete;

 private:
  std::string* const out_;
  const size_t start_;
};

/// One client. The door's thread reads and makes tasks, any thread writes.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<asio::io_context> context, stream_protocol::socket socket,
             const TaskDoorOptions& options, SessionManager* manager,
             std::function<void()> on_end)
      : context_(std::move(context)),
        options_(options),
        manager_(manager),
        on_end_(std::move(on_end)),
        socket_(std::move(socket)),
        fd_(socket_.native_handle()),
        acknowledge_(*context_) {}

  void Start(const std::string& key) {
    ErrorCodeOf ignored;
    socket_.non_blocking(true, ignored);
    {
      MutexLock lock(mutex_);
      FrameIn(&out_, 'H'), out_ += key;
    }
    Pump();
    Read();
  }

  /// On the door's thread, or when it is gone.
  void Close() {
    const auto self = shared_from_this();  // on_end_ lets go of it.
    {
      MutexLock lock(mutex_);
      if (std::exchange(closed_, true)) return;
      ErrorCodeOf ignored;
      socket_.close(ignored);
      acknowledge_.cancel();
      ended_.clear();
      calls_.clear();
    }
    on_end_();
  }

 private:
  /// A task that the client waits for.
  class Call final : public TaskListener {
   public:
    Call(std::weak_ptr<Connection> connection, uint64_t number)
        : connection_(std::move(connection)), number_(number) {}
    void OnTaskChanged(const std::string& session, uint64_t task,
                       v1::TaskState state) override {
      if (!IsTerminal(state)) return;
      if (const auto connection = connection_.lock())
        connection->Ended({number_, session, task, state});
    }

   private:
    const std::weak_ptr<Connection> connection_;
    const uint64_t number_;
  };

  struct End {
    uint64_t number;
    std::string session;
    uint64_t task;
    v1::TaskState state;
  };

  void Read() {
    socket_.async_read_some(
        asio::buffer(chunk_),
        [self = shared_from_this()](const ErrorCodeOf& error, size_t bytes) {
          if (error || !self->Received({self->chunk_.data(), bytes}))
            return self->Close();
          self->Read();
        });
  }

  /// False = these are no frames.
  bool Received(std::string_view bytes) {
    {
      MutexLock lock(mutex_);
      if (out_.size() > kUnreadBytes) return false;
    }
    // Of a frame that was refused; in_ is empty then.
    const size_t skipped = std::min(skip_, bytes.size());
    skip_ -= skipped;
    bytes.remove_prefix(skipped);
    const bool joined = !in_.empty();
    if (joined) {
      in_ += bytes;
      bytes = in_;
    }
    const size_t all = bytes.size();
    bool at_once = false;
    while (bytes.size() >= kLength) {
      std::string_view rest = bytes;
      const size_t size = Take<uint32_t>(&rest);
      if (size > options_.max_frame) {
        if (rest.size() < kNumberEnd) break;
        if (!RefuseSize(rest, size)) return false;
        at_once = true;
        const size_t here = std::min(size, rest.size());
        skip_ = size - here;
        bytes = rest.substr(here);
        continue;
      }
      if (rest.size() < size) break;
      if (!Do(rest.substr(0, size), &at_once)) return false;
      bytes = rest.substr(size);
    }
    if (joined)
      in_.erase(0, all - bytes.size());
    else
      in_ = std::string(bytes);
    if (at_once)
      Pump();
    else
      AcknowledgeSoon();
    return true;
  }

  bool Do(std::string_view frame, bool* at_once) {
    if (frame.size() < 12 || frame[0] != 'C') return false;
    frame.remove_prefix(1);
    const auto number = Take<uint64_t>(&frame);
    const auto flags = Take<uint8_t>(&frame);
    const size_t name = Take<uint16_t>(&frame);
    if (frame.size() < name) return false;
    v1::TaskSpec spec;
    spec.set_session_id(std::string(frame.substr(0, name)));
    if ((flags & kHasPayload) != 0) spec.set_input(std::string(frame.substr(name)));
    if ((flags & kAtOnce) != 0) *at_once = true;
    const auto call = std::make_shared<Call>(weak_from_this(), number);
    {
      MutexLock lock(mutex_);
      if (!calls_.emplace(number, call).second) return false;
    }
    const auto task = manager_->CreateTask(std::move(spec), call);
    MutexLock lock(mutex_);
    if (task.ok()) {
      FrameIn answer(&news_, 'A');
      Put(&news_, number);
      Put(&news_, static_cast<uint64_t>(std::stoull(task->metadata().id())));
      return true;
    }
    *at_once = true;
    calls_.erase(number);
    Refuse(number, ToGrpc(task.status()));
    return true;
  }

  /// The frame is not kept; of what it holds, `start` has the number.
  bool RefuseSize(std::string_view start, size_t size) {
    if (start[0] != 'C') return false;
    start.remove_prefix(1);
    MutexLock lock(mutex_);
    Refuse(Take<uint64_t>(&start),
           {grpc::StatusCode::RESOURCE_EXHAUSTED,
            fmt::format("Received message larger than max ({} vs. {})", size,
                        options_.max_frame)});
    return true;
  }

  void Refuse(uint64_t number, const grpc::Status& status) REQUIRES(mutex_) {
    FrameIn answer(&news_, 'R');
    Put(&news_, number);
    Put(&news_, static_cast<uint32_t>(status.error_code()));
    news_ += status.error_message();
  }

  /// What is not sent with an end, is sent a little later.
  void AcknowledgeSoon() {
    {
      MutexLock lock(mutex_);
      if (closed_ || waiting_ || news_.empty()) return;
      waiting_ = true;
    }
    acknowledge_.expires_after(kAcknowledge);
    acknowledge_.async_wait([self = shared_from_this()](const ErrorCodeOf&) {
      {
        MutexLock lock(self->mutex_);
        self->waiting_ = false;
      }
      self->Pump();
    });
  }

  void Ended(End end) {
    {
      MutexLock lock(mutex_);
      if (closed_ || calls_.erase(end.number) == 0) return;
      ended_.push_back(std::move(end));
    }
    Pump();
  }

  /// Send what there is, as far as the client takes it; by one thread at a time.
  void Pump() {
    MutexLock lock(mutex_);
    if (pumping_) {
      again_ = true;
      return;
    }
    pumping_ = true;
    do {
      again_ = false;
      out_ += std::exchange(news_, {});
      while (!closed_ && !ended_.empty() && out_.size() - sent_ < kAheadBytes) {
        const End end = std::move(ended_.front());
        ended_.pop_front();
        lock.Unlock();
        std::optional<std::string> output;
        v1::TaskState state = end.state;
        if (state == v1::Succeed) {
          auto read = manager_->GetOutput(end.session, end.task);
          // The client asks otherwise then, and learns why.
          if (read.ok())
            output = *std::move(read);
          else
            state = v1::Failed;
        }
        lock.Lock();
        FrameIn frame(&out_, 'E');
        Put(&out_, end.number);
        Put(&out_, end.task);
        Put(&out_, static_cast<uint8_t>(state));
        Put(&out_, static_cast<uint8_t>(output ? kHasPayload : 0));
        if (output) out_ += *output;
      }
      if (!closed_) Send();
    } while (!closed_ && !blocked_ && (again_ || !ended_.empty()));
    pumping_ = false;
  }

  void Send() REQUIRES(mutex_) {
    while (sent_ < out_.size()) {
      const ssize_t bytes = send(fd_, out_.data() + sent_, out_.size() - sent_,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
      if (bytes >= 0) {
        sent_ += static_cast<size_t>(bytes);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        // What was sent of much is not kept for long.
        out_.erase(0, std::exchange(sent_, 0));
        if (!std::exchange(blocked_, true))
          asio::post(*context_, [self = shared_from_this()] { self->AwaitRoom(); });
        return;
      } else if (errno != EINTR) {
        asio::post(*context_, [self = shared_from_this()] { self->Close(); });
        return;
      }
    }
    out_.clear();
    sent_ = 0;
  }

  void AwaitRoom() {
    {
      MutexLock lock(mutex_);
      if (closed_) return;
    }
    socket_.async_wait(stream_protocol::socket::wait_write,
                       [self = shared_from_this()](const ErrorCodeOf& error) {
                         if (error) return self->Close();
                         {
                           MutexLock lock(self->mutex_);
                           self->blocked_ = false;
                         }
                         self->Pump();
                       });
  }

  const std::shared_ptr<asio::io_context> context_;  // Outlives what is of it.
  const TaskDoorOptions& options_;                   // The door's; used by its thread.
  SessionManager* const manager_;
  const std::function<void()> on_end_;

  // Of the door's thread.
  stream_protocol::socket socket_;
  const int fd_;  // Of socket_; any thread sends, while it is not closed.
  asio::steady_timer acknowledge_;
  std::array<char, kReadBytes> chunk_;
  std::string in_;   // The beginning of a frame.
  size_t skip_ = 0;  // What is still to come of a frame that was refused.

  Mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Call>> calls_ GUARDED_BY(mutex_);
  std::string news_ GUARDED_BY(mutex_);  // Frames that come before those of ended_.
  std::deque<End> ended_ GUARDED_BY(mutex_);
  std::string out_ GUARDED_BY(mutex_);  // Being sent.
  size_t sent_ GUARDED_BY(mutex_) = 0;  // Of out_.
  bool waiting_ GUARDED_BY(mutex_) = false;
  bool pumping_ GUARDED_BY(mutex_) = false;
  bool again_ GUARDED_BY(mutex_) = false;
  bool blocked_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace

class TaskDoor::Impl {
 public:
  Impl(TaskDoorOptions options, SessionManager* manager)
      : options_(std::move(options)),
        manager_(manager),
        key_(NewUuid()),
        context_(std::make_shared<asio::io_context>(1)),
        acceptor_(*context_),
        pause_(*context_) {
    std::erase(key_, '-');
  }

  ~Impl() {
    context_->stop();
    if (thread_.joinable()) thread_.join();
    ErrorCodeOf ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    while (!open_.empty()) open_.front()->Close();
    // What was under way ends, and lets go of its connection.
    context_->restart();
    context_->poll();
    if (bound_) unlink(options_.path.c_str());
  }

  arrow::Status Listen() {
    unlink(options_.path.c_str());
    ErrorCodeOf error;
    if (options_.path.size() >= sizeof(sockaddr_un::sun_path))
      return InvalidError(
          fmt::format("{}: longer than a socket's path may be", options_.path));
    acceptor_.open(stream_protocol(), error);
    if (!error) acceptor_.bind(stream_protocol::endpoint(options_.path), error);
    bound_ = !error;
    // Before anybody can connect: whoever can, runs code as this user.
    if (!error && chmod(options_.path.c_str(), 0600) != 0)
      error = ErrorCodeOf(errno, boost::system::system_category());
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error)
      return InvalidError(
          fmt::format("cannot listen on {}: {}", options_.path, error.message()));
    Accept();
    thread_ = std::thread([this] { context_->run(); });
    return arrow::Status::OK();
  }

  const std::string& path() const { return options_.path; }
  const std::string& key() const { return key_; }

 private:
  void Accept() {
    acceptor_.async_accept(
        [this](const ErrorCodeOf& error, stream_protocol::socket socket) {
          if (!error) {
            if (open_.size() < options_.max_connections) Serve(std::move(socket));
            return Accept();
          }
          // Out of descriptors, most likely: look again when some may have been returned.
          FLAME_LOG_DEBUG(session, "accept a client of tasks: {}", error.message());
          pause_.expires_after(kAcceptAgain);
          pause_.async_wait([this](const ErrorCodeOf& stopped) {
            if (!stopped) Accept();
          });
        });
  }

  void Serve(stream_protocol::socket socket) {
    const auto place = open_.emplace(open_.end());
    *place = std::make_shared<Connection>(context_, std::move(socket), options_, manager_,
                                          [this, place] { open_.erase(place); });
    (*place)->Start(key_);
  }

  const TaskDoorOptions options_;
  SessionManager* const manager_;
  std::string key_;  // Constant after construction.
  // What follows is used by the thread only, and when it is gone.
  std::list<std::shared_ptr<Connection>> open_;
  const std::shared_ptr<asio::io_context> context_;
  stream_protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  bool bound_ = false;
  std::thread thread_;
};

TaskDoor::TaskDoor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TaskDoor::~TaskDoor() = default;

arrow::Result<std::unique_ptr<TaskDoor>> TaskDoor::Open(TaskDoorOptions options,
                                                        SessionManager* manager) {
  auto impl = std::make_unique<Impl>(std::move(options), manager);
  ARROW_RETURN_NOT_OK(impl->Listen());
  return std::unique_ptr<TaskDoor>(new TaskDoor(std::move(impl)));
}

const std::string& TaskDoor::path() const { return impl_->path(); }
const std::string& TaskDoor::key() const { return impl_->key(); }

}  // namespace flame
