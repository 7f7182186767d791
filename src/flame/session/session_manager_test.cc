// The states of applications, sessions and tasks. The test plays the executors: it takes
// assignments and answers for the instances; no process runs.
#include "flame/session/session_manager.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "flame/base/error.h"
#include "flame/session/grpc_status.h"
#include "flame/session/refusal.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Next = SessionManager::Next;
using std::chrono::milliseconds;

constexpr auto kPatience = std::chrono::seconds(20);

struct Memory {
  static arrow::Result<std::unique_ptr<KeyValueStore>> Open(const std::string&) {
    return OpenMemoryKeyValue();
  }
};
struct Disk {
  static arrow::Result<std::unique_ptr<KeyValueStore>> Open(const std::string& folder) {
    return OpenDiskKeyValue(folder + "/state");
  }
};

/// Assignments in the order in which they come.
class Assignments {
 public:
  void Push(Assignment assignment) {
    MutexLock lock(mutex_);
    queue_.push_back(std::move(assignment));
    changed_.NotifyAll();
  }
  /// The next one; an executor of "" when there is none for a long time.
  Assignment Pop() {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (queue_.empty()) {
      if (!changed_.WaitUntil(lock, deadline)) return {};
    }
    Assignment assignment = std::move(queue_.front());
    queue_.pop_front();
    return assignment;
  }
  bool empty() {
    MutexLock lock(mutex_);
    return queue_.empty();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::deque<Assignment> queue_ GUARDED_BY(mutex_);
};

template <typename Backend>
class ManagerTestOn : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.limits = {{4, uint64_t{64} << 30, 0}, {4, uint64_t{64} << 30, 0}, 100};
    options_.retry_pause = milliseconds(0);
    Open();
    ASSERT_OK(manager_->RegisterApplication("app", ApplicationSpec()));
  }
  void Open() {
    ASSERT_OK_AND_ASSIGN(auto store, Backend::Open(folder_.path()));
    ASSERT_OK_AND_ASSIGN(
        manager_, SessionManager::Open(std::make_unique<SessionStore>(std::move(store)),
                                       &clock_, options_));
    manager_->Start(
        [this](Assignment assignment) { assignments_.Push(std::move(assignment)); });
  }
  void Reopen() {
    manager_.reset();
    while (!assignments_.empty()) assignments_.Pop();  // Of the one that is gone.
    Open();
  }

  static v1::ApplicationSpec ApplicationSpec() {
    v1::ApplicationSpec spec;
    spec.set_command("${HOME}/serve");
    return spec;
  }
  static v1::SessionSpec Spec(uint32_t min = 0) {
    v1::SessionSpec spec;
    spec.set_application("app");
    spec.set_common_data("common");
    spec.set_min_instances(min);
    return spec;
  }
  void Create(const std::string& id = "s", v1::SessionSpec spec = Spec()) {
    ASSERT_OK(manager_->CreateSession(id, std::move(spec)));
  }
  std::string Task(const std::string& input = "in", const std::string& session = "s") {
    v1::TaskSpec spec;
    spec.set_session_id(session);
    spec.set_input(input);
    const auto task = manager_->CreateTask(std::move(spec));
    EXPECT_OK(task);
    return task.ok() ? task->metadata().id() : "";
  }
  /// An instance that has entered its session.
  std::string Instance() {
    const std::string executor = assignments_.Pop().executor;
    EXPECT_NE(executor, "");
    manager_->Bound(executor);
    return executor;
  }
  /// The id of the task that it gets; "" = none.
  std::string Work(const std::string& executor, milliseconds patience = milliseconds(0)) {
    TaskWork work;
    return manager_->AwaitWork(executor, patience, &work) == Next::kTask ? work.id : "";
  }
  void Succeed(const std::string& executor, const std::string& output = "out") {
    ASSERT_OK(manager_->Complete(executor, {true, output, ""}));
  }
  v1::Session Get(const std::string& id = "s") {
    const auto session = manager_->GetSession(id);
    EXPECT_OK(session);
    return session.ok() ? *session : v1::Session();
  }
  v1::Task GetTask(uint64_t id, const std::string& session = "s") {
    const auto task = manager_->GetTask(session, id);
    EXPECT_OK(task);
    return task.ok() ? *task : v1::Task();
  }
  static std::vector<int> Codes(const v1::Task& task) {
    std::vector<int> codes;
    for (const auto& event : task.status().events()) codes.push_back(event.code());
    return codes;
  }

  TempDirectory folder_;
  ManualClock clock_;
  SessionManagerOptions options_;
  Assignments assignments_;
  std::unique_ptr<SessionManager> manager_;
};

