// Elman's RNN: h = φ(…), φ = tanh or relu.
#pragma once

#include "activations.h"
#include "walk.h"

namespace bptt::BPTT_ISA {

template <class V>
struct Tanh {
  static V value(V z) { return tanh(z); }
  static V slope(V value, V grad) { return grad * tanh_slope(value); }
};

template <class V>
struct Relu {
  static V value(V z) { return max(V::set(0), z); }
  static V slope(V value, V grad) { return unless_nonpositive(value, grad); }
};

template <class V, template <class> class Phi>
struct Rnn {
  using S = typename V::Scalar;
  static constexpr int64_t L = V::lanes;

  static constexpr int gates = 1, slots = 1, first_slot_of_state = 0;
  static constexpr bool carries = false;

  static void pack(const Plan<S> &c, Team team) {
    for (int64_t s = team.id; s < strips<V>(c.H); s += team.size) {
      pack_transposed_strip<V>(static_cast<const S *>(c.w_hh), c.H, c.H, s, c.panels);
      pack_transposed_strip<V>(static_cast<const S *>(c.w_ih), c.H, c.I, s, c.input_panels);
    }
  }

  static void project(const Plan<S> &c, Team team) {
    InputRows<S> x(c, team);
    Walk<S> walk(c, team);
    S *out = walk.projection(vectors<V>(c.H) * L);
    walk.share(strips<V>(c.H), [&](int64_t first, int64_t stop) {
      for (int64_t s = first; s < stop;)
        s += strip_products<V>(c.H, s, stop, x.count, x.get(), c.input_panels, c.I,
                               out + strip_begin<V>(c.H, s) * x.count * L);
    });
  }

  static void forward(const Plan<S> &c, Team team) {
    Walk<S> walk(c, team);
    const int64_t H = c.H, most = walk.most();
    const S *projection = walk.projection(vectors<V>(H) * L);
    const int64_t projected = projection ? walk.rows() : 0;
    int64_t done = 0;  // of the projected rows
    Scratch<S> sums(strip_room(most) * L);
    Scratch<const S *> h_rows(most);
    Scratch<Row<S>> rows(most);
    for (int64_t step = 0; step < walk.steps(); step++) {
      const int64_t count = walk.enter(walk.time(step, false), [&](int64_t place) {
        walk.clear(c.y, place, H);
        walk.clear(c.saved, place, H);
      });
      walk.look_up(count, h_rows.get(), rows.get());
      walk.share(strips<V>(H), [&](int64_t first, int64_t stop) {
        for (int64_t s = first; s < stop;) {
          const S *z = sums.get();
          const int64_t end = s + strip_products<V>(H, s, stop, count, h_rows.get(), c.panels, H, sums.get());
          for (; s < end; s++) {
            const Strip at = strip<V>(H, s);
            const S *x_panel = c.input_panels + c.I * at.first * L;
            for (int64_t i = 0; i < count; i++)
              for (int64_t v = 0; v < at.vectors; v++, z += L)
                cell(c, rows[i], at.first + v, z, x_panel + v * L, at.vectors * L,
                     projection ? projection + (at.first * projected + (done + i) * at.vectors + v) * L : nullptr);
          }
        }
      });
      done += count;
    }
  }

  static BPTT_INLINE void slopes(Walk<S> &walk, int64_t i, int64_t first, int64_t stop) {
    const Plan<S> &c = walk.call;
    const int64_t H = c.H, place = walk.place(i) * H;
    const S *untapped = walk.at(static_cast<const void *>(c.saved ? c.saved : c.y), place);
    const S *grad_y = walk.at(c.grad_y, place);
    S *grad_h = walk.at(c.grad_h_0, walk.row(i) * H);
    const bool open = walk.keep(i, c.h_keep, c.h_keep_stride) != 0;
    S *grad_h_tap = walk.at(c.grad_h_tap, place);
    S *grad_gates = walk.gates(walk.row(i));
    for (int64_t u = first; u < stop; u++) {
      const int64_t unit = u * L;
      const int width = lanes_at<V>(H, u);
      fetch_ahead(untapped, unit, H);
      fetch_ahead(grad_y, unit, H);
      V dh = take<V>(grad_h + unit, width);
      if (grad_y) dh = dh + take<V>(grad_y + unit, width);
      if (grad_h_tap) put(grad_h_tap + unit, dh, width);
      if (!open) put(grad_h + unit, V::set(0), width);
      put(grad_gates + unit, Phi<V>::slope(take<V>(untapped + unit, width), dh), width);
    }
  }

 private:
  static BPTT_INLINE void cell(const Plan<S> &c, const Row<S> &row, int64_t u, const S *sums, const S *x_panel,
                               int64_t x_panel_row, const S *projected) {
    const int64_t unit = u * L;
    const int width = lanes_at<V>(c.H, u);
    V z = V::load(sums);
    if (c.b_hh) z = z + take<V>(static_cast<const S *>(c.b_hh) + unit, width);
    if (c.b_ih) z = z + take<V>(static_cast<const S *>(c.b_ih) + unit, width);
    if (projected) {
      z = z + V::load(projected);
    } else {
      for (int64_t k = 0; k < c.I; k++) z = fma(V::set(row.x[k]), V::load(x_panel + k * x_panel_row), z);
    }
    V h = Phi<V>::value(z);
    if (row.saved) put(row.saved + unit, h, width);
    if (row.h_tap) h = h + take<V>(row.h_tap + unit, width);
    put(row.y + unit, h, width);
    if (row.h_n) put(row.h_n + unit, h, width);
  }
};

}  // namespace bptt::BPTT_ISA
