// What FsStore promises beyond the contract: files, crashes, full disks, damage.
#include "flame/storage/fs_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <arrow/testing/gtest_util.h>

#include "flame/base/error.h"
#include "flame/storage/database.h"
#include "flame/storage/faulty_file_system.h"
#include "flame/storage/identity.h"
#include "flame/storage/store_testing.h"
#include "flame/storage/temp_directory.h"

namespace flame {
namespace {

namespace fs = std::filesystem;

std::string Large(char c) { return std::string(300'000, c); }

/// 111...|222... -> 1|2; anything that is not whole stands out.
std::string Brief(const std::string& text);

/// RocksDB's files on a disk that is full, or fails, when the test says so.
class FaultyLogs final : public rocksdb::FileSystemWrapper {
 public:
  enum class Fault { kNone, kFullDisk, kBadAppend, kBadSync, kNoNewLog, kHangs };

  FaultyLogs() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FaultyLogs"; }

  rocksdb::IOStatus NewWritableFile(const std::string& name,
                                    const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* context) override {
    if (fault == Fault::kNoNewLog && name.ends_with(".log")) {
      return rocksdb::IOStatus::NoSpace("No space left on device");
    }
    auto status = FileSystemWrapper::NewWritableFile(name, options, file, context);
    if (status.ok()) *file = std::make_unique<File>(std::move(*file), this);
    return status;
  }

  std::atomic<Fault> fault{Fault::kNone};

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, const FaultyLogs* owner)
        : FSWritableFileOwnerWrapper(std::move(file)), owner_(owner) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* context) override {
      while (owner_->fault == Fault::kHangs) std::this_thread::yield();
      const Fault fault = owner_->fault;
      if (fault == Fault::kFullDisk || fault == Fault::kBadAppend) {
        // Some of it arrives.
        const rocksdb::Slice half(data.data(), data.size() / 2);
        FSWritableFileOwnerWrapper::Append(half, options, context).PermitUncheckedError();
        return fault == Fault::kFullDisk
                   ? rocksdb::IOStatus::NoSpace("No space left on device")
                   : rocksdb::IOStatus::IOError("disk broken");
      }
      return FSWritableFileOwnerWrapper::Append(data, options, context);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data,
                             const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo& info,
                             rocksdb::IODebugContext* context) override {
      return Append(data, options, context);
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* context) override {
      if (owner_->fault == Fault::kBadSync)
        return rocksdb::IOStatus::IOError("disk broken");
      return FSWritableFileOwnerWrapper::Sync(options, context);
    }

   private:
    const FaultyLogs* const owner_;
  };
};

class FsStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }

  FsStoreOptions Options() {
    return {
        .root = dir_ / "store",
        .pack_below = pack_below_,
        .compression = compression_,
        .sync_always = false,
        // Enough that RocksDB flushes nothing by itself while a test lets its files fail.
        .write_buffer_bytes = 32 << 20,
        .clock = &clock_,
        .env = env_.get()};
  }
  arrow::Result<std::unique_ptr<FsStore>> TryOpen() {
    FsStoreOptions options = Options();
    ARROW_ASSIGN_OR_RAISE(auto real, OpenFileSystem(options.root));
    options.file_system = std::make_shared<FaultyFileSystem>(std::move(real), plan_);
    return FsStore::Open(options);
  }
  void Open(Durability durability = Durability::kProcess) {
    ASSERT_OK_AND_ASSIGN(store_, TryOpen());
    writer_.emplace(store_.get(), durability);
  }
  void Close() {
    ASSERT_OK(store_->Close());
    store_.reset();
  }
  /// As kill -9 leaves it: nothing is closed, and nothing is removed on the way out.
  void Kill() {
    plan_->FailAt(0, EIO, /*for_ever=*/true);
    store_.reset();
    plan_->Heal();
  }
  void KillAndReopen() {
    Kill();
    Open();
  }
  std::string File(const std::string& path) { return dir_ / ("store/" + path); }
  bool Exists(const std::string& path) { return fs::exists(File(path)); }
  /// Names in a directory of the store.
  std::set<std::string> Names(const std::string& path) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(File(path))) {
      names.insert(entry.path().filename());
    }
    return names;
  }
  /// Records of one family. The store must be closed.
  int64_t Count(Family family) {
    auto database = Database::Open({.path = File(".flame/db")}).ValueOrDie();
    int64_t count = 0;
    EXPECT_OK(database->Visit(family, {}, [&](auto, auto) -> arrow::Result<bool> {
      ++count;
      return true;
    }));
    return count;
  }

  TempDirectory dir_;
  ManualClock clock_;
  int64_t pack_below_ = 64 << 10;
  FileCompression compression_;
  std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  std::shared_ptr<FaultyLogs> logs_ = std::make_shared<FaultyLogs>();
  std::unique_ptr<rocksdb::Env> env_ = rocksdb::NewCompositeEnv(logs_);
  std::unique_ptr<FsStore> store_;
  std::optional<Writer> writer_;
};