using ManagerTest = ManagerTestOn<Memory>;

grpc::StatusCode CodeOfRefusal(const arrow::Status& status) {
  return ToGrpc(status).error_code();
}

TEST_F(ManagerTest, StartUpApplicationsAreThere) {
  ASSERT_OK_AND_ASSIGN(const auto run, manager_->GetApplication("flmrun"));
  EXPECT_EQ(run.spec().command(), "${FLAME_HOME}/bin/uv");
  EXPECT_THAT(run.spec().arguments(),
              ElementsAre("run", "--python", "python${FLAME_PYTHON_VERSION}", "python",
                          "-m", "flamepy.runner.runpy"));
  EXPECT_EQ(run.spec().installer(), "python");
  EXPECT_FALSE(run.spec().has_url());
  EXPECT_THAT(manager_->ListApplications(), SizeIs(4));
}

TEST_F(ManagerTest, ApplicationGetsTheTwoDefaultsAndNoOthers) {
  ASSERT_OK_AND_ASSIGN(const auto application, manager_->GetApplication("app"));
  EXPECT_EQ(application.spec().max_instances(), 1'000'000U);
  EXPECT_EQ(application.spec().delay_release(), 60);
  EXPECT_FALSE(application.spec().has_working_directory());
  EXPECT_FALSE(application.spec().has_description());
  EXPECT_EQ(application.status().state(), v1::Enabled);
  EXPECT_EQ(application.metadata().id(), "app");
}

