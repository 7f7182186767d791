// A disk that fails, refuses or is slow when a test says so: preloaded into a real server, it
// stands between the program and the kernel for every call that changes files below one folder.
// What RocksDB does passes through it as well.
//
// FLAME_FAULTY_FOLDER: the folder. FLAME_FAULTY_CONTROL: a file of three 32-bit numbers, mapped
// and read before each call: errno to fail with (0 = none), milliseconds to wait, and which calls
// it is about: 1 writes, 2 names and new files, 4 syncs.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { kWrite = 1, kName = 2, kSync = 4 };

static volatile int32_t* control;
static const char* folder;

__attribute__((constructor)) static void Start(void) {
  const char* path = getenv("FLAME_FAULTY_CONTROL");
  folder = getenv("FLAME_FAULTY_FOLDER");
  if (path == NULL || folder == NULL) return;
  const long file = syscall(SYS_open, path, O_RDONLY | O_CLOEXEC);
  void* mapped = mmap(NULL, 12, PROT_READ, MAP_SHARED, (int)file, 0);
  if (mapped == MAP_FAILED) abort();
  control = mapped;
}

static int Below(const char* path) {
  return strncmp(path, folder, strlen(folder)) == 0;
}

static int DescriptorBelow(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return Below(path);
}

static int PathBelow(int directory, const char* path) {
  return path[0] == '/' || directory == AT_FDCWD ? Below(path) : DescriptorBelow(directory);
}

// True if the call is to fail; errno is set.
static int Fault(int kind) {
  if ((control[2] & kind) == 0) return 0;
  for (int32_t waited = 0; waited < control[1]; waited += 5) {
    const struct timespec wait = {0, 5000000};
    nanosleep(&wait, NULL);
  }
  if (control[0] == 0) return 0;
  errno = control[0];
  return 1;
}

#define REAL(name)                            \
  static __typeof__(name)* real;              \
  if (real == NULL) real = dlsym(RTLD_NEXT, #name)
#define ON_FILE(kind, fd) \
  if (control != NULL && DescriptorBelow(fd) && Fault(kind)) return -1
#define ON_PATH(kind, directory, path) \
  if (control != NULL && PathBelow(directory, path) && Fault(kind)) return -1

ssize_t write(int fd, const void* bytes, size_t size) {
  REAL(write);
  ON_FILE(kWrite, fd);
  return real(fd, bytes, size);
}
ssize_t writev(int fd, const struct iovec* pieces, int count) {
  REAL(writev);
  ON_FILE(kWrite, fd);
  return real(fd, pieces, count);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  REAL(pwrite);
  ON_FILE(kWrite, fd);
  return real(fd, bytes, size, at);
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  return pwrite(fd, bytes, size, at);
}
int fallocate(int fd, int mode, off_t at, off_t size) {
  REAL(fallocate);
  ON_FILE(kWrite, fd);
  return real(fd, mode, at, size);
}
int ftruncate(int fd, off_t size) {
  REAL(ftruncate);
  ON_FILE(kWrite, fd);
  return real(fd, size);
}
int fsync(int fd) {
  REAL(fsync);
  ON_FILE(kSync, fd);
  return real(fd);
}
int fdatasync(int fd) {
  REAL(fdatasync);
  ON_FILE(kSync, fd);
  return real(fd);
}
int sync_file_range(int fd, off_t at, off_t size, unsigned flags) {
  REAL(sync_file_range);
  if (flags != 0) ON_FILE(kSync, fd);  // Without flags it asks whether the call is known.
  return real(fd, at, size, flags);
}
int rename(const char* from, const char* to) {
  REAL(rename);
  ON_PATH(kName, AT_FDCWD, to);
  return real(from, to);
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  REAL(renameat);
  ON_PATH(kName, to_directory, to);
  return real(from_directory, from, to_directory, to);
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) {
  REAL(renameat2);
  ON_PATH(kName, to_directory, to);
  return real(from_directory, from, to_directory, to, flags);
}
int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) {
  REAL(linkat);
  ON_PATH(kName, to_directory, to);
  return real(from_directory, from, to_directory, to, flags);
}
int unlink(const char* path) {
  REAL(unlink);
  ON_PATH(kName, AT_FDCWD, path);
  return real(path);
}
int unlinkat(int directory, const char* path, int flags) {
  REAL(unlinkat);
  ON_PATH(kName, directory, path);
  return real(directory, path, flags);
}
int mkdir(const char* path, mode_t mode) {
  REAL(mkdir);
  ON_PATH(kName, AT_FDCWD, path);
  return real(path, mode);
}
int mkdirat(int directory, const char* path, mode_t mode) {
  REAL(mkdirat);
  ON_PATH(kName, directory, path);
  return real(directory, path, mode);
}
int open(const char* path, int flags, ...) {
  REAL(open);
  va_list more;
  va_start(more, flags);
  const mode_t mode = va_arg(more, mode_t);
  va_end(more);
  if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0) ON_PATH(kName, AT_FDCWD, path);
  return real(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return open(path, flags, mode);
}
int openat(int directory, const char* path, int flags, ...) {
  REAL(openat);
  va_list more;
  va_start(more, flags);
  const mode_t mode = va_arg(more, mode_t);
  va_end(more);
  if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0) ON_PATH(kName, directory, path);
  return real(directory, path, flags, mode);
}
int openat64(int directory, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return openat(directory, path, flags, mode);
}
// openat2 has no function of its own in the C library.
long syscall(long number, ...) {
  static long (*real)(long, ...);
  if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  long a[6];
  va_list more;
  va_start(more, number);
  for (int i = 0; i < 6; ++i) a[i] = va_arg(more, long);
  va_end(more);
  if (number == SYS_openat2 && control != NULL) {
    // The first field of its argument are the flags.
    const uint64_t flags = *(const uint64_t*)a[2];
    if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0) ON_PATH(kName, (int)a[0], (const char*)a[1]);
  }
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
