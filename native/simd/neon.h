// Four floats or two doubles: NEON of 64-bit ARM.
#pragma once

#include <arm_neon.h>

namespace bptt::BPTT_ISA {

struct F32 {
  using Scalar = float;
  static constexpr int lanes = 4;
  static constexpr int registers = 32;
  float32x4_t v;

  static F32 set(float s) { return {vdupq_n_f32(s)}; }
  static F32 load(const float* p) { return {vld1q_f32(p)}; }
  static F32 load(const float* p, int n) {
    float whole[lanes] = {};
    for (int i = 0; i < n; i++) whole[i] = p[i];
    return load(whole);
  }
  void store(float* p) const { vst1q_f32(p, v); }
  void stream(float* p) const { store(p); }
  static void fence() {}
  void store(float* p, int n) const {
    float whole[lanes];
    store(whole);
    for (int i = 0; i < n; i++) p[i] = whole[i];
  }

  friend F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
  friend F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
  friend F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
  friend F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
  friend F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  friend F32 min(F32 a, F32 b) { return {vminq_f32(a.v, b.v)}; }
  friend F32 max(F32 a, F32 b) { return {vmaxq_f32(a.v, b.v)}; }
  friend F32 unless_nonpositive(F32 a, F32 value) {
    return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value.v), vclezq_f32(a.v)))};
  }
  friend F32 magnitude(F32 a) { return {vabsq_f32(a.v)}; }
  friend F32 with_sign(F32 size, F32 sign) {
    return {vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, size.v)};
  }
  friend F32 power_of_two(F32 shifted) {
    const uint32x4_t n = vaddq_u32(vreinterpretq_u32_f32(shifted.v), vdupq_n_u32(127));
    return {vreinterpretq_f32_u32(vshlq_n_u32(n, 23))};
  }
};

struct F64 {
  using Scalar = double;
  static constexpr int lanes = 2;
  static constexpr int registers = 32;
  float64x2_t v;

  static F64 set(double s) { return {vdupq_n_f64(s)}; }
  static F64 load(const double* p) { return {vld1q_f64(p)}; }
  static F64 load(const double* p, int n) {
    return n == 2 ? load(p) : F64{vsetq_lane_f64(*p, vdupq_n_f64(0), 0)};
  }
  void store(double* p) const { vst1q_f64(p, v); }
  void stream(double* p) const { store(p); }
  static void fence() {}
  void store(double* p, int n) const {
    if (n == 2) return store(p);
    *p = vgetq_lane_f64(v, 0);
  }

  friend F64 operator+(F64 a, F64 b) { return {vaddq_f64(a.v, b.v)}; }
  friend F64 operator-(F64 a, F64 b) { return {vsubq_f64(a.v, b.v)}; }
  friend F64 operator*(F64 a, F64 b) { return {vmulq_f64(a.v, b.v)}; }
  friend F64 operator/(F64 a, F64 b) { return {vdivq_f64(a.v, b.v)}; }
  friend F64 fma(F64 a, F64 b, F64 c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
  friend F64 unless_nonpositive(F64 a, F64 value) {
    return {vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(value.v), vclezq_f64(a.v)))};
  }
  friend F64 max(F64 a, F64 b) { return {vmaxq_f64(a.v, b.v)}; }
};

}  // namespace bptt::BPTT_ISA
