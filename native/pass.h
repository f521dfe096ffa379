// A pass over all steps, around any of the recurrences: the working memory shared out, the weights packed, and part
// after part the steps and the products over all of them.
#pragma once

#include "sums.h"
#include "walk.h"

namespace bptt::BPTT_ISA {

// Memory given out in turn, in whole lines of the cache; from nowhere, only the bytes are counted.
class Space {
 public:
  explicit Space(void *begin)
      : begin_(reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(begin) + line - 1) / line * line)) {}

  template <class S>
  S *take(int64_t count) {
    S *here = begin_ ? reinterpret_cast<S *>(begin_ + used_) : nullptr;
    used_ += (count * static_cast<int64_t>(sizeof(S)) + line - 1) / line * line;
    return here;
  }

  // With what it takes to begin at a line.
  int64_t used() const { return used_ + line - 1; }

 private:
  static constexpr int64_t line = 64;
  char *begin_;
  int64_t used_ = 0;
};

// Bytes of the gradients of gates, or of projected inputs, in work at once: they stay in the last-level cache.
constexpr int64_t part_bytes = 2 << 20;

// From so many bytes on, what is saved is written past the caches: an ordinary store reads the line first, and little
// would be left in a cache shared with other cores when the backward pass comes.
constexpr int64_t worth_streaming = 4 << 20;

// An odd number of cache lines: rows so far apart do not compete for the same few places of a cache.
template <class S>
constexpr int64_t apart(int64_t width) {
  constexpr int64_t line = 64 / sizeof(S);
  return ((width + line - 1) / line | 1) * line;
}

// Fewer rows for each thread do not fill its registers, or are too few for so many weights to come from far away.
constexpr int64_t enough_rows = 4, enough_for_many_weights = 12;
constexpr int64_t many_bytes = 256 << 10;
// Products of one step below which threads meet more slowly than one of them computes.
constexpr int64_t worth_meeting = 1 << 14;

template <class V, class K>
bool shares_rows(const bptt_call &c) {
  const int64_t enough = bytes<V>(c.H, K::gates * c.H) > many_bytes ? enough_for_many_weights : enough_rows;
  const int64_t alone = c.threads < c.B ? c.threads : c.B;  // threads with rows of their own
  return c.threads > 1 && c.B < enough * c.threads && c.B * c.H * c.H >= worth_meeting && strips<V>(c.H) >= alone;
}

// How many threads have something to do.
template <class V, class K>
int64_t team(const bptt_call &c) {
  const int64_t most = shares_rows<V, K>(c) ? strips<V>(c.H) : c.B;
  return c.threads < most ? c.threads : most;
}

// A group of sequences has enough of them to fill the registers of many tiles, and enough rows that its sums are a
// small part of the work; all groups' sums are to stay in the last-level cache. What a group is must not depend on the
// threads, or the results would.
constexpr int64_t most_groups = 8, enough_members = 16, enough_group_rows = 1024;
constexpr int64_t group_bytes = 8 << 20;

template <class V, class K>
int64_t groups(const bptt_call &c) {
  const int64_t sums = bytes<V>(K::gates * c.H, c.H + c.I);
  int64_t count = 1;
  for (int64_t more = 2; more <= most_groups; more *= 2)
    if (c.B >= more * enough_members && c.B * c.T >= more * enough_group_rows && sums * more <= group_bytes)
      count = more;
  return count;
}

template <class V, class K>
Plan<typename V::Scalar> plan(const bptt_call &call, int pass) {
  using S = typename V::Scalar;
  Plan<S> p{};
  static_cast<bptt_call &>(p) = call;
  p.gates = K::gates;
  p.slots = K::slots;
  const int64_t B = p.B, I = p.I, H = p.H, padded = vectors<V>(H) * V::lanes;
  const int64_t step = B * p.slots * H * static_cast<int64_t>(sizeof(S));
  const bool back = pass == BPTT_BACKWARD, lost = back && p.slots > 1 && !p.saved;
  p.steps = p.T;
  if ((back || p.wide()) && p.steps * step > part_bytes) p.steps = part_bytes / step;
  if (call.part > 0 && call.part < p.steps) p.steps = call.part;
  if (p.steps < 1) p.steps = 1;
  constexpr int64_t vector = V::lanes * static_cast<int64_t>(sizeof(S));
  const bool aligned = reinterpret_cast<uintptr_t>(p.saved) % vector == 0 && p.slots * H % V::lanes == 0;
  p.stream_saved = !back && p.saved && p.slots > 1 && aligned && p.T * step > worth_streaming;

  Space space(call.work);
  if (shares_rows<V, K>(call)) p.lots = space.take<Lot>(p.threads);
  if (!back || lost) {
    p.panels = space.take<S>(p.gates * H * padded);
    p.input_panels = space.take<S>(p.gates * I * padded);
    if (p.wide()) p.projection = space.take<S>(p.steps * B * p.gates * padded);
  }
  if (back) {
    if (lost) p.saved = space.take<S>(p.steps * B * p.slots * H);
    p.again = lost;
    p.backward_panels = space.take<S>(ThroughMatrix<V>::panels(p.gates * H, H));
    if (p.grad_x) p.grad_x_panels = space.take<S>(ThroughMatrix<V>::panels(p.gates * H, I));
    p.groups = groups<V, K>(call);
    p.seats = space.take<Seat>(B);
    p.grad_gates_row = apart<S>(p.slots * H);
    p.grad_gates = space.take<S>(p.steps * B * p.grad_gates_row);
    if (p.grad_w_ih || p.grad_w_hh || p.grad_b_ih || p.grad_b_hh) {
      p.grad_w_x = space.take<S>(p.groups * RowSums<V>::joined_sums(p));
      p.group_sums = space.take<S>((p.groups - 1) * RowSums<V>::wide_sums(p));
      p.rows = space.take<S>(RowSums<V>::space(p));
    }
  }
  p.bytes = space.used();
  return p;
}

