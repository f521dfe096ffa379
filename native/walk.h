// The way of one thread through a call: which rows are its own, and what each of them reads and writes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "panels.h"
#include "parallel.h"
#include "plan.h"

namespace bptt::BPTT_ISA {

// Memory of one thread for the length of a call.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<T *>(std::aligned_alloc(64, (sizeof(T) * count + 64) / 64 * 64))) {
    if (!data_) std::abort();
  }
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  T *get() { return data_; }
  T &operator[](int64_t i) { return data_[i]; }

 private:
  T *data_;
};

constexpr int64_t few_rows = 16;

// Vectors of units that fill a line of the cache: it is written while it is near.
template <class V>
constexpr int64_t vectors_of_line = 64 / (V::lanes * static_cast<int64_t>(sizeof(typename V::Scalar)));

// Vectors of units of one step in turns: some at once, and more where the rows are few. Every other step goes
// from the last to the first, since what was used last is still in the nearest cache.
struct Turn {
  Turn(int64_t step, int64_t rows, int64_t some, int64_t first, int64_t stop)
      : backward(step % 2 != 0), size(some * rows < few_rows && rows > 0 ? few_rows / rows : some), first(first),
        units(stop - first) {}

  bool next() {
    if (done == units) return false;
    const int64_t here = units - done < size ? units - done : size;
    begin = first + (backward ? units - done - here : done);
    end = begin + here;
    done += here;
    return true;
  }

  // The vector that comes after u, in this turn or the next.
  int64_t after(int64_t u) const {
    if (u + 1 < end || !backward) return u + 1;
    return begin - size > first ? begin - size : first;
  }

  int64_t begin = 0, end = 0;

 private:
  bool backward;
  int64_t size, first, units, done = 0;
};

// What a forward step reads and writes of a row: NULL for what there is not.
template <class S>
struct Row {
  const S *x, *h_tap, *c_tap;
  S *saved, *cells, *y, *h_n, *c_n;
};

template <class S>
class Walk {
 public:
  Walk(const Plan<S> &call, Team team)
      : call(call),
        team_(team),
        first_(start(team.id, team)),
        stop_(start(team.id + 1, team)),
        step_(1),
        active_(call.B) {
    if (call.lots) {
      first_ = 0;
      stop_ = call.B;
    } else if (call.lengths) {  // dealt out, since neighbours in a sorted batch are of one length
      first_ = team.id;
      stop_ = call.B;
      step_ = team.size;
    }
  }

  const Plan<S> &call;

  int64_t most() const { return stop_ > first_ ? (stop_ - first_ + step_ - 1) / step_ : 0; }
  int64_t steps() const { return call.end - call.begin; }

  // Its rows (t, b) in this part, and the projection of the first of them.
  int64_t rows() const {
    int64_t sum = 0;
    for (int64_t b = first_; b < stop_; b += step_) {
      const int64_t left = length(b) - call.begin;
      sum += left < 0 ? 0 : left < steps() ? left : steps();
    }
    return sum;
  }
  S *projection(int64_t row_width) const {
    const bool dealt = call.lengths && !call.lots;
    const int64_t earlier = dealt ? dealt_before(call.B, step_, first_) : first_;  // sequences of other threads
    return at(call.projection, earlier * call.steps * row_width);
  }

  // The s-th step that a pass takes; a backward pass goes against the recurrence.
  int64_t time(int64_t s, bool backward) const {
    return (call.reverse != 0) != backward ? call.end - 1 - s : call.begin + s;
  }

  // Collects the rows that have step t, and calls `absent` with each of the others.
  template <class F>
  int64_t enter(int64_t t, F absent) {
    t_ = t;
    int64_t count = 0;
    for (int64_t b = first_; b < stop_; b += step_)
      if (t < length(b))
        active_[count++] = b;
      else if (!call.lots || team_.id == 0)
        absent(t * call.B + b);
    return count;
  }

