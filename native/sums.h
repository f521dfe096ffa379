// Gradients of the weights: products over all rows (t, b) of a part of the steps.
#pragma once

#include "walk.h"

namespace bptt::BPTT_ISA {

// out(j, column) += sum over rows of g[row][j] · z[row][column], for columns in strips like those of a matrix.
//
// The rows are taken in blocks of a fixed size, so that neither the order of the sum nor its result depends
// on how the j are shared out among threads.
template <class V>
class RowSums {
 public:
  using S = typename V::Scalar;

  static constexpr int64_t block = 192;

  // Numbers to work in.
  static int64_t space(int64_t rows, int64_t I, int64_t H) {
    return (rows + block) * (vectors<V>(H) + vectors<V>(I + 1)) * V::lanes;
  }

  // To be called by the whole team after its last step: the rows of all threads are summed.
  static void add(const bptt_call &c, Team team, int64_t slots, int64_t first_slot_of_w_hh) {
    if (!c.grad_w_hh) return;
    wait_for_team();
    const Walk<S> walk(c, team);
    const int64_t rows = walk.steps() * c.B, h_wide = vectors<V>(c.H) * V::lanes;
    const int64_t wide = h_wide + vectors<V>(c.I + 1) * V::lanes;
    S *z = static_cast<S *>(c.rows);
    for (int64_t row = rows * team.id / team.size; row < rows * (team.id + 1) / team.size; row++) {
      const int64_t t = c.begin + row / c.B, b = row % c.B, first = row / block * block;
      const int64_t here = rows - first < block ? rows - first : block;
      const bool has = walk.has(t, b);
      const S *x = walk.at(c.x, (t * c.B + b) * c.I);
      pack(has ? walk.before(t, b, c.y, c.h_0) : nullptr, c.H, false, here, row - first, z + first * wide);
      pack(has ? x : nullptr, c.I, true, here, row - first, z + first * wide + here * h_wide);
    }
    wait_for_team();
    const S *g = static_cast<const S *>(c.grad_gates);
    const int64_t gates = slots * c.H, skipped = first_slot_of_w_hh * c.H;
    for (int64_t first = 0; first < rows; first += block) {
      const int64_t here = rows - first < block ? rows - first : block;
      const S *h_part = z + first * wide, *x_part = h_part + here * h_wide, *from = g + first * gates;
      sum(from + skipped, gates, h_part, here, c.H, share(gates - skipped, team.id, team.size),
          share(gates - skipped, team.id + 1, team.size), static_cast<S *>(c.grad_w_hh), c.H);
      sum(from, gates, x_part, here, c.I + 1, share(gates, team.id, team.size),
          share(gates, team.id + 1, team.size), static_cast<S *>(c.grad_w_x), c.I + 1);
    }
  }

 private:
  // Where the part of a thread begins, in whole tiles.
  static int64_t share(int64_t columns, int64_t id, int64_t size) {
    constexpr int64_t tiles = 24;
    return id == size ? columns : columns / tiles * id / size * tiles;
  }

  template <int N>
  static void strip_sum(const S *g, int64_t g_row, const S *z, int64_t rows, int64_t begin, int64_t end, S *out,
                        int64_t out_row, int last_width) {
    constexpr int R = rows_at_once<V, N>();
    int64_t j = begin;
    for (; j + R <= end; j += R) tile<N, R>(g + j, g_row, z, rows, out + j * out_row, out_row, last_width);
    for (; j < end; j++) tile<N, 1>(g + j, g_row, z, rows, out + j * out_row, out_row, last_width);
  }

  // z: rows of one block in packed strips of `width` columns.
  static void sum(const S *g, int64_t g_row, const S *z, int64_t rows, int64_t width, int64_t begin, int64_t end,
                  S *out, int64_t out_row) {
    // Some columns of g at a time, which stay in the second-level cache while the strips of z pass.
    constexpr int64_t some = 240;
    for (int64_t j = begin; j < end; j += some)
      strip_sums(g, g_row, z, rows, width, j, end - j < some ? end : j + some, out, out_row);
  }

  static void strip_sums(const S *g, int64_t g_row, const S *z, int64_t rows, int64_t width, int64_t begin,
                         int64_t end, S *out, int64_t out_row) {
    for (int64_t s = 0; s < strips<V>(width); s++) {
      const Strip at = strip<V>(width, s);
      const S *from = z + at.first * V::lanes * rows;
      S *to = out + at.first * V::lanes;
      const int last = lanes_at<V>(width, at.first + at.vectors - 1);
      switch (at.vectors) {
        case 1: strip_sum<1>(g, g_row, from, rows, begin, end, to, out_row, last); break;
        case 2: strip_sum<2>(g, g_row, from, rows, begin, end, to, out_row, last); break;
        case 3: strip_sum<3>(g, g_row, from, rows, begin, end, to, out_row, last); break;
        default: strip_sum<4>(g, g_row, from, rows, begin, end, to, out_row, last);
      }
    }
  }

  // One row of z into its place in the strips; NULL stands for zeros.
  static void pack(const S *row, int64_t width, bool one, int64_t rows, int64_t at_row, S *z) {
    constexpr int64_t L = V::lanes;
    const int64_t whole = width + one;
    for (int64_t s = 0; s < strips<V>(whole); s++) {
      const Strip at = strip<V>(whole, s);
      S *to = z + at.first * L * rows + at_row * at.vectors * L;
      const int64_t first = at.first * L, columns = at.vectors * L;
      for (int64_t c = 0; c < columns; c++) {
        const int64_t column = first + c;
        to[c] = column < width && row ? row[column] : column == width && one && row ? S(1) : S(0);
      }
    }
  }

  template <int N, int R>
  static void tile(const S *g, int64_t g_row, const S *z, int64_t rows, S *out, int64_t out_row, int last_width) {
    constexpr int L = V::lanes;
    V sums[R][N];
    BPTT_UNROLL
    for (int r = 0; r < R; r++) {
      BPTT_UNROLL
      for (int n = 0; n + 1 < N; n++) sums[r][n] = V::load(out + r * out_row + n * L);
      sums[r][N - 1] = take<V>(out + r * out_row + (N - 1) * L, last_width);
    }
    multiply<V, N, R>(sums, [g, g_row](int r, int64_t k) { return g[k * g_row + r]; }, z, rows);
    BPTT_UNROLL
    for (int r = 0; r < R; r++) {
      BPTT_UNROLL
      for (int n = 0; n + 1 < N; n++) sums[r][n].store(out + r * out_row + n * L);
      put(out + r * out_row + (N - 1) * L, sums[r][N - 1], last_width);
    }
  }
};

}  // namespace bptt::BPTT_ISA
