// CacheContractTest: a Cache on every store, and its calls as short verbs, for tests of
// what the cache promises.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "flame/cache/cache.h"
#include "flame/storage/fs_store.h"
#include "flame/storage/memory_store.h"

namespace flame {

/// A folder that goes with the test.
class TempDir {
 public:
  TempDir() {
    std::string name =
        (std::filesystem::temp_directory_path() / "flame-cache-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct MemoryBackend {
  static constexpr bool kDurable = false;
  static arrow::Result<std::unique_ptr<Store>> Open(const std::string& root) {
    MemoryStoreOptions options;
    options.runtime_file = root + "/versions";
    return MemoryStore::Open(options);
  }
};

template <int64_t pack_below>
struct FsBackend {
  static constexpr bool kDurable = true;
  static arrow::Result<std::unique_ptr<Store>> Open(const std::string& root) {
    FsStoreOptions options;
    options.root = root;
    options.pack_below = pack_below;
    return FsStore::Open(options);
  }
};

inline std::shared_ptr<const Payload> Bytes(const std::string& text) {
  return Payload::Opaque({arrow::Buffer::FromString(text)});
}

inline std::shared_ptr<const Payload> Table(const std::vector<int64_t>& values,
                                            const std::string& column = "n") {
  arrow::Int64Builder builder;
  EXPECT_TRUE(builder.AppendValues(values).ok());
  const auto schema = arrow::schema({arrow::field(column, arrow::int64())});
  return *EncodeNative(schema, {arrow::RecordBatch::Make(schema, std::ssize(values),
                                                         {*builder.Finish()})});
}

template <typename Backend>
class CacheContractTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }

  void Open(CacheOptions options = {}) {
    ASSERT_OK_AND_ASSIGN(store_, Backend::Open(dir_.path()));
    pool_ = MakeHeapPool();
    cache_ =
        std::make_unique<Cache>(store_.get(), pool_.get(), &clock_, &allow_all_, options);
  }
  void Reopen(CacheOptions options = {}) {
    ASSERT_OK(cache_->Close());
    cache_.reset();
    store_.reset();
    Open(options);
  }

  Key K(const std::string& text) { return *Key::Parse(text); }
  arrow::Result<Version> Put(const std::string& key, const std::string& bytes,
                             WriteOptions options = {}, RequestContext context = {}) {
    ARROW_ASSIGN_OR_RAISE(const auto result,
                          cache_->Put(context, K(key), Bytes(bytes), options));
    return result.version;
  }
  arrow::Result<Version> Patch(const std::string& key, const std::string& bytes,
                               RequestContext context = {}) {
    ARROW_ASSIGN_OR_RAISE(const auto result,
                          cache_->Patch(context, K(key), Bytes(bytes)));
    return result.version;
  }
  arrow::Result<int64_t> Delete(const std::string& selection, WriteOptions options = {}) {
    ARROW_ASSIGN_OR_RAISE(const auto selected, Selection::Parse(selection));
    return cache_->Delete({}, selected, options);
  }
  /// "absent", "v3 unchanged", or "v3 base+patch+patch".
  std::string Get(const std::string& key, Version known = 0) {
    const auto got = cache_->Get({}, K(key), known);
    if (!got.ok()) return got.status().ToString();
    if (std::holds_alternative<Absent>(*got)) return "absent";
    if (const auto* same = std::get_if<NotModified>(&*got)) {
      return "v" + std::to_string(same->version) + " unchanged";
    }
    const auto& snapshot = std::get<std::shared_ptr<const Snapshot>>(*got);
    std::string text = "v" + std::to_string(snapshot->version) + " ";
    text += (*Contiguous(*snapshot->base))->ToString();
    for (const auto* patch : snapshot->PatchesAfter(0)) {
      text += "+" + (*Contiguous(*patch->payload))->ToString();
    }
    return text;
  }
  std::vector<std::string> List(const std::string& prefix) {
    std::vector<std::string> keys;
    const auto stats = cache_->List({}, prefix, "", 1000);
    EXPECT_OK(stats.status());
    for (const auto& stat : *stats) keys.push_back(stat.key.text());
    return keys;
  }

  TempDir dir_;
  ManualClock clock_;
  AllowAll allow_all_;
  std::unique_ptr<BufferPool> pool_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Cache> cache_;
};
using Backends = ::testing::Types<MemoryBackend, FsBackend<65536>, FsBackend<0>>;

}  // namespace flame