  // Sees to `count` things of these rows, take(begin, end) to some of them. Where the threads share the rows, they
  // share the things as well: each takes its lot, and then what another is late for, so that a thread that waits for
  // a core holds up nobody. On return all things are done.
  template <class F>
  void share(int64_t count, F take) {
    if (count == 0) return;
    if (!call.lots) return take(int64_t{0}, count);
    const int64_t meeting = call.met++;
    for (int i = 0; i < team_.size; i++) {
      const int id = (team_.id + i) % team_.size;
      int64_t expected = meeting;
      Lot &lot = call.lots[id];
      if (!__atomic_compare_exchange_n(&lot.taken, &expected, meeting + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        continue;
      take(count * id / team_.size, count * (id + 1) / team_.size);
      __atomic_store_n(&lot.done, meeting + 1, __ATOMIC_RELEASE);
    }
    for (int id = 0; id < team_.size; id++)
      for (long n = 0; __atomic_load_n(&call.lots[id].done, __ATOMIC_ACQUIRE) <= meeting; n++) pause(n);
  }

  int64_t row(int64_t i) { return active_[i]; }
  // The place of (t, b) in an array of shape (T, B, …).
  int64_t place(int64_t i) { return t_ * call.B + active_[i]; }

  // The state before this step: of the step before it, or the initial one.
  const S *before(int64_t i, const void *series, const void *initial) {
    return before(t_, active_[i], series, initial);
  }
  const S *before(int64_t t, int64_t b, const void *series, const void *initial) const {
    const bool first = call.reverse ? t == length(b) - 1 : t == 0;
    const int64_t earlier = call.reverse ? t + 1 : t - 1;
    return first ? at(initial, b * call.H) : at(series, (earlier * call.B + b) * call.H);
  }

  // What is saved of a row: S·H numbers, for each vector of units its S slots.
  S *saved(int64_t i) {
    return at(call.saved, ((t_ - call.saved_from) * call.B + active_[i]) * call.slots * call.H);
  }

  // Of every row of a forward step: the state before it, and what else it reads and writes.
  void look_up(int64_t count, const S **h_rows, Row<S> *rows) {
    const int64_t H = call.H;
    for (int64_t i = 0; i < count; i++) {
      const int64_t state = place(i) * H, sequence = row(i) * H;
      const bool last = call.reverse ? t_ == 0 : t_ == length(row(i)) - 1;
      h_rows[i] = before(i, call.y, call.h_0);
      rows[i] = {at(call.x, place(i) * call.I),
                 at(call.h_tap, state),
                 at(call.c_tap, state),
                 saved(i),
                 at(call.cells, state),
                 at(call.y, state),
                 last ? at(call.h_n, sequence) : nullptr,
                 at(call.c_n, sequence)};
    }
  }

  bool has(int64_t t, int64_t b) const { return t < length(b); }

  S keep(int64_t i, const void *keeps, int64_t stride) {
    if (!keeps) return 1;
    return *at(keeps, stride ? place(i) : t_);
  }

  static const S *at(const void *p, int64_t i) { return p ? static_cast<const S *>(p) + i : nullptr; }
  static S *at(void *p, int64_t i) { return p ? static_cast<S *>(p) + i : nullptr; }

  // The gradients of the gates of a sequence at this step.
  S *gates(int64_t b) const {
    const Seat seat = call.seats[b];
    return call.grad_gates + (seat.first + (t_ - call.begin) * seat.pitch) * call.grad_gates_row;
  }

  void clear(void *p, int64_t place, int64_t width) {
    if (p) std::memset(at(p, place * width), 0, sizeof(S) * width);
  }

 private:
  int64_t start(int64_t id, Team team) const { return call.B * id / team.size; }
  int64_t length(int64_t b) const { return call.lengths ? call.lengths[b] : call.T; }

  const Team team_;
  int64_t first_, stop_, step_;
  int64_t t_ = 0;
  Scratch<int64_t> active_;
};

// Gradients through a (K, width) matrix of weights: to = factor · (from × matrix), for a carry added to what is
// there.
template <class V>
class ThroughMatrix {
 public:
  using S = typename V::Scalar;

  // For at most so many rows at once.
  ThroughMatrix(const S *panels, int64_t K, int64_t width, int64_t most)
      : panels_(panels),
        K_(K),
        width_(width),
        rows_(most),
        targets_(most),
        factors_(most),
        sums_(strip_room(most) * V::lanes) {}

  static int64_t panels(int64_t K, int64_t width) { return K * vectors<V>(width) * V::lanes; }

  // With the matrix's rows moved up by `shift`, the first ones to the end.
  static void pack(const void *w, int64_t K, int64_t width, int64_t shift, Team team, S *panels) {
    for (int64_t k = K * team.id / team.size; k < K * (team.id + 1) / team.size; k++) {
      const int64_t from = k + shift < K ? k + shift : k + shift - K;
      pack_row<V>(static_cast<const S *>(w) + from * width, width, K, k, panels);
    }
  }

  void open(const S *from, S *to, S factor) {
    rows_[count_] = from;
    targets_[count_] = to;
    factors_[count_++] = factor;
  }

  // For some strips of the columns.
  void multiply(bool carry, int64_t first, int64_t stop) {
    constexpr int64_t L = V::lanes;
    if (count_ == 0) return;
    for (int64_t s = first; s < stop;) {
      const S *sums = sums_.get();
      const int64_t end = s + strip_products<V>(width_, s, stop, count_, rows_.get(), panels_, K_, sums_.get());
      for (; s < end; s++) {
        const Strip at = strip<V>(width_, s);
        for (int64_t i = 0; i < count_; i++)
          for (int64_t v = 0; v < at.vectors; v++, sums += L) {
            const int width = lanes_at<V>(width_, at.first + v);
            S *to = targets_[i] + (at.first + v) * L;
            V sum = V::set(factors_[i]) * V::load(sums);
            if (carry) sum = sum + take<V>(to, width);
            put(to, sum, width);
          }
      }
    }
  }

  void close() { count_ = 0; }

 private:
  const S *panels_;
  const int64_t K_, width_;
  Scratch<const S *> rows_;
  Scratch<S *> targets_;
  Scratch<S> factors_, sums_;
  int64_t count_ = 0;
};

// The gradient of a part's inputs, from those of the gates.
template <class V>
void grad_inputs(const Plan<typename V::Scalar> &c, Team team) {
  using S = typename V::Scalar;
  Walk<S> walk(c, team);
  ThroughMatrix<V> through_weights(c.grad_x_panels, c.gates * c.H, c.I, walk.rows());
  for (int64_t t = c.begin; t < c.end; t++) {
    const int64_t count = walk.enter(t, [&](int64_t place) { walk.clear(c.grad_x, place, c.I); });
    for (int64_t i = 0; i < count; i++)
      through_weights.open(walk.gates(walk.row(i)), walk.at(c.grad_x, walk.place(i) * c.I), 1);
  }
  walk.share(strips<V>(c.I), [&](int64_t first, int64_t stop) { through_weights.multiply(false, first, stop); });
}

// The inputs of this thread's rows of a part, in the order in which a forward pass takes them.
template <class S>
class InputRows {
 public:
  InputRows(const Plan<S> &c, Team team) : rows_(Walk<S>(c, team).rows()) {
    Walk<S> walk(c, team);
    for (int64_t s = 0; s < walk.steps(); s++) {
      const int64_t here = walk.enter(walk.time(s, false), [](int64_t) {});
      for (int64_t i = 0; i < here; i++) rows_[count++] = walk.at(c.x, walk.place(i) * c.I);
    }
  }

  const S **get() { return rows_.get(); }
  int64_t count = 0;

 private:
  Scratch<const S *> rows_;
};

}  // namespace bptt::BPTT_ISA
