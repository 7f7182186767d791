#include "flame/base/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace flame {
namespace {

using ::testing::HasSubstr;

class UnixSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/flame-socket-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path() const { return folder_ + "/private/cache.sock"; }
  mode_t Mode(const std::string& of) const {
    struct stat found {};
    return lstat(of.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
  }
  /// What a server does.
  int Listen() const {
    const PrivateUmask nobody_else;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof(address.sun_path) - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(socket, 1), 0);
    return socket;
  }

  std::string folder_;
};

TEST_F(UnixSocketTest, FolderAndSocketAreForTheUserAlone) {
  ASSERT_OK_AND_ASSIGN(const auto claim, UnixSocket::Claim(path()));
  const int server = Listen();
  EXPECT_EQ(Mode(folder_ + "/private"), 0700);
  EXPECT_EQ(Mode(path()), 0600);
  EXPECT_EQ(Mode(path() + ".lock"), 0600);
  close(server);
}

TEST_F(UnixSocketTest, NothingIsLeftBehind) {
  {
    ASSERT_OK_AND_ASSIGN(const auto claim, UnixSocket::Claim(path()));
    close(Listen());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/private"));
}

TEST_F(UnixSocketTest, OnlyOneCanClaimAPath) {
  ASSERT_OK_AND_ASSIGN(const auto claim, UnixSocket::Claim(path()));
  const auto second = UnixSocket::Claim(path());
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("another server listens there"));
  EXPECT_TRUE(std::filesystem::exists(path() + ".lock"));
}

TEST_F(UnixSocketTest, SocketOfTheDeadIsReplaced) {
  std::filesystem::create_directories(folder_ + "/private");
  close(Listen());
  ASSERT_TRUE(std::filesystem::exists(path()));
  ASSERT_OK_AND_ASSIGN(const auto claim, UnixSocket::Claim(path()));
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(UnixSocketTest, SocketOfTheLivingIsNot) {
  std::filesystem::create_directories(folder_ + "/private");
  const int other = Listen();  // Of a program that knows nothing of our lock.
  EXPECT_THAT(UnixSocket::Claim(path()).status().message(),
              HasSubstr("another server listens there"));
  EXPECT_TRUE(std::filesystem::exists(path()));
  close(other);
}

TEST_F(UnixSocketTest, WhatIsNoSocketStays) {
  std::filesystem::create_directories(folder_ + "/private");
  std::ofstream(path()) << "mine";
  EXPECT_THAT(UnixSocket::Claim(path()).status().message(), HasSubstr("no socket"));
  EXPECT_EQ(std::filesystem::file_size(path()), 4U);
}

TEST_F(UnixSocketTest, LockIsNotFollowedElsewhere) {
  std::filesystem::create_directories(folder_ + "/private");
  std::filesystem::create_symlink(folder_ + "/elsewhere", path() + ".lock");
  EXPECT_FALSE(UnixSocket::Claim(path()).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/elsewhere"));
}

}  // namespace
}  // namespace flame
