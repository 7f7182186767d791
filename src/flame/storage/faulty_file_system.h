// FaultyFileSystem: a FileSystem for tests whose operations fail when they are told to.
// Thread-safe.
#pragma once

#include <atomic>
#include <cerrno>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "flame/base/error.h"
#include "flame/storage/file_system.h"

namespace flame {

/// When to fail, shared by a FaultyFileSystem and the test. Only what changes the disk
/// counts as an operation.
class FaultPlan {
 public:
  /// Fail operation number `n` from now (0 = the next) with `error`, and if `for_ever`
  /// all after it, as a dead disk does.
  void FailAt(int64_t n, int error, bool for_ever) {
    error_ = error;
    last_ = for_ever ? std::numeric_limits<int64_t>::max() : done_ + n;
    first_ = done_ + n;
  }
  void Heal() { first_ = std::numeric_limits<int64_t>::max(); }
  int64_t operations() const { return done_; }

  arrow::Status Next(std::string_view doing, std::string_view what) {
    const int64_t n = done_++;
    if (n < first_ || n > last_) return arrow::Status::OK();
    return ErrnoError(error_, doing, what);
  }

 private:
  std::atomic<int64_t> done_{0};
  std::atomic<int64_t> first_{std::numeric_limits<int64_t>::max()};
  std::atomic<int64_t> last_{0};
  std::atomic<int> error_{EIO};
};

class FaultyFileSystem final : public FileSystem {
 public:
  FaultyFileSystem(std::unique_ptr<FileSystem> real, std::shared_ptr<FaultPlan> plan)
      : real_(std::move(real)), plan_(std::move(plan)) {}

  const std::string& root() const override { return real_->root(); }
  arrow::Result<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    ARROW_RETURN_NOT_OK(plan_->Next("create", path));
    ARROW_ASSIGN_OR_RAISE(auto file, real_->Create(path));
    return std::make_unique<File>(std::move(file), plan_, path);
  }
  arrow::Status Overwrite(const std::string& path, std::string_view bytes) override {
    ARROW_RETURN_NOT_OK(plan_->Next("write", path));
    return real_->Overwrite(path, bytes);
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAll(
      const std::string& path) override {
    return real_->ReadAll(path);
  }
  arrow::Result<std::optional<FileInfo>> Stat(const std::string& path) override {
    return real_->Stat(path);
  }
  arrow::Result<bool> List(const std::string& path, const Visitor& visit) override {
    return real_->List(path, visit);
  }
  arrow::Result<bool> Rename(const std::string& from, const std::string& to) override {
    ARROW_RETURN_NOT_OK(plan_->Next("rename to", to));
    return real_->Rename(from, to);
  }
  arrow::Result<bool> Unlink(const std::string& path) override {
    ARROW_RETURN_NOT_OK(plan_->Next("remove", path));
    return real_->Unlink(path);
  }
  arrow::Status MakeDirectories(const std::string& path) override {
    ARROW_RETURN_NOT_OK(plan_->Next("create directory", path));
    return real_->MakeDirectories(path);
  }
  arrow::Result<bool> RemoveDirectory(const std::string& path) override {
    ARROW_RETURN_NOT_OK(plan_->Next("remove directory", path));
    return real_->RemoveDirectory(path);
  }
  arrow::Status Sync(const std::string& path) override {
    ARROW_RETURN_NOT_OK(plan_->Next("sync", path));
    return real_->Sync(path);
  }
  arrow::Result<Lock> TryLock(const std::string& path) override {
    return real_->TryLock(path);
  }

 private:
  class File final : public WritableFile {
   public:
    File(std::unique_ptr<WritableFile> real, std::shared_ptr<FaultPlan> plan,
         std::string path)
        : real_(std::move(real)), plan_(std::move(plan)), path_(std::move(path)) {}
    arrow::Status Write(const std::vector<std::string_view>& pieces) override {
      const arrow::Status fault = plan_->Next("write", path_);
      if (fault.ok()) return real_->Write(pieces);
      // A full disk takes some of it.
      if (!pieces.empty()) {
        ARROW_RETURN_NOT_OK(real_->Write({pieces[0].substr(0, pieces[0].size() / 2)}));
      }
      return fault;
    }
    arrow::Status Close() override {
      ARROW_RETURN_NOT_OK(plan_->Next("close", path_));
      return real_->Close();
    }

   private:
    const std::unique_ptr<WritableFile> real_;
    const std::shared_ptr<FaultPlan> plan_;
    const std::string path_;
  };

  const std::unique_ptr<FileSystem> real_;
  const std::shared_ptr<FaultPlan> plan_;
};

}  // namespace flame