// Files

TEST_F(FsStoreTest, LargeObjectsAreFilesAndSmallOnesAreNot) {
  ASSERT_OK(writer_->Put("app/session/large", Bytes(Large('x'))));
  ASSERT_OK(writer_->Put("app/session/table", Table(0, 100'000)));
  ASSERT_OK(writer_->Put("app/session/small", Bytes("x")));
  EXPECT_EQ(Names("app/session"), (std::set<std::string>{"large.arrow", "table.arrow"}));
  EXPECT_TRUE(Names(".flame/tmp").empty());
}

TEST_F(FsStoreTest, PackBelowZeroMakesAFileOfEachObject) {
  Close();
  pack_below_ = 0;
  Open();
  ASSERT_OK(writer_->Put("app/session/small", Bytes("")));
  EXPECT_EQ(Names("app/session"), (std::set<std::string>{"small.arrow"}));
  EXPECT_EQ(writer_->Get("app/session/small"), "");
}

TEST_F(FsStoreTest, WhatBecomesGarbageIsRemovedWithItsDirectories) {
  ASSERT_OK(writer_->Put("app/s1/o", Bytes(Large('x'))));
  ASSERT_OK(writer_->Put("app/s2/o", Bytes(Large('x'))));
  ASSERT_OK(writer_->Patch("app/s2/o", Bytes(Large('p'))));
  EXPECT_EQ(Names(".flame/blobs").size(), 1u);
  ASSERT_OK(writer_->Put("app/s2/o", Bytes("small now")));
  EXPECT_TRUE(Names(".flame/blobs").empty());
  EXPECT_FALSE(Exists("app/s2"));
  EXPECT_TRUE(Exists("app/s1/o.arrow"));
  ASSERT_OK(writer_->Delete("app/s1/o"));
  EXPECT_FALSE(Exists("app"));
}

TEST_F(FsStoreTest, E5_SmallPatchesAreNoFiles) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('x'))));
  for (int i = 0; i < 50; ++i) ASSERT_OK(writer_->Patch("a/s/o", Bytes("p")));
  EXPECT_EQ(Names("a/s"), (std::set<std::string>{"o.arrow"}));
  EXPECT_TRUE(Names(".flame/blobs").empty());
}

TEST_F(FsStoreTest, AStagedPayloadThatIsNotCommittedLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(auto staged,
                       store_->StageBase(KeyFor("a/s/o"), Bytes(Large('x')), 1));
  EXPECT_EQ(Names(".flame/tmp").size(), 1u);
  staged.reset();
  EXPECT_TRUE(Names(".flame/tmp").empty());
  EXPECT_FALSE(Exists("a"));
}

TEST_F(FsStoreTest, LeftoversOfAKillAreRemovedAtTheNextStart) {
  std::ofstream(File(".flame/tmp/0000000000000001")) << "half an object";
  KillAndReopen();
  EXPECT_TRUE(Names(".flame/tmp").empty());
}

TEST_F(FsStoreTest, AKeyWhoseNameIsTooLongForAFileIsABlob) {
  const std::string key = "a/s/" + std::string(252, 'n');
  ASSERT_OK(writer_->Put(key, Bytes(Large('x'))));
  EXPECT_EQ(writer_->Get(key), Large('x'));
  EXPECT_EQ(Names(".flame/blobs").size(), 1u);
}

TEST_F(FsStoreTest, TheIndexesHoldWhatIsLiveAndNothingElse) {
  for (int i = 0; i < 5; ++i) {
    const std::string key = "a/s/" + std::to_string(i);
    ASSERT_OK(writer_->Put(key, Bytes(i % 2 == 0 ? "x" : Large('x')), 1000 + i));
    ASSERT_OK(writer_->Patch(key, Bytes("p")));
  }
  for (const char* key : {"a/s/0", "a/s/1"}) ASSERT_OK(writer_->Delete(key));
  ASSERT_OK(writer_->Put("a/s/2", Bytes(Large('y'))));
  Close();
  EXPECT_EQ(Count(Family::kRows), 3);
  EXPECT_EQ(Count(Family::kTombstones), 2);
  EXPECT_EQ(Count(Family::kSlotKeys), 3);
  EXPECT_EQ(Count(Family::kValues), 1);
  EXPECT_EQ(Count(Family::kPatches), 2);
  EXPECT_EQ(Count(Family::kExpiry), 2);
  EXPECT_EQ(Count(Family::kRedo), 0);
}

