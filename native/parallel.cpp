#include "parallel.h"

#include <sched.h>

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#endif

namespace bptt {

void pause(long n) {
  if (n > 1000) {
    sched_yield();  // its thread may be waiting for this very core
    return;
  }
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#ifdef _OPENMP

namespace {

// The threads of OpenMP's pool do not survive a fork, and waiting for them would never end.
bool forked = false;

__attribute__((constructor)) void watch_forks() {
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
}

}  // namespace

void parallel(long threads, void (*task)(void *, Team), void *data) {
  if (threads <= 1 || forked || omp_in_parallel()) return task(data, {0, 1});
#pragma omp parallel num_threads(static_cast<int>(threads))
  task(data, {omp_get_thread_num(), omp_get_num_threads()});
}

void wait_for_team(Team team) {
  if (team.size == 1) return;
#pragma omp barrier
}

bool threaded() { return true; }

#else

void parallel(long, void (*task)(void *, Team), void *data) { task(data, {0, 1}); }
void wait_for_team(Team) {}
bool threaded() { return false; }

#endif

}  // namespace bptt
