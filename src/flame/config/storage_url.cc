#include "flame/config/storage_url.h"

#include <filesystem>

#include <fmt/format.h>

#include "flame/base/error.h"

namespace flame {
namespace {

std::string Below(std::string_view base, std::string_view path) {
  std::filesystem::path joined = (std::filesystem::path(base) / path).lexically_normal();
  if (!joined.has_filename()) joined = joined.parent_path();  // "/data/" is "/data".
  return joined.string();
}

}  // namespace

arrow::Result<StorageUrl> ParseStorageUrl(std::string_view text, std::string_view home,
                                          std::string_view working_directory) {
  if (text.empty() || text == "none") return StorageUrl{};
  const size_t separator = text.find("://");
  if (separator == std::string_view::npos)
    return StorageUrl{StorageUrl::Kind::kFs, Below(working_directory, text)};

  const std::string_view scheme = text.substr(0, separator);
  const std::string_view path = text.substr(separator + 3);
  if (scheme != "fs" && scheme != "file") {
    return InvalidError(
        fmt::format("'{}' has the unknown scheme '{}'; write none, fs:///PATH or a path",
                    text, scheme));
  }
  if (path.empty())
    return InvalidError(fmt::format("'{}' has no path; write {}:///PATH", text, scheme));
  return StorageUrl{StorageUrl::Kind::kFs, Below(home, path)};
}

std::string FormatStorageUrl(const StorageUrl& storage) {
  return storage.kind == StorageUrl::Kind::kNone ? "none" : "fs://" + storage.path;
}

}  // namespace flame
