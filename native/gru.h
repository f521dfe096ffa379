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
    const int64_t H = c.H, units = vectors<V>(H), most = walk.most();
    const S *panels = static_cast<const S *>(c.panels), *x_panels = panels + forward_panels(0, H);
    Scratch<S> sums((most + few_rows) * 3 * L), bias(units * 6 * L);
    Scratch<const S *> h_rows(most);
    lay_out_biases(c, bias.get());
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t count =
          walk.enter(walk.time(s, false), [&](int64_t place) {
            if (!c.again) walk.clear(c.y, place, H);
          });
      for (int64_t i = 0; i < count; i++) h_rows[i] = walk.before(i, c.y, c.h_0);
      for (Turn turn(s, count, units); turn.next();) {
        S *z = sums.get();
        for (int64_t u = turn.begin; u < turn.end; u++, z += count * 3 * L)
          product<V, 3>(count, h_rows.get(), panels + u * H * 3 * L, H, z);
        // In two loops, as those of the LSTM.
        z = sums.get();
        for (int64_t u = turn.begin; u < turn.end; u++)
          for (int64_t i = 0; i < count; i++, z += 3 * L)
            open_gates(walk, i, u, z, &bias[u * 6 * L], x_panels + u * c.I * 3 * L);
        z = sums.get();
        for (int64_t u = turn.begin; u < turn.end; u++)
          for (int64_t i = 0; i < count; i++, z += 3 * L)
            emit(walk, i, u, V::load(z), V::load(z + L), h_rows[i] + u * L);
      }
    }
  }

  static void backward(const bptt_call &c, Team team) {
    Walk<S> walk(c, team);
    const int64_t H = c.H;
    BackwardProduct<V> through_gates(c, walk.most());
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t count = walk.enter(walk.time(s, true), [&](int64_t place) {
        std::memset(walk.gates(place - c.begin * c.B), 0, sizeof(S) * 4 * H);
        walk.clear(c.grad_h_tap, place, H);
      });
      for (int64_t i = 0; i < count; i++) {
        slopes(walk, i);
        const S keep = walk.keep(i, c.h_keep, c.h_keep_stride);
        if (keep != 0)
          through_gates.open(walk.gates(walk.place_in_part(i)) + H,
                             walk.at(c.grad_h, walk.row(i) * H), keep);
      }
      through_gates.close(3 * H, true);
    }
    RowSums<V>::add(c, team, 4, 1);
  }

 private:
  // For each vector of units: those beside h and those beside x.
  static void lay_out_biases(const bptt_call &c, S *bias) {
    for (int64_t u = 0; u < vectors<V>(c.H); u++)
      for (int g = 0; g < 3; g++) {
        const int64_t unit = g * c.H + u * L;
        const int width = lanes_at<V>(c.H, u);
        const S *of_h = static_cast<const S *>(c.b_hh), *of_x = static_cast<const S *>(c.b_ih);
        (of_h ? take<V>(of_h + unit, width) : V::set(0)).store(bias + (u * 6 + g) * L);
        (of_x && !c.projected ? take<V>(of_x + unit, width) : V::set(0)).store(bias + (u * 6 + 3 + g) * L);
      }
  }

  // Leaves the candidate before its tanh, and the update gate, where the sums of h were.
  static BPTT_INLINE void open_gates(Walk<S> &walk, int64_t i, int64_t u, S *sums, const S *bias,
                                     const S *x_panel) {
    const bptt_call &c = walk.call;
    const int64_t H = c.H, unit = u * L;
    const int width = lanes_at<V>(H, u);
    V from_h[3], from_x[3];
    BPTT_UNROLL
    for (int g = 0; g < 3; g++) {
      from_h[g] = V::load(sums + g * L) + V::load(bias + g * L);
      from_x[g] = V::load(bias + (3 + g) * L);
    }
    if (c.projected) {
      const S *projection = walk.at(c.projection, walk.place_in_part(i) * c.projection_row + unit);
      BPTT_UNROLL
      for (int g = 0; g < 3; g++) from_x[g] = take<V>(projection + g * H, width);
    } else {
      add_inputs(from_x, walk.at(c.x, walk.place(i) * c.I), x_panel, c.I);
    }
    const V reset = sigmoid(from_x[0] + from_h[0]), update = sigmoid(from_x[1] + from_h[1]);
    fma(reset, from_h[2], from_x[2]).store(sums);
    update.store(sums + L);
    if (c.saved) {
      S *saved = walk.at(c.saved, walk.place(i) * 4 * H + unit);
      put(saved, reset, width);
      put(saved + H, update, width);
      put(saved + 3 * H, from_h[2], width);
    }
  }

  static BPTT_INLINE void emit(Walk<S> &walk, int64_t i, int64_t u, V sum, V update, const S *before) {
    const bptt_call &c = walk.call;
    const int64_t H = c.H, unit = u * L, place = walk.place(i) * H + unit;
    const int width = lanes_at<V>(H, u);
    const V candidate = tanh(sum);
    if (c.saved) put(walk.at(c.saved, walk.place(i) * 4 * H + unit + 2 * H), candidate, width);
    if (c.again) return;
    V h = fma(update, take<V>(before, width), (V::set(1) - update) * candidate);
    if (c.h_tap) h = h + take<V>(walk.at(c.h_tap, place), width);
    put(walk.at(c.y, place), h, width);
    if (walk.last(i)) put(walk.at(c.h_n, walk.row(i) * H + unit), h, width);
  }

  static BPTT_INLINE void slopes(Walk<S> &walk, int64_t i) {
    const bptt_call &c = walk.call;
    const int64_t H = c.H, place = walk.place(i) * H;
    const S *saved = walk.at(static_cast<const void *>(c.saved), walk.place(i) * 4 * H);
    const S *before = walk.before(i, c.y, c.h_0), *grad_y = walk.at(c.grad_y, place);
    S *grad_h = walk.at(c.grad_h, walk.row(i) * H), *grad_h_tap = walk.at(c.grad_h_tap, place);
    S *grad_gates = walk.gates(walk.place_in_part(i));
    const S keep = walk.keep(i, c.c_keep, c.c_keep_stride);
    for (int64_t unit = 0; unit < H; unit += L) {
      const int width = lanes_at<V>(H, unit / L);
      for (int g = 0; g < 4; g++) fetch_ahead(saved + g * H, unit, 4 * H);
      fetch_ahead(before, unit, H);
      fetch_ahead(grad_y, unit, H);
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
