// The C interface: which instruction set, which kernel, on how many threads.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels.h"

namespace bptt {
namespace {

struct Isa {
  const char *name;
  bool (*available)();
  const Kernels *kernels;
};

// Fastest first.
const Isa isas[] = {
#ifdef BPTT_HAS_AVX512
    {"avx512", [] { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"); },
     &avx512::kernels},
#endif
#ifdef BPTT_HAS_AVX2
    {"avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, &avx2::kernels},
#endif
#ifdef BPTT_HAS_NEON
    {"neon", [] { return true; }, &neon::kernels},
#endif
    {"scalar", [] { return true; }, &scalar::kernels},
};

const Isa *find(const char *name) {
  for (const Isa &isa : isas)
    if (isa.available() && (!name || std::strcmp(name, isa.name) == 0)) return &isa;
  return nullptr;
}

std::atomic<const Isa *> chosen{nullptr};

const Isa &isa() {
  if (!chosen.load()) {
    const Isa *asked_for = find(std::getenv("BPTT_ISA"));
    chosen.store(asked_for ? asked_for : find(nullptr));
  }
  return *chosen.load();
}

struct Task {
  const Kernel &kernel;
  const bptt_call &call;
  int pass;
};

void work(void *data, Team team) {
  const Task &task = *static_cast<Task *>(data);
  task.kernel.run[task.pass](task.call, team);
}

// Working memory that is enough for a few steps of a few units: asking the caller for so little would cost more than
// such a call does. Each calling thread has its own, and its team works in it.
thread_local unsigned char own_work[32 << 10];

bool known(int op, int pass, int dtype) {
  return op >= 0 && op <= 3 && pass >= 0 && pass <= 1 && dtype >= 0 && dtype <= 1;
}

struct Effort {
  int64_t rounds;
  std::atomic<int64_t> done;
};

void toil(void *data, Team) {
  Effort &effort = *static_cast<Effort *>(data);
  volatile float sink;
  float result;
  effort.done += isa().kernels->busy(effort.rounds, &result);
  sink = result;
  static_cast<void>(sink);
}

}  // namespace
}  // namespace bptt

extern "C" {

int bptt_run(int op, int pass, int dtype, bptt_call *call) {
  if (!bptt::known(op, pass, dtype)) return 1;
  bptt_call lent = *call;
  if (!lent.work) lent.work = bptt::own_work, lent.work_bytes = sizeof bptt::own_work;
  bptt::Task task{bptt::isa().kernels->of[op][dtype], lent, pass};
  const int64_t needed = task.kernel.work(lent, pass);
  if (needed > lent.work_bytes) {
    call->work_bytes = needed;
    return 2;
  }
  bptt::parallel(task.kernel.team(lent), bptt::work, &task);
  return 0;
}

const char *bptt_isa(void) { return bptt::isa().name; }

const char *bptt_isas(void) {
  static const std::string names = [] {
    std::string joined;
    for (const bptt::Isa &isa : bptt::isas)
      if (isa.available()) joined += (joined.empty() ? "" : " ") + std::string(isa.name);
    return joined;
  }();
  return names.c_str();
}

int bptt_use_isa(const char *name) {
  const bptt::Isa *found = bptt::find(name);
  if (!name || !found) return 1;
  bptt::chosen.store(found);
  return 0;
}

int bptt_threaded(void) { return bptt::threaded(); }

int64_t bptt_busy(int64_t threads, int64_t rounds) {
  bptt::Effort effort{rounds, {0}};
  bptt::parallel(threads, bptt::toil, &effort);
  return effort.done;
}

void bptt_activation(int which, int dtype, int64_t n, const void *x, void *result) {
  bptt::isa().kernels->activation[dtype](which, n, x, result);
}
}
