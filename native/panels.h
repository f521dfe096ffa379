// Products of many short rows with one matrix that is used again at every step.
//
// A panel is a strip of the matrix N vectors wide, laid out [k][N][lanes], so that the innermost loop reads it
// from end to end; lanes beyond the matrix hold 0. Every result is the sum over k in one fixed order, whatever
// rows are computed beside it.
#pragma once

#include "lanes.h"

// BPTT_UNROLL: sums stay in registers only if every loop over them is unrolled, early; g++ needs to be told.
// BPTT_UNROLL_IN_PART: four trips at a time, which leaves fewer instructions for the loop itself; they count where
// a thread on the same core takes its share of those that the core begins.
#if defined(__clang__)
#define BPTT_UNROLL _Pragma("unroll")
#define BPTT_UNROLL_IN_PART _Pragma("unroll 4")
#else
#define BPTT_UNROLL _Pragma("GCC unroll 16")
#define BPTT_UNROLL_IN_PART _Pragma("GCC unroll 4")
#endif

namespace bptt::BPTT_ISA {

constexpr int64_t max_rows = 8;

// Rows whose sums fit in registers beside what is multiplied.
template <class V, int N>
constexpr int rows_at_once() {
  for (int rows = max_rows; rows > 1; rows--)
    if (rows * N + (rows < N ? rows : N) + 1 <= V::registers) return rows;
  return 1;
}

// Steps of k whose part of a panel stays in the first-level cache while all rows pass.
template <class V, int N>
constexpr int64_t depth() {
  return 24 * 1024 / (N * V::lanes * static_cast<int64_t>(sizeof(typename V::Scalar)));
}

// sums[R][N] += factor(r, k) · panel[k][N] over k, for a panel of that or another width.
template <class V, int N, int R, int Width = N, class F>
inline void multiply(V (&sums)[R][N], F factor, const typename V::Scalar *panel, int64_t K) {
  constexpr int L = V::lanes;
  BPTT_UNROLL_IN_PART
  for (int64_t k = 0; k < K; k++, panel += Width * L) {
    if constexpr (R < N) {
      V factors[R];
      BPTT_UNROLL
      for (int r = 0; r < R; r++) factors[r] = V::set(factor(r, k));
      BPTT_UNROLL
      for (int n = 0; n < N; n++) {
        const V w = V::load(panel + n * L);
        BPTT_UNROLL
        for (int r = 0; r < R; r++) sums[r][n] = fma(factors[r], w, sums[r][n]);
      }
    } else {
      V w[N];
      BPTT_UNROLL
      for (int n = 0; n < N; n++) w[n] = V::load(panel + n * L);
      BPTT_UNROLL
      for (int r = 0; r < R; r++) {
        const V f = V::set(factor(r, k));
        BPTT_UNROLL
        for (int n = 0; n < N; n++) sums[r][n] = fma(f, w[n], sums[r][n]);
      }
    }
  }
}

// Memory that a product asks for while it multiplies, some lines of the cache at a time: in all the given bytes after
// so many requests. It may lie beyond the array.
class Ahead {
 public:
  static constexpr int64_t steps = 8;  // of k, from one request to the next

  Ahead(const void *begin, int64_t bytes, int64_t requests)
      : at_(static_cast<const char *>(begin)),
        end_(at_ + bytes),
        each_(bytes > 0 ? (bytes / requests / line + 1) * line : 0) {}

  bool left() const { return at_ < end_; }
  void fetch() {
    for (const char *stop = at_ + each_; at_ < stop; at_ += line) __builtin_prefetch(at_, 0, 2);
  }