template <class V, class K>
int64_t work(const bptt_call &call, int pass) {
  return plan<V, K>(call, pass).bytes;
}

// The steps in parts, in the order of the pass.
template <class S, class F>
void each_part(Plan<S> &p, bool ascending, F take) {
  const int64_t parts = (p.T + p.steps - 1) / p.steps;
  for (int64_t i = 0; i < parts; i++) {
    p.begin = (ascending ? i : parts - 1 - i) * p.steps;
    p.end = p.begin + p.steps < p.T ? p.begin + p.steps : p.T;
    take();
  }
}

// Before the threads wait for each other the first time. One that was left alone shares nothing.
template <class S>
void prepare_lots(Plan<S> &p, Team team) {
  if (team.size == 1) p.lots = nullptr;
  if (p.lots) p.lots[team.id] = {0, 0};
}

template <class V, class K>
void run_forward(const bptt_call &call, Team team) {
  auto p = plan<V, K>(call, BPTT_FORWARD);
  prepare_lots(p, team);
  K::pack(p, team);
  wait_for_team(team);
  each_part(p, !p.reverse, [&] {
    if (p.wide()) K::project(p, team);
    K::forward(p, team);
  });
  if (p.stream_saved) V::fence();
}

// Shared out among the team.
template <class S>
void seat_rows(const Plan<S> &p, Team team) {
  for (int64_t group = team.id; group < p.groups; group += team.size) {
    const int64_t members = p.members(group), first = p.members_before(group) * p.steps;
    for (int64_t i = 0; i < members; i++) p.seats[p.member(group, i)] = {first + i, members};
  }
}

// The steps of a part from the last to the first, the slopes of each after the product with the step before it.
template <class V, class K>
void step_back(const Plan<typename V::Scalar> &c, Team team) {
  using S = typename V::Scalar;
  Walk<S> walk(c, team);
  const int64_t H = c.H;
  ThroughMatrix<V> through_gates(c.backward_panels, K::gates * H, H, walk.most());
  for (int64_t s = 0; s < walk.steps(); s++) {
    const int64_t count = walk.enter(walk.time(s, true), [&](int64_t place) {
      // For the sums over all rows, before which the threads wait: else a late zero would meet the next part's numbers.
      if (c.rows) std::memset(walk.gates(place % c.B), 0, sizeof(S) * K::slots * H);
      walk.clear(c.grad_h_tap, place, H);
      walk.clear(c.grad_c_tap, place, H);
    });
    walk.share(strips<V>(H), [&](int64_t first, int64_t stop) {
      through_gates.multiply(K::carries, first, stop);
      for (int64_t i = 0; i < count; i++) K::slopes(walk, i, strip_begin<V>(H, first), strip_begin<V>(H, stop));
    });
    through_gates.close();
    for (int64_t i = 0; i < count; i++) {
      const S keep = walk.keep(i, c.h_keep, c.h_keep_stride);
      if (keep == 0) continue;
      const S *gates = walk.gates(walk.row(i)) + K::first_slot_of_state * H;
      through_gates.open(gates, walk.at(c.grad_h_0, walk.row(i) * H), keep);
    }
  }
  walk.share(strips<V>(H), [&](int64_t first, int64_t stop) { through_gates.multiply(K::carries, first, stop); });
}

template <class V, class K>
void run_backward(const bptt_call &call, Team team) {
  auto p = plan<V, K>(call, BPTT_BACKWARD);
  const int64_t rows = p.gates * p.H;
  prepare_lots(p, team);
  seat_rows(p, team);
  if (p.again) K::pack(p, team);
  ThroughMatrix<V>::pack(p.w_hh, rows, p.H, 0, team, p.backward_panels);
  // The slots of a GRU begin with n, its gates end with it.
  const int64_t shift = K::first_slot_of_state * (rows - p.H);
  if (p.grad_x) ThroughMatrix<V>::pack(p.w_ih, rows, p.I, shift, team, p.grad_x_panels);
  wait_for_team(team);
  each_part(p, p.reverse, [&] {
    if (p.again) {
      p.saved_from = p.begin;
      if (p.wide()) K::project(p, team);
      K::forward(p, team);
    }
    step_back<V, K>(p, team);
    if (p.grad_x) grad_inputs<V>(p, team);
    if (p.rows) RowSums<V>::add(p, team, K::first_slot_of_state);
  });
  if (p.rows) RowSums<V>::write(p, team, K::first_slot_of_state);
}

}  // namespace bptt::BPTT_ISA
