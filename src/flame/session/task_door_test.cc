// The door for tasks of clients of this machine: what it says, and whom it sends away.
// The test is the client, and plays the executor.
#include "flame/session/task_door.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <grpcpp/support/status.h>

#include <optional>
#include <utility>

#include "flame/storage/key_value.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr size_t kMaxFrame = 4096;

std::string Little(uint64_t number, size_t bytes) {
  std::string out;
  for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(number >> (8 * i));
  return out;
}

uint64_t FromLittle(std::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = bytes.size(); i-- > 0;)
    number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

/// A connection, with a patience of 20 s for everything.
class Client {
 public:
  explicit Client(const std::string& path) {
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const timeval patience{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Client() { Close(); }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

  void Send(const std::string& bytes) {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void SendFrame(const std::string& content) {
    Send(Little(content.size(), 4) + content);
  }
  void Create(uint64_t number, const std::string& session,
              const std::optional<std::string>& input, bool at_once = false) {
    SendFrame("C" + Little(number, 8) + Little((input ? 1 : 0) | (at_once ? 2 : 0), 1) +
              Little(session.size(), 2) + session + input.value_or(""));
  }
  /// "" when the door has hung up.
  std::string Receive() {
    const std::string length = ReceiveBytes(4);
    return length.empty() ? "" : ReceiveBytes(FromLittle(length));
  }

 private:
  std::string ReceiveBytes(size_t size) {
    std::string bytes(size, '\0');
    size_t have = 0;
    while (have < size) {
      const ssize_t got = recv(fd_, bytes.data() + have, size - have, 0);
      EXPECT_TRUE(got >= 0 || errno == ECONNRESET || errno == EPIPE) << errno;
      if (got <= 0) return "";
      have += static_cast<size_t>(got);
    }
    return bytes;
  }

  int fd_;
};

class TaskDoorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SessionManagerOptions options;
    options.limits = {{4, uint64_t{64} << 30, 0}, {4, uint64_t{64} << 30, 0}, 100};
    ASSERT_OK_AND_ASSIGN(
        manager_,
        SessionManager::Open(std::make_unique<SessionStore>(OpenMemoryKeyValue()),
                             Clock::System(), options));
    manager_->Start([this](Assignment assignment) {
      MutexLock lock(mutex_);
      executor_ = assignment.executor;
      started_.NotifyAll();
    });
    v1::ApplicationSpec application;
    application.set_max_instances(1);
    application.set_shim(v1::Host);
    application.set_command("service");
    ASSERT_OK(manager_->RegisterApplication("app", application));
    v1::SessionSpec session;
    session.set_application("app");
    ASSERT_OK(manager_->CreateSession("s", session));
    Open({.path = Path(), .max_frame = kMaxFrame});
  }
  void TearDown() override {
    door_.reset();
    manager_->Drain(Clock::System()->BootMs());
    if (const std::string executor = Executor(milliseconds(0)); !executor.empty())
      manager_->Released(executor);
    manager_->Stop();
  }

  std::string Path() const { return folder_.path() + "/tasks"; }
  void Open(TaskDoorOptions options) {
    door_.reset();
    ASSERT_OK_AND_ASSIGN(door_, TaskDoor::Open(std::move(options), manager_.get()));
  }
  /// One that has read what comes first.
  std::unique_ptr<Client> Connect() {
    auto client = std::make_unique<Client>(Path());
    EXPECT_EQ(client->Receive(), "H" + door_->key());
    return client;
  }
  std::string Executor(milliseconds patience = std::chrono::seconds(20)) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (executor_.empty() && started_.WaitUntil(lock, deadline)) {
    }
    return executor_;
  }
  /// The instance takes the next task, and answers.
  void Work(const std::string& expected_input, TaskOutcome outcome) {
    const std::string executor = Executor();
    manager_->Bound(executor);
    TaskWork work;
    ASSERT_EQ(manager_->AwaitWork(executor, std::chrono::seconds(20), &work),
              SessionManager::Next::kTask);
    EXPECT_EQ(work.input.value_or("none"), expected_input);
    ASSERT_OK(manager_->Complete(executor, std::move(outcome)));
  }

  TempDirectory folder_;
  std::unique_ptr<SessionManager> manager_;
  std::unique_ptr<TaskDoor> door_;
  Mutex mutex_;
  CondVar started_;
  std::string executor_ GUARDED_BY(mutex_);
};

