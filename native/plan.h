// What a call is to the kernels: some of its steps at a time, and where in the working memory everything lies.
#pragma once

#include "recurrence.h"

namespace bptt::BPTT_ISA {

// Inputs up to which each cell multiplies them by itself, which saves writing and reading the products.
constexpr int64_t narrow = 32;

// A share of one meeting: the number of the meeting up to which it is taken, and up to which it is done.
struct alignas(64) Lot {
  int64_t taken, done;
};

template <class S>
struct Plan : bptt_call {
  int64_t gates, slots;  // G and S
  int64_t steps;         // of a part, but for the last
  int64_t begin, end;    // the part to take now
  int64_t saved_from;    // the step whose numbers lie first in `saved`
  bool stream_saved;     // what is saved is written past the caches
  bool again;            // every state is known, and a forward pass writes nothing but `saved`

  Lot *lots;            // one for each thread, where the threads share every row; else each has rows of its own
  mutable int64_t met;  // meetings so far

  S *panels, *input_panels;  // W_hh and W_ih, as the forward pass reads them
  S *projection;             // the part's x × W_ih, by thread and vector of units, if it is wide

  S *backward_panels, *grad_x_panels;  // W_hh and W_ih, as the backward pass reads them
  S *grad_gates;           // (steps, B, S·H); GRU: n, r, z and the hidden part of n
  int64_t grad_gates_row;  // the numbers from one row of it to the next
  S *rows, *grad_w_x;      // to sum the gradients of the weights; NULL where none is wanted

  int64_t bytes;  // of working memory

  bool wide() const { return I > narrow; }
  // Inputs that join the sums of the biases' gradients.
  int64_t joined() const { return wide() ? 0 : I; }

  bool first_part_back() const { return reverse ? begin == 0 : end == T; }
  bool last_part_back() const { return reverse ? end == T : begin == 0; }
};

}  // namespace bptt::BPTT_ISA
