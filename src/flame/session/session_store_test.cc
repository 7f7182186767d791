// What every SessionStore keeps, in memory and on a disk.
#include "flame/session/session_store.h"

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

struct Memory {
  static constexpr bool kDurable = false;
  static arrow::Result<std::unique_ptr<KeyValueStore>> Open(const std::string&) {
    return OpenMemoryKeyValue();
  }
};
struct Disk {
  static constexpr bool kDurable = true;
  static arrow::Result<std::unique_ptr<KeyValueStore>> Open(const std::string& folder) {
    return OpenDiskKeyValue(folder + "/state");
  }
};

v1::Task NewTask(std::optional<std::string> input) {
  v1::Task task;
  task.mutable_status()->set_state(v1::Pending);
  task.mutable_status()->set_creation_time(5);
  if (input) task.mutable_spec()->set_input(*input);
  return task;
}

StoredSession NewSession(uint64_t serial, const std::string& id) {
  StoredSession stored{serial, {}};
  stored.session.mutable_metadata()->set_id(id);
  stored.session.mutable_spec()->set_application("app");
  stored.session.mutable_spec()->set_common_data("common");
  return stored;
}

template <typename Backend>
class SessionStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(auto store, Backend::Open(folder_.path()));
    store_ = std::make_unique<SessionStore>(std::move(store));
  }
  /// As after a kill: nothing is said to the store.
  void Reopen() {
    if (!Backend::kDurable) return;
    store_.reset();
    SetUp();
  }

  TempDirectory folder_;
  std::unique_ptr<SessionStore> store_;
};
using Backends = ::testing::Types<Memory, Disk>;
TYPED_TEST_SUITE(SessionStoreTest, Backends);

TYPED_TEST(SessionStoreTest, EverythingComesBack) {
  v1::Application application;
  application.mutable_metadata()->set_name("app");
  application.mutable_spec()->set_delay_release(7);
  ASSERT_OK(this->store_->PutApplication(application));
  ASSERT_OK(this->store_->PutSession(NewSession(3, "s")));
  ASSERT_OK(this->store_->CreateTask(3, 1, NewTask("in")));
  ASSERT_OK(this->store_->CreateTask(3, 2, NewTask(std::nullopt)));

  this->Reopen();

  ASSERT_OK_AND_ASSIGN(const auto contents, this->store_->Load());
  ASSERT_THAT(contents.applications, SizeIs(1));
  EXPECT_EQ(contents.applications[0].spec().delay_release(), 7);
  ASSERT_THAT(contents.sessions, SizeIs(1));
  EXPECT_EQ(contents.sessions[0].serial, 3U);
  EXPECT_EQ(contents.sessions[0].session.spec().common_data(), "common");
  ASSERT_THAT(contents.tasks, SizeIs(2));
  EXPECT_EQ(contents.tasks[1].id, 2U);
}

TYPED_TEST(SessionStoreTest, PayloadsAreThereOrNotAsTheyWereGiven) {
  ASSERT_OK(this->store_->CreateTask(1, 1, NewTask("in")));
  ASSERT_OK(this->store_->CreateTask(1, 2, NewTask("")));
  ASSERT_OK(this->store_->CreateTask(1, 3, NewTask(std::nullopt)));
  for (uint64_t id = 1; id <= 3; ++id) {
    ASSERT_OK_AND_ASSIGN(auto task, this->store_->ReadTask(1, id, /*payloads=*/false));
    task->mutable_status()->set_state(v1::Succeed);
    if (id != 2) task->mutable_spec()->set_output(id == 1 ? "out" : "");
    ASSERT_OK(this->store_->FinishTask(1, id, *task));
  }

  this->Reopen();

  ASSERT_OK_AND_ASSIGN(const auto first, this->store_->ReadTask(1, 1));
  EXPECT_EQ(first->spec().input(), "in");
  EXPECT_EQ(first->spec().output(), "out");
  EXPECT_EQ(first->status().state(), v1::Succeed);
  EXPECT_EQ(first->status().creation_time(), 5);
  ASSERT_OK_AND_ASSIGN(const auto second, this->store_->ReadTask(1, 2));
  EXPECT_TRUE(second->spec().has_input());
  EXPECT_FALSE(second->spec().has_output());
  ASSERT_OK_AND_ASSIGN(const auto third, this->store_->ReadTask(1, 3));
  EXPECT_FALSE(third->spec().has_input());
  EXPECT_TRUE(third->spec().has_output());
}

TYPED_TEST(SessionStoreTest, MissingTaskIsAValue) {
  ASSERT_OK_AND_ASSIGN(const auto task, this->store_->ReadTask(1, 1));
  EXPECT_FALSE(task.has_value());
}

TYPED_TEST(SessionStoreTest, DeletedSessionTakesItsTasksAlong) {
  ASSERT_OK(this->store_->PutSession(NewSession(1, "a")));
  ASSERT_OK(this->store_->PutSession(NewSession(2, "b")));
  ASSERT_OK(this->store_->CreateTask(1, 1, NewTask("in")));
  ASSERT_OK(this->store_->CreateTask(2, 1, NewTask("in")));
  ASSERT_OK(this->store_->DeleteSession(1));

  ASSERT_OK_AND_ASSIGN(const auto contents, this->store_->Load());
  ASSERT_THAT(contents.sessions, SizeIs(1));
  ASSERT_THAT(contents.tasks, SizeIs(1));
  EXPECT_EQ(contents.tasks[0].serial, 2U);
}

// Goal: tasks of a session that is gone never come back. Method: tasks without a session
// are what a crash in the middle of a deletion leaves.
TYPED_TEST(SessionStoreTest, LeftoversOfAnInterruptedDeletionGo) {
  ASSERT_OK(this->store_->CreateTask(9, 1, NewTask("in")));

  ASSERT_OK_AND_ASSIGN(const auto contents, this->store_->Load());

  EXPECT_THAT(contents.tasks, SizeIs(0));
  ASSERT_OK_AND_ASSIGN(const auto task, this->store_->ReadTask(9, 1));
  EXPECT_FALSE(task.has_value());
}

TEST(SessionStoreFormatTest, RecordOfANewerProgramIsRefused) {
  auto keys = OpenMemoryKeyValue();
  ASSERT_OK(keys->Write({{"aapp", std::string("\x02xyz")}}));
  SessionStore store(std::move(keys));

  const auto contents = store.Load();

  ASSERT_FALSE(contents.ok());
  EXPECT_TRUE(IsError(contents.status(), ErrorCode::kCorrupt));
  EXPECT_THAT(contents.status().message(), HasSubstr("application app"));
}

// Changing these bytes breaks every existing storage.
TEST(SessionStoreFormatTest, RecordsAreAsDocumented) {
  auto owned = OpenMemoryKeyValue();
  KeyValueStore* keys = owned.get();
  SessionStore store(std::move(owned));
  v1::Task task = NewTask("in");
  task.mutable_spec()->set_session_id("not kept");
  ASSERT_OK(store.CreateTask(1, 2, task));

  const std::string id("\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2", 16);
  EXPECT_EQ(*keys->Get("i" + id), "in");
  EXPECT_EQ(*keys->Get("t" + id), "\x01\x01\x1a\x02\x10\x05");
}

}  // namespace
}  // namespace flame
