// What each instruction set offers.
#pragma once

#include <cstdint>

#include "parallel.h"
#include "recurrence.h"

namespace bptt {

// Indices: pass.
struct Kernel {
  void (*run[2])(const bptt_call &, Team);
  int64_t (*team)(const bptt_call &);            // threads
  int64_t (*work)(const bptt_call &, int pass);  // bytes
};

struct Kernels {
  Kernel of[4][2];                                                      // op, dtype
  void (*activation[2])(int which, int64_t n, const void *x, void *result);  // dtype
  int64_t (*busy)(int64_t rounds, float *sink);
};

#define BPTT_DECLARE(isa)       \
  namespace isa {               \
  extern const Kernels kernels; \
  }
BPTT_DECLARE(avx512)
BPTT_DECLARE(avx2)
BPTT_DECLARE(neon)
BPTT_DECLARE(scalar)
#undef BPTT_DECLARE

}  // namespace bptt