TEST_F(FsStoreTest, CompressionMayBeTurnedOnAndOff) {
  ASSERT_OK(writer_->Put("a/s/plain", Bytes(Large('p'))));
  Close();
  compression_ = {arrow::Compression::ZSTD, 0, 0.1};
  Open();
  ASSERT_OK(writer_->Put("a/s/zstd", Bytes(Large('z'))));
  ASSERT_OK(writer_->Patch("a/s/zstd", Bytes(Large('q'))));
  ASSERT_OK(writer_->Put("a/s/table", Table(0, 100'000)));
  EXPECT_GT(fs::file_size(File("a/s/plain.arrow")), Large('p').size());
  EXPECT_LT(fs::file_size(File("a/s/zstd.arrow")), 2000u);
  EXPECT_EQ(writer_->Get("a/s/zstd"), Large('z') + "|" + Large('q'));
  Close();
  compression_ = {};
  Open();
  EXPECT_EQ(writer_->Get("a/s/plain"), Large('p'));
  EXPECT_EQ(writer_->Get("a/s/zstd"), Large('z') + "|" + Large('q'));
  EXPECT_EQ(writer_->Get("a/s/table"), "(table)");
  // Programs that do not know how to read them must go on refusing the directory.
  ASSERT_OK_AND_ASSIGN(const auto files, OpenFileSystem(dir_ / "store"));
  ASSERT_OK_AND_ASSIGN(const auto identity, ReadIdentity(files.get()));
  EXPECT_EQ(identity->features, kCompressedFiles);
}

TEST_F(FsStoreTest, ADamagedCompressedFileIsCorrupt) {
  Close();
  compression_ = {arrow::Compression::LZ4_FRAME, 0, 0.1};
  Open();
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('x'))));
  {
    std::fstream file(File("a/s/o.arrow"),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(File("a/s/o.arrow")) / 2));
    file.put('!');
  }
  ASSERT_OK_AND_ASSIGN(const auto row, store_->Find(KeyFor("a/s/o")));
  const auto object = store_->Read(KeyFor("a/s/o"), *row);
  EXPECT_TRUE(IsError(object.status(), ErrorCode::kCorrupt)) << object.status();
}

// Opening

TEST_F(FsStoreTest, ASecondServerIsRefusedInOneClearLine) {
  const auto second = FsStore::Open(Options());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().message(),
            "storage " + dir_ / "store" +
                ": another server uses it; give each server its own directory");
  EXPECT_EQ(writer_->Get("a/s/o"), "(absent)");
}

TEST_F(FsStoreTest, ADiskThatRefusesIsOneClearLine) {
  Close();
  struct Case {
    int error;
    ErrorCode code;
    const char* words;
  };
  for (const Case& c : {Case{EROFS, ErrorCode::kReadOnly, "Read-only file system"},
                        Case{ENOSPC, ErrorCode::kExhausted, "No space left on device"},
                        Case{EACCES, ErrorCode::kIo, "Permission denied"}}) {
    plan_->FailAt(0, c.error, /*for_ever=*/true);
    const auto store = TryOpen();
    plan_->Heal();
    ASSERT_TRUE(IsError(store.status(), c.code)) << store.status();
    const std::string message = store.status().message();
    EXPECT_NE(message.find("storage " + dir_ / "store"), std::string::npos) << message;
    EXPECT_NE(message.find(c.words), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  Open();
}

TEST_F(FsStoreTest, A7_OneBadFileDoesNotPreventStartup) {
  ASSERT_OK(writer_->Put("a/s/bad", Bytes(Large('x'))));
  ASSERT_OK(writer_->Put("a/s/cut", Bytes(Large('y'))));
  ASSERT_OK(writer_->Put("a/s/gone", Bytes(Large('z'))));
  ASSERT_OK(writer_->Put("a/s/good", Bytes(Large('g'))));
  Close();
  {
    std::fstream file(File("a/s/bad.arrow"),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(150'000);
    file.put('!');
  }
  fs::resize_file(File("a/s/cut.arrow"), 1000);
  fs::remove(File("a/s/gone.arrow"));
  Open();
  EXPECT_EQ(writer_->Get("a/s/good"), Large('g'));
  for (const char* name : {"bad", "cut", "gone"}) {
    const Key key = KeyFor(std::string("a/s/") + name);
    ASSERT_OK_AND_ASSIGN(const auto row, store_->Find(key));
    const auto object = store_->Read(key, *row);
    ASSERT_TRUE(IsError(object.status(), ErrorCode::kCorrupt)) << object.status();
    EXPECT_NE(object.status().message().find(std::string("a/s/") + name + ".arrow"),
              std::string::npos)
        << object.status();
    // It can still be replaced.
    ASSERT_OK(writer_->Put(key.text(), Bytes(Large('n'))));
    EXPECT_EQ(writer_->Get(key.text()), Large('n'));
  }
}

// Crashes and failures

TEST_F(FsStoreTest, AReadInTheMiddleOfARenameFindsTheNewVersion) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('1'))));
  int64_t to_rename = plan_->operations();
  ASSERT_OK(writer_->Put("a/s/probe", Bytes(Large('p'))));
  to_rename = plan_->operations() - to_rename - 1;
  plan_->FailAt(to_rename, EIO, /*for_ever=*/true);
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('2'))));
  ASSERT_EQ(Names(".flame/tmp").size(), 1u);
  const std::string temporary = File(".flame/tmp/" + *Names(".flame/tmp").begin());
  EXPECT_EQ(writer_->Get("a/s/o"), Large('2'));
  // As Rename() leaves it behind each of its steps.
  const std::string placed = File("a/s/o.arrow"), old = temporary + kReplacedSuffix;
  fs::create_hard_link(placed, old);
  EXPECT_EQ(writer_->Get("a/s/o"), Large('2'));
  ASSERT_EQ(
      renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, placed.c_str(), RENAME_EXCHANGE),
      0);
  EXPECT_EQ(writer_->Get("a/s/o"), Large('2'));
  // The next start finishes it.
  KillAndReopen();
  EXPECT_EQ(writer_->Get("a/s/o"), Large('2'));
  EXPECT_TRUE(Names(".flame/tmp").empty());
}

