// One problem through the library.
#pragma once

#include "../recurrence.h"
#include "loop.h"

struct How {
  int64_t threads = 1;
  std::vector<int64_t> cuts;  // between the parts in which the steps are taken
  bool projected = false;
  bool train = true;  // save, and go back
  bool sums = true;   // of the gradients of the weights
  bool again = false;  // lose what was saved, and have it computed again
};

constexpr double sums_from = 0.25;  // sums are added to what is there

template <class S>
std::vector<S> as(const Numbers &numbers) {
  return std::vector<S>(numbers.begin(), numbers.end());
}

template <class S>
S *pointer(std::vector<S> &v) {
  return v.empty() ? nullptr : v.data();
}

inline Numbers input_part(const Problem &p, int64_t t, int64_t b) {
  Numbers z = p.b_ih.empty() ? Numbers(p.G() * p.H, 0) : p.b_ih;
  for (int64_t j = 0; j < p.G() * p.H; j++)
    for (int64_t i = 0; i < p.I; i++) z[j] += p.w_ih[j * p.I + i] * p.x[(t * p.B + b) * p.I + i];
  return z;
}

template <class S>
Answer kernel(const Problem &p, const How &how) {
  constexpr int dtype = sizeof(S) == 4 ? BPTT_F32 : BPTT_F64;
  const int64_t T = p.T, B = p.B, I = p.I, H = p.H, GH = p.G() * H, SH = p.S() * H;
  std::vector<int64_t> lengths = p.lengths, bounds = how.cuts;
  bounds.insert(bounds.begin(), 0);
  bounds.push_back(T);
  const int64_t parts = static_cast<int64_t>(bounds.size()) - 1;

  auto x = as<S>(p.x), w_ih = as<S>(p.w_ih), w_hh = as<S>(p.w_hh), b_ih = as<S>(p.b_ih), b_hh = as<S>(p.b_hh);
  auto h_0 = as<S>(p.h_0), c_0 = as<S>(p.c_0), h_tap = as<S>(p.h_tap), c_tap = as<S>(p.c_tap);
  auto h_keep = as<S>(p.h_keep), c_keep = as<S>(p.c_keep);
  auto grad_y = as<S>(p.grad_y), grad_cells = as<S>(p.grad_cells);
  auto grad_h = as<S>(p.grad_h_n), grad_c = as<S>(p.grad_c_n), c_n = c_0;
  const auto empty = [](bool wanted, int64_t n) { return std::vector<S>(wanted ? n : 0, S(unwritten)); };
  auto y = empty(true, T * B * H), h_n = empty(true, B * H);
  auto cells = empty(p.op == lstm && (how.train || p.cells), T * B * H);
  auto saved = empty(how.train && p.S() > 1, T * B * SH);
  auto outputs = empty(how.train && p.S() == 1 && !p.h_tap.empty(), T * B * H);

  bptt_call call{};
  call.T = T, call.B = B, call.I = I, call.H = H;
  call.reverse = p.reverse, call.threads = how.threads;
  call.lengths = pointer(lengths);
  call.w_hh = pointer(w_hh), call.b_hh = pointer(b_hh), call.h_0 = pointer(h_0), call.c_0 = pointer(c_0);
  call.h_tap = pointer(h_tap), call.c_tap = pointer(c_tap);
  call.y = pointer(y), call.cells = pointer(cells), call.saved = pointer(saved);
  call.outputs = pointer(outputs), call.h_n = pointer(h_n), call.c_n = pointer(c_n);
  if (how.projected)
    call.projected = 1;
  else
    call.x = pointer(x), call.w_ih = pointer(w_ih), call.b_ih = pointer(b_ih);

  std::vector<char> panels(bptt_panels(p.op, BPTT_FORWARD, dtype, I, H));
  call.panels = panels.data();
  call.pack = 1;
  for (int64_t i = 0; i < parts; i++) {
    const int64_t part = p.reverse ? parts - 1 - i : i;
    call.begin = bounds[part], call.end = bounds[part + 1];
    const int64_t row = GH + 3, rows = (call.end - call.begin) * B;
    auto projection = empty(how.projected, (rows - 1) * row + GH);
    for (int64_t r = 0; r < rows && how.projected; r++) {
      const int64_t t = call.begin + r / B, b = r % B;
      if (t >= p.length(b)) continue;
      const auto z = as<S>(input_part(p, t, b));
      std::copy(z.begin(), z.end(), &projection[r * row]);
    }
    call.projection = pointer(projection), call.projection_row = row;
    if (bptt_run(p.op, BPTT_FORWARD, dtype, &call) != 0) return {};
    call.pack = 0;
    if (!how.again || saved.empty()) continue;
    std::fill(&saved[call.begin * B * SH], &saved[0] + call.end * B * SH, S(unwritten));
    call.again = 1;
    if (bptt_run(p.op, BPTT_FORWARD, dtype, &call) != 0) return {};
    call.again = 0;
  }
  const auto back = [](const std::vector<S> &v) { return Numbers(v.begin(), v.end()); };
  Answer answer;
  answer.y = back(y), answer.cells = back(cells), answer.h_n = back(h_n), answer.c_n = back(c_n);
  if (!how.train) return answer;

  auto grad_h_tap = empty(!p.h_tap.empty(), T * B * H), grad_c_tap = empty(!p.c_tap.empty(), T * B * H);
  std::vector<S> grad_w_hh(how.sums ? GH * H : 0, S(sums_from));
  std::vector<S> grad_w_x(how.sums ? SH * (I + 1) : 0, S(sums_from));
  std::vector<char>(bptt_panels(p.op, BPTT_BACKWARD, dtype, I, H)).swap(panels);
  call.panels = panels.data();
  call.x = how.sums ? pointer(x) : nullptr;
  call.w_ih = call.b_ih = call.projection = nullptr;
  call.h_keep = pointer(h_keep), call.h_keep_stride = p.stride(p.h_keep);
  call.c_keep = pointer(c_keep), call.c_keep_stride = p.stride(p.c_keep);
  call.grad_y = pointer(grad_y), call.grad_cells = pointer(grad_cells);
  call.grad_h = pointer(grad_h), call.grad_c = pointer(grad_c);
  call.grad_h_tap = pointer(grad_h_tap), call.grad_c_tap = pointer(grad_c_tap);
  call.grad_w_hh = pointer(grad_w_hh), call.grad_w_x = pointer(grad_w_x);
  call.pack = 1;
  answer.grad_gates.resize(T * B * SH);
  for (int64_t i = 0; i < parts; i++) {
    const int64_t part = p.reverse ? i : parts - 1 - i;
    call.begin = bounds[part], call.end = bounds[part + 1];
    const int64_t rows = (call.end - call.begin) * B;
    const int64_t apart = SH + 3;
    auto grad_gates = empty(true, rows * apart);
    std::vector<char> space(how.sums ? bptt_rows(dtype, rows, I, H) : 0);
    call.grad_gates = pointer(grad_gates), call.grad_gates_row = apart, call.rows = pointer(space);
    if (bptt_run(p.op, BPTT_BACKWARD, dtype, &call) != 0) return {};
    call.pack = 0;
    for (int64_t row = 0; row < rows; row++)
      std::copy(&grad_gates[row * apart], &grad_gates[row * apart] + SH, &answer.grad_gates[(call.begin * B + row) * SH]);
  }
  answer.grad_h_0 = back(grad_h), answer.grad_c_0 = back(grad_c);
  answer.grad_h_tap = back(grad_h_tap), answer.grad_c_tap = back(grad_c_tap);
  answer.grad_w_hh = back(grad_w_hh), answer.grad_w_x = back(grad_w_x);
  return answer;
}
