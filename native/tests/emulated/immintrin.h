// The AVX-512 that simd/avx512.h uses, lane by lane, to test it on a CPU without.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

typedef uint16_t __mmask16;
typedef uint8_t __mmask8;

template <class S, int N>
struct Lanes {
  S lane[N];
};
using __m512 = Lanes<float, 16>;
using __m512d = Lanes<double, 8>;
using __m512i = Lanes<uint32_t, 16>;

enum { _CMP_NLE_UQ = 6 };

template <class To, class From>
inline To same_bits(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class V, class F>
inline V each_lane(F f) {
  V v;
  int i = 0;
  for (auto &lane : v.lane) lane = f(i++);
  return v;
}

inline void _mm_sfence() {}

#define BITS(p, S, V, M)                                                                                     \
  inline V _mm512_set1_##p(S s) { return each_lane<V>([&](int) { return s; }); }                             \
  inline V _mm512_setzero_##p() { return _mm512_set1_##p(0); }                                               \
  inline V _mm512_loadu_##p(const S *from) { return each_lane<V>([&](int i) { return from[i]; }); }          \
  inline V _mm512_maskz_loadu_##p(M m, const S *from) {                                                      \
    return each_lane<V>([&](int i) { return m >> i & 1 ? from[i] : 0; });                                    \
  }                                                                                                          \
  inline V _mm512_maskz_mov_##p(M m, V a) { return _mm512_maskz_loadu_##p(m, a.lane); }                      \
  inline void _mm512_mask_storeu_##p(S *to, M m, V a) {                                                      \
    for (const S &lane : a.lane)                                                                             \
      if (const auto i = &lane - a.lane; m >> i & 1) to[i] = lane;                                           \
  }                                                                                                          \
  inline void _mm512_storeu_##p(S *to, V a) { _mm512_mask_storeu_##p(to, static_cast<M>(-1), a); }           \
  inline void _mm512_stream_##p(S *to, V a) { _mm512_storeu_##p(to, a); }                                    \
  inline M _mm512_cmp_##p##_mask(V a, V b, int) {                                                            \
    M m = 0;                                                                                                 \
    for (const S &lane : a.lane) {                                                                           \
      const auto i = &lane - a.lane;                                                                         \
      m |= static_cast<M>(!(lane <= b.lane[i])) << i;                                                        \
    }                                                                                                        \
    return m;                                                                                                \
  }                                                                                                          \
  inline V _mm512_fmadd_##p(V a, V b, V c) {                                                                 \
    return each_lane<V>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });                   \
  }
BITS(ps, float, __m512, __mmask16)
BITS(pd, double, __m512d, __mmask8)
#undef BITS

#define PAIRS(name, V, expression)                                   \
  inline V _mm512_##name(V a, V b) {                                 \
    return each_lane<V>([&](int i) {                                 \
      const auto x = a.lane[i], y = b.lane[i];                       \
      return expression;                                             \
    });                                                              \
  }
PAIRS(add_ps, __m512, x + y)
PAIRS(sub_ps, __m512, x - y)
PAIRS(mul_ps, __m512, x *y)
PAIRS(div_ps, __m512, x / y)
PAIRS(min_ps, __m512, x < y ? x : y)
PAIRS(max_ps, __m512, x > y ? x : y)
PAIRS(and_ps, __m512, same_bits<float>(same_bits<uint32_t>(x) & same_bits<uint32_t>(y)))
PAIRS(andnot_ps, __m512, same_bits<float>(~same_bits<uint32_t>(x) & same_bits<uint32_t>(y)))
PAIRS(or_ps, __m512, same_bits<float>(same_bits<uint32_t>(x) | same_bits<uint32_t>(y)))
PAIRS(add_pd, __m512d, x + y)
PAIRS(sub_pd, __m512d, x - y)
PAIRS(mul_pd, __m512d, x *y)
PAIRS(div_pd, __m512d, x / y)
PAIRS(max_pd, __m512d, x > y ? x : y)
PAIRS(add_epi32, __m512i, x + y)
#undef PAIRS

inline __m512i _mm512_set1_epi32(int s) { return each_lane<__m512i>([&](int) { return s; }); }
inline __m512i _mm512_slli_epi32(__m512i a, int n) {
  return each_lane<__m512i>([&](int i) { return a.lane[i] << n; });
}
inline __m512i _mm512_castps_si512(__m512 a) { return same_bits<__m512i>(a); }
inline __m512 _mm512_castsi512_ps(__m512i a) { return same_bits<__m512>(a); }
