#include "flame/flight/errors.h"

#include <arrow/flight/types.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

using arrow::flight::FlightStatusCode;
using arrow::flight::FlightStatusDetail;
using ::testing::EndsWith;

TEST(FlightErrorTest, OrdinaryCodesUseArrowsOwn) {
  EXPECT_TRUE(ToFlight(InvalidError("x")).IsInvalid());
  EXPECT_TRUE(ToFlight(MakeError(ErrorCode::kWrongKind, "x")).IsInvalid());
  EXPECT_TRUE(ToFlight(MakeError(ErrorCode::kNotFound, "x")).IsKeyError());
  EXPECT_TRUE(ToFlight(ConflictError("k", 1, 2)).IsAlreadyExists());
  EXPECT_TRUE(ToFlight(arrow::Status::OK()).ok());
}

TEST(FlightErrorTest, EveryCodeHasAGrpcCodeAndATag) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kLost); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    const arrow::Status status = ToFlight(MakeError(code, "what happened"));
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.message(),
                EndsWith("[flame:" + std::string(ErrorCodeName(code)) + "]"));
    const bool plain =
        status.IsInvalid() || status.IsKeyError() || status.IsAlreadyExists();
    EXPECT_TRUE(plain || FlightStatusDetail::UnwrapStatus(status) != nullptr) << status;
  }
}

TEST(FlightErrorTest, TheTagCarriesVersionAndOutcome) {
  EXPECT_THAT(ToFlight(ConflictError("a/s/o", 7, 9)).message(),
              EndsWith("[flame:conflict version=9 outcome=not_applied]"));
  EXPECT_THAT(ToFlight(WithOutcome(MakeError(ErrorCode::kIo, "disk"), Outcome::kUnknown))
                  .message(),
              EndsWith("[flame:io outcome=unknown]"));
}

TEST(FlightErrorTest, ArrowsOwnErrorsBecomeInvalidOrInternal) {
  EXPECT_TRUE(ToFlight(arrow::Status::TypeError("x")).IsInvalid());
  EXPECT_EQ(
      FlightStatusDetail::UnwrapStatus(ToFlight(arrow::Status::IOError("x")))->code(),
      FlightStatusCode::Internal);
}

}  // namespace
}  // namespace flame
