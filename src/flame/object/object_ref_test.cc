#include "flame/object/object_ref.h"

#include <gtest/gtest.h>

#include "flame/object/bson.h"

namespace flame {
namespace {

TEST(ObjectRefTest, EncodesExactlyThreeElementsWithAnInt64Version) {
  // Golden bytes: a BSON document laid out by hand from bsonspec.org.
  const std::string expected = std::string("\x3e\0\0\0", 4) +
                               std::string(
                                   "\x02"
                                   "endpoint\0",
                                   10) +
                               std::string(
                                   "\x0b\0\0\0"
                                   "grpc://h:1\0",
                                   15) +
                               std::string(
                                   "\x02"
                                   "key\0",
                                   5) +
                               std::string(
                                   "\x06\0\0\0"
                                   "a/b/c\0",
                                   10) +
                               std::string(
                                   "\x12"
                                   "version\0",
                                   9) +
                               std::string("\x05\0\0\0\0\0\0\0", 8) +
                               std::string("\0", 1);
  EXPECT_EQ((ObjectRef{"grpc://h:1", "a/b/c", 5}.Encode()), expected);
}

TEST(ObjectRefTest, RoundTrips) {
  const ObjectRef ref{"grpc+tls://host:9090", "app/session/ö", int64_t{1} << 52};
  const ObjectRef back = *ObjectRef::Decode(ref.Encode());
  EXPECT_EQ(back.endpoint, ref.endpoint);
  EXPECT_EQ(back.key, ref.key);
  EXPECT_EQ(back.version, ref.version);
}

TEST(ObjectRefTest, AcceptsInt32AndMissingVersions) {
  const std::string small = BsonWriter()
                                .Add("endpoint", "e")
                                .Add("key", "a/b/c")
                                .AddInt32("version", 7)
                                .Finish();
  EXPECT_EQ((*ObjectRef::Decode(small)).version, 7);
  const std::string none = BsonWriter().Add("endpoint", "e").Add("key", "a/b/c").Finish();
  EXPECT_EQ((*ObjectRef::Decode(none)).version, 0);
}

TEST(ObjectRefTest, RefusesWhatIsNoReference) {
  const std::string good = ObjectRef{"grpc://h:1", "a/b/c", 5}.Encode();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ObjectRef::Decode(std::string_view(good).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(ObjectRef::Decode(BsonWriter().Add("endpoint", "e").Finish()).ok());
  EXPECT_FALSE(
      ObjectRef::Decode(BsonWriter().Add("endpoint", "e").Add("key", "a/b").Finish())
          .ok());
  EXPECT_FALSE(ObjectRef::Decode(BsonWriter()
                                     .Add("endpoint", "e")
                                     .Add("key", "a/b/c")
                                     .Add("version", "1")
                                     .Finish())
                   .ok());
}

}  // namespace
}  // namespace flame