 private:
  static constexpr int64_t line = 64;
  const char *at_, *end_;
  int64_t each_;
};

template <class V, int N, int R, int Width = N>
inline void tile(const typename V::Scalar *const *rows, const typename V::Scalar *panel, int64_t K,
                 typename V::Scalar *out, bool add, Ahead *ahead = nullptr) {
  using S = typename V::Scalar;
  constexpr int L = V::lanes;
  V sums[R][N];
  const S *row[R];
  BPTT_UNROLL
  for (int r = 0; r < R; r++) {
    row[r] = rows[r];
    BPTT_UNROLL
    for (int n = 0; n < N; n++) sums[r][n] = add ? V::load(out + (r * Width + n) * L) : V::set(0);
  }
  int64_t done = 0;
  const auto factor = [&](int r, int64_t k) { return row[r][done + k]; };
  if (ahead && ahead->left())
    for (; done + Ahead::steps <= K; done += Ahead::steps) {
      ahead->fetch();
      multiply<V, N, R, Width>(sums, factor, panel + done * Width * L, Ahead::steps);
    }
  multiply<V, N, R, Width>(sums, factor, panel + done * Width * L, K - done);
  BPTT_UNROLL
  for (int r = 0; r < R; r++)
    BPTT_UNROLL
    for (int n = 0; n < N; n++) sums[r][n].store(out + (r * Width + n) * L);
}

template <class V, int N, int R = rows_at_once<V, N>()>
inline void rest(int64_t count, const typename V::Scalar *const *rows, const typename V::Scalar *panel,
                 int64_t K, typename V::Scalar *out, bool add) {
  if constexpr (R > 0) {
    if (count == R) return tile<V, N, R>(rows, panel, K, out, add);
    rest<V, N, R - 1>(count, rows, panel, K, out, add);
  }
}

// One row more than fit, which on its own would leave most registers idle: half of the panel after the other.
template <class V, int N>
inline void one_more(const typename V::Scalar *const *rows, const typename V::Scalar *panel, int64_t K,
                     typename V::Scalar *out, bool add) {
  constexpr int R = rows_at_once<V, N>();
  if constexpr (N % 2 == 0) {
    tile<V, N / 2, R + 1, N>(rows, panel, K, out, add);
    tile<V, N / 2, R + 1, N>(rows, panel + N / 2 * V::lanes, K, out + N / 2 * V::lanes, add);
  } else {
    tile<V, N, R>(rows, panel, K, out, add);
    tile<V, N, 1>(rows + R, panel, K, out + R * N * V::lanes, add);
  }
}

// Bytes of a (K, width) matrix.
template <class V>
constexpr int64_t bytes(int64_t K, int64_t width) {
  return K * width * static_cast<int64_t>(sizeof(typename V::Scalar));
}

// Whether some of such a matrix comes from the last-level cache whenever it is used.
template <class V>
constexpr bool far(int64_t K, int64_t width) {
  return bytes<V>(K, width) > 192 << 10;
}

// out[count][N][lanes] = rows[count][K] × panel. With a panel that comes `after`, the next part is fetched while there
// are rows enough to do it meanwhile.
template <class V, int N>
void product(int64_t count, const typename V::Scalar **rows, const typename V::Scalar *panel, int64_t K,
             typename V::Scalar *out, const typename V::Scalar *after) {
  using S = typename V::Scalar;
  constexpr int R = rows_at_once<V, N>();
  const int64_t deep = K < depth<V, N>() ? K : depth<V, N>();
  for (int64_t k = 0; k < K; k += deep) {
    const bool last = K - k <= deep;
    const int64_t part = last ? K - k : deep;
    const S *at = panel + k * N * V::lanes;
    const int64_t ahead_bytes = after && count > 2 * R ? bytes<V>(deep, N * V::lanes) : 0;
    Ahead ahead(last ? after : at + part * N * V::lanes, ahead_bytes, count / R * (part / Ahead::steps) + 1);
    int64_t here;
    for (int64_t first = 0; first < count; first += here) {
      const int64_t left = count - first;
      const S *from[R + 1] = {};
      here = left <= R + 1 ? left : R;
      for (int64_t r = 0; r < here; r++) from[r] = rows[first + r] + k;
      S *to = out + first * N * V::lanes;
      if (here == R)
        tile<V, N, R>(from, at, part, to, k > 0, &ahead);
      else if (here == R + 1)
        one_more<V, N>(from, at, part, to, k > 0);
      else
        rest<V, N>(here, from, at, part, to, k > 0);
    }
  }
}

// Panels of N vectors whose sums for a single row, side by side, keep the CPU busy: those of one are too few for it to
// begin the next multiplication before the last one ends.
template <int N>
constexpr int panels_at_once = (7 + N) / N;

// The products of one row with that many panels, one after the other in memory.
template <class V, int N>
void row_products(const typename V::Scalar *row, const typename V::Scalar *panels, int64_t K, typename V::Scalar *out) {
  constexpr int L = V::lanes, P = panels_at_once<N>;
  V sums[P][N];
  BPTT_UNROLL
  for (int p = 0; p < P; p++)
    BPTT_UNROLL
    for (int n = 0; n < N; n++) sums[p][n] = V::set(0);
  BPTT_UNROLL_IN_PART
  for (int64_t k = 0; k < K; k++) {
    const V factor = V::set(row[k]);
    BPTT_UNROLL
    for (int p = 0; p < P; p++)
      BPTT_UNROLL
      for (int n = 0; n < N; n++) sums[p][n] = fma(factor, V::load(panels + ((p * K + k) * N + n) * L), sums[p][n]);
  }
  BPTT_UNROLL
  for (int p = 0; p < P; p++)
    BPTT_UNROLL
    for (int n = 0; n < N; n++) sums[p][n].store(out + (p * N + n) * L);
}

// z += x × panel for one row.
template <class V, int G>
BPTT_INLINE void add_inputs(V (&z)[G], const typename V::Scalar *x, const typename V::Scalar *panel, int64_t I) {
  for (int64_t k = 0; k < I; k++, panel += G * V::lanes) {
    const V factor = V::set(x[k]);
    BPTT_UNROLL
    for (int g = 0; g < G; g++) z[g] = fma(factor, V::load(panel + g * V::lanes), z[g]);
  }
}

// Some columns of a transposed (…, K) matrix, each where the one before it ends, as one vector of every row of a
// panel, `row` numbers apart: lane j from column j, and 0 beyond their count.
//
// Not inline: with a constant for `row`, g++ 12 makes it half as fast.
template <class V>
__attribute__((noinline)) void pack_columns(const typename V::Scalar *columns, int64_t count, int64_t K,
                                            typename V::Scalar *out, int64_t row) {
  constexpr int64_t L = V::lanes;
  if (count >= L)
    for (int64_t k = 0; k < K; k++)
      for (int64_t lane = 0; lane < L; lane++) out[k * row + lane] = columns[lane * K + k];
  else
    for (int64_t k = 0; k < K; k++)
      for (int64_t lane = 0; lane < L; lane++) out[k * row + lane] = lane < count ? columns[lane * K + k] : 0;
}

// Panels of G gates × one vector of units, for w (G·H, K): out[unit vector][k][gate][lane].
template <class V, int G>
void pack_gates(const typename V::Scalar *w, int64_t H, int64_t K, int64_t u, typename V::Scalar *out) {
  constexpr int L = V::lanes;
  for (int g = 0; g < G; g++)
    pack_columns<V>(w + (g * H + u * L) * K, H - u * L, K, out + (u * K * G + g) * L, G * L);
}

// The columns of a matrix in strips of one to four vectors, as equal as can be.
struct Strip {
  int64_t first, vectors;  // in vectors
};

template <class V>
constexpr int64_t strips(int64_t H) {
  return (vectors<V>(H) + 3) / 4;
}

// The vector with which strip s begins, or with s = strips, the columns end.
template <class V>
inline int64_t strip_begin(int64_t H, int64_t s) {
  return vectors<V>(H) * s / strips<V>(H);
}

template <class V>
inline Strip strip(int64_t H, int64_t s) {
  const int64_t first = strip_begin<V>(H, s);
  return {first, strip_begin<V>(H, s + 1) - first};
}

// Strips as wide as strip s, from it on and before `stop`.
template <class V>
inline int64_t equal_strips(int64_t H, int64_t s, int64_t stop) {
  int64_t count = 1;
  while (s + count < stop && strip<V>(H, s + count).vectors == strip<V>(H, s).vectors) count++;
  return count;
}

// The row k of a (K, H) matrix into its strips; NULL stands for zeros.
template <class V>
void pack_row(const typename V::Scalar *row, int64_t H, int64_t K, int64_t k, typename V::Scalar *out) {
  constexpr int64_t L = V::lanes;
  for (int64_t s = 0; s < strips<V>(H); s++) {
    const Strip at = strip<V>(H, s);
    typename V::Scalar *to = out + (K * at.first + k * at.vectors) * L;
    for (int64_t u = at.first; u < at.first + at.vectors; u++, to += L)
      (row ? take<V>(row + u * L, lanes_at<V>(H, u)) : V::set(0)).store(to);
  }
}

// The strip s of the transpose of an (H, K) matrix.
template <class V>
void pack_transposed_strip(const typename V::Scalar *w, int64_t H, int64_t K, int64_t s, typename V::Scalar *out) {
  constexpr int64_t L = V::lanes;
  const Strip at = strip<V>(H, s);
  for (int64_t v = 0; v < at.vectors; v++) {
    const int64_t unit = (at.first + v) * L;
    pack_columns<V>(w + unit * K, H - unit, K, out + (K * at.first + v) * L, at.vectors * L);
  }
}

// The products with as many strips of a packed (K, H) matrix, from s on and before `stop`, as suit the number of rows:
// gives how many. They lie strip after strip in out. Strip s is N vectors wide.
template <class V, int N>
int64_t strip_products(int64_t H, int64_t s, int64_t stop, int64_t count, const typename V::Scalar **rows,
                       const typename V::Scalar *panels, int64_t K, typename V::Scalar *out) {
  panels += K * strip_begin<V>(H, s) * V::lanes;
  if (count == 1 && equal_strips<V>(H, s, stop) >= panels_at_once<N>) {
    row_products<V, N>(rows[0], panels, K, out);
    return panels_at_once<N>;
  }
  product<V, N>(count, rows, panels, K, out, far<V>(K, H) ? panels + K * N * V::lanes : nullptr);
  return 1;
}

template <class V>
inline int64_t strip_products(int64_t H, int64_t s, int64_t stop, int64_t count, const typename V::Scalar **rows,
                              const typename V::Scalar *panels, int64_t K, typename V::Scalar *out) {
  switch (strip<V>(H, s).vectors) {
    case 1: return strip_products<V, 1>(H, s, stop, count, rows, panels, K, out);
    case 2: return strip_products<V, 2>(H, s, stop, count, rows, panels, K, out);
    case 3: return strip_products<V, 3>(H, s, stop, count, rows, panels, K, out);
    default: return strip_products<V, 4>(H, s, stop, count, rows, panels, K, out);
  }
}

// Room for what they write of so many rows, in vectors.
constexpr int64_t strip_room(int64_t count) { return count * 4 + 8; }

}  // namespace bptt::BPTT_ISA
