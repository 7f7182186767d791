// FaultyRocksFiles: RocksDB's own files, failing by the same plan as a FaultyFileSystem.
// With both, "operation n" counts whatever a store changes on its disk. For tests.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include "flame/storage/faulty_file_system.h"

namespace flame {

/// Thread-safe, as RocksDB has threads of its own.
class FaultyRocksFiles final : public rocksdb::FileSystemWrapper {
 public:
  explicit FaultyRocksFiles(std::shared_ptr<FaultPlan> plan)
      : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()),
        plan_(std::move(plan)) {}
  const char* Name() const override { return "FaultyRocksFiles"; }

  /// Called before anything is appended to a log: a test may hold a commit there. Set it
  /// while nobody writes.
  std::function<void()> before_log;

  rocksdb::IOStatus NewWritableFile(const std::string& name,
                                    const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* context) override {
    if (const auto fault = Next(*plan_, "create", name); !fault.ok()) return fault;
    const auto status = FileSystemWrapper::NewWritableFile(name, options, file, context);
    if (status.ok()) {
      *file = std::make_unique<File>(std::move(*file), plan_, name,
                                     name.ends_with(".log") ? &before_log : nullptr);
    }
    return status;
  }
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override {
    if (const auto fault = Next(*plan_, "rename to", to); !fault.ok()) return fault;
    return FileSystemWrapper::RenameFile(from, to, options, context);
  }
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* context) override {
    if (const auto fault = Next(*plan_, "remove", name); !fault.ok()) return fault;
    return FileSystemWrapper::DeleteFile(name, options, context);
  }

 private:
  static rocksdb::IOStatus Next(FaultPlan& plan, const char* doing,
                                const std::string& name) {
    const arrow::Status fault = plan.Next(doing, name);
    if (fault.ok()) return rocksdb::IOStatus::OK();
    return IsError(fault, ErrorCode::kExhausted)
               ? rocksdb::IOStatus::NoSpace(fault.message())
               : rocksdb::IOStatus::IOError(fault.message());
  }

  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, std::shared_ptr<FaultPlan> plan,
         std::string name, const std::function<void()>* before)
        : FSWritableFileOwnerWrapper(std::move(file)),
          plan_(std::move(plan)),
          name_(std::move(name)),
          before_(before) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* context) override {
      if (before_ != nullptr && *before_) (*before_)();
      if (const auto fault = Next(*plan_, "append", name_); !fault.ok()) {
        // Some of it arrives.
        const rocksdb::Slice half(data.data(), data.size() / 2);
        FSWritableFileOwnerWrapper::Append(half, options, context).PermitUncheckedError();
        return fault;
      }
      return FSWritableFileOwnerWrapper::Append(data, options, context);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data,
                             const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo&,
                             rocksdb::IODebugContext* context) override {
      return Append(data, options, context);
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* context) override {
      if (const auto fault = Next(*plan_, "sync", name_); !fault.ok()) return fault;
      return FSWritableFileOwnerWrapper::Sync(options, context);
    }

   private:
    const std::shared_ptr<FaultPlan> plan_;
    const std::string name_;
    const std::function<void()>* const before_;  // Null: not a log.
  };

  const std::shared_ptr<FaultPlan> plan_;
};

}  // namespace flame
