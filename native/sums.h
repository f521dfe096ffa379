// Gradients of the weights: products over all rows (t, b) of a part of the steps.
#pragma once

#include "walk.h"

namespace bptt::BPTT_ISA {

// With g the gradients of the gates, and for each row the state before it and its input: grad_w_hh(j, k) is the sum
// over rows of g[j] · state[k], grad_w_ih(j, k) that of g[j] · x[k], and the biases' gradients are those of g[j].
//
// The rows are taken in blocks of a fixed size, so that neither the order of the sum nor its result depends
// on how the j are shared out among threads. It is a sum of the blocks' sums: adding up tens of thousands of terms
// one by one would cost two digits of a float.
template <class V>
class RowSums {
 public:
  using S = typename V::Scalar;

  static constexpr int64_t block = 128;

  // Numbers to work in.
  static int64_t space(const Plan<S> &c) { return c.steps * c.B * row_space(c); }
  // Sums of a group of sequences: of what joins the biases, and of the rest.
  static int64_t joined_sums(const Plan<S> &c) { return (c.joined() + 1) * c.slots * c.H; }
  static int64_t wide_sums(const Plan<S> &c) { return c.gates * c.H * (c.H + (c.wide() ? c.I : 0)); }

  // To be called by the whole team when its steps of a part are done. A thread with groups of its own sums their rows
  // and waits for nobody; else all threads sum the rows of all.
  static void add(const Plan<S> &c, Team team, int64_t first_slot_of_state) {
    const int64_t shift = first_slot_of_state * c.H;
    const Walk<S> walk(c, team);
    if (c.divides(team)) {
      const Team alone{0, 1};
      for (int64_t group = 0; group < c.groups; group++)
        if (c.owns(team, group))
          each_block(c, group, false, [&](const Block &at) {
            pack(walk, at, alone);
            sum_block(c, at, alone, shift);
          });
      return;
    }
    const auto every_block = [&](auto take) {
      for (int64_t group = 0; group < c.groups; group++) each_block(c, group, true, take);
    };
    wait_for_team(team);
    every_block([&](const Block &at) { pack(walk, at, team); });
    wait_for_team(team);
    every_block([&](const Block &at) { sum_block(c, at, team, shift); });
    wait_for_team(team);  // before the next part takes this one's memory
  }

  // After the last part: adds up the groups' sums, and writes the gradients.
  static void write(const Plan<S> &c, Team team, int64_t first_slot_of_state) {
    wait_for_team(team);
    for (int64_t group = 1; group < c.groups; group++) {
      const Sums to(c, 0), from(c, group);
      add_up(to.w_hh, from.w_hh, c.gates * c.H * c.H, team);
      if (c.wide()) add_up(to.w_ih, from.w_ih, c.gates * c.H * c.I, team);
    }
    write_joined(c, team, first_slot_of_state * c.H);
  }

 private:
  // Where the sums of a group are: those of the first where the gradients are wanted.
  struct Sums {
    Sums(const Plan<S> &c, int64_t group)
        : w_hh(static_cast<S *>(c.grad_w_hh)),
          w_ih(static_cast<S *>(c.grad_w_ih)),
          joined(c.grad_w_x + group * joined_sums(c)) {
      if (group == 0) return;
      S *const mine = c.group_sums + (group - 1) * wide_sums(c);
      if (w_hh) w_hh = mine;
      if (w_ih) w_ih = mine + c.gates * c.H * c.H;
    }
    S *w_hh, *w_ih, *joined;
  };

  // Some rows of a group, from its `first` of the part on. Packed they are states and wide inputs in strips, and the
  // joined inputs with a 1, in the group's memory from the row `place` on.
  struct Block {
    Block(const Plan<S> &c, int64_t group, int64_t first, int64_t rows, int64_t place)
        : group(group),
          first(first),
          rows(rows),
          states(c.rows + (c.members_before(group) * c.steps + place) * row_space(c)),
          inputs(states + rows * padded(c.H)),
          joined(inputs + (c.wide() ? rows * padded(c.I) : 0)) {}
    int64_t group, first, rows;
    S *states, *inputs, *joined;
  };

  // One block after the other; if they are kept, each in memory of its own.
  template <class F>
  static void each_block(const Plan<S> &c, int64_t group, bool kept, F take) {
    const int64_t rows = (c.end - c.begin) * c.members(group);
    for (int64_t first = 0; first < rows; first += block)
      take(Block(c, group, first, rows - first < block ? rows - first : block, kept ? first : 0));
  }

