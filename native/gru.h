// GRU: r, z = σ(…), n = tanh(x part + r ∘ hidden part);  h = n + z ∘ (h' − n), as torch.nn's.
#pragma once

#include "activations.h"
#include "gates.h"

namespace bptt::BPTT_ISA {

template <class V>
struct Gru : Gated<V, 3> {
  using S = typename V::Scalar;
  static constexpr int64_t L = V::lanes;

  static constexpr int slots = 4, first_slot_of_state = 1;
  static constexpr bool carries = true;  // h reaches the next step beside the gates too

  static void forward(const Plan<S> &c, Team team) {
    Walk<S> walk(c, team);
    const int64_t H = c.H, units = vectors<V>(H), most = walk.most();
    const S *projection = walk.projection(3 * units * L);
    const int64_t projected = projection ? walk.rows() : 0;
    int64_t done = 0;  // of the projected rows
    Scratch<S> sums((most + few_rows) * Gru::at_once * 3 * L), bias(units * 6 * L);
    Scratch<const S *> h_rows(most);
    Scratch<Row<S>> rows(most);
    lay_out_biases(c, bias.get());
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t count =
          walk.enter(walk.time(s, false), [&](int64_t place) {
            if (c.again) return;
            walk.clear(c.saved, place, slots * H);
            walk.clear(c.y, place, H);
          });
      walk.look_up(count, h_rows.get(), rows.get());
      walk.share(units, [&](int64_t first, int64_t stop) {
        for (Turn turn(s, count, Gru::at_once, first, stop); turn.next();) {
          Gru::panel_products(c, count, h_rows.get(), turn, sums.get());
          // In two loops, as those of the LSTM.
          S *z = sums.get();
          for (int64_t u = turn.begin; u < turn.end; u++)
            for (int64_t i = 0; i < count; i++, z += 3 * L)
              open_gates(c, rows[i], u, z, &bias[u * 6 * L], c.input_panels + u * c.I * 3 * L,
                         projection ? projection + (u * projected + done + i) * 3 * L : nullptr);
          z = sums.get();
          for (int64_t u = turn.begin; u < turn.end; u++)
            for (int64_t i = 0; i < count; i++, z += 3 * L)
              emit(c, rows[i], u, V::load(z), V::load(z + L), h_rows[i]);
        }
      });
      done += count;
    }
  }

  static BPTT_INLINE void slopes(Walk<S> &walk, int64_t i, int64_t first, int64_t stop) {
    const Plan<S> &c = walk.call;
    const int64_t H = c.H, place = walk.place(i) * H;
    const S *saved = walk.saved(i);
    const S *before = walk.before(i, c.y, c.h_0), *grad_y = walk.at(c.grad_y, place);
    S *grad_h = walk.at(c.grad_h_0, walk.row(i) * H), *grad_h_tap = walk.at(c.grad_h_tap, place);
    S *grad_gates = walk.gates(walk.row(i));
    const S keep = walk.keep(i, c.c_keep, c.c_keep_stride);
    for (int64_t u = first; u < stop; u++) {
      const int64_t unit = u * L;
      const int width = lanes_at<V>(H, u);
      for (int g = 0; g < 4; g++) fetch_ahead(saved, 4 * unit + g * L, 4 * H);
      fetch_ahead(before, unit, H);
      fetch_ahead(grad_y, unit, H);
      const S *at = saved + 4 * unit;
      const V reset = take<V>(at, width), hidden = take<V>(at + width, width);
      const V update = take<V>(at + 2 * width, width), candidate = take<V>(at + 3 * width, width);
      V dh = take<V>(grad_h + unit, width);
      if (grad_y) dh = dh + take<V>(grad_y + unit, width);
      if (grad_h_tap) put(grad_h_tap + unit, dh, width);
      const V dn = dh * (V::set(1) - update) * tanh_slope(candidate);
      put(grad_gates + unit, dn, width);
      put(grad_gates + H + unit, dn * hidden * sigmoid_slope(reset), width);
      const V dz = dh * take<V>(before + unit, width) - dh * candidate;  // of inf and inf NaN, as by the definition
      put(grad_gates + 2 * H + unit, dz * sigmoid_slope(update), width);
      put(grad_gates + 3 * H + unit, dn * reset, width);
      put(grad_h + unit, keep == 0 ? V::set(0) : V::set(keep) * (dh * update), width);
    }
  }

 private:
  // For each vector of units: those beside h and those beside x.
  static void lay_out_biases(const Plan<S> &c, S *bias) {
    for (int64_t u = 0; u < vectors<V>(c.H); u++)
      for (int g = 0; g < 3; g++) {
        const int64_t unit = g * c.H + u * L;
        const int width = lanes_at<V>(c.H, u);
        const S *of_h = static_cast<const S *>(c.b_hh), *of_x = static_cast<const S *>(c.b_ih);
        (of_h ? take<V>(of_h + unit, width) : V::set(0)).store(bias + (u * 6 + g) * L);
        (of_x ? take<V>(of_x + unit, width) : V::set(0)).store(bias + (u * 6 + 3 + g) * L);
      }
  }

  // Leaves the candidate before its tanh, and the update gate, where the sums of h were.
  static BPTT_INLINE void open_gates(const Plan<S> &c, const Row<S> &row, int64_t u, S *sums, const S *bias,
                                     const S *x_panel, const S *projected) {
    const int64_t unit = u * L;
    const int width = lanes_at<V>(c.H, u);
    V from_h[3], from_x[3];
    BPTT_UNROLL
    for (int g = 0; g < 3; g++) {
      from_h[g] = V::load(sums + g * L) + V::load(bias + g * L);
      from_x[g] = V::load(bias + (3 + g) * L);
    }
    if (projected) {
      BPTT_UNROLL
      for (int g = 0; g < 3; g++) from_x[g] = from_x[g] + V::load(projected + g * L);
    } else {
      add_inputs(from_x, row.x, x_panel, c.I);
    }
    const V reset = sigmoid(from_x[0] + from_h[0]), update = sigmoid(from_x[1] + from_h[1]);
    fma(reset, from_h[2], from_x[2]).store(sums);
    update.store(sums + L);
    if (row.saved) {
      S *saved = row.saved + 4 * unit;
      put(saved, reset, width, c.stream_saved);
      put(saved + width, from_h[2], width, c.stream_saved);
    }
  }

  static BPTT_INLINE void emit(const Plan<S> &c, const Row<S> &row, int64_t u, V sum, V update, const S *before) {
    const int64_t unit = u * L;
    const int width = lanes_at<V>(c.H, u);
    const V candidate = tanh(sum);
    if (row.saved) {
      S *saved = row.saved + 4 * unit + 2 * width;
      put(saved, update, width, c.stream_saved);
      put(saved + width, candidate, width, c.stream_saved);
    }
    if (c.again) return;
    V h = fma(update, take<V>(before + unit, width), (V::set(1) - update) * candidate);
    if (row.h_tap) h = h + take<V>(row.h_tap + unit, width);
    put(row.y + unit, h, width);
    if (row.h_n) put(row.h_n + unit, h, width);
  }
};

}  // namespace bptt::BPTT_ISA
