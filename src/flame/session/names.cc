#include "flame/session/names.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "flame/session/refusal.h"
#include "flame/session/text.h"

namespace flame {
namespace {

constexpr size_t kMaxApplicationName = 253;
constexpr size_t kMaxSessionId = 256;

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         c == '.' || c == '_' || c == '-';
}

}  // namespace

arrow::Status CheckApplicationName(std::string_view name) {
  std::string_view problem;
  if (name.empty())
    problem = "it is empty";
  else if (name.size() > kMaxApplicationName)
    problem = "it is longer than 253 characters";
  else if (!std::all_of(name.begin(), name.end(), IsNameCharacter))
    problem = "it may hold letters, digits and . _ - only";
  else if (name.front() == '.' || name.front() == '-')
    problem = "it may not start with . or -";
  else if (name.find("..") != name.npos)
    problem = "it may not hold '..'";
  if (problem.empty()) return arrow::Status::OK();
  return InvalidRefusal(fmt::format("invalid application name '{}': {}",
                                    name.substr(0, kMaxApplicationName), problem));
}

arrow::Status CheckSessionId(std::string_view id) {
  std::string_view problem;
  if (id.empty())
    problem = "it is empty";
  else if (id.size() > kMaxSessionId)
    problem = "it is longer than 256 bytes";
  else if (id.front() == '.')
    problem = "it may not start with '.'";
  else if (id.find_first_of(std::string_view("/\\\0", 3)) != id.npos)
    problem = "it may not hold '/', '\\' or NUL";
  else if (!IsUtf8(id))
    problem = "it is not UTF-8";
  if (problem.empty()) return arrow::Status::OK();
  return InvalidRefusal(fmt::format("invalid session id: {}", problem));
}

arrow::Result<uint64_t> ParseTaskId(std::string_view id) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (id.empty() || error == std::errc::invalid_argument || end != id.data() + id.size())
    return InvalidRefusal(
        fmt::format("invalid task id '{}': it is not a whole number", id.substr(0, 40)));
  return error == std::errc() ? number : 0;
}

}  // namespace flame
