// The door with a real client on a loopback socket: what goes in and out, and what is
// shared on the way.
#include "flame/flight/service.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/flight/client.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"
#include "flame/object/bson.h"
#include "flame/object/object_ref.h"
#include "flame/storage/memory_store.h"

namespace flame {
namespace {

using arrow::flight::FlightClient;
using arrow::flight::FlightDescriptor;
using arrow::flight::Ticket;

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, MemoryStore::Open({}));
    cache_ = std::make_unique<Cache>(store_.get(), pool_.get(), Clock::System(),
                                     &allow_all_, CacheOptions{});
    service_ = std::make_unique<FlightService>(cache_.get(), &budget_, &shared_,
                                               FlightServiceOptions{});
    ASSERT_OK_AND_ASSIGN(const auto location,
                         arrow::flight::Location::ForGrpcTcp("127.0.0.1", 0));
    ASSERT_OK(service_->Init(arrow::flight::FlightServerOptions(location)));
    const std::string url = "grpc://127.0.0.1:" + std::to_string(service_->port());
    service_->set_endpoint(url);
    ASSERT_OK_AND_ASSIGN(const auto here, arrow::flight::Location::Parse(url));
    ASSERT_OK_AND_ASSIGN(client_, FlightClient::Connect(here));
  }
  void TearDown() override {
    ASSERT_OK(client_->Close());
    ASSERT_OK(service_->Shutdown());
    ASSERT_OK(service_->Wait());
  }

  arrow::Result<ObjectRef> Put(const FlightDescriptor& descriptor,
                               const std::shared_ptr<arrow::RecordBatch>& batch,
                               int times = 1) {
    ARROW_ASSIGN_OR_RAISE(auto call, client_->DoPut(descriptor, batch->schema()));
    for (int i = 0; i < times; ++i) {
      if (!call.writer->WriteRecordBatch(*batch).ok()) break;
    }
    arrow::Status status = call.writer->DoneWriting();
    std::shared_ptr<arrow::Buffer> metadata;
    if (status.ok()) status = call.reader->ReadMetadata(&metadata);
    const arrow::Status closed = call.writer->Close();
    ARROW_RETURN_NOT_OK(closed);
    ARROW_RETURN_NOT_OK(status);
    if (metadata == nullptr) return arrow::Status::IOError("no reply");
    return ObjectRef::Decode(metadata->ToString());
  }
  static std::shared_ptr<arrow::RecordBatch> Row(const std::string& data) {
    arrow::UInt64Builder versions;
    arrow::BinaryBuilder values;
    EXPECT_OK(versions.Append(0));
    EXPECT_OK(values.Append(data));
    return arrow::RecordBatch::Make(
        arrow::schema({arrow::field("version", arrow::uint64()),
                       arrow::field("data", arrow::binary())}),
        1, {*versions.Finish(), *values.Finish()});
  }
  arrow::Result<std::shared_ptr<arrow::Table>> Get(const std::string& ticket) {
    ARROW_ASSIGN_OR_RAISE(auto reader, client_->DoGet(Ticket{ticket}));
    return reader->ToTable();
  }

  const std::unique_ptr<BufferPool> pool_ = MakeHeapPool();
  const AllowAll allow_all_;
  Budget budget_{int64_t{256} << 20};
  FlightShared shared_{1 << 30};
  std::unique_ptr<MemoryStore> store_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<FlightService> service_;
  std::unique_ptr<FlightClient> client_;
};

TEST_F(ServiceTest, APutIsReadBackByItsReference) {
  ASSERT_OK_AND_ASSIGN(const auto ref,
                       Put(FlightDescriptor::Path({"a/s"}), Row("hello")));
  EXPECT_EQ(ref.version, 1);
  ASSERT_OK_AND_ASSIGN(const auto table, Get(ref.key + ":0"));
  ASSERT_EQ(table->num_rows(), 1);
  EXPECT_EQ((*table->GetColumnByName("data")->GetScalar(0))->ToString(), "hello");
  ASSERT_OK_AND_ASSIGN(const auto unchanged, Get(ref.key + ":1"));
  EXPECT_EQ(unchanged->num_rows(), 0);
}

