// GRU: r, z = σ(…), n = tanh(x part + r ∘ hidden part);  h = n + z ∘ (h' − n), as torch.nn's.
#pragma once

#include "activations.h"
#include "sums.h"
#include "walk.h"

namespace bptt::BPTT_ISA {

template <class V>
struct Gru {
  using S = typename V::Scalar;
  static constexpr int64_t L = V::lanes;

  static int64_t forward_panels(int64_t I, int64_t H) { return (H + I) * vectors<V>(H) * 3 * L; }
  static int64_t backward_panels(int64_t, int64_t H) { return BackwardProduct<V>::panels(H, 3 * H); }

  static void pack_forward(const bptt_call &c, Team team) {
    S *panels = static_cast<S *>(c.panels);
    for (int64_t u = team.id; u < vectors<V>(c.H); u += team.size) {
      pack_gates<V, 3>(static_cast<const S *>(c.w_hh), c.H, c.H, u, panels);
      if (!c.projected)
        pack_gates<V, 3>(static_cast<const S *>(c.w_ih), c.H, c.I, u, panels + forward_panels(0, c.H));
    }
  }

  static void pack_backward(const bptt_call &c, Team team) { BackwardProduct<V>::pack(c, 3 * c.H, team); }

  static void forward(const bptt_call &c, Team team) {
    Walk<S> walk(c, team);
    const int64_t H = c.H, most = walk.most();
    const S *panels = static_cast<const S *>(c.panels), *x_panels = panels + forward_panels(0, H);
    Scratch<S> h_sums(most * 3 * L), x_sums(most * 3 * L);
    Scratch<const S *> h_rows(most), x_rows(most);
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t count =
          walk.enter(walk.time(s, false), [&](int64_t place) { walk.clear(c.y, place, H); });
      for (int64_t i = 0; i < count; i++) {
        h_rows[i] = walk.before(i, c.y, c.h_0);
        x_rows[i] = walk.at(c.x, walk.place(i) * c.I);
      }
      for (int64_t u = 0; u < vectors<V>(H); u++) {
        product<V, 3>(count, h_rows.get(), panels + u * H * 3 * L, H, h_sums.get(), false);
        if (!c.projected)
          product<V, 3>(count, x_rows.get(), x_panels + u * c.I * 3 * L, c.I, x_sums.get(), false);
        for (int64_t i = 0; i < count; i++)
          cell(walk, i, u, &h_sums[i * 3 * L], &x_sums[i * 3 * L], h_rows[i] + u * L);
      }
    }
  }

  static void backward(const bptt_call &c, Team team) {
    Walk<S> walk(c, team);
    const int64_t H = c.H;
    BackwardProduct<V> through_gates(c, walk.most());
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t count = walk.enter(walk.time(s, true), [&](int64_t place) {
        walk.clear(c.grad_gates, place - c.begin * c.B, 4 * H);
        walk.clear(c.grad_h_tap, place, H);
      });
      for (int64_t i = 0; i < count; i++) {
        slopes(walk, i);
        const S keep = walk.keep(i, c.h_keep, c.h_keep_stride);
        if (keep != 0)
          through_gates.open(walk.at(c.grad_gates, walk.place_in_part(i) * 4 * H + H),
                             walk.at(c.grad_h, walk.row(i) * H), keep);
      }
      through_gates.close(3 * H, true);
    }
    RowSums<V>::add(c, team, 4, 1);
  }

 private:
  static inline void cell(Walk<S> &walk, int64_t i, int64_t u, const S *h_sums, const S *x_sums,
                          const S *before) {
    const bptt_call &c = walk.call;
    const int64_t H = c.H, unit = u * L, place = walk.place(i) * H + unit;
    const int width = lanes_at<V>(H, u);
    V from_h[3], from_x[3];
    for (int g = 0; g < 3; g++) {
      from_h[g] = V::load(h_sums + g * L);
      if (c.b_hh) from_h[g] = from_h[g] + take<V>(walk.at(c.b_hh, g * H + unit), width);
      if (c.projected) {
        from_x[g] = take<V>(
            walk.at(c.projection, walk.place_in_part(i) * c.projection_row + g * H + unit), width);
      } else {
        from_x[g] = V::load(x_sums + g * L);
        if (c.b_ih) from_x[g] = from_x[g] + take<V>(walk.at(c.b_ih, g * H + unit), width);
      }
    }
    const V reset = sigmoid(from_x[0] + from_h[0]), update = sigmoid(from_x[1] + from_h[1]);
    const V candidate = tanh(fma(reset, from_h[2], from_x[2]));
    V h = fma(update, take<V>(before, width), (V::set(1) - update) * candidate);
    if (c.h_tap) h = h + take<V>(walk.at(c.h_tap, place), width);
    put(walk.at(c.y, place), h, width);
    if (walk.last(i)) put(walk.at(c.h_n, walk.row(i) * H + unit), h, width);
    if (c.saved) {
      S *saved = walk.at(c.saved, walk.place(i) * 4 * H + unit);
      put(saved, reset, width);
      put(saved + H, update, width);
      put(saved + 2 * H, candidate, width);
      put(saved + 3 * H, from_h[2], width);
    }
  }

  static inline void slopes(Walk<S> &walk, int64_t i) {
    const bptt_call &c = walk.call;
    const int64_t H = c.H, place = walk.place(i) * H;
    const S *saved = walk.at(static_cast<const void *>(c.saved), walk.place(i) * 4 * H);
    const S *before = walk.before(i, c.y, c.h_0), *grad_y = walk.at(c.grad_y, place);
    S *grad_h = walk.at(c.grad_h, walk.row(i) * H), *grad_h_tap = walk.at(c.grad_h_tap, place);
    S *grad_gates = walk.at(c.grad_gates, walk.place_in_part(i) * 4 * H);
    const S keep = walk.keep(i, c.c_keep, c.c_keep_stride);
    for (int64_t unit = 0; unit < H; unit += L) {
      const int width = lanes_at<V>(H, unit / L);
      const V reset = take<V>(saved + unit, width), update = take<V>(saved + H + unit, width);
      const V candidate = take<V>(saved + 2 * H + unit, width), hidden = take<V>(saved + 3 * H + unit, width);
      V dh = take<V>(grad_h + unit, width);
      if (grad_y) dh = dh + take<V>(grad_y + unit, width);
      if (grad_h_tap) put(grad_h_tap + unit, dh, width);
      const V dn = dh * (V::set(1) - update) * tanh_slope(candidate);
      put(grad_gates + unit, dn, width);
      put(grad_gates + H + unit, dn * hidden * sigmoid_slope(reset), width);
      put(grad_gates + 2 * H + unit, dh * (take<V>(before + unit, width) - candidate) * sigmoid_slope(update),
          width);
      put(grad_gates + 3 * H + unit, dn * reset, width);
      put(grad_h + unit, keep == 0 ? V::set(0) : V::set(keep) * (dh * update), width);
    }
  }
};

}  // namespace bptt::BPTT_ISA
