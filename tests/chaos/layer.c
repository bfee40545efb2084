/* Faults between a relay and its kernel: preloaded, steered through a file that both sides map.
 *
 * What CHAOS_LAYER names holds seven 64-bit numbers: errno of every sync (0: none), milliseconds that a sync takes longer
 * (it ends at once when that becomes 0), seconds that the wall clock is off; what the layer writes: how many syncs met a
 * fault, and microseconds that the longest of them took; and which sync from now on meets the fault (0: each; the layer
 * counts it down, past 0 none does). Where CHAOS_LAYER_FILES has words with commas between them, only syncs of files
 * whose path has one of them are counted down, and meet it: what is tidied up in between is nobody's turn. The seventh
 * number has a bit for each of these words that counts now (0: all of them).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t nothing[7];
static volatile int64_t *steering = nothing;
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  const char *path = getenv("CHAOS_LAYER");
  int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) steering = mapped;
  close(file);
}

static int is_named(int file) {
  char link[32], path[4096], words[256], *rest = words;
  const char *named = getenv("CHAOS_LAYER_FILES");
  if (!named) return 1;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  snprintf(words, sizeof words, "%s", named);
  int64_t counting = steering[6] ? steering[6] : -1;
  for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ",")) {
    if ((counting & 1) && strstr(path, word)) return 1;
    counting >>= 1;
  }
  return 0;
}

static int is_spared(int file) {
  if (!steering[5]) return 0;
  if (!is_named(file)) return 1;
  int64_t left = __atomic_fetch_sub(&steering[5], 1, __ATOMIC_RELAXED);
  if (left == 1) __atomic_fetch_sub(&steering[5], 1, __ATOMIC_RELAXED); /* 0 would mean each */
  return left != 1;
}

static void linger(void) {
  for (int64_t left = steering[1]; left > 0 && steering[1]; left -= 20) {
    usleep((useconds_t)(left < 20 ? left : 20) * 1000);
  }
}

static int faulty(int file) {
  if (!(steering[0] || steering[1]) || is_spared(file)) return 0;
  __atomic_fetch_add(&steering[3], 1, __ATOMIC_RELAXED);
  linger();
  if (steering[0]) errno = (int)steering[0];
  return steering[0] != 0;
}

static int64_t microseconds(void) {
  struct timespec at;
  real_clock_gettime(CLOCK_MONOTONIC, &at);
  return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static int sync_with(int (*real)(int), int file) {
  int64_t began = microseconds();
  int result = faulty(file) ? -1 : real(file);
  int error = errno;
  int64_t took = microseconds() - began, longest = steering[4];
  while (took > longest && !__atomic_compare_exchange_n(&steering[4], &longest, took, 0, __ATOMIC_RELAXED,
                                                        __ATOMIC_RELAXED)) {
  }
  errno = error;
  return result;
}

int fdatasync(int file) { return sync_with(real_fdatasync, file); }

int fsync(int file) { return sync_with(real_fsync, file); }

int clock_gettime(clockid_t clock, struct timespec *at) {
  int failed = real_clock_gettime(clock, at);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += steering[2];
  return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
