// sigmoid and tanh of a vector, and their slopes from their values.
#pragma once

#include <cmath>

namespace bptt::BPTT_ISA {

// expm1(K·x) of float lanes is (2^n − 1) + 2^n·p with K·x = n·ln 2 + K·r, |K·r| ≤ ln 2 / 2 and p = expm1(K·r): a
// polynomial whose relative error, fitted to be least at its worst, is 2^-25.8. It is summed in pairs: a CPU can
// look ahead of this chain of operations only as far as it is short.
template <int K>
struct Exponential {
  F32 scale, r, r2, rest;  // p = K·r + r2·rest

  explicit Exponential(F32 x) {
    const F32 shift = F32::set(12582912.0f);  // 1.5·2^23: adding it rounds to a whole number in the low bits
    const F32 shifted = fma(x, F32::set(K * 1.44269504f), shift);
    const F32 n = shifted - shift;
    r = fma(n, F32::set(-0.693359375f / K), x);
    r = fma(n, F32::set(2.12194440e-4f / K), r);
    scale = power_of_two(shifted);
    r2 = r * r;
    const F32 low = fma(r, F32::set(K * K * K * 0.1666654348373413f), F32::set(K * K * 0.4999999701976776f));
    F32 high = fma(r, F32::set(K * K * K * K * K * 0.008366547524929047f),
                   F32::set(K * K * K * K * 0.04166720062494278f));
    high = fma(r2, F32::set(K * K * K * K * K * K * 0.0013882516650483012f), high);
    rest = fma(r2, high, low);
  }
};

inline F32 sigmoid(F32 x) {
  const F32 one = F32::set(1.0f);
  // Below -88.4, the scale is inf and the answer 0.
  const Exponential<-1> e(max(F32::set(-89.0f), min(F32::set(87.0f), x)));
  const F32 p = fma(e.r2, e.rest, F32::set(0.0f) - e.r);
  return one / fma(e.scale, one + p, one);
}

inline F32 tanh(F32 x) {
  const F32 one = F32::set(1.0f);
  const Exponential<2> e(min(F32::set(10.0f), magnitude(x)));
  const F32 p = fma(e.r2, e.rest, e.r + e.r);
  const F32 m = fma(e.scale, p, e.scale - one);
  return with_sign(m / (m + F32::set(2.0f)), x);
}

template <double (*function)(double)>
inline F64 each(F64 x) {
  double lanes[F64::lanes];
  x.store(lanes);
  for (double& lane : lanes) lane = function(lane);
  return F64::load(lanes);
}

inline double exponential_of_minus(double x) { return std::exp(-x); }
inline double hyperbolic_tangent(double x) { return std::tanh(x); }

inline F64 sigmoid(F64 x) {
  const F64 one = F64::set(1.0);
  return one / (one + each<exponential_of_minus>(x));
}
inline F64 tanh(F64 x) { return each<hyperbolic_tangent>(x); }

// d sigmoid = s(1 − s), d tanh = 1 − t².
template <class V>
inline V sigmoid_slope(V s) {
  return s * (V::set(1) - s);
}
template <class V>
inline V tanh_slope(V t) {
  return V::set(1) - t * t;
}

}  // namespace bptt::BPTT_ISA
