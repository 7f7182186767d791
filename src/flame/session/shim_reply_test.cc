// Services of both generations answer, and what is neither is an error.
#include "flame/session/shim_reply.h"

#include <arrow/testing/gtest_util.h>
#include <gtest/gtest.h>

#include <string>

namespace flame {
namespace {

using namespace std::string_literals;

/// Field 1, length delimited: the later form.
std::string Wrapped(const std::string& inner, const std::string& after = "") {
  return "\x0a"s + static_cast<char>(inner.size()) + inner + after;
}

TEST(ShimReplyTest, NothingIsSuccess) {
  ASSERT_OK_AND_ASSIGN(const auto result, ParseResultReply(""));
  EXPECT_EQ(result.return_code(), 0);
  EXPECT_FALSE(result.has_message());
  ASSERT_OK_AND_ASSIGN(const auto task, ParseTaskReply(""));
  EXPECT_EQ(task.return_code(), 0);
  EXPECT_FALSE(task.has_output());
}

TEST(ShimReplyTest, ResultInBothForms) {
  v1::Result result;
  result.set_return_code(-1);
  result.set_message("refused");
  for (const std::string& bytes :
       {result.SerializeAsString(), Wrapped(result.SerializeAsString()),
        Wrapped(result.SerializeAsString(), "\x12\x00"s)}) {
    ASSERT_OK_AND_ASSIGN(const auto parsed, ParseResultReply(bytes));
    EXPECT_EQ(parsed.return_code(), -1);
    EXPECT_EQ(parsed.message(), "refused");
  }
}

TEST(ShimReplyTest, TaskResultInBothForms) {
  v1::TaskResult result;
  result.set_output("out");
  for (const std::string& bytes :
       {result.SerializeAsString(), Wrapped(result.SerializeAsString())}) {
    ASSERT_OK_AND_ASSIGN(const auto parsed, ParseTaskReply(bytes));
    EXPECT_EQ(parsed.return_code(), 0);
    EXPECT_EQ(parsed.output(), "out");
  }
}

TEST(ShimReplyTest, EmptyOutputIsThere) {
  v1::TaskResult result;
  result.set_output("");
  ASSERT_OK_AND_ASSIGN(const auto parsed, ParseTaskReply(result.SerializeAsString()));
  EXPECT_TRUE(parsed.has_output());
}

TEST(ShimReplyTest, EmptyWrapperIsSuccess) {
  ASSERT_OK_AND_ASSIGN(const auto parsed, ParseTaskReply(Wrapped("")));
  EXPECT_EQ(parsed.return_code(), 0);
}

TEST(ShimReplyTest, UnknownFieldsAreSkipped) {
  v1::Result result;
  result.set_return_code(7);
  // Field 15: a number; field 16: bytes.
  const std::string bytes = "\x78\x05\x82\x01\x02xy"s + result.SerializeAsString();
  ASSERT_OK_AND_ASSIGN(const auto parsed, ParseResultReply(bytes));
  EXPECT_EQ(parsed.return_code(), 7);
}

TEST(ShimReplyTest, GarbageIsAnError) {
  for (const std::string& bytes :
       {"\xff\xff\xff"s, "\x0a\x7f"s, "\x08"s, "\x0a\xff\xff\xff\xff\x0f"s,
        "\x1a\x02\xff\xff"s /* text that is not UTF-8 */}) {
    EXPECT_FALSE(ParseTaskReply(bytes).ok());
  }
}

}  // namespace
}  // namespace flame
