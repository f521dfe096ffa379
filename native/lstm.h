// LSTM: i, f, o = σ(…), g = tanh(…);  c = f ∘ c' + i ∘ g;  h = o ∘ tanh c.
#pragma once

#include "activations.h"
#include "gates.h"

namespace bptt::BPTT_ISA {

template <class V>
struct Lstm : Gated<V, 4> {
  using S = typename V::Scalar;
  static constexpr int64_t L = V::lanes;

  static constexpr int slots = 4, first_slot_of_state = 0;
  static constexpr bool carries = false;  // h reaches the next step through the gates only

  static void forward(const Plan<S> &c, Team team) {
    Walk<S> walk(c, team);
    const int64_t H = c.H, units = vectors<V>(H), most = walk.most();
    const S *projection = walk.projection(4 * units * L);
    const int64_t projected = projection ? walk.rows() : 0;
    int64_t done = 0;  // of the projected rows
    Scratch<S> sums((most + few_rows) * Lstm::at_once * 4 * L), bias(units * 4 * L);
    Scratch<const S *> h_rows(most);
    Scratch<Row<S>> rows(most);
    add_biases(c, bias.get());
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t count = walk.enter(walk.time(s, false), [&](int64_t place) {
        if (c.again) return;
        walk.clear(c.saved, place, slots * H);
        walk.clear(c.y, place, H);
        walk.clear(c.cells, place, H);
      });
      walk.look_up(count, h_rows.get(), rows.get());
      walk.share(units, [&](int64_t first, int64_t stop) {
        for (Turn turn(s, count, Lstm::at_once, first, stop); turn.next();) {
          Lstm::panel_products(c, count, h_rows.get(), turn, sums.get());
          // In two loops, since the latency of one tanh after the other is longer than what the CPU looks ahead.
          S *z = sums.get();
          for (int64_t u = turn.begin; u < turn.end; u++)
            for (int64_t i = 0; i < count; i++, z += 4 * L)
              update_cell(c, rows[i], u, z, &bias[u * 4 * L], c.input_panels + u * c.I * 4 * L,
                          projection ? projection + (u * projected + done + i) * 4 * L : nullptr);
          if (c.again) continue;
          z = sums.get();
          for (int64_t u = turn.begin; u < turn.end; u++)
            for (int64_t i = 0; i < count; i++, z += 4 * L) emit(c, rows[i], u, V::load(z), V::load(z + L));
        }
      });
      done += count;
    }
  }

  static BPTT_INLINE void slopes(Walk<S> &walk, int64_t i, int64_t first, int64_t stop) {
    const Plan<S> &c = walk.call;
    const int64_t H = c.H, place = walk.place(i) * H;
    const S *saved = walk.saved(i);
    const S *cells = walk.at(static_cast<const void *>(c.cells), place);
    const S *cells_before = walk.before(i, c.cells, c.c_0);
    const S *grad_y = walk.at(c.grad_y, place), *grad_cells = walk.at(c.grad_cells, place);
    S *grad_h = walk.at(c.grad_h_0, walk.row(i) * H), *grad_c = walk.at(c.grad_c_0, walk.row(i) * H);
    S *grad_gates = walk.gates(walk.row(i));
    S *grad_h_tap = walk.at(c.grad_h_tap, place), *grad_c_tap = walk.at(c.grad_c_tap, place);
    const S keep = walk.keep(i, c.c_keep, c.c_keep_stride);
    const bool open = walk.keep(i, c.h_keep, c.h_keep_stride) != 0;
    for (int64_t u = first; u < stop; u++) {
      const int64_t unit = u * L;
      const int width = lanes_at<V>(H, u);
      for (int g = 0; g < 4; g++) fetch_ahead(saved, 4 * unit + g * L, 4 * H);
      fetch_ahead(cells, unit, H);
      fetch_ahead(cells_before, unit, H);
      fetch_ahead(grad_y, unit, H);
      const S *at = saved + 4 * unit;
      const V in = take<V>(at, width), forget = take<V>(at + width, width);
      const V candidate = take<V>(at + 2 * width, width), out = take<V>(at + 3 * width, width);
      const V squashed = tanh(take<V>(cells + unit, width));
      V dh = take<V>(grad_h + unit, width);
      if (grad_y) dh = dh + take<V>(grad_y + unit, width);
      if (grad_h_tap) put(grad_h_tap + unit, dh, width);
      if (!open) put(grad_h + unit, V::set(0), width);
      V dc = fma(dh * out, tanh_slope(squashed), take<V>(grad_c + unit, width));
      if (grad_cells) dc = dc + take<V>(grad_cells + unit, width);
      if (grad_c_tap) put(grad_c_tap + unit, dc, width);
      put(grad_gates + unit, dc * candidate * sigmoid_slope(in), width);
      put(grad_gates + H + unit, dc * take<V>(cells_before + unit, width) * sigmoid_slope(forget), width);
      put(grad_gates + 2 * H + unit, dc * in * tanh_slope(candidate), width);
      put(grad_gates + 3 * H + unit, dh * squashed * sigmoid_slope(out), width);
      put(grad_c + unit, keep == 0 ? V::set(0) : V::set(keep) * (dc * forget), width);
    }
  }