TEST_F(ServiceTest, E3_AnUploadedPayloadIsNotCopiedByUs) {
  // Goal: zero copies between the message that Arrow hands us and the message that goes
  // out again. Method: our own allocations are counted by the pool; a large payload must
  // need none.
  ASSERT_OK_AND_ASSIGN(const auto ref, Put(FlightDescriptor::Path({"a/s/o"}),
                                           Row(std::string(1 << 20, 'x'))));
  EXPECT_EQ(pool_->Allocated(), 0);
  const auto got = *cache_->Get({}, *Key::Parse("a/s/o"), 0);
  const auto snapshot = std::get<std::shared_ptr<const Snapshot>>(got);
  EXPECT_EQ(snapshot->base->chunks().size(), 1u);
  ASSERT_OK(Get(ref.key).status());
  EXPECT_EQ(pool_->Allocated(), 0);
}

TEST_F(ServiceTest, ManyBatchesAreOneObject) {
  ASSERT_OK(Put(FlightDescriptor::Path({"a/s/o"}), Row("abc"), 3).status());
  ASSERT_OK_AND_ASSIGN(const auto table, Get("a/s/o"));
  EXPECT_EQ((*table->GetColumnByName("data")->GetScalar(0))->ToString(), "abcabcabc");
}

// Goal: errors arrive before the upload does. Method: the bytes that would follow exceed
// what the budget could take.
TEST_F(ServiceTest, C9_ABadKeyIsRefusedBeforeTheDataIsRead) {
  for (const auto& descriptor :
       {FlightDescriptor::Path({"a/./o"}), FlightDescriptor::Path({"a/*"}),
        FlightDescriptor::Command("UPDATE:a/s/o"), FlightDescriptor::Command("")}) {
    const auto put = Put(descriptor, Row(std::string(1 << 20, 'x')), 300);
    ASSERT_FALSE(put.ok());
    EXPECT_TRUE(put.status().IsInvalid()) << put.status();
  }
}

TEST_F(ServiceTest, A12_APayloadWithoutADataColumnIsInvalid) {
  arrow::UInt64Builder versions;
  ASSERT_OK(versions.Append(0));
  const auto batch = arrow::RecordBatch::Make(
      arrow::schema({arrow::field("version", arrow::uint64())}), 1, {*versions.Finish()});
  const auto put = Put(FlightDescriptor::Path({"a/s/o"}), batch);
  EXPECT_TRUE(put.status().IsInvalid()) << put.status();
  EXPECT_THAT(put.status().message(), ::testing::HasSubstr("'data'"));
}

TEST_F(ServiceTest, AnUploadWithFewerBatchesThanPromisedIsRefused) {
  for (const int64_t promised : {1, 3}) {
    const std::string command = BsonWriter()
                                    .Add("op", "put")
                                    .Add("key", "a/s/o")
                                    .Add("batches", promised)
                                    .Finish();
    const auto put = Put(FlightDescriptor::Command(command), Row("abc"), 2);
    EXPECT_TRUE(put.status().IsInvalid()) << put.status();
  }
  EXPECT_FALSE(Get("a/s/o").ok());
}

TEST_F(ServiceTest, UploadsOverTheBudgetAreRefusedAndGiveTheirMemoryBack) {
  const auto put =
      Put(FlightDescriptor::Path({"a/s/o"}), Row(std::string(300 << 20, 'x')));
  EXPECT_FALSE(put.ok());
  EXPECT_EQ(budget_.in_use(), 0);
  ASSERT_OK(Put(FlightDescriptor::Path({"a/s/o"}), Row("small")).status());
}

TEST_F(ServiceTest, ConflictsNameTheNewestVersion) {
  ASSERT_OK(Put(FlightDescriptor::Path({"a/s/o"}), Row("x")).status());
  const std::string command = BsonWriter()
                                  .Add("op", "put")
                                  .Add("key", "a/s/o")
                                  .Add("if_version", int64_t{7})
                                  .Finish();
  const auto put = Put(FlightDescriptor::Command(command), Row("y"));
  ASSERT_TRUE(put.status().IsAlreadyExists()) << put.status();
  EXPECT_THAT(put.status().message(),
              ::testing::HasSubstr("[flame:conflict version=1 outcome=not_applied]"));
}

}  // namespace
}  // namespace flame
