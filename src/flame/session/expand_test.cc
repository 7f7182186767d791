#include "flame/session/expand.h"

#include <gtest/gtest.h>

namespace flame {
namespace {

const EnvironmentMap kVariables{{"HOME", "/home/ann"}, {"V", "3.12"}, {"E", ""}};

std::string Expand(std::string_view text) {
  return ExpandVariables(text, kVariables).text;
}

TEST(ExpandTest, BothFormsAreExpanded) {
  EXPECT_EQ(Expand("${HOME}/bin/uv"), "/home/ann/bin/uv");
  EXPECT_EQ(Expand("python$V"), "python3.12");
  EXPECT_EQ(Expand("$HOME:${V}x$E."), "/home/ann:3.12x.");
}

TEST(ExpandTest, UnknownVariablesStayAsTheyAreWritten) {
  EXPECT_EQ(Expand("${NONE}/$NONE-$V"), "${NONE}/$NONE-3.12");
  EXPECT_FALSE(ExpandVariables("$NONE", kVariables).complete);
  EXPECT_TRUE(ExpandVariables("$V", kVariables).complete);
}

TEST(ExpandTest, DollarsThatStartNoVariableStay) {
  for (const char* text :
       {"$", "a$", "$$", "$1", "${", "${}", "${V", "${V-x}", "$ V", "${ V}"})
    EXPECT_EQ(Expand(text), text);
  EXPECT_TRUE(ExpandVariables("cost: 5$", kVariables).complete);
}

TEST(ExpandTest, ValuesAreNotExpandedAgain) {
  EXPECT_EQ(ExpandVariables("$A", {{"A", "$B"}, {"B", "x"}}).text, "$B");
}

}  // namespace
}  // namespace flame
