#include "flame/session/task_pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace flame {
namespace {

constexpr int kAskMs = 100;
constexpr size_t kLength = 4;
/// What is reserved at once for an answer that is announced; more when it has come.
constexpr size_t kStep = 1 << 20;

grpc::Status Lost(std::string_view what) {
  return {grpc::StatusCode::UNAVAILABLE,
          fmt::format("the service's connection was lost: {}", what)};
}

}  // namespace

std::unique_ptr<TaskPipe> TaskPipe::Connect(const std::string& socket_path) {
  const std::string path = socket_path + kTaskPipeEnding;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return nullptr;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return nullptr;
  std::unique_ptr<TaskPipe> pipe(new TaskPipe(fd));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return nullptr;
  return pipe;
}

TaskPipe::~TaskPipe() { close(fd_); }

grpc::Status TaskPipe::Call(std::string_view request, int max_reply,
                            const std::function<bool()>& go_on, std::string* reply) {
  std::string frame;
  for (size_t i = 0; i < kLength; ++i)
    frame += static_cast<char>(request.size() >> (8 * i));
  frame += request;
  if (auto sent = Send(frame, go_on); !sent.ok()) return sent;
  std::string length(kLength, '\0');
  if (auto received = Receive(&length, go_on); !received.ok()) return received;
  size_t size = 0;
  for (size_t i = 0; i < kLength; ++i)
    size |= static_cast<size_t>(static_cast<unsigned char>(length[i])) << (8 * i);
  const bool too_large = max_reply >= 0 && size > static_cast<size_t>(max_reply);
  reply->clear();
  for (size_t left = size; left > 0;) {
    std::string step(std::min(kStep, left), '\0');
    if (auto received = Receive(&step, go_on); !received.ok()) return received;
    left -= step.size();
    if (!too_large) *reply += step;
  }
  if (!too_large) return grpc::Status::OK;
  return {grpc::StatusCode::RESOURCE_EXHAUSTED,
          fmt::format("Received message larger than max ({} vs. {})", size, max_reply)};
}

grpc::Status TaskPipe::Send(std::string_view bytes, const std::function<bool()>& go_on) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = Await(POLLOUT, go_on); !ready.ok()) return ready;
    } else if (errno != EINTR) {
      return Lost(std::strerror(errno));
    }
  }
  return grpc::Status::OK;
}

grpc::Status TaskPipe::Receive(std::string* bytes, const std::function<bool()>& go_on) {
  size_t have = 0;
  while (have < bytes->size()) {
    const ssize_t got = recv(fd_, bytes->data() + have, bytes->size() - have, 0);
    if (got > 0) {
      have += static_cast<size_t>(got);
    } else if (got == 0) {
      return Lost("it was closed");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = Await(POLLIN, go_on); !ready.ok()) return ready;
    } else if (errno != EINTR) {
      return Lost(std::strerror(errno));
    }
  }
  return grpc::Status::OK;
}

grpc::Status TaskPipe::Await(short events, const std::function<bool()>& go_on) {
  for (;;) {
    pollfd wait{fd_, events, 0};
    if (poll(&wait, 1, kAskMs) > 0) return grpc::Status::OK;
    if (!go_on()) return {grpc::StatusCode::CANCELLED, "the executor gave the task up"};
  }
}

}  // namespace flame