std::string Accepted(uint64_t number, uint64_t task) {
  return "A" + Little(number, 8) + Little(task, 8);
}
std::string Ended(uint64_t number, uint64_t task, v1::TaskState state,
                  const std::optional<std::string>& output) {
  return "E" + Little(number, 8) + Little(task, 8) + Little(state, 1) +
         Little(output ? 1 : 0, 1) + output.value_or("");
}

TEST_F(TaskDoorTest, TasksAreAcceptedAndEnd) {
  const auto client = Connect();
  client->Create(7, "s", "in", /*at_once=*/true);
  EXPECT_EQ(client->Receive(), Accepted(7, 1));
  Work("in", {true, "out", ""});
  EXPECT_EQ(client->Receive(), Ended(7, 1, v1::Succeed, "out"));
  EXPECT_EQ(manager_->GetTask("s", 1)->spec().input(), "in");
}

TEST_F(TaskDoorTest, NothingIsNotTheEmptyText) {
  const auto client = Connect();
  client->Create(1, "s", std::nullopt, true);
  client->Create(2, "s", "", true);
  EXPECT_EQ(client->Receive(), Accepted(1, 1));
  EXPECT_EQ(client->Receive(), Accepted(2, 2));
  Work("none", {true, "", ""});
  Work("", {true, std::nullopt, ""});
  EXPECT_EQ(client->Receive(), Ended(1, 1, v1::Succeed, ""));
  EXPECT_EQ(client->Receive(), Ended(2, 2, v1::Succeed, std::nullopt));
}

TEST_F(TaskDoorTest, AcceptanceIsToldSoonWithoutBeingAskedFor) {
  const auto client = Connect();
  client->Create(1, "s", "in");
  EXPECT_EQ(client->Receive(), Accepted(1, 1));
}

TEST_F(TaskDoorTest, OfOtherEndsOnlyTheStateIsTold) {
  const auto client = Connect();
  client->Create(1, "s", "a", true);
  client->Create(2, "s", "b", true);
  EXPECT_EQ(client->Receive(), Accepted(1, 1));
  EXPECT_EQ(client->Receive(), Accepted(2, 2));
  Work("a", {false, std::nullopt, "it went wrong"});
  EXPECT_EQ(client->Receive(), Ended(1, 1, v1::Failed, std::nullopt));
  ASSERT_OK(manager_->CloseSession("s"));
  EXPECT_EQ(client->Receive(), Ended(2, 2, v1::Cancelled, std::nullopt));
}

TEST_F(TaskDoorTest, RefusalsNameTheReasonAndTheCode) {
  const auto client = Connect();
  client->Create(3, "other", "in");
  EXPECT_THAT(client->Receive(),
              StartsWith("R" + Little(3, 8) + Little(grpc::StatusCode::NOT_FOUND, 4)));
  ASSERT_OK(manager_->CloseSession("s"));
  client->Create(3, "s", "in");  // The number is free again.
  const std::string refusal = client->Receive();
  EXPECT_THAT(refusal, StartsWith("R" + Little(3, 8)));
  EXPECT_THAT(refusal, HasSubstr("closed session"));
}

TEST_F(TaskDoorTest, FramesMayComeInAnyPieces) {
  const auto client = Connect();
  std::string frames;
  for (uint64_t number = 1; number <= 20; ++number) {
    const std::string content = "C" + Little(number, 8) + Little(3, 1) + Little(1, 2) +
                                "s" + std::string(number * 50, 'x');
    frames += Little(content.size(), 4) + content;
  }
  for (size_t at = 0, piece = 1; at < frames.size();
       at += piece, piece = piece * 2 % 1021 + 1)
    client->Send(frames.substr(at, piece));
  for (uint64_t number = 1; number <= 20; ++number)
    EXPECT_EQ(client->Receive(), Accepted(number, number));
  EXPECT_EQ(manager_->GetTask("s", 20)->spec().input(), std::string(1000, 'x'));
}

