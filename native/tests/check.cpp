// Compares every instruction set with the scalar kernels in double, and those with loop.h.
//
// Every buffer is an allocation of its exact size, so that a sanitizer sees all that goes beyond, and what a
// pass is to write is NaN before it.
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "kernel.h"

namespace {

int failures = 0, problems = 0, runs = 0;

const std::pair<const char *, Numbers Answer::*> results[] = {
    {"y", &Answer::y},
    {"cells", &Answer::cells},
    {"h_n", &Answer::h_n},
    {"c_n", &Answer::c_n},
    {"grad_x", &Answer::grad_x},
    {"grad_w_ih", &Answer::grad_w_ih},
    {"grad_w_hh", &Answer::grad_w_hh},
    {"grad_b_ih", &Answer::grad_b_ih},
    {"grad_b_hh", &Answer::grad_b_hh},
    {"grad_h_0", &Answer::grad_h_0},
    {"grad_c_0", &Answer::grad_c_0},
    {"grad_h_tap", &Answer::grad_h_tap},
    {"grad_c_tap", &Answer::grad_c_tap},
};

void fail(const std::string &message) {
  failures++;
  std::printf("FAILED %s\n", message.c_str());
}

void compare(const std::string &name, const Numbers &got, const Numbers &wanted, double tolerance) {
  if (got.size() != wanted.size()) return fail(name + " has another size");
  double scale = 1;
  for (double x : wanted) scale = std::fmax(scale, std::fabs(x));
  for (size_t i = 0; i < got.size(); i++)
    if (!(std::fabs(got[i] - wanted[i]) <= tolerance * scale)) {
      std::ostringstream text;
      text.precision(17);
      text << name << "[" << i << "] is " << got[i] << ", not " << wanted[i];
      return fail(text.str());
    }
}

// What both answers have.
void compare(const std::string &name, const Answer &got, const Answer &wanted, double tolerance) {
  for (const auto &[what, member] : results)
    if (!(got.*member).empty() && !(wanted.*member).empty())
      compare(name + ": " + what, got.*member, wanted.*member, tolerance);
}

std::vector<std::string> isas() {
  std::istringstream words(bptt_isas());
  std::vector<std::string> names;
  for (std::string name; words >> name;) names.push_back(name);
  return names;
}

void use(const std::string &isa) {
  if (bptt_use_isa(isa.c_str()) != 0 || bptt_isa() != isa) fail("bptt_use_isa(" + isa + ")");
}

template <class S>
void check_isa(const std::string &isa, const Problem &p, const Answer &wanted, How how, Random &random) {
  const std::string name = isa + (sizeof(S) == 4 ? " float: " : " double: ") + p.name();
  const double tolerance = sizeof(S) == 4 ? 2e-5 : 1e-12;
  how.threads = 1 + random.below(3);
  how.part = random.coin() ? 0 : 1 + random.below(p.T);
  const Answer got = kernel<S>(p, how);
  if (got.y.empty()) return fail(name + ": no such op");
  compare(name, got, wanted, tolerance);

  How other = how;
  other.threads = 1 + how.threads % 3;
  other.off = 1;
  compare(name + ", other threads, moved", kernel<S>(p, other), got, 0);
  other.frozen = true;
  other.lend = false;
  compare(name + ", frozen, not lent to", kernel<S>(p, other), got, 0);
  other.train = false;
  compare(name + ", without saving", kernel<S>(p, other), got, 0);
  runs += 4;
}

void check(const Problem &p, Random &random) {
  problems++;
  use("scalar");
  const Answer wanted = kernel<double>(p, How());
  compare("loop: " + p.name(), wanted, loop(p), 1e-12);
  How how;
  how.again = random.coin();
  for (const std::string &isa : isas()) {
    use(isa);
    check_isa<float>(isa, p, wanted, how, random);
    check_isa<double>(isa, p, wanted, how, random);
  }
}

void check_differences(const Problem &p) {
  problems++;
  use("scalar");
  const Answer a = kernel<double>(p, How());
  const auto same = [&p](const char *what, const Numbers &got, Numbers Problem::*input) {
    compare("differences: " + p.name() + ": grad of " + what, got, differences(p, input), 1e-7);
  };
  same("x", a.grad_x, &Problem::x);
  same("w_ih", a.grad_w_ih, &Problem::w_ih);
  same("w_hh", a.grad_w_hh, &Problem::w_hh);
  same("b_ih", a.grad_b_ih, &Problem::b_ih);
  same("b_hh", a.grad_b_hh, &Problem::b_hh);
  same("h_0", a.grad_h_0, &Problem::h_0);
  same("c_0", a.grad_c_0, &Problem::c_0);
  same("h_tap", a.grad_h_tap, &Problem::h_tap);
  same("c_tap", a.grad_c_tap, &Problem::c_tap);
}

// At the kink of relu, rounding decides the gradient: such problems are drawn again.
Problem draw_smooth(int op, int64_t T, int64_t B, int64_t I, int64_t H, Random &random) {
  for (;;) {
    const Problem p = draw(op, T, B, I, H, random);
    if (op != rnn_relu || loop(p).margin > 5e-6) return p;
  }
}

template <class S>
void check_activations(const std::string &isa, Random &random) {
  const double tolerance = sizeof(S) == 4 ? 2e-7 : 4e-16;
  for (int64_t n : {1, 7, 16, 33})
    for (int which = 0; which < 2; which++) {
      Numbers x = random.numbers(n, 12), wanted;
      x[random.below(n)] = random.coin() ? INFINITY : -INFINITY;
      for (double in : x) wanted.push_back(which == 0 ? sigmoid(in) : std::tanh(in));
      const std::vector<S> in = as<S>(x);
      std::vector<S> out(n, S(unwritten));
      bptt_activation(which, sizeof(S) == 4 ? BPTT_F32 : BPTT_F64, n, in.data(), out.data());
      compare(isa + (which == 0 ? " sigmoid" : " tanh"), Numbers(out.begin(), out.end()), wanted, tolerance);
    }
}

void check_refusals() {
  bptt_call call{};
  if (bptt_run(4, BPTT_FORWARD, BPTT_F32, &call) == 0 || bptt_run(BPTT_LSTM, 2, BPTT_F32, &call) == 0 ||
      bptt_run(BPTT_LSTM, BPTT_FORWARD, 2, &call) == 0)
    fail("an op, a pass or a dtype that does not exist is not refused");
  if (bptt_use_isa("") == 0 || bptt_use_isa("sse9") == 0 || bptt_use_isa(nullptr) == 0)
    fail("an instruction set that does not exist is not refused");
}

void check_op(int op, Random &random) {
  for (int i = 0; i < 24; i++) check_differences(draw_smooth(op, 3, 2, i % 4 ? 2 : 34, 3, random));
  for (int64_t H : {1, 2, 7, 8, 16, 17, 33, 65})
    for (int64_t B : {1, 2, 7, 16, 33})
      check(draw_smooth(op, random.one_of({1, 2, 3, 7}), B, random.one_of({1, 2, 7, 33, 40}), H, random), random);
  // Beyond one block of rows, of columns and of depth.
  check(draw_smooth(op, 13, 33, 1, 9, random), random);
  check(draw_smooth(op, 2, 5, 3, 200, random), random);
  check(draw_smooth(op, 2, 9, 260, 9, random), random);
  // Groups of sequences, each with sums of its own.
  check(draw_smooth(op, 33, 130, random.one_of({1, 40}), 9, random), random);
  // More to save than goes through the caches, in whole vectors but for the last of each gate.
  check(draw_smooth(op, 4, 1000, 1, 68, random), random);
}

}  // namespace

int main(int argc, char **argv) {
  Random random(1);
  check_refusals();
  for (const std::string &isa : isas()) {
    use(isa);
    check_activations<float>(isa, random);
    check_activations<double>(isa, random);
  }
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 1;
  for (int round = 0; round < rounds; round++)
    for (int op : {lstm, gru, rnn_tanh, rnn_relu}) check_op(op, random);
  std::printf("instruction sets: %s\nthreaded: %d\nproblems: %d\nruns: %d\nfailures: %d\n", bptt_isas(),
              bptt_threaded(), problems, runs, failures);
  return failures == 0 ? 0 : 1;
}
