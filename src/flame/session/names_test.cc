#include "flame/session/names.h"

#include <arrow/testing/gtest_util.h>
#include <gtest/gtest.h>

#include <string>

namespace flame {
namespace {

TEST(NamesTest, ApplicationNames) {
  for (const char* name : {"a", "my-app_1.2"}) EXPECT_OK(CheckApplicationName(name));
  EXPECT_OK(CheckApplicationName(std::string(253, 'x')));
  for (const std::string name :
       {"", ".a", "-a", "a..b", "a/b", "a\\b", "a b", "\xc3\xa9"})
    EXPECT_FALSE(CheckApplicationName(name).ok()) << name;
  EXPECT_FALSE(CheckApplicationName(std::string(254, 'x')).ok());
}

TEST(NamesTest, SessionIdsAreNoPaths) {
  for (const std::string id : {"app-Ab12", "x", "a b", "\xc3\xa9", "a..b", "-x"})
    EXPECT_OK(CheckSessionId(id));
  EXPECT_OK(CheckSessionId(std::string(256, 'x')));
  for (const std::string& id :
       {std::string(), std::string("."), std::string(".."), std::string("../etc"),
        std::string("a/b"), std::string("a\\b"), std::string("a\0b", 3),
        std::string("\xff"), std::string(257, 'x')})
    EXPECT_FALSE(CheckSessionId(id).ok()) << id;
}

TEST(NamesTest, TaskIdsAreNumbers) {
  EXPECT_EQ(*ParseTaskId("1"), 1U);
  EXPECT_EQ(*ParseTaskId("0"), 0U);
  EXPECT_EQ(*ParseTaskId("99999999999999999999999"), 0U);  // No task has it.
  for (const char* id : {"", "x", "1x", "-1", " 1", "1.0"})
    EXPECT_FALSE(ParseTaskId(id).ok()) << id;
}

}  // namespace
}  // namespace flame
