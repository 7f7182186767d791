#include "flame/storage/identity.h"

#include <xxhash.h>

#include <charconv>
#include <fstream>

#include <fmt/format.h>

#include "flame/base/error.h"
#include "flame/storage/coding.h"
#include "flame/storage/object_files.h"

namespace flame {
namespace {

constexpr uint64_t kFormat = 1;
constexpr uint64_t kKnownFeatures = kCompressedFiles;
constexpr uint8_t kAnchorFormat = 1;
constexpr char kIdentityPath[] = ".flame/identity";
constexpr char kDatabasePath[] = ".flame/db";

std::string Checksum(std::string_view text) {
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// Reads `name value` lines in their order. After a failure all values are empty.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  std::string_view Take(std::string_view name) {
    const size_t end = rest_.find('\n');
    std::string_view line = rest_.substr(0, end);
    if (end == rest_.npos || !line.starts_with(name) || line.size() <= name.size() ||
        line[name.size()] != ' ') {
      ok_ = false;
      rest_ = {};
      return {};
    }
    rest_.remove_prefix(end + 1);
    return line.substr(name.size() + 1);
  }
  uint64_t TakeNumber(std::string_view name) {
    const auto number = Number(Take(name));
    ok_ = ok_ && number;
    return number.value_or(0);
  }
  std::string_view rest() const { return rest_; }
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

std::string EncodeIdentity(const Identity& identity) {
  std::string text = fmt::format(
      "flame-store {}\nfeatures {}\nid {}\nsession {}\ngeneration {}\nboot {}\nsync "
      "{}\nclean {}\n",
      kFormat, identity.features, identity.store_id, identity.session,
      identity.generation, identity.boot_id.empty() ? "unknown" : identity.boot_id,
      identity.sync_always ? "always" : "never",
      identity.clean_head ? std::to_string(*identity.clean_head) : "no");
  text += fmt::format("xxh3 {}\n", Checksum(text));
  return text;
}

arrow::Result<std::optional<Identity>> DecodeIdentity(std::string_view text) {
  Lines lines(text);
  const uint64_t format = lines.TakeNumber("flame-store");
  const uint64_t features = lines.TakeNumber("features");
  if (!lines.ok()) return std::nullopt;
  if (format > kFormat || (features & ~kKnownFeatures) != 0) {
    return MakeError(
        ErrorCode::kCorrupt,
        fmt::format("a newer version of this program wrote it (format {}, features "
                    "{:#x}); start that version",
                    format, features));
  }
  Identity identity;
  identity.features = features;
  identity.store_id = lines.Take("id");
  identity.session = lines.TakeNumber("session");
  identity.generation = lines.TakeNumber("generation");
  identity.boot_id = lines.Take("boot");
  identity.sync_always = lines.Take("sync") == "always";
  if (const auto clean = lines.Take("clean"); clean != "no") {
    identity.clean_head = Number(clean);
    if (!identity.clean_head) return std::nullopt;
  }
  const std::string_view checked = text.substr(0, text.size() - lines.rest().size());
  const std::string_view checksum = lines.Take("xxh3");
  if (!lines.ok() || !lines.rest().empty() || checksum != Checksum(checked))
    return std::nullopt;
  return identity;
}

std::string EncodeAnchor(const Anchor& anchor) {
  std::string bytes;
  Encoder encoder(&bytes);
  encoder.Fixed(kAnchorFormat);
  encoder.String(anchor.store_id);
  encoder.Fixed(anchor.session);
  encoder.Fixed(anchor.generation);
  encoder.Fixed(anchor.mark.device);
  encoder.Fixed(anchor.mark.inode);
  encoder.Fixed(anchor.mark.born_ns);
  encoder.Fixed(anchor.mark.database_inode);
  return bytes;
}

arrow::Result<Anchor> DecodeAnchor(std::string_view bytes) {
  Decoder decoder(bytes);
  const bool known = decoder.Fixed<uint8_t>() == kAnchorFormat;
  Anchor anchor;
  anchor.store_id = decoder.String();
  anchor.session = decoder.Fixed<uint64_t>();
  anchor.generation = decoder.Fixed<uint64_t>();
  anchor.mark.device = decoder.Fixed<uint64_t>();
  anchor.mark.inode = decoder.Fixed<uint64_t>();
  anchor.mark.born_ns = decoder.Fixed<int64_t>();
  anchor.mark.database_inode = decoder.Fixed<uint64_t>();
  if (!known || !decoder.Done()) {
    return MakeError(ErrorCode::kCorrupt,
                     "stored anchor: unknown format or wrong length");
  }
  return anchor;
}

arrow::Result<std::optional<Identity>> ReadIdentity(FileSystem* files) {
  ARROW_ASSIGN_OR_RAISE(const auto bytes, files->ReadAll(kIdentityPath));
  if (bytes == nullptr) return std::nullopt;
  return DecodeIdentity(std::string_view(*bytes));
}

arrow::Status WriteIdentity(FileSystem* files, const Identity& identity) {
  return files->Overwrite(kIdentityPath, EncodeIdentity(identity));
}

arrow::Result<FileMark> ReadFileMark(FileSystem* files) {
  FileMark mark;
  ARROW_ASSIGN_OR_RAISE(const auto identity, files->Stat(kIdentityPath));
  ARROW_ASSIGN_OR_RAISE(const auto database, files->Stat(kDatabasePath));
  if (identity) {
    mark.device = identity->device;
    mark.inode = identity->inode;
    mark.born_ns = identity->born_ns;
  }
  if (database) mark.database_inode = database->inode;
  return mark;
}

std::string_view WhyNotContinuous(const std::optional<Identity>& identity,
                                  const Anchor& anchor, const FileMark& mark,
                                  std::string_view boot_id, uint64_t head) {
  if (!identity) return "its identity file is missing or damaged";
  if (identity->store_id != anchor.store_id)
    return "its identity belongs to another directory";
  const bool same_boot = !boot_id.empty() && identity->boot_id == boot_id;
  // Device numbers hold for one boot only.
  if (mark.inode != anchor.mark.inode || mark.born_ns != anchor.mark.born_ns ||
      mark.database_inode != anchor.mark.database_inode ||
      (same_boot && mark.device != anchor.mark.device)) {
    return "it is a copy, or was restored";
  }
  // A start writes the anchor first; one that got no further has given out nothing.
  if (anchor.session < identity->session)
    return "its database is older than its identity";
  if (anchor.session > identity->session + 1)
    return "its identity is older than its database";
  if (identity->clean_head && head < *identity->clean_head)
    return "its database is older than its last stop";
  if (identity->clean_head || identity->sync_always || same_boot) return {};
  return "the machine stopped without writing everything to the disk";
}

std::string ReadBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace flame
