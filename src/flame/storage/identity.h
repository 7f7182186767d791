// Identity: who a storage directory is and how it was left, so that a start can tell
// whether RocksDB still knows every version that was ever given out. It does not after a
// power loss without syncs, and in a directory that was copied or restored from a backup.
// When that can't be proved, the caller raises the generation of all slots: versions then
// jump ahead instead of being given out twice.
//
// `.flame/identity` is a small text file that is only ever rewritten in place; RocksDB
// remembers which file (inode, birth) that was. Values and functions; the file belongs to
// the one server that holds the lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/result.h>

#include "flame/storage/file_system.h"

namespace flame {

/// Bits of Identity::features: what a program must know to open the directory.
enum Features : uint64_t {
  kCompressedFiles = 1,  // Object files may be compressed.
};

/// What the file says. Format: docs/internals/records.md.
struct Identity {
  uint64_t features = 0;
  std::string store_id;      // UUID of the contents.
  uint64_t session = 0;      // Starts so far.
  uint64_t generation = 0;   // Store-wide lower bound of the slots' generations.
  std::string boot_id;       // Of the machine's boot in which this session ran.
  bool sync_always = false;  // All commits of this session were synced.
  std::optional<uint64_t> clean_head;  // RocksDB's position at a clean stop; absent while
                                       // running, or after a crash.
};

/// What tells one file from its copy.
struct FileMark {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t born_ns = 0;
  uint64_t database_inode = 0;  // Of the directory beside it.
};

/// What RocksDB remembers of the identity.
struct Anchor {
  std::string store_id;
  uint64_t session = 0;
  uint64_t generation = 0;
  FileMark mark;
};

std::string EncodeIdentity(const Identity& identity);
/// nullopt = torn or damaged. kCorrupt for a directory that only a newer program
/// understands.
arrow::Result<std::optional<Identity>> DecodeIdentity(std::string_view text);
std::string EncodeAnchor(const Anchor& anchor);
arrow::Result<Anchor> DecodeAnchor(std::string_view bytes);

/// nullopt = no file, or a damaged one.
arrow::Result<std::optional<Identity>> ReadIdentity(FileSystem* files);
arrow::Status WriteIdentity(FileSystem* files, const Identity& identity);
/// Of the identity file and RocksDB's directory as they lie there now.
arrow::Result<FileMark> ReadFileMark(FileSystem* files);

/// Empty if RocksDB certainly knows all versions, else the reason to doubt it. `head` is
/// RocksDB's position now.
std::string_view WhyNotContinuous(const std::optional<Identity>& identity,
                                  const Anchor& anchor, const FileMark& mark,
                                  std::string_view boot_id, uint64_t head);

/// Of this machine since it was booted; empty if it can't be read.
std::string ReadBootId();

}  // namespace flame
