// The recurrences as a loop over their equations, in double.
#pragma once

#include "problem.h"

struct Answer {
  Numbers y, cells, h_n, c_n;
  Numbers grad_x, grad_w_ih, grad_w_hh, grad_b_ih, grad_b_hh, grad_h_0, grad_c_0, grad_h_tap, grad_c_tap;
  double margin = 1;  // of the arguments of relu, from its kink
};

// A point to hold on to: differences around it see `keep` of a state's change and nothing of the rest.
struct Point {
  const Problem &problem;
  const Answer &answer;
};

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline Answer loop(const Problem &p, const Point *around = nullptr) {
  const int64_t T = p.T, B = p.B, I = p.I, H = p.H, G = p.G();
  Answer out;
  out.y.assign(T * B * H, 0);
  out.h_n = p.h_0;
  if (p.op == lstm) out.cells.assign(T * B * H, 0), out.c_n = p.c_0;
  Numbers h_held(H), c_held(H), from_x(G * H), from_h(G * H);
  for (int64_t b = 0; b < B; b++)
    for (int64_t s = 0; s < p.length(b); s++) {
      const int64_t t = p.reverse ? p.length(b) - 1 - s : s, before = p.reverse ? t + 1 : t - 1;
      const int64_t place = (t * B + b) * H;
      double *h = &out.h_n[b * H], *c = p.op == lstm ? &out.c_n[b * H] : nullptr;
      const auto held = [&](double now, const Numbers &first, const Numbers &series, double keep, int64_t u) {
        return keep * now + (1 - keep) * (s == 0 ? first[b * H + u] : series[(before * B + b) * H + u]);
      };
      for (int64_t u = 0; u < H; u++) {
        h_held[u] = h[u];
        c_held[u] = c ? c[u] : h[u];
        if (!around) continue;
        const Problem &at = around->problem;
        const Answer &was = around->answer;
        h_held[u] = held(h[u], at.h_0, was.y, p.keep(p.h_keep, t, b), u);
        c_held[u] = c ? held(c[u], at.c_0, was.cells, p.keep(p.c_keep, t, b), u)
                      : held(h[u], at.h_0, was.y, p.keep(p.c_keep, t, b), u);
      }
      for (int64_t j = 0; j < G * H; j++) {
        from_x[j] = p.b_ih.empty() ? 0 : p.b_ih[j];
        from_h[j] = p.b_hh.empty() ? 0 : p.b_hh[j];
        for (int64_t i = 0; i < I; i++) from_x[j] += p.w_ih[j * I + i] * p.x[(t * B + b) * I + i];
        for (int64_t k = 0; k < H; k++) from_h[j] += p.w_hh[j * H + k] * h_held[k];
      }
      for (int64_t u = 0; u < H; u++) {
        const auto z = [&](int64_t gate) { return from_x[gate * H + u] + from_h[gate * H + u]; };
        if (p.op == lstm) {
          c[u] = sigmoid(z(1)) * c_held[u] + sigmoid(z(0)) * std::tanh(z(2));
          if (!p.c_tap.empty()) c[u] += p.c_tap[place + u];
          out.cells[place + u] = c[u];
          h[u] = sigmoid(z(3)) * std::tanh(c[u]);
        } else if (p.op == gru) {
          const double n = std::tanh(from_x[2 * H + u] + sigmoid(z(0)) * from_h[2 * H + u]);
          h[u] = (1 - sigmoid(z(1))) * n + sigmoid(z(1)) * c_held[u];
        } else if (p.op == rnn_tanh) {
          h[u] = std::tanh(z(0));
        } else {
          h[u] = z(0) > 0 ? z(0) : 0;
          out.margin = std::fmin(out.margin, std::fabs(z(0)));
        }
        if (!p.h_tap.empty()) h[u] += p.h_tap[place + u];
        out.y[place + u] = h[u];
      }
    }
  return out;
}

// What the gradients are of: the sum of all outputs, weighted.
inline double loss(const Problem &p, const Answer &a) {
  double sum = 0;
  for (int64_t t = 0; t < p.T; t++)
    for (int64_t b = 0; b < p.B; b++)
      for (int64_t i = (t * p.B + b) * p.H; i < (t * p.B + b + 1) * p.H && t < p.length(b); i++) {
        if (!p.grad_y.empty()) sum += p.grad_y[i] * a.y[i];
        if (!p.grad_cells.empty()) sum += p.grad_cells[i] * a.cells[i];
      }
  for (int64_t i = 0; i < p.B * p.H; i++) {
    sum += p.grad_h_n[i] * a.h_n[i];
    if (p.op == lstm) sum += p.grad_c_n[i] * a.c_n[i];
  }
  return sum;
}

// The gradient of one input by differences.
inline Numbers differences(const Problem &p, Numbers Problem::*input) {
  const Answer answer = loop(p);
  const Point around{p, answer};
  Numbers result;
  Problem moved = p;
  constexpr double step = 1e-5;
  for (double &x : moved.*input) {
    const double was = x;
    x = was + step;
    const double above = loss(p, loop(moved, &around));
    x = was - step;
    result.push_back((above - loss(p, loop(moved, &around))) / (2 * step));
    x = was;
  }
  return result;
}
