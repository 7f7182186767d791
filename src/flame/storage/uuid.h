// A random UUID as text. Internal to storage/ and session/.
#pragma once

#include <uuid/uuid.h>

#include <string>

namespace flame {

inline std::string NewUuid() {
  uuid_t id;
  uuid_generate_random(id);
  char text[UUID_STR_LEN];
  uuid_unparse_lower(id, text);
  return text;
}

}  // namespace flame