TEST_F(FsStoreTest, A6_ACrashBetweenCommitAndRenameLosesNothing) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('1'))));
  // The put creates, writes and closes its file; what fails is the rename behind the
  // commit.
  const int64_t before = plan_->operations();
  ASSERT_OK(writer_->Put("a/s/probe", Bytes(Large('p'))));
  const int64_t to_rename = plan_->operations() - before;
  for (int64_t n = 0; n < to_rename + 3; ++n) {
    const bool acknowledged = [&] {
      plan_->FailAt(n, EIO, /*for_ever=*/true);
      const bool ok =
          writer_->Put("a/s/o", Bytes(Large(static_cast<char>('a' + n)))).ok();
      return ok;
    }();
    const std::string expected = Large(static_cast<char>('a' + n));
    if (acknowledged) {
      EXPECT_EQ(writer_->Get("a/s/o"), expected) << n;
    }
    KillAndReopen();
    if (acknowledged) {
      EXPECT_EQ(writer_->Get("a/s/o"), expected) << n;
      EXPECT_TRUE(Names(".flame/tmp").empty());
    } else {
      EXPECT_EQ(writer_->Get("a/s/o").size(), Large('x').size()) << n;
    }
  }
  Close();
  EXPECT_EQ(Count(Family::kRedo), 0);
}

/// A short life of an object that makes every kind of file work.
struct Step {
  const char* name;
  std::function<arrow::Status(Writer&, const std::string& key)> run;
  const char* after;  // What a reader gets then, by first characters.
};
std::vector<Step> Life() {
  const auto put = [](std::string text) {
    return [text](Writer& writer, const std::string& key) {
      return writer.Put(key, Bytes(text)).status();
    };
  };
  const auto patch = [](Writer& writer, const std::string& key) {
    return writer.Patch(key, Bytes(Large('2'))).status();
  };
  const auto remove = [](Writer& writer, const std::string& key) {
    return writer.Delete(key).status();
  };
  return {{"put large", put(Large('1')), "1"}, {"patch large", patch, "1|2"},
          {"replace", put(Large('3')), "3"},   {"shrink", put("4"), "4"},
          {"grow", put(Large('5')), "5"},      {"delete", remove, "(deleted)"},
          {"put again", put(Large('6')), "6"}};
}

std::string Brief(const std::string& text) {
  if (text.starts_with("(")) return text;
  std::string brief;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('|', at), text.size());
    const std::string part = text.substr(at, end - at);
    const bool whole =
        part.size() == Large('x').size() && part.find_first_not_of(part[0]) == part.npos;
    brief +=
        (brief.empty() ? "" : "|") + (whole ? part.substr(0, 1) : part.substr(0, 60));
    at = end + 1;
  }
  return brief;
}

class FsStoreFaultTest
    : public FsStoreTest,
      public ::testing::WithParamInterface<std::tuple<bool, Durability>> {};
INSTANTIATE_TEST_SUITE_P(, FsStoreFaultTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Durability::kProcess,
                                                              Durability::kDisk)));

