#include "flame/storage/object_files.h"

#include <fmt/format.h>

namespace flame {
namespace {

constexpr std::string_view kSuffix = ".arrow";
constexpr std::string_view kDefaultApp = "default";
constexpr size_t kMaxName = 255;  // Of a file name, on every Linux file system.

bool IsObjectFile(std::string_view name, FileType type) {
  return type == FileType::kFile && name.size() > kSuffix.size() &&
         name.ends_with(kSuffix);
}

/// Can a key that starts with `directory` start with `prefix` as well?
bool MayHold(std::string_view directory, std::string_view prefix) {
  return directory.starts_with(prefix) || prefix.starts_with(directory);
}

class Walk {
 public:
  Walk(FileSystem* files, std::string_view prefix, const ObjectFileVisitor& visit)
      : files_(files), prefix_(prefix), visit_(visit) {}

  arrow::Result<int64_t> Run() {
    ARROW_RETURN_NOT_OK(files_->List("", [&](const std::string& name, FileType type) {
      if (type != FileType::kDirectory || name == kOurDirectory)
        return arrow::Status::OK();
      return Application(name);
    }));
    return skipped_;
  }

 private:
  // An application's directory; files in it are objects of the application `default`,
  // whose session is its name.
  arrow::Status Application(const std::string& app) {
    const std::string as_session = fmt::format("{}/{}/", kDefaultApp, app);
    if (!MayHold(app + "/", prefix_) && !MayHold(as_session, prefix_))
      return arrow::Status::OK();
    return files_
        ->List(app,
               [&](const std::string& name, FileType type) {
                 if (type == FileType::kDirectory) return Session(app + "/" + name);
                 return File(as_session, app, name, type);
               })
        .status();
  }

  arrow::Status Session(const std::string& path) {
    if (!MayHold(path + "/", prefix_)) return arrow::Status::OK();
    return files_
        ->List(path, [&](const std::string& name,
                         FileType type) { return File(path + "/", path, name, type); })
        .status();
  }

  arrow::Status File(const std::string& key_prefix, const std::string& directory,
                     const std::string& name, FileType type) {
    if (!IsObjectFile(name, type)) return arrow::Status::OK();
    const auto key =
        Key::Parse(key_prefix + name.substr(0, name.size() - kSuffix.size()));
    if (!key.ok()) {
      ++skipped_;
      return arrow::Status::OK();
    }
    if (!key->text().starts_with(prefix_)) return arrow::Status::OK();
    return visit_(*key, directory + "/" + name);
  }

  FileSystem* const files_;
  const std::string_view prefix_;
  const ObjectFileVisitor& visit_;
  int64_t skipped_ = 0;
};

}  // namespace

std::string TemporaryPath(uint64_t file_id) {
  return fmt::format("{}/{:016x}", kTemporaryDirectory, file_id);
}

std::string BlobPath(uint64_t file_id) {
  return fmt::format("{}/{:016x}", kBlobDirectory, file_id);
}

std::string PathOf(const Key& key, uint64_t file_id) {
  if (!key.is_object() || key.object().size() + kSuffix.size() > kMaxName) {
    return BlobPath(file_id);
  }
  return key.text() + std::string(kSuffix);
}

std::vector<std::string> ForeignPathsOf(const Key& key) {
  if (!key.is_object()) return {};
  std::vector<std::string> paths{key.text() + std::string(kSuffix)};
  if (key.app() == kDefaultApp && key.session() != kOurDirectory) {
    paths.push_back(fmt::format("{}/{}{}", key.session(), key.object(), kSuffix));
  }
  return paths;
}

std::string DeltasOf(std::string_view path) {
  if (path.ends_with(kSuffix)) path.remove_suffix(kSuffix.size());
  return std::string(path) + ".deltas";
}

arrow::Result<int64_t> WalkObjectFiles(FileSystem* files, std::string_view prefix,
                                       const ObjectFileVisitor& visit) {
  return Walk(files, prefix, visit).Run();
}

}  // namespace flame
