// A random call: its sizes, what it has, and its numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

using Numbers = std::vector<double>;  // empty where absent

constexpr double unwritten = std::numeric_limits<double>::quiet_NaN();

enum Op { lstm, gru, rnn_tanh, rnn_relu };
const char *const op_names[] = {"lstm", "gru", "rnn_tanh", "rnn_relu"};
constexpr int64_t gates_of[] = {4, 3, 1, 1}, slots_of[] = {4, 4, 1, 1};

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(bits_() % static_cast<uint64_t>(n)); }
  bool coin() { return below(2) == 1; }
  // In [0, 1) and [-1, 1), exact in float.
  double positive() { return static_cast<double>(bits_() >> 40) / (1 << 24); }
  double number() { return 2 * positive() - 1; }
  Numbers numbers(int64_t n, double scale = 1) {
    Numbers result(n);
    for (double &x : result) x = static_cast<float>(scale * number());
    return result;
  }
  Numbers keeps(int64_t n) {
    Numbers result(n);
    for (double &x : result) x = coin() ? 0 : coin() ? 1 : positive();
    return result;
  }
  int64_t one_of(std::initializer_list<int64_t> choices) { return choices.begin()[below(choices.size())]; }

 private:
  std::mt19937_64 bits_;
};

struct Problem {
  int op;
  int64_t T, B, I, H;
  bool reverse, cells;
  std::vector<int64_t> lengths;
  Numbers x, w_ih, w_hh, b_ih, b_hh, h_0, c_0, h_tap, c_tap, h_keep, c_keep;
  Numbers grad_y, grad_cells, grad_h_n, grad_c_n;

  int64_t G() const { return gates_of[op]; }
  int64_t S() const { return slots_of[op]; }
  int64_t length(int64_t b) const { return lengths.empty() ? T : lengths[b]; }
  int64_t stride(const Numbers &keep) const { return static_cast<int64_t>(keep.size()) == T * B ? 1 : 0; }
  double keep(const Numbers &keep, int64_t t, int64_t b) const {
    return keep.empty() ? 1 : stride(keep) ? keep[t * B + b] : keep[t];
  }

  std::string name() const {
    std::string text = op_names[op];
    const auto add = [&text](bool has, const char *word) { text += has ? std::string(" ") + word : ""; };
    const std::pair<const char *, int64_t> sizes[] = {{" T=", T}, {" B=", B}, {" I=", I}, {" H=", H}};
    for (const auto &[letter, size] : sizes) text += letter + std::to_string(size);
    add(reverse, "reverse");
    add(!lengths.empty(), "lengths");
    add(b_ih.empty(), "no biases");
    add(!h_tap.empty(), "h_tap");
    add(!c_tap.empty(), "c_tap");
    add(!h_keep.empty(), stride(h_keep) ? "h_keep(T,B)" : "h_keep(T)");
    add(!c_keep.empty(), stride(c_keep) ? "c_keep(T,B)" : "c_keep(T)");
    return text;
  }
};

inline Problem draw(int op, int64_t T, int64_t B, int64_t I, int64_t H, Random &random) {
  Problem p{};
  p.op = op, p.T = T, p.B = B, p.I = I, p.H = H;
  p.reverse = random.coin();
  p.cells = op == lstm && random.coin();
  if (random.coin())
    for (int64_t b = 0; b < B; b++) p.lengths.push_back(1 + random.below(T));
  p.x = random.numbers(T * B * I);
  p.w_ih = random.numbers(p.G() * H * I, 1 / std::sqrt(I));
  p.w_hh = random.numbers(p.G() * H * H, 1.5 / std::sqrt(H));
  if (random.coin()) p.b_ih = random.numbers(p.G() * H), p.b_hh = random.numbers(p.G() * H);
  p.h_0 = random.numbers(B * H);
  p.grad_h_n = random.numbers(B * H);
  if (random.below(4)) p.grad_y = random.numbers(T * B * H);
  if (random.coin()) p.h_tap = random.numbers(T * B * H);
  const int64_t keep_sizes[] = {0, T, T * B};
  p.h_keep = random.keeps(keep_sizes[random.below(3)]);
  if (op == lstm || op == gru) p.c_keep = random.keeps(keep_sizes[random.below(3)]);
  if (op == lstm) {
    p.c_0 = random.numbers(B * H);
    p.grad_c_n = random.numbers(B * H);
    if (random.coin()) p.grad_cells = random.numbers(T * B * H);
    if (random.coin()) p.c_tap = random.numbers(T * B * H);
  }
  // Beyond the end of a sequence nothing is read.
  const auto cover = [&p](Numbers &series) {
    const int64_t width = static_cast<int64_t>(series.size()) / (p.T * p.B);
    for (int64_t t = 0; t < p.T; t++)
      for (int64_t b = 0; b < p.B; b++)
        for (int64_t i = 0; i < width && t >= p.length(b); i++) series[(t * p.B + b) * width + i] = unwritten;
  };
  for (Numbers *series : {&p.x, &p.h_tap, &p.c_tap, &p.grad_y, &p.grad_cells}) cover(*series);
  if (B > 1)
    for (Numbers *keep : {&p.h_keep, &p.c_keep})
      if (p.stride(*keep)) cover(*keep);
  return p;
}