TEST_F(ManagerTest, BadApplicationsAreRefused) {
  EXPECT_TRUE(IsStateRefusal(manager_->RegisterApplication("../x", ApplicationSpec())));
  const auto again = manager_->RegisterApplication("app", ApplicationSpec());
  EXPECT_TRUE(IsStateRefusal(again));
  EXPECT_EQ(again.message(), "Application 'app' already exists");
  v1::ApplicationSpec relative = ApplicationSpec();
  relative.set_working_directory("here");
  EXPECT_EQ(CodeOfRefusal(manager_->RegisterApplication("b", relative)),
            grpc::StatusCode::INVALID_ARGUMENT);
  const std::string deep(100'000, '[');
  const std::string large = '"' + std::string(300 << 10, 'x') + '"';
  const std::vector<std::string> schemas{
      "{", "7", "\"text\"", R"({"type": "thing"})", R"({"properties": []})", deep, large};
  for (const std::string& schema : schemas) {
    v1::ApplicationSpec spec = ApplicationSpec();
    spec.mutable_schema()->set_input(schema);
    EXPECT_EQ(CodeOfRefusal(manager_->RegisterApplication("b", spec)),
              grpc::StatusCode::INVALID_ARGUMENT)
        << schema.substr(0, 20);
  }
}

TEST_F(ManagerTest, ApplicationWithOpenSessionsStays) {
  Create();
  EXPECT_THAT(manager_->UnregisterApplication("app").message(),
              HasSubstr("has open sessions"));
  EXPECT_THAT(manager_->UpdateApplication("app", ApplicationSpec()).message(),
              HasSubstr("has open sessions"));
  ASSERT_OK(manager_->CloseSession("s"));
  ASSERT_OK(manager_->UnregisterApplication("app"));
  // Its closed sessions go with it, so that their ids are free.
  EXPECT_EQ(CodeOfRefusal(manager_->GetSession("s").status()),
            grpc::StatusCode::NOT_FOUND);
  ASSERT_OK(manager_->RegisterApplication("app", ApplicationSpec()));
  Create();
}

TEST_F(ManagerTest, SessionIsCreatedOnce) {
  ASSERT_OK_AND_ASSIGN(const auto session, manager_->CreateSession("s", Spec()));
  EXPECT_EQ(session.status().state(), v1::Open);
  EXPECT_EQ(session.spec().batch_size(), 1U);
  EXPECT_EQ(session.spec().resreq().cpu(), 1U);
  EXPECT_EQ(session.spec().resreq().memory(), uint64_t{1} << 30);
  EXPECT_FALSE(session.spec().has_max_instances());
  const auto again = manager_->CreateSession("s", Spec()).status();
  EXPECT_EQ(CodeOfRefusal(again), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(again.message(), "Session 's' already exists");
  v1::SessionSpec unknown = Spec();
  unknown.set_application("none");
  EXPECT_EQ(CodeOfRefusal(manager_->CreateSession("t", unknown).status()),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(CodeOfRefusal(manager_->CreateSession("a/b", Spec()).status()),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ManagerTest, OpenFindsCreatesOrRefuses) {
  const auto unknown = manager_->OpenSession("s", std::nullopt).status();
  EXPECT_EQ(CodeOfRefusal(unknown), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(unknown.message(), "Session s not found");
  ASSERT_OK(manager_->OpenSession("s", Spec()));
  ASSERT_OK(manager_->OpenSession("s", std::nullopt));
  // Common data is not compared, and the first one wins.
  v1::SessionSpec other_data = Spec();
  other_data.set_common_data("other");
  ASSERT_OK_AND_ASSIGN(const auto session, manager_->OpenSession("s", other_data));
  EXPECT_EQ(session.spec().common_data(), "common");
  // Defaults are filled in before they are compared.
  v1::SessionSpec spelled_out = Spec();
  spelled_out.mutable_resreq()->set_cpu(1);
  spelled_out.mutable_resreq()->set_memory(uint64_t{1} << 30);
  ASSERT_OK(manager_->OpenSession("s", spelled_out));
  ASSERT_OK(manager_->CloseSession("s"));
  for (const auto& spec : {std::optional<v1::SessionSpec>(), std::optional(Spec())}) {
    const auto closed = manager_->OpenSession("s", spec).status();
    EXPECT_EQ(CodeOfRefusal(closed), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(closed.message(), "Session s is not open");
  }
}

TEST_F(ManagerTest, OpenNamesTheFirstFieldThatDiffers) {
  Create();
  const auto text_of = [&](const std::function<void(v1::SessionSpec*)>& change) {
    v1::SessionSpec spec = Spec();
    change(&spec);
    const auto status = manager_->OpenSession("s", spec).status();
    EXPECT_EQ(CodeOfRefusal(status), grpc::StatusCode::INVALID_ARGUMENT);
    return status.message();
  };
  EXPECT_EQ(text_of([](auto* spec) { spec->set_application("flmrun"); }),
            "session s spec mismatch: application differs (expected app, got flmrun)");
  EXPECT_THAT(text_of([](auto* spec) { spec->mutable_resreq()->set_cpu(2); }),
              HasSubstr("spec mismatch: resreq differs"));
  EXPECT_EQ(text_of([](auto* spec) { spec->set_min_instances(1); }),
            "session s spec mismatch: min_instances differs (expected 0, got 1)");
  EXPECT_EQ(text_of([](auto* spec) { spec->set_max_instances(0); }),
            "session s spec mismatch: max_instances differs (expected unlimited, got 0)");
  EXPECT_EQ(text_of([](auto* spec) { spec->set_priority(3); }),
            "session s spec mismatch: priority differs (expected 0, got 3)");
}

TEST_F(ManagerTest, TasksAreNumberedAndRunInOrder) {
  Create();
  EXPECT_EQ(Task("a"), "1");
  EXPECT_EQ(Task("b"), "2");
  EXPECT_EQ(GetTask(1).status().state(), v1::Pending);
  const std::string executor = Instance();
  TaskWork work;
  ASSERT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kTask);
  EXPECT_EQ(work.id, "1");
  EXPECT_EQ(work.session, "s");
  EXPECT_EQ(work.input, "a");
  EXPECT_EQ(GetTask(1).status().state(), v1::Running);
  EXPECT_THAT(Codes(GetTask(1)), ElementsAre(0, 1));
  Succeed(executor, "result");

  const v1::Task done = GetTask(1);
  EXPECT_EQ(done.status().state(), v1::Succeed);
  EXPECT_EQ(done.spec().input(), "a");
  EXPECT_EQ(done.spec().output(), "result");
  EXPECT_EQ(done.spec().session_id(), "s");
  EXPECT_EQ(done.metadata().name(), "1");
  EXPECT_TRUE(done.status().has_completion_time());
  EXPECT_THAT(Codes(done), ElementsAre(0, 1, 2));
  EXPECT_EQ(Work(executor), "2");
  EXPECT_EQ(Get().status().succeed(), 1);
  EXPECT_EQ(Get().status().running(), 1);
}

TEST_F(ManagerTest, FailureKeepsTheServicesWords) {
  Create();
  Task();
  Task();
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  ASSERT_OK(manager_->Complete(executor, {false, {}, "division by zero"}));
  ASSERT_EQ(Work(executor), "2");
  ASSERT_OK(manager_->Complete(executor, {false, {}, ""}));

  EXPECT_EQ(GetTask(1).status().state(), v1::Failed);
  EXPECT_EQ(GetTask(1).status().events(2).code(), 3);
  EXPECT_EQ(GetTask(1).status().events(2).message(), "division by zero");
  EXPECT_FALSE(GetTask(1).spec().has_output());
  EXPECT_EQ(GetTask(2).status().events(2).message(), "Task failed with state <Failed>");
  EXPECT_EQ(Get().status().state(), v1::Open);
}

TEST_F(ManagerTest, TextThatIsNotUtf8IsMadeSo) {
  Create();
  Task();
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  ASSERT_OK(manager_->Complete(executor, {false, {}, "bad \xff"}));
  EXPECT_EQ(GetTask(1).status().events(2).message(), "bad ?");
}

TEST_F(ManagerTest, SequentialTasksLandOnTheSameInstance) {
  Create();
  Task();
  Task();
  const std::string first = Instance();
  const std::string second = Instance();
  ASSERT_EQ(Work(first), "1");
  ASSERT_EQ(Work(second), "2");
  Succeed(second);
  ASSERT_EQ(Work(second), "");
  Succeed(first);
  ASSERT_EQ(Work(first), "");  // Idle, and the one that worked last.
  for (const char* id : {"3", "4", "5"}) {
    EXPECT_EQ(Task(), id);
    EXPECT_EQ(Work(first), id);
    Succeed(first);
    EXPECT_EQ(Work(first), "");
  }
}

TEST_F(ManagerTest, CloseCancelsWhatWaits) {
  Create();
  Task();
  Task();
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  const auto refused = manager_->CloseSession("s").status();
  EXPECT_EQ(CodeOfRefusal(refused), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(refused.message(), "Cannot close session with running tasks");
  EXPECT_EQ(GetTask(2).status().state(), v1::Pending);
  Succeed(executor);

  ASSERT_OK_AND_ASSIGN(const auto closed, manager_->CloseSession("s"));
  EXPECT_EQ(closed.status().state(), v1::Closed);
  EXPECT_TRUE(closed.status().has_completion_time());
  EXPECT_EQ(closed.status().cancelled(), 1);
  EXPECT_EQ(closed.status().succeed(), 1);
  EXPECT_EQ(GetTask(2).status().state(), v1::Cancelled);
  EXPECT_TRUE(GetTask(2).status().has_completion_time());
  EXPECT_EQ(GetTask(2).spec().input(), "in");
  TaskWork work;
  EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kLeave);
  ASSERT_OK(manager_->CloseSession("s"));  // Again is fine.
  v1::TaskSpec late;
  late.set_session_id("s");
  const auto closed_task = manager_->CreateTask(late).status();
  EXPECT_EQ(CodeOfRefusal(closed_task), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(closed_task.message(), "Cannot create task in closed session");
}

TEST_F(ManagerTest, OnlyClosedSessionsAreDeleted) {
  Create();
  Task();
  EXPECT_EQ(CodeOfRefusal(manager_->DeleteSession("s").status()),
            grpc::StatusCode::INTERNAL);
  ASSERT_OK(manager_->CloseSession("s"));
  ASSERT_OK(manager_->DeleteSession("s"));
  EXPECT_EQ(CodeOfRefusal(manager_->GetTask("s", 1).status()),
            grpc::StatusCode::NOT_FOUND);
  Create();
  EXPECT_EQ(Task(), "1");
}

TEST_F(ManagerTest, ListsAreInOrderAndFiltered) {
  Create("b");
  Create("a");
  ASSERT_OK(manager_->CloseSession("b"));
  const auto all = manager_->ListSessions(nullptr, nullptr, 1000);
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].metadata().id(), "b");
  EXPECT_EQ(all[0].status().state(), v1::Closed);
  const v1::SessionState open = v1::Open;
  EXPECT_THAT(manager_->ListSessions(nullptr, &open, 1000), SizeIs(1));
  const std::string other = "other";
  EXPECT_THAT(manager_->ListSessions(&other, nullptr, 1000), IsEmpty());
  // Common data of one fits, that of two does not.
  const auto short_list = manager_->ListSessions(nullptr, nullptr, 6);
  EXPECT_TRUE(short_list[0].spec().has_common_data());
  EXPECT_FALSE(short_list[1].spec().has_common_data());
  EXPECT_EQ(short_list[1].spec().application(), "app");
}

TEST_F(ManagerTest, IdleInstanceLeavesAfterItsDelay) {
  Create();
  Task();
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  Succeed(executor);
  TaskWork work;
  EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kNothing);
  clock_.Advance(std::chrono::seconds(59));
  EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kNothing);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kLeave);
  EXPECT_EQ(manager_->ListExecutors()[0].status().state(), v1::ExecutorUnbinding);
  manager_->Released(executor);
  EXPECT_THAT(manager_->ListExecutors(), IsEmpty());
}

TEST_F(ManagerTest, MinimumIsStartedWithoutTasksAndStays) {
  Create("s", Spec(/*min=*/2));
  const std::string first = Instance();
  const std::string second = Instance();
  TaskWork work;
  for (const std::string& executor : {first, second})
    EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kNothing);
  clock_.Advance(std::chrono::hours(1));
  for (const std::string& executor : {first, second})
    EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kNothing);
}

