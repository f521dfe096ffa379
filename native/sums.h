// Gradients of the weights: products over all rows (t, b) of a part of the steps.
#pragma once

#include "walk.h"

namespace bptt::BPTT_ISA {

// With z the states before each row, and x its inputs and a 1: grad_w_hh(j, k) += sum over rows of g[j] · z[k] and
// grad_w_x(k, j) += sum over rows of x[k] · g[j].
//
// The rows are taken in blocks of a fixed size, so that neither the order of the sum nor its result depends
// on how the j are shared out among threads.
template <class V>
class RowSums {
 public:
  using S = typename V::Scalar;

  static constexpr int64_t block = 128;

  // Numbers to work in.
  static int64_t space(int64_t rows, int64_t I, int64_t H) { return (rows + block) * wide(I, H); }

  // To be called by the whole team after its last step: the rows of all threads are summed.
  static void add(const bptt_call &c, Team team, int64_t slots, int64_t first_slot_of_w_hh) {
    if (!c.grad_w_hh) return;
    wait_for_team();
    const Walk<S> walk(c, team);
    const int64_t rows = walk.steps() * c.B, width = wide(c.I, c.H);
    S *z = static_cast<S *>(c.rows);
    for (int64_t row = rows * team.id / team.size; row < rows * (team.id + 1) / team.size; row++) {
      const int64_t t = c.begin + row / c.B, b = row % c.B, first = row / block * block;
      const int64_t here = rows - first < block ? rows - first : block;
      const bool has = walk.has(t, b);
      S *states = z + first * width, *inputs = states + here * vectors<V>(c.H) * V::lanes;
      pack(has ? walk.before(t, b, c.y, c.h_0) : nullptr, c.H, here, row - first, states);
      inputs += (row - first) * (c.I + 1);
      for (int64_t k = 0; k < c.I; k++) inputs[k] = has ? walk.at(c.x, (t * c.B + b) * c.I)[k] : 0;
      inputs[c.I] = has;
    }
    wait_for_team();
    const S *g = static_cast<const S *>(c.grad_gates);
    const int64_t row = c.grad_gates_row, gates = slots * c.H, skipped = first_slot_of_w_hh * c.H;
    for (int64_t first = 0; first < rows; first += block) {
      const int64_t here = rows - first < block ? rows - first : block;
      const S *states = z + first * width, *inputs = states + here * vectors<V>(c.H) * V::lanes;
      const S *from = g + first * row;
      sum(from + skipped, row, states, here, c.H, share(gates - skipped, team.id, team.size),
          share(gates - skipped, team.id + 1, team.size), static_cast<S *>(c.grad_w_hh), c.H);
      sum_inputs(inputs, c.I + 1, from, row, here, gates, team, static_cast<S *>(c.grad_w_x));
    }
  }

 private:
  static int64_t wide(int64_t I, int64_t H) { return vectors<V>(H) * V::lanes + I + 1; }

  // Where the part of a thread begins, in whole tiles.
  static int64_t share(int64_t columns, int64_t id, int64_t size) {
    constexpr int64_t tiles = 24;
    return id == size ? columns : columns / tiles * id / size * tiles;
  }

  // Every row of x with strips of g; the strips are shared out.
  static void sum_inputs(const S *x, int64_t width, const S *g, int64_t g_row, int64_t rows, int64_t gates,
                         Team team, S *out) {
    const int64_t count = strips<V>(gates);
    for (int64_t s = count * team.id / team.size; s < count * (team.id + 1) / team.size; s++) {
      const Strip at = strip<V>(gates, s);
      const int64_t column = at.first * V::lanes;
      const int last = lanes_at<V>(gates, at.first + at.vectors - 1);
      switch (at.vectors) {
        case 1: input_strip<1>(x, width, g + column, g_row, rows, out + column, gates, last); break;
        case 2: input_strip<2>(x, width, g + column, g_row, rows, out + column, gates, last); break;
        case 3: input_strip<3>(x, width, g + column, g_row, rows, out + column, gates, last); break;
        default: input_strip<4>(x, width, g + column, g_row, rows, out + column, gates, last);
      }
    }
  }

  template <int N>
  static void input_strip(const S *x, int64_t width, const S *g, int64_t g_row, int64_t rows, S *out,
                          int64_t gates, int last_width) {
    int64_t k = 0;
    for (; k + 2 <= width; k += 2) input_tile<N, 2>(x + k, width, g, g_row, rows, out + k * gates, gates, last_width);
    if (k < width) input_tile<N, 1>(x + k, width, g, g_row, rows, out + k * gates, gates, last_width);
  }

  template <int N, int R>
  static void input_tile(const S *x, int64_t x_row, const S *g, int64_t g_row, int64_t rows, S *out,
                         int64_t out_row, int last_width) {
    constexpr int L = V::lanes;
    V sums[R][N];
    load_tile(sums, out, out_row, last_width);
    for (int64_t row = 0; row < rows; row++, x += x_row, g += g_row) {
      V factors[R];
      BPTT_UNROLL
      for (int r = 0; r < R; r++) factors[r] = V::set(x[r]);
      BPTT_UNROLL
      for (int n = 0; n < N; n++) {
        const V from = n + 1 < N ? V::load(g + n * L) : take<V>(g + n * L, last_width);
        BPTT_UNROLL
        for (int r = 0; r < R; r++) sums[r][n] = fma(factors[r], from, sums[r][n]);
      }
    }
    store_tile(sums, out, out_row, last_width);
  }

  template <int N, int R>
  static void load_tile(V (&sums)[R][N], const S *out, int64_t out_row, int last_width) {
    BPTT_UNROLL
    for (int r = 0; r < R; r++) {
      BPTT_UNROLL
      for (int n = 0; n + 1 < N; n++) sums[r][n] = V::load(out + r * out_row + n * V::lanes);
      sums[r][N - 1] = take<V>(out + r * out_row + (N - 1) * V::lanes, last_width);
    }
  }

  template <int N, int R>
  static void store_tile(const V (&sums)[R][N], S *out, int64_t out_row, int last_width) {
    BPTT_UNROLL
    for (int r = 0; r < R; r++) {
      BPTT_UNROLL
      for (int n = 0; n + 1 < N; n++) sums[r][n].store(out + r * out_row + n * V::lanes);
      put(out + r * out_row + (N - 1) * V::lanes, sums[r][N - 1], last_width);
    }
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
  static void pack(const S *row, int64_t width, int64_t rows, int64_t at_row, S *z) {
    constexpr int64_t L = V::lanes;
    for (int64_t s = 0; s < strips<V>(width); s++) {
      const Strip at = strip<V>(width, s);
      S *to = z + at.first * L * rows + at_row * at.vectors * L;
      for (int64_t u = at.first; u < at.first + at.vectors; u++, to += L)
        (row ? take<V>(row + u * L, lanes_at<V>(width, u)) : V::set(0)).store(to);
    }
  }

  template <int N, int R>
  static void tile(const S *g, int64_t g_row, const S *z, int64_t rows, S *out, int64_t out_row, int last_width) {
    V sums[R][N];
    load_tile(sums, out, out_row, last_width);
    multiply<V, N, R>(sums, [g, g_row](int r, int64_t k) { return g[k * g_row + r]; }, z, rows);
    store_tile(sums, out, out_row, last_width);
  }
};

}  // namespace bptt::BPTT_ISA
