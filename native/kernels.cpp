// Every kernel for one instruction set. Compiled once per set, with BPTT_ISA its name; nothing in here may be
// shared with other files by the linker, which would keep only one set's copy: no templates of std.
#include "kernels.h"

#if defined(BPTT_USE_AVX512)
#include "simd/avx512.h"
#elif defined(BPTT_USE_AVX2)
#include "simd/avx2.h"
#elif defined(BPTT_USE_NEON)
#include "simd/neon.h"
#else
#include "simd/scalar.h"
#endif

#include "gru.h"
#include "lstm.h"
#include "pass.h"
#include "peak.h"
#include "rnn.h"

namespace bptt::BPTT_ISA {

namespace {

template <class V, class K>
constexpr Kernel kernel() {
  return {{run_forward<V, K>, run_backward<V, K>}, team<V, K>, work<V, K>};
}

template <class V, class F>
void each_vector(int64_t n, const void *x, void *result, F function) {
  const auto *from = static_cast<const typename V::Scalar *>(x);
  auto *to = static_cast<typename V::Scalar *>(result);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) function(V::load(from + i)).store(to + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0) function(V::load(from + i, rest)).store(to + i, rest);
}

template <class V>
void activation(int which, int64_t n, const void *x, void *result) {
  if (which == 0)
    each_vector<V>(n, x, result, [](V v) { return sigmoid(v); });
  else
    each_vector<V>(n, x, result, [](V v) { return tanh(v); });
}

}  // namespace

const Kernels kernels = {
    {
        {kernel<F32, Lstm<F32>>(), kernel<F64, Lstm<F64>>()},
        {kernel<F32, Gru<F32>>(), kernel<F64, Gru<F64>>()},
        {kernel<F32, Rnn<F32, Tanh>>(), kernel<F64, Rnn<F64, Tanh>>()},
        {kernel<F32, Rnn<F32, Relu>>(), kernel<F64, Rnn<F64, Relu>>()},
    },
    {activation<F32>, activation<F64>},
    busy<F32>,
};

}  // namespace bptt::BPTT_ISA