TEST_F(ManagerTest, AssignmentSaysWhatToStart) {
  Create();
  Task();
  const Assignment assignment = assignments_.Pop();
  EXPECT_EQ(assignment.session, "s");
  EXPECT_EQ(assignment.common_data, "common");
  EXPECT_EQ(assignment.application.spec().command(), "${HOME}/serve");
  ASSERT_THAT(manager_->ListExecutors(), SizeIs(1));
  const v1::Executor executor = manager_->ListExecutors()[0];
  EXPECT_EQ(executor.status().state(), v1::ExecutorBinding);
  EXPECT_EQ(executor.status().session_id(), "s");
  EXPECT_EQ(executor.metadata().id(), assignment.executor);
}

TEST_F(ManagerTest, FailedStartsAreToldAndEnd) {
  Create();
  Task();
  for (uint64_t i = 1; i <= options_.retry_limit; ++i) {
    const std::string executor = assignments_.Pop().executor;
    ASSERT_NE(executor, "");
    manager_->BindFailed(executor, BindFailure::kSessionEnter, "no model");
    manager_->Released(executor);
  }
  const auto status = Get().status();
  ASSERT_EQ(status.events_size(), 6);
  EXPECT_EQ(status.events(0).code(), 1001);
  EXPECT_THAT(status.events(0).message(), HasSubstr("failed to bind session with "
                                                    "return_code 12: no model"));
  EXPECT_EQ(status.events(5).code(), 1002);
  EXPECT_THAT(status.events(5).message(),
              HasSubstr("Session retry limit reached after 5/5 failed attempts; new "
                        "executor assignment is paused"));
  EXPECT_EQ(status.state(), v1::Open);
  EXPECT_EQ(status.pending(), 1);
  // Another session is served, this one no more: its assignment would come first.
  Create("t");
  Task("in", "t");
  EXPECT_EQ(assignments_.Pop().session, "t");
  EXPECT_TRUE(assignments_.empty());
}

