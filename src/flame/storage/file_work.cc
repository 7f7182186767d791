#include "flame/storage/file_work.h"

#include "flame/base/error.h"
#include "flame/storage/coding.h"
#include "flame/storage/object_files.h"

namespace flame {
namespace {

constexpr uint8_t kFormat = 1;

arrow::Status MoveIntoPlace(FileSystem* files, uint64_t file_id, const std::string& path,
                            std::set<std::string>* touched) {
  touched->insert(ParentOf(path));
  touched->insert(kTemporaryDirectory);
  const std::string from = TemporaryPath(file_id);
  ARROW_ASSIGN_OR_RAISE(bool moved, files->Rename(from, path));
  // Make the directory, perhaps again: somebody may remove it, empty as it is, before the
  // file arrives.
  for (int attempt = 0; !moved && attempt < 3; ++attempt) {
    ARROW_ASSIGN_OR_RAISE(const auto source, files->Stat(from));
    if (!source) return arrow::Status::OK();  // Done before.
    ARROW_RETURN_NOT_OK(files->MakeDirectories(ParentOf(path)));
    for (std::string above = ParentOf(path); !above.empty();) {
      above = ParentOf(above);
      touched->insert(above);
    }
    ARROW_ASSIGN_OR_RAISE(moved, files->Rename(from, path));
  }
  if (moved) return arrow::Status::OK();
  return MakeError(ErrorCode::kIo,
                   "rename to " + path + ": its directory keeps vanishing");
}

arrow::Status RemoveFlatDirectory(FileSystem* files, const std::string& path) {
  std::vector<std::string> names;
  ARROW_ASSIGN_OR_RAISE(const bool exists,
                        files->List(path, [&](const std::string& name, FileType type) {
                          if (type != FileType::kDirectory) names.push_back(name);
                          return arrow::Status::OK();
                        }));
  if (!exists) return arrow::Status::OK();
  for (const auto& name : names)
    ARROW_RETURN_NOT_OK(files->Unlink(path + "/" + name).status());
  return files->RemoveDirectory(path).status();
}

}  // namespace

std::string EncodeFileWork(const FileWork& work) {
  std::string bytes;
  Encoder encoder(&bytes);
  encoder.Fixed(kFormat);
  encoder.Varint(work.renames.size());
  for (const auto& [file_id, path] : work.renames) {
    encoder.Fixed(file_id);
    encoder.String(path);
  }
  encoder.Varint(work.removals.size());
  for (const auto& path : work.removals) encoder.String(path);
  return bytes;
}

arrow::Result<FileWork> DecodeFileWork(std::string_view bytes) {
  Decoder decoder(bytes);
  FileWork work;
  const bool known = decoder.Fixed<uint8_t>() == kFormat;
  for (uint64_t i = decoder.Varint(); i > 0 && decoder.ok(); --i) {
    const auto file_id = decoder.Fixed<uint64_t>();
    work.renames.emplace_back(file_id, decoder.String());
  }
  for (uint64_t i = decoder.Varint(); i > 0 && decoder.ok(); --i) {
    work.removals.emplace_back(decoder.String());
  }
  if (!known || !decoder.Done()) {
    return MakeError(ErrorCode::kCorrupt,
                     "stored file work: unknown format or wrong length");
  }
  return work;
}

arrow::Status DoFileWork(FileSystem* files, const FileWork& work,
                         std::set<std::string>* touched) {
  for (const auto& [file_id, path] : work.renames) {
    ARROW_RETURN_NOT_OK(MoveIntoPlace(files, file_id, path, touched));
  }
  std::set<std::string> maybe_empty;
  for (const auto& path : work.removals) {
    const bool is_directory = path.ends_with('/');
    const std::string plain = is_directory ? path.substr(0, path.size() - 1) : path;
    if (is_directory) {
      ARROW_RETURN_NOT_OK(RemoveFlatDirectory(files, plain));
    } else {
      ARROW_RETURN_NOT_OK(files->Unlink(plain).status());
    }
    const std::string parent = ParentOf(plain);
    touched->insert(parent);
    if (parent != kTemporaryDirectory && parent != kBlobDirectory)
      maybe_empty.insert(parent);
  }
  for (std::string directory : maybe_empty) {
    for (; !directory.empty(); directory = ParentOf(directory)) {
      ARROW_ASSIGN_OR_RAISE(const bool removed, files->RemoveDirectory(directory));
      if (!removed) break;
      touched->insert(ParentOf(directory));
    }
  }
  return arrow::Status::OK();
}

}  // namespace flame