// Goal: after any failure and a kill, a reader gets the old or the new version, whole;
// the new one if it was acknowledged. Method: let operation n fail, or all from n on, for
// every n that an object's life has.
TEST_P(FsStoreFaultTest, A6_EveryFailureLeavesTheOldOrTheNewVersion) {
  const auto [for_ever, durability] = GetParam();
  Kill();
  Open(durability);
  int64_t operations = plan_->operations();
  for (const Step& step : Life()) ASSERT_OK(step.run(*writer_, "a/s/dry"));
  operations = plan_->operations() - operations;
  EXPECT_GT(operations, 20);

  for (int64_t n = 0; n < operations; ++n) {
    // Each in a directory of its own, so that it has to be made.
    const std::string key = "a/s" + std::to_string(n) + "/o";
    plan_->FailAt(n, n % 2 == 0 ? EIO : ENOSPC, for_ever);
    std::string expected = "(absent)";
    for (const Step& step : Life()) {
      SCOPED_TRACE(testing::Message() << "operation " << n << ", " << step.name);
      const arrow::Status status = step.run(*writer_, key);
      if (status.ok()) {
        expected = step.after;
      } else if (!IsError(status, ErrorCode::kNotFound)) {
        ASSERT_EQ(DetailOf(status)->outcome.value_or(Outcome::kNotApplied),
                  Outcome::kNotApplied);
      }
      ASSERT_EQ(Brief(writer_->Get(key)), expected);
      if (!status.ok() && for_ever) break;
    }
    Kill();
    Open(durability);
    ASSERT_EQ(Brief(writer_->Get(key)), expected) << "operation " << n;
    EXPECT_TRUE(Names(".flame/tmp").empty()) << "operation " << n;
    // What is left works.
    ASSERT_OK(writer_->Put(key, Bytes(Large('9'))));
    ASSERT_EQ(Brief(writer_->Get(key)), "9");
  }
}

TEST_F(FsStoreTest, WorkThatFailedIsDoneBehindALaterCommit) {
  ASSERT_OK(writer_->Put("a/s/other", Bytes(Large('x'))));
  const int64_t before = plan_->operations();
  ASSERT_OK(writer_->Put("a/s/probe", Bytes(Large('p'))));
  plan_->FailAt(plan_->operations() - before - 1, EIO, /*for_ever=*/true);
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('1'))));
  EXPECT_FALSE(Exists("a/s/o.arrow"));
  EXPECT_EQ(Brief(writer_->Get("a/s/o")), "1");
  plan_->Heal();
  ASSERT_OK(writer_->Put("a/s/other", Bytes("y")));
  EXPECT_TRUE(Exists("a/s/o.arrow"));
  EXPECT_EQ(Brief(writer_->Get("a/s/o")), "1");
  Close();
  EXPECT_EQ(Count(Family::kRedo), 0);
}

TEST_F(FsStoreTest, AFullDatabaseDiskRefusesWritesUntilThereIsRoom) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  logs_->fault = FaultyLogs::Fault::kFullDisk;
  for (int i = 0; i < 3; ++i) {
    const auto put = writer_->Put("a/s/o", Bytes("2"));
    ASSERT_TRUE(IsError(put.status(), ErrorCode::kExhausted)) << put.status();
    EXPECT_EQ(DetailOf(put.status())->outcome, Outcome::kNotApplied);
    EXPECT_FALSE(writer_->Put("a/s/large", Bytes(Large('x'))).ok());
    EXPECT_EQ(writer_->Get("a/s/o"), "1");
  }
  EXPECT_TRUE(Names(".flame/tmp").empty());
  logs_->fault = FaultyLogs::Fault::kNone;
  ASSERT_OK(writer_->Put("a/s/o", Bytes("3")));
  EXPECT_EQ(writer_->Get("a/s/o"), "3");
  KillAndReopen();
  EXPECT_EQ(writer_->Get("a/s/o"), "3");
  EXPECT_EQ(writer_->Get("a/s/large"), "(absent)");
}

TEST_F(FsStoreTest, ABrokenDatabaseDiskRefusesWritesUntilItIsBack) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  logs_->fault = FaultyLogs::Fault::kBadAppend;
  for (int i = 0; i < 3; ++i) {
    const auto put = writer_->Put("a/s/o", Bytes("2"));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(DetailOf(put.status())->outcome, Outcome::kNotApplied);
    EXPECT_EQ(writer_->Get("a/s/o"), "1");
  }
  logs_->fault = FaultyLogs::Fault::kNone;
  ASSERT_OK(writer_->Put("a/s/o", Bytes("3")));
  KillAndReopen();
  EXPECT_EQ(writer_->Get("a/s/o"), "3");
}