TEST_F(TaskDoorTest, WhoBreaksTheRulesIsDisconnectedAndOthersAreNot) {
  const auto other = Connect();
  const std::string good = Little(1, 8) + Little(0, 1) + Little(1, 2) + "s";
  const std::vector<std::string> bad{
      Little(0, 4),                                                      // Empty.
      Little(12, 4) + "X" + good.substr(0, 11),                          // Of no kind.
      Little(5, 4) + "C" + good.substr(0, 4),                            // Too short.
      Little(12, 4) + "C" + Little(1, 8) + Little(0, 1) + Little(9, 2),  // A longer name.
  };
  for (const std::string& bytes : bad) {
    const auto client = Connect();
    client->Send(bytes);
    EXPECT_EQ(client->Receive(), "");
  }
  const auto twice = Connect();
  twice->SendFrame("C" + good);
  twice->SendFrame("C" + good);  // A number that is in use.
  while (!twice->Receive().empty()) {
  }
  other->Create(1, "s", "in", true);
  EXPECT_EQ(other->Receive(), Accepted(1, 2));
}

TEST_F(TaskDoorTest, ATaskThatIsTooLargeIsRefusedAndTheNextOneTaken) {
  const auto client = Connect();
  client->Create(1, "s", std::string(3 * kMaxFrame, 'x'));
  client->Create(2, "s", "in", true);
  const std::string refusal = client->Receive();
  EXPECT_THAT(refusal, StartsWith("R" + Little(1, 8) +
                                  Little(grpc::StatusCode::RESOURCE_EXHAUSTED, 4)));
  EXPECT_THAT(refusal, HasSubstr("larger than max"));
  EXPECT_EQ(client->Receive(), Accepted(2, 1));
  // Nobody waits for what never comes.
  client->Send(Little(uint64_t{1} << 31, 4) + "C" + Little(3, 8));
  EXPECT_THAT(client->Receive(), StartsWith("R" + Little(3, 8)));
}

TEST_F(TaskDoorTest, TasksGoOnWhenTheirClientIsGone) {
  auto client = Connect();
  client->Create(1, "s", "in", true);
  EXPECT_EQ(client->Receive(), Accepted(1, 1));
  client.reset();
  Work("in", {true, "out", ""});
  EXPECT_EQ(manager_->GetTask("s", 1)->spec().output(), "out");
}

// Goal: a client that does not read holds nobody up, and costs no memory for its outputs.
TEST_F(TaskDoorTest, AClientThatDoesNotReadHoldsNobodyUp) {
  const auto slow = Connect();
  const std::string output(1 << 20, 'o');
  constexpr uint64_t kTasks = 8;
  for (uint64_t number = 1; number <= kTasks; ++number) slow->Create(number, "s", "in");
  for (uint64_t number = 1; number <= kTasks; ++number) Work("in", {true, output, ""});
  const auto other = Connect();
  other->Create(1, "s", "in", true);
  EXPECT_EQ(other->Receive(), Accepted(1, kTasks + 1));
  // When it reads, it gets all of them.
  uint64_t ends = 0;
  while (ends < kTasks) {
    const std::string frame = slow->Receive();
    ASSERT_FALSE(frame.empty());
    if (frame[0] != 'E') continue;
    ++ends;
    EXPECT_EQ(frame, Ended(ends, ends, v1::Succeed, output));
  }
}

TEST_F(TaskDoorTest, OnlyItsUserMayConnect) {
  struct stat info {};
  ASSERT_EQ(stat(Path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(TaskDoorTest, AnOldSocketIsReplacedAndTheOwnRemoved) {
  const std::string key = door_->key();
  EXPECT_EQ(key.size(), 32u);
  Open({.path = Path()});
  EXPECT_NE(door_->key(), key);
  Connect();
  door_.reset();
  EXPECT_NE(access(Path().c_str(), F_OK), 0);
}

TEST_F(TaskDoorTest, OneTooManyIsTurnedAway) {
  Open({.path = Path(), .max_connections = 1});
  const auto first = Connect();
  Client second(Path());
  EXPECT_EQ(second.Receive(), "");
  first->Create(1, "s", "in", true);
  EXPECT_EQ(first->Receive(), Accepted(1, 1));
}

TEST_F(TaskDoorTest, APathThatIsTooLongIsAnError) {
  const auto door = TaskDoor::Open({.path = "/" + std::string(200, 'x')}, manager_.get());
  EXPECT_THAT(door.status().message(), HasSubstr("longer"));
}

}  // namespace
}  // namespace flame