TEST_F(ManagerTest, TaskThatDidNotReachItsInstanceGoesToAnother) {
  Create();
  Task("a");
  Task("b");
  const std::string first = Instance();
  ASSERT_EQ(Work(first), "1");
  manager_->Died(first, "it exited with code 3");
  EXPECT_EQ(GetTask(1).status().state(), v1::Pending);
  manager_->Released(first);
  const std::string second = Instance();
  EXPECT_EQ(Work(second), "1");  // Before the second: the lowest id first.
}

TEST_F(ManagerTest, IdleInstanceMakesRoomForAnotherSession) {
  v1::SessionSpec large = Spec();
  large.mutable_resreq()->set_cpu(4);
  Create("s", large);
  Task();
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  Create("t");
  Task("in", "t");
  Succeed(executor);
  TaskWork work;
  EXPECT_EQ(manager_->AwaitWork(executor, kPatience, &work), Next::kLeave);
  manager_->Released(executor);
  EXPECT_EQ(assignments_.Pop().session, "t");
}

TEST_F(ManagerTest, WasmTasksWait) {
  v1::ApplicationSpec spec = ApplicationSpec();
  spec.set_shim(v1::Wasm);
  ASSERT_OK(manager_->RegisterApplication("wasm", spec));
  v1::SessionSpec session = Spec();
  session.set_application("wasm");
  Create("w", session);
  Task("in", "w");
  Create("s");
  Task();
  EXPECT_EQ(assignments_.Pop().session, "s");
  EXPECT_TRUE(assignments_.empty());
}