TEST_F(FsStoreTest, ADatabaseThatCannotBeOpenedAgainCanStillBeRead) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  logs_->fault = FaultyLogs::Fault::kBadAppend;
  ASSERT_FALSE(writer_->Put("a/s/o", Bytes("2")).ok());
  // The probe finds room, the database does not.
  logs_->fault = FaultyLogs::Fault::kNoNewLog;
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(
        IsError(writer_->Put("a/s/o", Bytes("2")).status(), ErrorCode::kExhausted));
    EXPECT_EQ(writer_->Get("a/s/o"), "1");
  }
  logs_->fault = FaultyLogs::Fault::kNone;
  // What failed is not tried with every write.
  ASSERT_TRUE(IsError(writer_->Put("a/s/o", Bytes("2")).status(), ErrorCode::kExhausted));
  clock_.Advance(std::chrono::seconds(1));
  ASSERT_OK(writer_->Put("a/s/o", Bytes("3")));
  EXPECT_EQ(writer_->Get("a/s/o"), "3");
}

TEST_F(FsStoreTest, AWriteThatComesBackIsSeenBeforeTheNextOneIsDecided) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  Writer durable(store_.get(), Durability::kDisk);
  logs_->fault = FaultyLogs::Fault::kBadSync;
  ASSERT_FALSE(durable.Put("a/s/o", Bytes(Large('2'))).ok());
  logs_->fault = FaultyLogs::Fault::kNone;
  const auto next = writer_->Put("a/s/o", Bytes("3"));
  ASSERT_TRUE(IsError(next.status(), ErrorCode::kUnavailable)) << next.status();
  EXPECT_EQ(DetailOf(next.status())->outcome, Outcome::kNotApplied);
  const std::string found = Brief(writer_->Get("a/s/o"));
  EXPECT_TRUE(found == "1" || found == "2") << found;
  ASSERT_OK_AND_ASSIGN(const Row row, writer_->Put("a/s/o", Bytes("4")));
  EXPECT_EQ(row.version, found == "1" ? 2 : 3);
  EXPECT_EQ(store_->Slot(KeyFor("a/s/o").slot()).last_seq, row.seq);
}

TEST_F(FsStoreTest, AFailedSyncIsUnknownAndNotVisible) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  Writer durable(store_.get(), Durability::kDisk);
  logs_->fault = FaultyLogs::Fault::kBadSync;
  const auto put = durable.Put("a/s/o", Bytes(Large('2')));
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(DetailOf(put.status())->outcome, Outcome::kUnknown);
  EXPECT_EQ(writer_->Get("a/s/o"), "1");
  Kill();
  logs_->fault = FaultyLogs::Fault::kNone;
  Open();
  const std::string found = Brief(writer_->Get("a/s/o"));
  EXPECT_TRUE(found == "1" || found == "2") << found;
}

// Health

TEST_F(FsStoreTest, HealthSaysWhyAndSinceWhenWritesAreRefused) {
  EXPECT_OK(store_->write_health().status);
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  logs_->fault = FaultyLogs::Fault::kFullDisk;
  const int64_t failed_ms = clock_.WallMs();
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(writer_->Put("a/s/o", Bytes("2")).ok());
    clock_.Advance(std::chrono::seconds(1));
    store_->TryRecover();
    const WriteHealth health = store_->write_health();
    EXPECT_TRUE(IsError(health.status, ErrorCode::kExhausted)) << health.status;
    EXPECT_EQ(health.since_ms, failed_ms);
  }
  logs_->fault = FaultyLogs::Fault::kNone;
  store_->TryRecover();
  EXPECT_OK(store_->write_health().status);
  EXPECT_EQ(store_->write_health().since_ms, 0);
  ASSERT_OK_AND_ASSIGN(const Row row, writer_->Put("a/s/o", Bytes("3")));
  EXPECT_EQ(row.version, 2);
}

TEST_F(FsStoreTest, AnObjectThatIsTooLargeForTheRoomLeftIsNoRefusal) {
  plan_->FailAt(1, ENOSPC, /*for_ever=*/false);
  EXPECT_TRUE(
      IsError(writer_->Put("a/s/o", Bytes(Large('x'))).status(), ErrorCode::kExhausted));
  EXPECT_OK(store_->write_health().status);
  EXPECT_TRUE(Names(".flame/tmp").empty());
  // Unless nothing else is taken either.
  plan_->FailAt(1, ENOSPC, /*for_ever=*/false);
  logs_->fault = FaultyLogs::Fault::kFullDisk;
  EXPECT_FALSE(writer_->Put("a/s/o", Bytes(Large('x'))).ok());
  EXPECT_TRUE(IsError(store_->write_health().status, ErrorCode::kExhausted));
  logs_->fault = FaultyLogs::Fault::kNone;
  // What needs no new file says nothing about those that do.
  ASSERT_OK(writer_->Put("a/s/o", Bytes("y")));
  EXPECT_FALSE(store_->write_health().status.ok());
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('y'))));
  EXPECT_OK(store_->write_health().status);
}

