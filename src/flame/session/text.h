// UTF-8: the protocol's texts are; what services and programs write may be anything.
#pragma once

#include <string>
#include <string_view>

namespace flame {

bool IsUtf8(std::string_view text);
/// As it is, or with every byte outside ASCII as a question mark.
std::string MadeUtf8(std::string text);

}  // namespace flame