 private:
  static void add_biases(const Plan<S> &c, S *bias) {
    for (int64_t u = 0; u < vectors<V>(c.H); u++)
      for (int g = 0; g < 4; g++) {
        const int width = lanes_at<V>(c.H, u);
        V sum = V::set(0);
        if (c.b_hh) sum = take<V>(static_cast<const S *>(c.b_hh) + g * c.H + u * L, width);
        if (c.b_ih) sum = sum + take<V>(static_cast<const S *>(c.b_ih) + g * c.H + u * L, width);
        sum.store(bias + (u * 4 + g) * L);
      }
  }

  // Leaves the cell and the output gate where the sums were.
  static BPTT_INLINE void update_cell(const Plan<S> &c, const Row<S> &row, int64_t u, S *sums, const S *bias,
                                      const S *x_panel, const S *projected) {
    const int64_t unit = u * L;
    const int width = lanes_at<V>(c.H, u);
    V z[4];
    BPTT_UNROLL
    for (int g = 0; g < 4; g++) z[g] = V::load(sums + g * L) + V::load(bias + g * L);
    if (projected) {
      BPTT_UNROLL
      for (int g = 0; g < 4; g++) z[g] = z[g] + V::load(projected + g * L);
    } else {
      add_inputs(z, row.x, x_panel, c.I);
    }
    const V in = sigmoid(z[0]), forget = sigmoid(z[1]), candidate = tanh(z[2]), out = sigmoid(z[3]);
    if (row.saved) {
      S *saved = row.saved + 4 * unit;
      put(saved, in, width, c.stream_saved);
      put(saved + width, forget, width, c.stream_saved);
      put(saved + 2 * width, candidate, width, c.stream_saved);
      put(saved + 3 * width, out, width, c.stream_saved);
    }
    if (c.again) return;
    V cell = fma(forget, take<V>(row.c_n + unit, width), in * candidate);
    if (row.c_tap) cell = cell + take<V>(row.c_tap + unit, width);
    cell.store(sums);
    out.store(sums + L);
    put(row.c_n + unit, cell, width);
    if (row.cells) put(row.cells + unit, cell, width);
  }

  static BPTT_INLINE void emit(const Plan<S> &c, const Row<S> &row, int64_t u, V cell, V out) {
    const int64_t unit = u * L;
    const int width = lanes_at<V>(c.H, u);
    V h = out * tanh(cell);
    if (row.h_tap) h = h + take<V>(row.h_tap + unit, width);
    put(row.y + unit, h, width);
    if (row.h_n) put(row.h_n + unit, h, width);
  }
};

}  // namespace bptt::BPTT_ISA
