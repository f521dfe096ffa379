// What recurrences share whose panels are G gates × one vector of units, so that a cell finds all its gates in
// registers.
#pragma once

#include "walk.h"

namespace bptt::BPTT_ISA {

template <class V, int G>
struct Gated {
  using S = typename V::Scalar;
  static constexpr int64_t L = V::lanes;
  static constexpr int gates = G;
  static constexpr int64_t at_once = vectors_of_line<V>;  // vectors of units

  static void pack(const Plan<S> &c, Team team) {
    for (int64_t u = team.id; u < vectors<V>(c.H); u += team.size) {
      pack_gates<V, G>(static_cast<const S *>(c.w_hh), c.H, c.H, u, c.panels);
      pack_gates<V, G>(static_cast<const S *>(c.w_ih), c.H, c.I, u, c.input_panels);
    }
  }

  // out[count][G][lanes] = rows[count][K] × the panel of vector u; that of vector `next` comes after.
  static void panel_product(const Plan<S> &c, int64_t count, const S **rows, const S *panels, int64_t K, int64_t u,
                            int64_t next, S *out) {
    const int64_t panel = K * G * L;
    product<V, G>(count, rows, panels + u * panel, K, out, far<V>(K, G * c.H) ? panels + next * panel : nullptr);
  }

  // Those of one step in turn, one after the other in out.
  static void panel_products(const Plan<S> &c, int64_t count, const S **rows, const Turn &turn, S *out) {
    constexpr int several = panels_at_once<G>;
    int64_t u = turn.begin;
    if (count == 1)
      for (; u + several <= turn.end; u += several, out += several * G * L)
        row_products<V, G>(rows[0], c.panels + u * c.H * G * L, c.H, out);
    for (; u < turn.end; u++, out += count * G * L)
      panel_product(c, count, rows, c.panels, c.H, u, turn.after(u), out);
  }

  static void project(const Plan<S> &c, Team team) {
    InputRows<S> x(c, team);
    Walk<S> walk(c, team);
    const int64_t units = vectors<V>(c.H);
    S *out = walk.projection(G * units * L);
    walk.share(units, [&](int64_t first, int64_t stop) {
      for (int64_t u = first; u < stop; u++)
        panel_product(c, x.count, x.get(), c.input_panels, c.I, u, u + 1, out + u * x.count * G * L);
    });
  }
};

}  // namespace bptt::BPTT_ISA
