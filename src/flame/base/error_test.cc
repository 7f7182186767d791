#include "flame/base/error.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace flame {
namespace {

TEST(ErrorTest, EveryCodeHasItsOwnNameAndIsFoundByIt) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kLost); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    EXPECT_EQ(ErrorCodeFromName(ErrorCodeName(code)), code) << ErrorCodeName(code);
  }
  EXPECT_EQ(ErrorCodeName(ErrorCode::kNotFound), "not_found");
  EXPECT_EQ(ErrorCodeFromName("no such code"), std::nullopt);
}

TEST(ErrorTest, StatusCarriesItsCode) {
  const arrow::Status status =
      MakeError(ErrorCode::kTooLarge, "a/b/c: 5G is over the limit");
  EXPECT_EQ(CodeOf(status), ErrorCode::kTooLarge);
  EXPECT_TRUE(IsError(status, ErrorCode::kTooLarge));
  EXPECT_FALSE(IsError(status, ErrorCode::kInvalid));
  EXPECT_EQ(status.message(), "a/b/c: 5G is over the limit");
}

TEST(ErrorTest, OkIsNoError) {
  EXPECT_FALSE(IsError(arrow::Status::OK(), ErrorCode::kInvalid));
  EXPECT_TRUE(WithOutcome(arrow::Status::OK(), Outcome::kUnknown).ok());
}

TEST(ErrorTest, ConflictNamesKeyVersionsAndTheNextStep) {
  const arrow::Status status = ConflictError("app/s/k", 7, 9);
  EXPECT_EQ(status.message(),
            "app/s/k: expected v7, the newest is v9; read it again and retry");
  ASSERT_NE(DetailOf(status), nullptr);
  EXPECT_EQ(DetailOf(status)->version, 9);
  EXPECT_EQ(DetailOf(status)->outcome, Outcome::kNotApplied);
  EXPECT_EQ(ConflictError("k", 0, 3).message(),
            "k: expected no object, the newest is v3; read it again and retry");
  EXPECT_EQ(ConflictError("k", 3, 0).message(),
            "k: expected v3, there is none; read it again and retry");
}

TEST(ErrorTest, ErrnoBecomesTheCodeThatTheCallerCanActOn) {
  const std::pair<int, ErrorCode> cases[] = {
      {ENOSPC, ErrorCode::kExhausted}, {EDQUOT, ErrorCode::kExhausted},
      {EROFS, ErrorCode::kReadOnly},   {EACCES, ErrorCode::kIo},
      {EIO, ErrorCode::kIo},
  };
  for (const auto& [error, code] : cases) {
    EXPECT_EQ(CodeOf(ErrnoError(error, "write", "/data/x")), code) << error;
  }
  EXPECT_EQ(ErrnoError(ENOSPC, "write", "/data/x").message(),
            "write /data/x: No space left on device; free space on the storage's disk "
            "and retry");
}

TEST(ErrorTest, OutcomeIsAddedWithoutLosingTheRest) {
  const arrow::Status status = WithOutcome(ConflictError("k", 1, 2), Outcome::kUnknown);
  EXPECT_EQ(CodeOf(status), ErrorCode::kConflict);
  EXPECT_EQ(DetailOf(status)->outcome, Outcome::kUnknown);
  EXPECT_EQ(DetailOf(status)->version, 2);
  EXPECT_EQ(DetailOf(status)->ToString(), "conflict version=2 outcome=unknown");
}

TEST(ErrorTest, StatusMadeElsewhereGetsTheNearestCode) {
  EXPECT_EQ(DetailOf(arrow::Status::Invalid("x")), nullptr);
  EXPECT_EQ(CodeOf(arrow::Status::Invalid("x")), ErrorCode::kInvalid);
  EXPECT_EQ(CodeOf(arrow::Status::KeyError("x")), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(arrow::Status::OutOfMemory("x")), ErrorCode::kExhausted);
  EXPECT_EQ(CodeOf(arrow::Status::IOError("x")), ErrorCode::kIo);
  EXPECT_EQ(CodeOf(arrow::Status::Cancelled("x")), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace flame
