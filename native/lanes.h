// The numbers of a row by vectors, of which the last may be in part beyond it.
#pragma once

#include <cstdint>

// What is called for every vector; inside its loop, constants and branches are set up once.
#define BPTT_INLINE inline __attribute__((always_inline))

namespace bptt::BPTT_ISA {

template <class V>
inline V take(const typename V::Scalar *p, int width) {
  return width == V::lanes ? V::load(p) : V::load(p, width);
}

template <class V>
inline void put(typename V::Scalar *p, V value, int width) {
  if (width == V::lanes)
    value.store(p);
  else
    value.store(p, width);
}

template <class V>
inline void put(typename V::Scalar *p, V value, int width, bool stream) {
  if (stream && width == V::lanes)
    value.stream(p);
  else
    put(p, value, width);
}

template <class V>
inline int lanes_at(int64_t H, int64_t u) {
  const int64_t left = H - u * V::lanes;
  return static_cast<int>(left < V::lanes ? left : V::lanes);
}

template <class V>
constexpr int64_t vectors(int64_t H) {
  return (H + V::lanes - 1) / V::lanes;
}

// Asks for a line of what will be read next, once for every line. The address may lie beyond the array.
template <class S>
BPTT_INLINE void fetch_ahead(const S *at, int64_t unit, int64_t ahead) {
  constexpr int64_t line = 64 / sizeof(S);
  if (at && unit % line == 0) __builtin_prefetch(at + unit + ahead);
}

}  // namespace bptt::BPTT_ISA
