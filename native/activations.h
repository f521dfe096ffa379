// sigmoid and tanh of a vector, and their slopes from their values.
#pragma once

#include <cmath>

namespace bptt::BPTT_ISA {

// expm1(x) of float lanes is (2^n − 1) + 2^n·p with x = n·ln 2 + r, |r| ≤ ln 2 / 2 and p = expm1(r): a
// polynomial whose relative error, fitted to be least at its worst, is 2^-25.8.
struct Parts {
  F32 scale, p;
};

inline Parts exponential(F32 x) {
  const F32 shift = F32::set(12582912.0f);  // 1.5·2^23: adding it rounds to a whole number in the low bits
  const F32 shifted = fma(x, F32::set(1.44269504f), shift);
  const F32 n = shifted - shift;
  F32 r = fma(n, F32::set(-0.693359375f), x);
  r = fma(n, F32::set(2.12194440e-4f), r);
  F32 q = F32::set(0.0013882516650483012f);
  q = fma(q, r, F32::set(0.008366547524929047f));
  q = fma(q, r, F32::set(0.04166720062494278f));
  q = fma(q, r, F32::set(0.1666654348373413f));
  q = fma(q, r, F32::set(0.4999999701976776f));
  return {power_of_two(shifted), fma(q * r, r, r)};
}

inline F32 sigmoid(F32 x) {
  const F32 one = F32::set(1.0f);
  // From 88.4 on, the scale is inf and the answer 0.
  const Parts e = exponential(min(F32::set(89.0f), max(F32::set(-87.0f), F32::set(0.0f) - x)));
  return one / (one + e.scale * (one + e.p));
}

inline F32 tanh(F32 x) {
  const F32 one = F32::set(1.0f);
  const F32 size = magnitude(x);
  const Parts e = exponential(min(F32::set(20.0f), size + size));
  const F32 m = fma(e.scale, e.p, e.scale - one);
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
