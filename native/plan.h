// What a call is to the kernels: some of its steps at a time, and where in the working memory everything lies.
#pragma once

#include "parallel.h"
#include "recurrence.h"

namespace bptt::BPTT_ISA {

// Inputs up to which each cell multiplies them by itself, which saves writing and reading the products.
constexpr int64_t narrow = 32;

// A share of one meeting: the number of the meeting up to which it is taken, and up to which it is done.
struct alignas(64) Lot {
  int64_t taken, done;
};

// Where things are dealt out in turn: how many fall to those before `which` of so many.
inline int64_t dealt_before(int64_t things, int64_t among, int64_t which) {
  const int64_t more = things % among;
  return which * (things / among) + (which < more ? which : more);
}

// Where the rows of a sequence lie in a part: the first of them, and how many on the next step's is.
struct Seat {
  int64_t first, pitch;
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
  int64_t groups;          // of sequences, each with sums of its own
  Seat *seats;             // of each sequence, in rows of what follows: group after group, (steps, sequences) each
  S *grad_gates;           // S·H; GRU: n, r, z and the hidden part of n
  int64_t grad_gates_row;  // the numbers from one row of it to the next
  S *rows;                 // states and inputs, to sum the gradients of the weights; NULL where none is wanted
  S *grad_w_x, *group_sums;  // by group

  int64_t bytes;  // of working memory

  bool wide() const { return I > narrow; }
  // Inputs that join the sums of the biases' gradients.
  int64_t joined() const { return wide() ? 0 : I; }

  // The sequences of a group, and of all groups before it. Where they differ in length they are dealt out, as threads
  // deal them out among themselves.
  int64_t members(int64_t group) const { return members_before(group + 1) - members_before(group); }
  int64_t members_before(int64_t group) const {
    return lengths ? dealt_before(B, groups, group) : B * group / groups;
  }
  int64_t member(int64_t group, int64_t i) const { return lengths ? group + i * groups : B * group / groups + i; }

  // Whether a thread of the team has whole groups to itself, and whether this one is its own.
  bool divides(Team team) const { return !lots && groups % team.size == 0; }
  bool owns(Team team, int64_t group) const {
    return (lengths ? group % team.size : group / (groups / team.size)) == team.id;
  }

  bool first_part_back() const { return reverse ? begin == 0 : end == T; }
  bool last_part_back() const { return reverse ? end == T : begin == 0; }
};

}  // namespace bptt::BPTT_ISA
