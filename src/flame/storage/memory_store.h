// MemoryStore: the Store of `storage: none`. Rows and payloads live in this process and
// go with it, a small opaque object's in one allocation, which the cache's table shares;
// only the highest version per slot outlives it, in the runtime file, so that no version
// is given out twice.
//
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <absl/container/btree_set.h>

#include "flame/base/mutex.h"
#include "flame/storage/store.h"

namespace flame {

class RuntimeFile;  // flame/storage/runtime_file.h

struct MemoryStoreOptions {
  /// Keeps versions from being reused after a restart; empty = none, versions start again
  /// at 1. Best on a tmpfs that outlives the server. Its directory must exist.
  std::string runtime_file;
};

class MemoryStore final : public Store {
 public:
  static arrow::Result<std::unique_ptr<MemoryStore>> Open(
      const MemoryStoreOptions& options);
  ~MemoryStore() override;

  arrow::Result<std::shared_ptr<StagedPayload>> StageBase(
      const Key& key, std::shared_ptr<const Payload> payload, Version version) override;
  arrow::Result<std::shared_ptr<StagedPayload>> StagePatch(
      const Key& key, std::shared_ptr<const Payload> payload, Version version) override;
  arrow::Result<uint64_t> Commit(CommitBatch batch, Durability durability) override;

  arrow::Result<std::optional<Row>> Find(const Key& key) const override;
  arrow::Result<StoredObject> Read(const Key& key, const Row& row) const override;
  ResidentPtr Held(const Key& key, uint64_t seq) const override;
  arrow::Result<std::vector<std::pair<Key, Row>>> Scan(const std::string& prefix,
                                                       const std::string& after,
                                                       int64_t limit) const override;
  arrow::Result<std::vector<std::pair<int64_t, Key>>> DueBefore(
      int64_t wall_ms, int64_t limit) const override;
  int64_t ExpiredUntilMs() const override { return 0; }
  bool is_persistent() const override { return false; }
  SlotState Slot(uint16_t slot) const override;
  arrow::Result<std::vector<std::pair<Key, Row>>> Tombstones(
      uint16_t slot) const override;

  // Nothing is ever dirty or foreign here.
  arrow::Result<std::vector<std::pair<Key, Row>>> RecoverDirty() const override;
  arrow::Status MarkClean(const Key& key, uint64_t seq,
                          std::shared_ptr<StagedPayload> written) override;
  arrow::Result<std::optional<ForeignObject>> ReadForeign(const Key& key,
                                                          const Row* row) const override;
  arrow::Result<std::shared_ptr<StagedPayload>> AdoptBase(
      const Key& key, const ForeignObject& object) override;
  arrow::Result<std::vector<Key>> Strays(const std::string& prefix,
                                         int64_t limit) const override;

  arrow::Status Close() override;
  Stats stats() const override;
  const std::string& id() const override { return id_; }

 private:
  struct Tombstone {
    Key key;
    Row row;
  };
  /// A live object that has no packed form.
  struct Loose {
    Key key;
    Row row;
    StoredObject object;
  };
  /// A live object.
  class Live {
   public:
    Live(const Key& key, Row row, StoredObject object);
    std::string_view key() const;
    Row row() const;
    StoredObject object() const;
    const ResidentPtr* packed() const { return std::get_if<ResidentPtr>(&form_); }

   private:
    std::variant<ResidentPtr, std::unique_ptr<const Loose>> form_;
  };
  struct ByKey {
    using is_transparent = void;
    static std::string_view Of(std::string_view key) { return key; }
    static std::string_view Of(const Live& live) { return live.key(); }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Of(a) < Of(b);
    }
  };

  MemoryStore(std::string id, std::unique_ptr<RuntimeFile> runtime);
  void ApplyLocked(Mutation mutation) REQUIRES(mutex_);

  const std::string id_;
  const std::unique_ptr<RuntimeFile> runtime_;  // Null = none.

  mutable Mutex mutex_;
  absl::btree_set<Live, ByKey> live_ GUARDED_BY(mutex_);
  std::map<std::pair<uint16_t, std::string>, Tombstone> tombstones_ GUARDED_BY(mutex_);
  std::set<std::pair<int64_t, std::string>> expiry_ GUARDED_BY(mutex_);
  std::vector<SlotState> slots_ GUARDED_BY(mutex_);
  uint64_t position_ GUARDED_BY(mutex_) = 0;  // Commits so far.
  int64_t bytes_ GUARDED_BY(mutex_) = 0;      // Payload bytes of live_.
};

}  // namespace flame