  static int64_t padded(int64_t width) { return vectors<V>(width) * V::lanes; }
  static int64_t row_space(const Plan<S> &c) {
    return padded(c.H) + (c.wide() ? padded(c.I) : 0) + c.joined() + 1;
  }

  static void pack(const Walk<S> &walk, const Block &at, Team team) {
    const Plan<S> &c = walk.call;
    const int64_t members = c.members(at.group), joined = c.joined();
    for (int64_t k = at.rows * team.id / team.size; k < at.rows * (team.id + 1) / team.size; k++) {
      const int64_t row = at.first + k, t = c.begin + row / members, b = c.member(at.group, row % members);
      const bool has = walk.has(t, b);
      const S *x = has ? walk.at(c.x, (t * c.B + b) * c.I) : nullptr;
      pack_row<V>(has ? walk.before(t, b, c.y, c.h_0) : nullptr, c.H, at.rows, k, at.states);
      if (c.wide()) pack_row<V>(x, c.I, at.rows, k, at.inputs);
      S *to = at.joined + k * (joined + 1);
      for (int64_t n = 0; n < joined; n++) to[n] = has ? x[n] : 0;
      to[joined] = has;
    }
  }

  static void sum_block(const Plan<S> &c, const Block &at, Team team, int64_t shift) {
    const int64_t H = c.H, I = c.I, gates = c.gates * H, slots = c.slots * H;
    const bool more = at.first > 0 || !c.first_part_back();
    const Sums to(c, at.group);
    const S *g = c.grad_gates + (c.members_before(at.group) * c.steps + at.first) * c.grad_gates_row;
    if (to.w_hh) sum(c, g + shift, at.states, at.rows, H, gates, team, to.w_hh, more);
    if (to.w_ih && c.wide()) {
      sum(c, g + shift, at.inputs, at.rows, I, gates - shift, team, to.w_ih, more);
      sum(c, g, at.inputs, at.rows, I, shift, team, to.w_ih + (gates - shift) * I, more);
    }
    sum_joined(at.joined, c.joined() + 1, g, c.grad_gates_row, at.rows, slots, team, to.joined, more);
  }

  static void add_up(S *to, const S *from, int64_t count, Team team) {
    if (!to) return;
    for (int64_t i = count * team.id / team.size; i < count * (team.id + 1) / team.size; i++) to[i] += from[i];
  }

  // From sums by input and slot to gradients by gate.
  static void write_joined(const Plan<S> &c, Team team, int64_t shift) {
    const int64_t gates = c.gates * c.H, slots = c.slots * c.H, inputs = c.joined();
    S *w_ih = static_cast<S *>(c.grad_w_ih);
    S *b_ih = static_cast<S *>(c.grad_b_ih), *b_hh = static_cast<S *>(c.grad_b_hh);
    const auto total = [&](int64_t k, int64_t slot) {
      S sum = 0;
      for (int64_t group = 0; group < c.groups; group++) sum += Sums(c, group).joined[k * slots + slot];
      return sum;
    };
    for (int64_t j = gates * team.id / team.size; j < gates * (team.id + 1) / team.size; j++) {
      const int64_t of_input = j < gates - shift ? j + shift : j - (gates - shift);
      for (int64_t k = 0; w_ih && k < inputs; k++) w_ih[j * inputs + k] = total(k, of_input);
      if (b_ih) b_ih[j] = total(inputs, of_input);
      if (b_hh) b_hh[j] = total(inputs, j + shift);
    }
  }

  // Where the part of a thread begins, in whole tiles.
  static int64_t share(int64_t columns, int64_t id, int64_t size) {
    constexpr int64_t tiles = 24;
    const int64_t nearest = (columns * id / size + tiles / 2) / tiles * tiles;
    return id == size || nearest > columns ? columns : nearest;
  }

  // Every row of x with strips of g; the strips are shared out.
  static void sum_joined(const S *x, int64_t width, const S *g, int64_t g_row, int64_t rows, int64_t gates,
                         Team team, S *out, bool more) {
    const int64_t count = strips<V>(gates);
    for (int64_t s = count * team.id / team.size; s < count * (team.id + 1) / team.size; s++) {
      const Strip at = strip<V>(gates, s);
      const int64_t column = at.first * V::lanes;
      const int last = lanes_at<V>(gates, at.first + at.vectors - 1);
      switch (at.vectors) {
        case 1: input_strip<1>(x, width, g + column, g_row, rows, out + column, gates, last, more); break;
        case 2: input_strip<2>(x, width, g + column, g_row, rows, out + column, gates, last, more); break;
        case 3: input_strip<3>(x, width, g + column, g_row, rows, out + column, gates, last, more); break;
        default: input_strip<4>(x, width, g + column, g_row, rows, out + column, gates, last, more);
      }
    }
  }

