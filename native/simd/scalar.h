// One number at a time: for any CPU.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace bptt::BPTT_ISA {

template <class S>
struct One {
  using Scalar = S;
  static constexpr int lanes = 1;
  static constexpr int registers = 16;
  S v;

  static One set(S s) { return {s}; }
  static One load(const S* p) { return {*p}; }
  static One load(const S* p, int) { return {*p}; }
  void store(S* p) const { *p = v; }
  void stream(S* p) const { store(p); }
  static void fence() {}
  void store(S* p, int) const { *p = v; }

  friend One operator+(One a, One b) { return {a.v + b.v}; }
  friend One operator-(One a, One b) { return {a.v - b.v}; }
  friend One operator*(One a, One b) { return {a.v * b.v}; }
  friend One operator/(One a, One b) { return {a.v / b.v}; }
  friend One fma(One a, One b, One c) { return {a.v * b.v + c.v}; }
  // b where either is NaN.
  friend One min(One a, One b) { return {a.v < b.v ? a.v : b.v}; }
  friend One max(One a, One b) { return {a.v > b.v ? a.v : b.v}; }
  // 0 where a ≤ 0, else the value.
  friend One unless_nonpositive(One a, One value) { return {a.v <= 0 ? 0 : value.v}; }
  friend One magnitude(One a) { return {std::fabs(a.v)}; }
  friend One with_sign(One size, One sign) { return {std::copysign(size.v, sign.v)}; }
};

using F32 = One<float>;
using F64 = One<double>;

// 2^n from n + 1.5·2^23, for whole n in [-126, 128]; 2^128 is inf.
inline F32 power_of_two(F32 shifted) {
  uint32_t bits;
  std::memcpy(&bits, &shifted.v, sizeof bits);
  bits = (bits + 127) << 23;
  std::memcpy(&shifted.v, &bits, sizeof bits);
  return shifted;
}

}  // namespace bptt::BPTT_ISA