TEST_F(FsStoreTest, AnUnknownOutcomeIsLeftToTheNextCommit) {
  Writer durable(store_.get(), Durability::kDisk);
  logs_->fault = FaultyLogs::Fault::kBadSync;
  ASSERT_FALSE(durable.Put("a/s/o", Bytes("1")).ok());
  store_->TryRecover();
  EXPECT_FALSE(store_->write_health().status.ok());
  logs_->fault = FaultyLogs::Fault::kNone;
  store_->TryRecover();
  EXPECT_OK(store_->write_health().status);
  // Its caller must hear that what it knows is void.
  const auto put = writer_->Put("a/s/o", Bytes("2"));
  ASSERT_TRUE(IsError(put.status(), ErrorCode::kUnavailable)) << put.status();
  ASSERT_OK(writer_->Put("a/s/o", Bytes("2")));
}

TEST_F(FsStoreTest, AFailedFlushIsNoticedWithoutAWrite) {
  Close();
  auto database =
      Database::Open({.path = File(".flame/db"), .env = env_.get()}).ValueOrDie();
  auto batch = database->NewBatch();
  batch.Put(Family::kMeta, "key", "value");
  ASSERT_OK(database->Write(&batch, /*sync=*/false));
  logs_->fault = FaultyLogs::Fault::kBadAppend;
  EXPECT_FALSE(database->Flush().ok());
  EXPECT_TRUE(database->failed());
  EXPECT_FALSE(database->Probe().ok());
  logs_->fault = FaultyLogs::Fault::kNone;
  ASSERT_OK(database->Probe());
  ASSERT_OK(database->Reopen());
  EXPECT_FALSE(database->failed());
  std::string value;
  ASSERT_OK_AND_ASSIGN(const bool found, database->Get(Family::kMeta, "key", &value));
  EXPECT_TRUE(found);
  database.reset();
  Open();
}

// Goal: nobody who reads waits for a disk that does not answer writers.
TEST_F(FsStoreTest, ADiskThatHangsHoldsUpNoReader) {
  for (const char* key : {"a/s/o", "a/s/large"}) ASSERT_OK(writer_->Put(key, Bytes("1")));
  ASSERT_OK(writer_->Put("a/s/large", Bytes(Large('1'))));
  std::atomic<bool> answered{false};
  logs_->fault = FaultyLogs::Fault::kHangs;
  std::thread writer([&] {
    EXPECT_OK(Writer(store_.get()).Put("a/s/o", Bytes("2")));
    answered = true;
  });
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(writer_->Get("a/s/o"), "1");
    EXPECT_EQ(writer_->Get("a/s/large"), Large('1'));
    EXPECT_EQ(writer_->Get("a/s/none"), "(absent)");
    EXPECT_EQ(store_->Scan("", "", 10).ValueOrDie().size(), 2u);
    EXPECT_OK(store_->write_health().status);
  }
  EXPECT_FALSE(answered);
  logs_->fault = FaultyLogs::Fault::kNone;
  writer.join();
  EXPECT_EQ(writer_->Get("a/s/o"), "2");
}

// Goal: recovery, which needs the database for itself, gets it although readers never
// pause.
TEST_F(FsStoreTest, ReadersThatNeverPauseDoNotPreventRecovery) {
  ASSERT_OK(writer_->Put("a/s/o", Bytes("1")));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop) EXPECT_OK(store_->Scan("", "", 10).status());
    });
  }
  for (int round = 0; round < 3; ++round) {
    logs_->fault = FaultyLogs::Fault::kFullDisk;
    EXPECT_FALSE(writer_->Put("a/s/o", Bytes("2")).ok());
    logs_->fault = FaultyLogs::Fault::kNone;
    EXPECT_OK(writer_->Put("a/s/o", Bytes("3")));
  }
  stop = true;
  for (auto& reader : readers) reader.join();
}

TEST_F(FsStoreTest, MarksOfSyncedCommitsGoInTheEnd) {
  Close();
  Open(Durability::kDisk);
  for (int i = 0; i < 200; ++i) {
    ASSERT_OK(writer_->Put("a/s/" + std::to_string(i % 80), Bytes(Large('x'))));
  }
  Kill();
  const int64_t left = Count(Family::kRedo);
  EXPECT_LT(left, 70);
  Open(Durability::kDisk);
  Close();
  EXPECT_EQ(Count(Family::kRedo), 0);
}

// Readers and writers at once