TEST_F(ManagerTest, OldestClosedSessionsMakeRoom) {
  options_.max_sessions = 2;
  Reopen();
  ASSERT_OK(manager_->RegisterApplication("app", ApplicationSpec()));
  Create("a");
  Create("b");
  ASSERT_OK(manager_->CloseSession("b"));
  clock_.Advance(milliseconds(5));
  ASSERT_OK(manager_->CloseSession("a"));
  Create("c");
  EXPECT_OK(manager_->GetSession("a"));
  EXPECT_FALSE(manager_->GetSession("b").ok());
}

TEST_F(ManagerTest, DrainTakesNothingNew) {
  Create();
  Task();
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  EXPECT_FALSE(manager_->Drain(clock_.BootMs()));
  v1::TaskSpec spec;
  spec.set_session_id("s");
  EXPECT_EQ(CodeOfRefusal(manager_->CreateTask(spec).status()),
            grpc::StatusCode::UNAVAILABLE);
  Succeed(executor);  // What runs may end.
  EXPECT_EQ(GetTask(1).status().state(), v1::Succeed);
  TaskWork work;
  EXPECT_EQ(manager_->AwaitWork(executor, milliseconds(0), &work), Next::kLeave);
  manager_->Released(executor);
  EXPECT_TRUE(manager_->Drain(clock_.BootMs() + 1000));
}

/// Remembers what it heard.
class Listener final : public TaskListener {
 public:
  void OnTaskChanged(const std::string& session, uint64_t task, v1::TaskState) override {
    MutexLock lock(mutex_);
    heard_.push_back(session + "/" + std::to_string(task));
  }
  std::vector<std::string> heard() {
    MutexLock lock(mutex_);
    return heard_;
  }

 private:
  Mutex mutex_;
  std::vector<std::string> heard_ GUARDED_BY(mutex_);
};