  template <int N>
  static void input_strip(const S *x, int64_t width, const S *g, int64_t g_row, int64_t rows, S *out,
                          int64_t gates, int last_width, bool more) {
    int64_t k = 0;
    for (; k + 2 <= width; k += 2)
      input_tile<N, 2>(x + k, width, g, g_row, rows, out + k * gates, gates, last_width, more);
    if (k < width) input_tile<N, 1>(x + k, width, g, g_row, rows, out + k * gates, gates, last_width, more);
  }

  template <int N, int R>
  static void input_tile(const S *x, int64_t x_row, const S *g, int64_t g_row, int64_t rows, S *out,
                         int64_t out_row, int last_width, bool more) {
    constexpr int L = V::lanes;
    V sums[R][N];
    clear(sums);
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
    put_tile(sums, out, out_row, last_width, more);
  }

  template <int N, int R>
  static void clear(V (&sums)[R][N]) {
    BPTT_UNROLL
    for (int r = 0; r < R; r++)
      BPTT_UNROLL
      for (int n = 0; n < N; n++) sums[r][n] = V::set(0);
  }

  // Writes the sums of a block, or adds them to those of the blocks before.
  template <int N, int R>
  static void put_tile(const V (&sums)[R][N], S *out, int64_t out_row, int last_width, bool more) {
    BPTT_UNROLL
    for (int r = 0; r < R; r++) {
      S *row = out + r * out_row;
      BPTT_UNROLL
      for (int n = 0; n < N; n++) {
        const int width = n + 1 < N ? V::lanes : last_width;
        S *to = row + n * V::lanes;
        put(to, more ? take<V>(to, width) + sums[r][n] : sums[r][n], width);
      }
    }
  }

  template <int N>
  static void strip_sum(const S *g, int64_t g_row, const S *z, int64_t rows, int64_t begin, int64_t end, S *out,
                        int64_t out_row, int last_width, bool more) {
    constexpr int R = rows_at_once<V, N>();
    int64_t j = begin;
    for (; j + R <= end; j += R) {
      for (int64_t r = j + R; r < j + 2 * R && r < end; r++)  // what the next tile adds to
        for (int64_t n = 0; n < N; n++) fetch_ahead(out + r * out_row, n * V::lanes, 0);
      tile<N, R>(g + j, g_row, z, rows, out + j * out_row, out_row, last_width, more);
    }
    for (; j < end; j++) tile<N, 1>(g + j, g_row, z, rows, out + j * out_row, out_row, last_width, more);
  }

  // out(j, k) = sum of g[j] · z[k] for the first `gates` j, shared out; z in packed strips of `width` columns.
  static void sum(const Plan<S> &c, const S *g, const S *z, int64_t rows, int64_t width, int64_t gates, Team team,
                  S *out, bool more) {
    // Some columns of g at a time, which stay in the second-level cache while the strips of z pass.
    constexpr int64_t some = 240;
    const int64_t end = share(gates, team.id + 1, team.size);
    for (int64_t j = share(gates, team.id, team.size); j < end; j += some)
      strip_sums(g, c.grad_gates_row, z, rows, width, j, end - j < some ? end : j + some, out, width, more);
  }

  static void strip_sums(const S *g, int64_t g_row, const S *z, int64_t rows, int64_t width, int64_t begin,
                         int64_t end, S *out, int64_t out_row, bool more) {
    for (int64_t s = 0; s < strips<V>(width); s++) {
      const Strip at = strip<V>(width, s);
      const S *from = z + at.first * V::lanes * rows;
      S *to = out + at.first * V::lanes;
      const int last = lanes_at<V>(width, at.first + at.vectors - 1);
      switch (at.vectors) {
        case 1: strip_sum<1>(g, g_row, from, rows, begin, end, to, out_row, last, more); break;
        case 2: strip_sum<2>(g, g_row, from, rows, begin, end, to, out_row, last, more); break;
        case 3: strip_sum<3>(g, g_row, from, rows, begin, end, to, out_row, last, more); break;
        default: strip_sum<4>(g, g_row, from, rows, begin, end, to, out_row, last, more);
      }
    }
  }

  template <int N, int R>
  static void tile(const S *g, int64_t g_row, const S *z, int64_t rows, S *out, int64_t out_row, int last_width,
                   bool more) {
    V sums[R][N];
    clear(sums);
    multiply<V, N, R>(sums, [g, g_row](int r, int64_t k) { return g[k * g_row + r]; }, z, rows);
    put_tile(sums, out, out_row, last_width, more);
  }
};

}  // namespace bptt::BPTT_ISA
