// Eight floats or four doubles: AVX2 with FMA.
#pragma once

#include <immintrin.h>

namespace bptt::BPTT_ISA {

struct F32 {
  using Scalar = float;
  static constexpr int lanes = 8;
  static constexpr int registers = 16;
  __m256 v;

  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F32 set(float s) { return {_mm256_set1_ps(s)}; }
  static F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static F32 load(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  // Past the caches, to an aligned address; other threads see it after a fence.
  void stream(float* p) const { _mm256_stream_ps(p, v); }
  static void fence() { _mm_sfence(); }
  void store(float* p, int n) const { _mm256_maskstore_ps(p, first(n), v); }

  friend F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
  friend F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  friend F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
  friend F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
  friend F32 unless_nonpositive(F32 a, F32 value) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.v, _mm256_setzero_ps(), _CMP_NLE_UQ), value.v)};
  }
  friend F32 magnitude(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  friend F32 with_sign(F32 size, F32 sign) {
    return {_mm256_or_ps(size.v, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign.v))};
  }
  friend F32 power_of_two(F32 shifted) {
    const __m256i n = _mm256_add_epi32(_mm256_castps_si256(shifted.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(n, 23))};
  }
};

struct F64 {
  using Scalar = double;
  static constexpr int lanes = 4;
  static constexpr int registers = 16;
  __m256d v;

  static __m256i first(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static F64 set(double s) { return {_mm256_set1_pd(s)}; }
  static F64 load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static F64 load(const double* p, int n) { return {_mm256_maskload_pd(p, first(n))}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void stream(double* p) const { _mm256_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }
  void store(double* p, int n) const { _mm256_maskstore_pd(p, first(n), v); }

  friend F64 operator+(F64 a, F64 b) { return {_mm256_add_pd(a.v, b.v)}; }
  friend F64 operator-(F64 a, F64 b) { return {_mm256_sub_pd(a.v, b.v)}; }
  friend F64 operator*(F64 a, F64 b) { return {_mm256_mul_pd(a.v, b.v)}; }
  friend F64 operator/(F64 a, F64 b) { return {_mm256_div_pd(a.v, b.v)}; }
  friend F64 fma(F64 a, F64 b, F64 c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
  friend F64 unless_nonpositive(F64 a, F64 value) {
    return {_mm256_and_pd(_mm256_cmp_pd(a.v, _mm256_setzero_pd(), _CMP_NLE_UQ), value.v)};
  }
  friend F64 max(F64 a, F64 b) { return {_mm256_max_pd(a.v, b.v)}; }
};

}  // namespace bptt::BPTT_ISA
