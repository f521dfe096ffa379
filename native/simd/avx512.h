// Sixteen floats or eight doubles: AVX-512 F and DQ.
#pragma once

#include <immintrin.h>

namespace bptt::BPTT_ISA {

struct F32 {
  using Scalar = float;
  static constexpr int lanes = 16;
  static constexpr int registers = 32;
  __m512 v;

  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  static F32 set(float s) { return {_mm512_set1_ps(s)}; }
  static F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F32 load(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void stream(float* p) const { _mm512_stream_ps(p, v); }
  static void fence() { _mm_sfence(); }
  void store(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }

  friend F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  friend F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
  friend F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
  friend F32 unless_nonpositive(F32 a, F32 value) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_NLE_UQ), value.v)};
  }
  friend F32 magnitude(F32 a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
  friend F32 with_sign(F32 size, F32 sign) {
    return {_mm512_or_ps(size.v, _mm512_and_ps(_mm512_set1_ps(-0.0f), sign.v))};
  }
  friend F32 power_of_two(F32 shifted) {
    const __m512i n = _mm512_add_epi32(_mm512_castps_si512(shifted.v), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(n, 23))};
  }
};

struct F64 {
  using Scalar = double;
  static constexpr int lanes = 8;
  static constexpr int registers = 32;
  __m512d v;

  static __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1); }
  static F64 set(double s) { return {_mm512_set1_pd(s)}; }
  static F64 load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static F64 load(const double* p, int n) { return {_mm512_maskz_loadu_pd(first(n), p)}; }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void stream(double* p) const { _mm512_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }
  void store(double* p, int n) const { _mm512_mask_storeu_pd(p, first(n), v); }

  friend F64 operator+(F64 a, F64 b) { return {_mm512_add_pd(a.v, b.v)}; }
  friend F64 operator-(F64 a, F64 b) { return {_mm512_sub_pd(a.v, b.v)}; }
  friend F64 operator*(F64 a, F64 b) { return {_mm512_mul_pd(a.v, b.v)}; }
  friend F64 operator/(F64 a, F64 b) { return {_mm512_div_pd(a.v, b.v)}; }
  friend F64 fma(F64 a, F64 b, F64 c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
  friend F64 unless_nonpositive(F64 a, F64 value) {
    return {_mm512_maskz_mov_pd(_mm512_cmp_pd_mask(a.v, _mm512_setzero_pd(), _CMP_NLE_UQ), value.v)};
  }
  friend F64 max(F64 a, F64 b) { return {_mm512_max_pd(a.v, b.v)}; }
};

}  // namespace bptt::BPTT_ISA
