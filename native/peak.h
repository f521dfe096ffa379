// The most arithmetic that the machine can do: what a floor is counted from.
#pragma once

#include <cstdint>

#include "panels.h"

namespace bptt::BPTT_ISA {

// `rounds` of independent multiplications with additions, as many at a time as hide their latency and leave
// registers for two factors; gives the number of operations.
template <class V>
int64_t busy(int64_t rounds, typename V::Scalar *sink) {
  constexpr int chains = V::registers - 4 < 12 ? V::registers - 4 : 12;
  V sums[chains];
  for (int i = 0; i < chains; i++) sums[i] = V::set(static_cast<typename V::Scalar>(i));
  const V half = V::set(0.5), one = V::set(1);
  for (int64_t r = 0; r < rounds; r++) {
    BPTT_UNROLL
    for (int i = 0; i < chains; i++) sums[i] = fma(sums[i], half, one);
  }
  for (int i = 1; i < chains; i++) sums[0] = sums[0] + sums[i];
  typename V::Scalar lanes[V::lanes];
  sums[0].store(lanes);
  *sink = lanes[0];
  return rounds * chains * V::lanes * 2;
}

}  // namespace bptt::BPTT_ISA