TEST_F(FsStoreTest, ReadersBesideAWriterSeeWholeVersions) {
  std::atomic<bool> stop{false};
  std::atomic<int64_t> reads{0};
  std::vector<std::thread> readers;
  ASSERT_OK(writer_->Put("a/s/o", Bytes(Large('a'))));
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const auto row = store_->Find(KeyFor("a/s/o"));
        ASSERT_TRUE(row.ok() && *row);
        if ((*row)->deleted) continue;
        const auto object = store_->Read(KeyFor("a/s/o"), **row);
        if (!object.ok()) {
          ASSERT_TRUE(IsError(object.status(), ErrorCode::kStale)) << object.status();
          continue;
        }
        const std::string text = TextOf(*object->base);
        ASSERT_EQ(text.find_first_not_of(text[0]), text.npos);
        ASSERT_EQ(text[0], 'a' + ((*row)->base_version - 1) % 26);
        ++reads;
      }
    });
  }
  for (Version version = 2; version < 400 || reads < 50; ++version) {
    const std::string text(version % 3 == 0 ? 100 : 300'000,
                           static_cast<char>('a' + (version - 1) % 26));
    ASSERT_OK_AND_ASSIGN(const Row row, writer_->Put("a/s/o", Bytes(text)));
    ASSERT_EQ(row.version, version);
    if (version % 7 == 0) ASSERT_OK(writer_->Delete("a/s/o").status());
  }
  stop = true;
  for (auto& reader : readers) reader.join();
}

// Write-behind

/// Bytes in shared memory, as the arena will stage them.
class ArenaStaged final : public StagedPayload {
 public:
  explicit ArenaStaged(std::shared_ptr<const Payload> payload) {
    payload_ = std::move(payload);
    location_.type = Location::Type::kArena;
    location_.path = "segment-1";
  }
};

TEST_F(FsStoreTest, DirtyBasesAreRecoveredUntilTheyAreMarkedClean) {
  ASSERT_OK_AND_ASSIGN(Mutation mutation, writer_->Next("a/s/o"));
  mutation.row.base_version = mutation.row.version;
  mutation.base = std::make_shared<ArenaStaged>(Bytes(Large('x')));
  ASSERT_OK_AND_ASSIGN(const Row row, writer_->Commit(std::move(mutation)));
  KillAndReopen();
  ASSERT_OK_AND_ASSIGN(auto dirty, store_->RecoverDirty());
  ASSERT_EQ(dirty.size(), 1u);
  EXPECT_EQ(dirty[0].second.base.path, "segment-1");

  // Somebody wrote meanwhile: too late.
  ASSERT_OK_AND_ASSIGN(auto written,
                       store_->StageBase(KeyFor("a/s/o"), Bytes(Large('x')), 1));
  ASSERT_OK(store_->MarkClean(KeyFor("a/s/o"), row.seq + 1, written));
  ASSERT_OK_AND_ASSIGN(dirty, store_->RecoverDirty());
  EXPECT_EQ(dirty.size(), 1u);

  ASSERT_OK(store_->MarkClean(KeyFor("a/s/o"), row.seq, written));
  ASSERT_OK_AND_ASSIGN(dirty, store_->RecoverDirty());
  EXPECT_TRUE(dirty.empty());
  EXPECT_EQ(writer_->Get("a/s/o"), Large('x'));
  EXPECT_TRUE(Exists("a/s/o.arrow"));
  KillAndReopen();
  EXPECT_EQ(writer_->Get("a/s/o"), Large('x'));
}

// Goal: what is stored is told from a sample, about right and in no time. Method: so many
// objects that a sample leaves most out; the tolerance is five times the error expected.
TEST(FsStoreStatsTest, ManyObjectsAreEstimated) {
  const TempDirectory dir;
  ASSERT_OK_AND_ASSIGN(const auto store, FsStore::Open({.root = dir / "store"}));
  constexpr int kObjects = 5000;
  CommitBatch batch;
  for (int i = 0; i < kObjects; ++i) {
    const Key key = KeyFor("a/s/" + std::to_string(i));
    Row row;
    row.version = row.base_version = 1;
    row.seq = 1;
    const auto payload = Bytes(std::string(100, 'x'));
    row.base_bytes = payload->size();
    ASSERT_OK_AND_ASSIGN(auto staged, store->StageBase(key, payload, 1));
    row.base = staged->location();
    if (staged->has_checksum()) row.checksum = staged->checksum();
    batch.mutations.push_back({key, row, std::nullopt, std::move(staged), {}});
  }
  ASSERT_OK(store->Commit(std::move(batch), Durability::kProcess));
  for (int i = 0; i < 10; ++i) {
    const Store::Stats stats = store->stats();
    EXPECT_NEAR(static_cast<double>(stats.objects_estimate), kObjects, kObjects * 0.25);
    EXPECT_NEAR(static_cast<double>(stats.bytes_estimate),
                static_cast<double>(stats.objects_estimate) * 100, 100);
  }
}

}  // namespace
}  // namespace flame
