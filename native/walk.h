// The way of one thread through a call: which rows are its own, and what each of them reads and writes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "panels.h"
#include "parallel.h"
#include "recurrence.h"

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

template <class V>
inline V take(const typename V::Scalar *p, int width) {
  return width == V::lanes ? V::load(p) : V::load(p, width);
}

template <class V>
inline void put(typename V::Scalar *p, V value, int width) {
  if (width == V::lanes)
    value.store(p);
  else
    value.store(p, width);
}

template <class V>
inline int lanes_at(int64_t H, int64_t u) {
  const int64_t left = H - u * V::lanes;
  return static_cast<int>(left < V::lanes ? left : V::lanes);
}

// Asks for a line of what will be read next, once for every line. The address may lie beyond the array.
template <class S>
BPTT_INLINE void fetch_ahead(const S *at, int64_t unit, int64_t ahead) {
  constexpr int64_t line = 64 / sizeof(S);
  if (at && unit % line == 0) __builtin_prefetch(at + unit + ahead);
}

constexpr int64_t few_rows = 16;

// The units of one step in turns: one vector of them, but more where the rows are few. Every other step goes
// from the last to the first, since what was used last is still in the nearest cache.
struct Turn {
  Turn(int64_t step, int64_t rows, int64_t units)
      : backward(step % 2 != 0), size(rows < few_rows && rows > 0 ? few_rows / rows : 1), units(units) {}

  bool next() {
    if (done == units) return false;
    const int64_t here = units - done < size ? units - done : size;
    begin = backward ? units - done - here : done;
    end = begin + here;
    done += here;
    return true;
  }

  int64_t begin = 0, end = 0;

 private:
  bool backward;
  int64_t size, units, done = 0;
};

template <class S>
class Walk {
 public:
  Walk(const bptt_call &call, Team team)
      : call(call), first_(start(team.id, team)), stop_(start(team.id + 1, team)), step_(1), active_(call.B) {
    if (call.lengths) {  // dealt out, since neighbours in a sorted batch are of one length
      first_ = team.id;
      stop_ = call.B;
      step_ = team.size;
    }
  }

  const bptt_call &call;

  int64_t most() const { return stop_ > first_ ? (stop_ - first_ + step_ - 1) / step_ : 0; }
  int64_t steps() const { return call.end - call.begin; }

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
      else
        absent(t * call.B + b);
    return count;
  }

  int64_t row(int64_t i) { return active_[i]; }
  // The place of (t, b) in an array of shape (T, B, …).
  int64_t place(int64_t i) { return t_ * call.B + active_[i]; }
  int64_t place_in_part(int64_t i) { return (t_ - call.begin) * call.B + active_[i]; }

  // The state before this step: of the step before it, or the initial one.
  const S *before(int64_t i, const void *series, const void *initial) {
    return before(t_, active_[i], series, initial);
  }
  const S *before(int64_t t, int64_t b, const void *series, const void *initial) const {
    const bool first = call.reverse ? t == length(b) - 1 : t == 0;
    const int64_t earlier = call.reverse ? t + 1 : t - 1;
    return first ? at(initial, b * call.H) : at(series, (earlier * call.B + b) * call.H);
  }

  bool has(int64_t t, int64_t b) const { return t < length(b); }

  bool last(int64_t i) { return call.reverse ? t_ == 0 : t_ == length(active_[i]) - 1; }

  S keep(int64_t i, const void *keeps, int64_t stride) {
    if (!keeps) return 1;
    return *at(keeps, stride ? place(i) : t_);
  }

  static const S *at(const void *p, int64_t i) { return p ? static_cast<const S *>(p) + i : nullptr; }
  static S *at(void *p, int64_t i) { return p ? static_cast<S *>(p) + i : nullptr; }

  // A row of the gradients of the gates.
  S *gates(int64_t place_in_part) const { return at(call.grad_gates, place_in_part * call.grad_gates_row); }

  void clear(void *p, int64_t place, int64_t width) {
    if (p) std::memset(at(p, place * width), 0, sizeof(S) * width);
  }

 private:
  int64_t start(int64_t id, Team team) const { return call.B * id / team.size; }
  int64_t length(int64_t b) const { return call.lengths ? call.lengths[b] : call.T; }

  int64_t first_, stop_, step_;
  int64_t t_ = 0;
  Scratch<int64_t> active_;
};

// The gradient through W_hh: grad_h = keep · (grad_gates × W_hh), added to what is there for a carry.
template <class V>
class BackwardProduct {
 public:
  using S = typename V::Scalar;

  BackwardProduct(const bptt_call &call, int64_t most)
      : call_(call), rows_(most), targets_(most), factors_(most), sums_(most * 4 * V::lanes) {}

  static int64_t panels(int64_t H, int64_t K) { return K * vectors<V>(H) * V::lanes; }

  static void pack(const bptt_call &call, int64_t K, Team team) {
    for (int64_t s = team.id; s < strips<V>(call.H); s += team.size)
      pack_strip<V>(static_cast<const S *>(call.w_hh), call.H, K, call.H, 1, s, static_cast<S *>(call.panels));
  }

  // A row whose path is open; a blocked one carries nothing, not even 0 × inf.
  void open(const S *grad_gates, S *grad_h, S keep) {
    rows_[count_] = grad_gates;
    targets_[count_] = grad_h;
    factors_[count_++] = keep;
  }

  void close(int64_t K, bool carry) {
    constexpr int64_t L = V::lanes;
    const S *panels = static_cast<const S *>(call_.panels);
    if (count_ == 0) return;
    for (int64_t s = 0; s < strips<V>(call_.H); s++) {
      strip_product<V>(call_.H, s, count_, rows_.get(), panels, K, sums_.get());
      const Strip at = strip<V>(call_.H, s);
      for (int64_t i = 0; i < count_; i++)
        for (int64_t v = 0; v < at.vectors; v++) {
          const int width = lanes_at<V>(call_.H, at.first + v);
          S *to = targets_[i] + (at.first + v) * L;
          V sum = V::set(factors_[i]) * V::load(&sums_[(i * at.vectors + v) * L]);
          if (carry) sum = sum + take<V>(to, width);
          put(to, sum, width);
        }
    }
    count_ = 0;
  }

 private:
  const bptt_call &call_;
  Scratch<const S *> rows_;
  Scratch<S *> targets_;
  Scratch<S> factors_, sums_;
  int64_t count_ = 0;
};

}  // namespace bptt::BPTT_ISA