TEST_F(ManagerTest, ListenersHearOfEveryChangeUpToTheLast) {
  Create();
  Task();
  const auto listener = std::make_shared<Listener>();
  ASSERT_OK(manager_->Listen("s", 1, listener));
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  EXPECT_THAT(listener->heard(), ElementsAre("s/1"));
  Succeed(executor);
  EXPECT_THAT(listener->heard(), ElementsAre("s/1", "s/1"));
  EXPECT_EQ(CodeOfRefusal(manager_->Listen("s", 2, listener)),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(CodeOfRefusal(manager_->Listen("t", 1, listener)),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ManagerTest, ListenersHearOfCancellation) {
  Create();
  Task();
  const auto listener = std::make_shared<Listener>();
  ASSERT_OK(manager_->Listen("s", 1, listener));
  const std::string executor = assignments_.Pop().executor;
  ASSERT_OK(manager_->CloseSession("s"));
  EXPECT_THAT(listener->heard(), ElementsAre("s/1"));
  EXPECT_TRUE(manager_->MustLeave(executor));
}

// Goal: damage to one record of a task does not hold an instance or a session for ever.
TEST_F(ManagerTest, TaskWithADamagedRecordStillEnds) {
  auto owned = OpenMemoryKeyValue();
  KeyValueStore* keys = owned.get();
  ASSERT_OK_AND_ASSIGN(
      const auto manager,
      SessionManager::Open(std::make_unique<SessionStore>(std::move(owned)), &clock_,
                           options_));
  manager->Start(
      [this](Assignment assignment) { assignments_.Push(std::move(assignment)); });
  ASSERT_OK(manager->RegisterApplication("app", ApplicationSpec()));
  ASSERT_OK(manager->CreateSession("s", Spec()));
  v1::TaskSpec spec;
  spec.set_session_id("s");
  for (int i = 0; i < 3; ++i) ASSERT_OK(manager->CreateTask(spec));
  const std::string executor = assignments_.Pop().executor;
  manager->Bound(executor);
  TaskWork work;
  ASSERT_EQ(manager->AwaitWork(executor, milliseconds(0), &work), Next::kTask);
  const std::string serial("\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 15);
  ASSERT_OK(keys->Write({{"t" + serial + "\1", "bad"},
                         {"t" + serial + "\2", "bad"},
                         {"t" + serial + "\3", std::nullopt}}));

  ASSERT_OK(manager->Complete(executor, {true, "out", ""}));
  EXPECT_EQ(manager->GetTask("s", 1)->spec().output(), "out");
  // Its input cannot be read: it fails, and the instance goes on.
  ASSERT_EQ(manager->AwaitWork(executor, milliseconds(0), &work), Next::kNothing);
  EXPECT_EQ(manager->GetTask("s", 2)->status().state(), v1::Failed);
  ASSERT_OK(manager->CloseSession("s"));
  EXPECT_EQ(manager->GetTask("s", 3)->status().state(), v1::Cancelled);
}

using DurableManagerTest = ManagerTestOn<Disk>;

// Goal: no acknowledged task is lost, and none that was done runs again.
TEST_F(DurableManagerTest, RestartGoesOnWhereItWas) {
  Create();
  Create("closed");
  Task("a");
  Task("b");
  Task("c");
  const std::string executor = Instance();
  ASSERT_EQ(Work(executor), "1");
  Succeed(executor, "done");
  ASSERT_EQ(Work(executor), "2");
  ASSERT_OK(manager_->CloseSession("closed"));
  manager_->Released(executor);

  Reopen();

  EXPECT_EQ(GetTask(1).status().state(), v1::Succeed);
  EXPECT_EQ(GetTask(1).spec().output(), "done");
  EXPECT_THAT(Codes(GetTask(1)), ElementsAre(0, 1, 2));
  EXPECT_EQ(GetTask(2).status().state(), v1::Pending);
  EXPECT_EQ(GetTask(3).spec().input(), "c");
  EXPECT_EQ(Get().status().succeed(), 1);
  EXPECT_EQ(Get().status().pending(), 2);
  EXPECT_EQ(Get("closed").status().state(), v1::Closed);
  // Without any call: what was left is taken up.
  while (!assignments_.empty()) assignments_.Pop();
  Task("d");
  EXPECT_EQ(GetTask(4).metadata().id(), "4");
}

TEST_F(DurableManagerTest, RestartStartsInstancesForWhatWaits) {
  Create();
  Task("a");
  manager_->Released(assignments_.Pop().executor);

  Reopen();

  const std::string executor = Instance();
  EXPECT_EQ(Work(executor), "1");
}

TEST_F(DurableManagerTest, SessionEventsSurvive) {
  Create();
  Task();
  const std::string executor = assignments_.Pop().executor;
  manager_->BindFailed(executor, BindFailure::kLaunch, "no such file");
  manager_->Released(executor);

  Reopen();

  ASSERT_GE(Get().status().events_size(), 1);
  EXPECT_THAT(Get().status().events(0).message(), HasSubstr("return_code 11"));
}

}  // namespace
}  // namespace flame
