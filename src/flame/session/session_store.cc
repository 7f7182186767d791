#include "flame/session/session_store.h"

#include <set>
#include <unordered_set>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/base/log.h"
#include "flame/session/refusal.h"
#include "flame/storage/coding.h"

namespace flame {
namespace {

using arrow::Status;
using Change = KeyValueStore::Change;

constexpr uint8_t kFormat = 1;
// First bytes of keys.
constexpr std::string_view kApplications = "a";
constexpr std::string_view kSessions = "s";
constexpr std::string_view kTasks = "t";
constexpr std::string_view kInputs = "i";
constexpr std::string_view kOutputs = "o";
// Flags of a task's record.
constexpr uint8_t kHasInput = 1;
constexpr uint8_t kHasOutput = 2;

/// Of one write while a session is deleted.
constexpr size_t kPage = 10'000;

std::string Key(std::string_view kind, std::string_view rest) {
  return std::string(kind).append(rest);
}
std::string SessionKey(uint64_t serial) { return Key(kSessions, BigEndian(serial)); }
std::string TaskKey(std::string_view kind, uint64_t serial, uint64_t id) {
  return Key(kind, BigEndian(serial) + BigEndian(id));
}

Status Corrupt(std::string_view what) {
  return MakeError(
      ErrorCode::kCorrupt,
      fmt::format("the record of {} cannot be read: damaged, or written by a "
                  "newer program; restore the storage from a backup",
                  what));
}

std::string Encode(const google::protobuf::MessageLite& message) {
  std::string bytes(1, static_cast<char>(kFormat));
  message.AppendToString(&bytes);
  return bytes;
}

bool Decode(std::string_view bytes, google::protobuf::MessageLite* message) {
  return !bytes.empty() && static_cast<uint8_t>(bytes[0]) == kFormat &&
         message->ParseFromArray(bytes.data() + 1, static_cast<int>(bytes.size()) - 1);
}

/// Flags follow the format; payloads and the session's id are elsewhere.
std::string EncodeTask(const v1::Task& task, uint8_t flags) {
  v1::Task record;
  *record.mutable_status() = task.status();
  std::string bytes{static_cast<char>(kFormat), static_cast<char>(flags)};
  record.AppendToString(&bytes);
  return bytes;
}

bool DecodeTask(std::string_view bytes, v1::Task* task, uint8_t* flags) {
  if (bytes.size() < 2 || static_cast<uint8_t>(bytes[0]) != kFormat) return false;
  *flags = static_cast<uint8_t>(bytes[1]);
  return (*flags & ~(kHasInput | kHasOutput)) == 0 &&
         task->ParseFromArray(bytes.data() + 2, static_cast<int>(bytes.size()) - 2);
}

Change PutSessionChange(const StoredSession& stored) {
  v1::Session record = stored.session;
  auto* status = record.mutable_status();
  status->clear_pending();
  status->clear_running();
  status->clear_succeed();
  status->clear_failed();
  status->clear_cancelled();
  return {SessionKey(stored.serial), Encode(record)};
}

}  // namespace

arrow::Result<SessionStore::Contents> SessionStore::Load() {
  Contents contents;
  ARROW_RETURN_NOT_OK(store_->Visit(
      kApplications,
      [&](std::string_view key, std::string_view value) -> arrow::Result<bool> {
        if (!Decode(value, &contents.applications.emplace_back()))
          return Corrupt(fmt::format("application {}", key.substr(1)));
        return true;
      }));
  std::unordered_set<uint64_t> known;
  ARROW_RETURN_NOT_OK(store_->Visit(
      kSessions,
      [&](std::string_view key, std::string_view value) -> arrow::Result<bool> {
        StoredSession& session = contents.sessions.emplace_back();
        if (key.size() != 9 || !Decode(value, &session.session))
          return Corrupt("a session");
        session.serial = FromBigEndian<uint64_t>(key.substr(1));
        known.insert(session.serial);
        return true;
      }));
  std::set<uint64_t> orphans;
  ARROW_RETURN_NOT_OK(store_->Visit(
      kTasks, [&](std::string_view key, std::string_view value) -> arrow::Result<bool> {
        v1::Task task;
        uint8_t flags = 0;
        if (key.size() != 17 || !DecodeTask(value, &task, &flags))
          return Corrupt("a task");
        const StoredTask found{FromBigEndian<uint64_t>(key.substr(1)),
                               FromBigEndian<uint64_t>(key.substr(9)),
                               task.status().state()};
        if (known.contains(found.serial))
          contents.tasks.push_back(found);
        else
          orphans.insert(found.serial);
        return true;
      }));
  for (const uint64_t serial : orphans) ARROW_RETURN_NOT_OK(DeleteTasks(serial));
  return contents;
}

Status SessionStore::PutApplication(const v1::Application& application) {
  return store_->Write(
      {{Key(kApplications, application.metadata().name()), Encode(application)}});
}

Status SessionStore::DeleteApplication(const std::string& name) {
  return store_->Write({{Key(kApplications, name), std::nullopt}});
}

Status SessionStore::PutSession(const StoredSession& session) {
  return store_->Write({PutSessionChange(session)});
}

Status SessionStore::PutSession(const StoredSession& session,
                                const std::vector<v1::Task>& tasks) {
  std::vector<Change> changes{PutSessionChange(session)};
  for (const v1::Task& task : tasks) {
    const uint64_t id = std::stoull(task.metadata().id());
    uint8_t flags = 0;
    if (task.spec().has_input()) flags |= kHasInput;
    if (task.spec().has_output()) flags |= kHasOutput;
    changes.push_back({TaskKey(kTasks, session.serial, id), EncodeTask(task, flags)});
  }
  return store_->Write(changes);
}

Status SessionStore::DeleteSession(uint64_t serial) {
  // Gone with this; what follows is tidying up, which Load() repeats.
  ARROW_RETURN_NOT_OK(store_->Write({{SessionKey(serial), std::nullopt}}));
  const Status tidied = DeleteTasks(serial);
  if (!tidied.ok()) FLAME_LOG_WARN(session, "delete tasks: {}", tidied.ToString());
  return Status::OK();
}

Status SessionStore::DeleteTasks(uint64_t serial) {
  // The records last: they say whose payloads these are.
  for (const std::string_view kind : {kInputs, kOutputs, kTasks}) {
    std::vector<Change> page;
    do {
      page.clear();
      ARROW_RETURN_NOT_OK(store_->Visit(
          Key(kind, BigEndian(serial)),
          [&](std::string_view key, std::string_view) -> arrow::Result<bool> {
            page.push_back({std::string(key), std::nullopt});
            return page.size() < kPage;
          }));
      if (!page.empty()) ARROW_RETURN_NOT_OK(store_->Write(page));
    } while (page.size() == kPage);
  }
  return Status::OK();
}

Status SessionStore::CreateTask(uint64_t serial, uint64_t id, const v1::Task& task) {
  std::vector<Change> changes;
  if (task.spec().has_input())
    changes.push_back({TaskKey(kInputs, serial, id), task.spec().input()});
  changes.push_back({TaskKey(kTasks, serial, id),
                     EncodeTask(task, task.spec().has_input() ? kHasInput : 0)});
  return store_->Write(changes);
}

Status SessionStore::FinishTask(uint64_t serial, uint64_t id, const v1::Task& task) {
  std::vector<Change> changes;
  uint8_t flags = task.spec().has_input() ? kHasInput : 0;
  if (task.spec().has_output()) {
    flags |= kHasOutput;
    changes.push_back({TaskKey(kOutputs, serial, id), task.spec().output()});
  }
  changes.push_back({TaskKey(kTasks, serial, id), EncodeTask(task, flags)});
  return store_->Write(changes);
}

arrow::Result<std::optional<std::string>> SessionStore::ReadPayload(std::string_view kind,
                                                                    uint8_t flag,
                                                                    uint64_t serial,
                                                                    uint64_t id) const {
  ARROW_ASSIGN_OR_RAISE(auto payload, store_->Get(TaskKey(kind, serial, id)));
  if (payload) return payload;
  ARROW_ASSIGN_OR_RAISE(const auto record, store_->Get(TaskKey(kTasks, serial, id)));
  if (!record) return NotFoundRefusal("its record is gone");
  v1::Task task;
  uint8_t flags = 0;
  // It has none, or lacks what it should have.
  if (!DecodeTask(*record, &task, &flags) || (flags & flag) != 0)
    return Corrupt(fmt::format("a payload of task {}", id));
  return std::nullopt;
}

arrow::Result<std::optional<std::string>> SessionStore::ReadInput(uint64_t serial,
                                                                  uint64_t id) const {
  return ReadPayload(kInputs, kHasInput, serial, id);
}

arrow::Result<std::optional<std::string>> SessionStore::ReadOutput(uint64_t serial,
                                                                   uint64_t id) const {
  return ReadPayload(kOutputs, kHasOutput, serial, id);
}

arrow::Result<std::optional<v1::Task>> SessionStore::ReadTask(uint64_t serial,
                                                              uint64_t id,
                                                              bool payloads) const {
  ARROW_ASSIGN_OR_RAISE(const auto record, store_->Get(TaskKey(kTasks, serial, id)));
  if (!record) return std::nullopt;
  v1::Task task;
  uint8_t flags = 0;
  if (!DecodeTask(*record, &task, &flags)) return Corrupt(fmt::format("task {}", id));
  task.mutable_metadata()->set_id(std::to_string(id));
  task.mutable_metadata()->set_name(std::to_string(id));
  // Present, be it empty: whoever writes the record back must not lose the flags.
  if (flags & kHasInput) task.mutable_spec()->set_input("");
  if (flags & kHasOutput) task.mutable_spec()->set_output("");
  if (!payloads) return task;
  const auto read = [&](std::string_view kind, std::string* payload) -> Status {
    ARROW_ASSIGN_OR_RAISE(auto bytes, store_->Get(TaskKey(kind, serial, id)));
    if (!bytes) return Corrupt(fmt::format("a payload of task {}", id));
    *payload = *std::move(bytes);
    return Status::OK();
  };
  if (flags & kHasInput)
    ARROW_RETURN_NOT_OK(read(kInputs, task.mutable_spec()->mutable_input()));
  if (flags & kHasOutput)
    ARROW_RETURN_NOT_OK(read(kOutputs, task.mutable_spec()->mutable_output()));
  return task;
}

}  // namespace flame
