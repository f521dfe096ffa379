// One problem through the library.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "../recurrence.h"
#include "loop.h"

struct How {
  int64_t threads = 1;
  int64_t part = 0;   // steps in work at once
  bool train = true;  // save, and go back
  bool again = false;  // lose what was saved, and have it computed again
  int64_t off = 0;     // numbers from a line of the cache to where what is saved begins
  bool frozen = false;  // no gradients of the weights
  bool lend = true;     // working memory of its exact size; else the library's own, where that is enough
};

// Unwritten numbers, `off` beyond a line of the cache; exactly so many, for sanitizers to see what goes beyond.
template <class S>
class Lined {
 public:
  Lined(int64_t count, int64_t off) {
    if (posix_memalign(&all_, 64, (count + off) * sizeof(S)) != 0) std::abort();
    begin = static_cast<S *>(all_) + off;
    std::fill(begin, begin + count, S(unwritten));
  }
  ~Lined() { std::free(all_); }
  Lined(const Lined &) = delete;
  Lined &operator=(const Lined &) = delete;
  S *begin;

 private:
  void *all_ = nullptr;
};

template <class S>
std::vector<S> as(const Numbers &numbers) {
  return std::vector<S>(numbers.begin(), numbers.end());
}

template <class S>
S *pointer(std::vector<S> &v) {
  return v.empty() ? nullptr : v.data();
}

// Runs a pass; working memory that is lent is NaN before it.
template <class S>
bool run(const Problem &p, int pass, bool lend, bptt_call &call) {
  constexpr int dtype = sizeof(S) == 4 ? BPTT_F32 : BPTT_F64;
  call.work = lend ? &call : nullptr, call.work_bytes = 0;
  const int status = bptt_run(p.op, pass, dtype, &call);
  if (status != 2) return status == 0 && !lend;
  std::vector<S> work((call.work_bytes + sizeof(S) - 1) / sizeof(S), S(unwritten));
  call.work = pointer(work), call.work_bytes = static_cast<int64_t>(work.size() * sizeof(S));
  return bptt_run(p.op, pass, dtype, &call) == 0;
}

template <class S>
Answer kernel(const Problem &p, const How &how) {
  const int64_t T = p.T, B = p.B, I = p.I, H = p.H, GH = p.G() * H;
  std::vector<int64_t> lengths = p.lengths;

  auto x = as<S>(p.x), w_ih = as<S>(p.w_ih), w_hh = as<S>(p.w_hh), b_ih = as<S>(p.b_ih), b_hh = as<S>(p.b_hh);
  auto h_0 = as<S>(p.h_0), c_0 = as<S>(p.c_0), h_tap = as<S>(p.h_tap), c_tap = as<S>(p.c_tap);
  auto h_keep = as<S>(p.h_keep), c_keep = as<S>(p.c_keep);
  auto grad_y = as<S>(p.grad_y), grad_cells = as<S>(p.grad_cells);
  auto grad_h = as<S>(p.grad_h_n), grad_c = as<S>(p.grad_c_n), c_n = c_0;
  const auto empty = [](bool wanted, int64_t n) { return std::vector<S>(wanted ? n : 0, S(unwritten)); };
  auto y = empty(true, T * B * H), h_n = empty(true, B * H);
  auto cells = empty(p.op == lstm && (how.train || p.cells), T * B * H);
  const bool saves = how.train && (p.S() > 1 ? !how.again : !p.h_tap.empty());
  const Lined<S> saved(saves ? T * B * p.S() * H : 0, how.off);

  bptt_call call{};
  call.T = T, call.B = B, call.I = I, call.H = H;
  call.reverse = p.reverse, call.threads = how.threads, call.part = how.part;
  call.lengths = pointer(lengths), call.x = pointer(x), call.w_ih = pointer(w_ih), call.w_hh = pointer(w_hh);
  call.b_ih = pointer(b_ih), call.b_hh = pointer(b_hh), call.h_0 = pointer(h_0), call.c_0 = pointer(c_0);
  call.h_tap = pointer(h_tap), call.c_tap = pointer(c_tap);
  call.y = pointer(y), call.cells = pointer(cells), call.saved = saves ? saved.begin : nullptr;
  call.h_n = pointer(h_n), call.c_n = pointer(c_n);
  if (!run<S>(p, BPTT_FORWARD, how.lend, call)) return {};
  const auto back = [](const std::vector<S> &v) { return Numbers(v.begin(), v.end()); };
  Answer answer;
  answer.y = back(y), answer.cells = back(cells), answer.h_n = back(h_n), answer.c_n = back(c_n);
  if (!how.train) return answer;

  const bool weights = !how.frozen, biases = weights && !b_ih.empty();
  auto grad_x = empty(true, T * B * I), grad_w_ih = empty(weights, GH * I), grad_w_hh = empty(weights, GH * H);
  auto grad_b_ih = empty(biases, GH), grad_b_hh = empty(biases, GH);
  auto grad_h_tap = empty(!p.h_tap.empty(), T * B * H), grad_c_tap = empty(!p.c_tap.empty(), T * B * H);
  call.h_keep = pointer(h_keep), call.h_keep_stride = p.stride(p.h_keep);
  call.c_keep = pointer(c_keep), call.c_keep_stride = p.stride(p.c_keep);
  call.grad_y = pointer(grad_y), call.grad_cells = pointer(grad_cells);
  call.grad_h_0 = pointer(grad_h), call.grad_c_0 = pointer(grad_c), call.grad_x = pointer(grad_x);
  call.grad_w_ih = pointer(grad_w_ih), call.grad_w_hh = pointer(grad_w_hh);
  call.grad_b_ih = pointer(grad_b_ih), call.grad_b_hh = pointer(grad_b_hh);
  call.grad_h_tap = pointer(grad_h_tap), call.grad_c_tap = pointer(grad_c_tap);
  if (!run<S>(p, BPTT_BACKWARD, how.lend, call)) return {};
  answer.grad_x = back(grad_x), answer.grad_w_ih = back(grad_w_ih), answer.grad_w_hh = back(grad_w_hh);
  answer.grad_b_ih = back(grad_b_ih), answer.grad_b_hh = back(grad_b_hh);
  answer.grad_h_0 = back(grad_h), answer.grad_c_0 = back(grad_c);
  answer.grad_h_tap = back(grad_h_tap), answer.grad_c_tap = back(grad_c_tap);
  return answer;
}
