#include "flame/object/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flame/base/error.h"

namespace flame {
namespace {

TEST(SlotTest, AgreesWithRedisCluster) {
  // Vectors: CRC16 of "123456789" is 0x31C3 (Redis Cluster specification); CLUSTER
  // KEYSLOT of a Redis 7 server.
  EXPECT_EQ(SlotOf("123456789"), 0x31c3 % kSlots);
  EXPECT_EQ(SlotOf("foo"), 12182);
  EXPECT_EQ(SlotOf("somekey"), 11058);
  EXPECT_EQ(SlotOf(""), 0);
}

TEST(SlotTest, OnlyTheFirstNonEmptyTagCounts) {
  EXPECT_EQ(SlotOf("{user1000}.following"), SlotOf("user1000"));
  EXPECT_EQ(SlotOf("app/{batch-7}/a"), SlotOf("app/{batch-7}/b"));
  EXPECT_EQ(SlotOf("foo{}{bar}"), SlotOf(std::string_view("foo{}{bar}")));
  EXPECT_NE(SlotOf("foo{}{bar}"), SlotOf("bar"));
  EXPECT_EQ(SlotOf("foo{{bar}}zap"), SlotOf("{bar"));
  EXPECT_EQ(SlotOf("foo{bar}{zap}"), SlotOf("bar"));
}

TEST(KeyTest, HasThreeParts) {
  const Key key = *Key::Parse("app/session/object");
  EXPECT_EQ(key.app(), "app");
  EXPECT_EQ(key.session(), "session");
  EXPECT_EQ(key.object(), "object");
  EXPECT_TRUE(key.is_object());
  EXPECT_EQ(key.slot(), SlotOf("app/session/object"));
}

class RefusedKeyTest : public ::testing::TestWithParam<std::string> {};

TEST_P(RefusedKeyTest, IsInvalidAndNamed) {
  const auto key = Key::Parse(GetParam());
  ASSERT_FALSE(key.ok()) << GetParam();
  EXPECT_EQ(CodeOf(key.status()), ErrorCode::kInvalid);
  EXPECT_THAT(key.status().message(), ::testing::HasSubstr("app/session/object"));
}
// A1, A2: `.` names the folder itself; nothing that could leave the storage or alias
// another key passes.
INSTANTIATE_TEST_SUITE_P(
    A1_A2, RefusedKeyTest,
    ::testing::Values("", "a", "a/b", "a/b/c/d", "a//c", "/b/c", "a/b/", "./s/o", "a/./o",
                      "a/s/.", "../s/o", "a/../o", "a/s/..", "a/s/b..c", "a\\b/s/o",
                      "a/s\\x/o", std::string("a/s/o\0x", 7), "*/s/o", "a/*/o", "a/s/*",
                      ".flame/s/o", "a/s/" + std::string(256, 'x'), "a/s/\xff\xfe"));

TEST(KeyTest, UnwiseNamesAreReadButNotWritten) {
  for (const std::string& name : {std::string("a/s/o\nx"), "a/s/" + std::string(241, 'x'),
                                  std::string("a/s/\x7f")}) {
    EXPECT_TRUE(Key::Parse(name).ok()) << name;
    EXPECT_FALSE(Key::ParseForWrite(name).ok()) << name;
  }
}

TEST(KeyTest, C4_ColonsSpacesAndStarsInsideANameAreOrdinary) {
  for (const char* name :
       {"a/s/o:5", "a:b/s/o", "a/s/two words", "a*/s*/o*", "a/s/.hidden", "ä/ß/名"}) {
    EXPECT_TRUE(Key::ParseForWrite(name).ok()) << name;
  }
}

TEST(KeyTest, ExactlyThreeValidPartsAreAnObjectKey) {
  EXPECT_EQ(ClassifyKey("a/s/o"), KeyClass::kObject);
  for (const char* plain : {"user:1", "a/s", "a/s/o/p", "a//o", "", "a/./o"}) {
    EXPECT_EQ(ClassifyKey(plain), KeyClass::kPlain) << plain;
  }
}

TEST(SelectionTest, KnowsKeyPrefixAndWildcard) {
  EXPECT_EQ((*Selection::Parse("a/s/o")).key->text(), "a/s/o");
  EXPECT_EQ((*Selection::Parse("a/s")).prefix, "a/s/");
  EXPECT_EQ((*Selection::Parse("a/*")).prefix, "a/");
}

TEST(SelectionTest, A1_NothingSelectsTheWholeStore) {
  for (const char* text : {"", "*", "/", "./*", "./.", "a/.", "*/*", "*/s", "a", "a/*/o",
                           "a/s/*", "../*", ".flame/*", ".flame/db"}) {
    EXPECT_FALSE(Selection::Parse(text).ok()) << text;
  }
}

TEST(PutTargetTest, APrefixDrawsAUuid) {
  const PutTarget target = *PutTarget::Parse("a/s");
  EXPECT_TRUE(target.generated);
  EXPECT_THAT(std::string(target.key.object()),
              ::testing::MatchesRegex(
                  "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_FALSE((*PutTarget::Parse("a/s/o")).generated);
  EXPECT_FALSE(PutTarget::Parse("a/*").ok());
}

struct TicketCase {
  std::string text, key;
  int64_t known;
};
class TicketTest : public ::testing::TestWithParam<TicketCase> {};

TEST_P(TicketTest, SplitsAtTheLastColonThatDigitsFollow) {
  const auto ticket = TextTicket::Parse(GetParam().text);
  ASSERT_TRUE(ticket.ok()) << ticket.status();
  EXPECT_EQ(ticket->key.text(), GetParam().key);
  EXPECT_EQ(ticket->known, GetParam().known);
}
INSTANTIATE_TEST_SUITE_P(
    C4, TicketTest,
    ::testing::Values(
        TicketCase{"a/s/o", "a/s/o", 0}, TicketCase{"a/s/o:0", "a/s/o", 0},
        TicketCase{"a/s/o:17", "a/s/o", 17}, TicketCase{"a/s/o:+17", "a/s/o", 17},
        TicketCase{"a/s/o:5:3", "a/s/o:5", 3}, TicketCase{"a/s/x:y", "a/s/x:y", 0},
        TicketCase{"a/s/o:", "a/s/o:", 0}, TicketCase{"a/s/o:-1", "a/s/o:-1", 0},
        TicketCase{"a/s/o:18446744073709551615", "a/s/o", INT64_MAX}));

TEST(TicketTest, RefusesVersionsOver64Bits) {
  EXPECT_FALSE(TextTicket::Parse("a/s/o:18446744073709551616").ok());
  EXPECT_FALSE(TextTicket::Parse("a/s/o:99999999999999999999999").ok());
}

TEST(TicketTest, WhatWeHandOutReadsBackAsTheSameKey) {
  for (const char* text : {"a/s/o", "a/s/o:5", "a/s/o:+5", "a/s/o:x", "a/s/:"}) {
    const Key key = *Key::Parse(text);
    EXPECT_EQ((*TextTicket::Parse(TextTicket::For(key))).key, key) << text;
  }
}

}  // namespace
}  // namespace flame
