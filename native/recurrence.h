// What the library is called with: one struct for every recurrence, direction and pass. Plain C.
//
// T steps, B sequences, I inputs, H hidden units; G gates (LSTM 4: i f g o; GRU 3: r z n; RNN 1) and S numbers
// saved per unit and step (LSTM: the 4 gates; GRU 4: r z n and the hidden part of n; RNN 1: h before its
// tap).
// Every array is dense and in the order of its shape. NULL stands for what is absent.
#pragma once

#include <stdint.h>

#define BPTT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum bptt_op { BPTT_LSTM, BPTT_GRU, BPTT_RNN_TANH, BPTT_RNN_RELU };
enum bptt_dtype { BPTT_F32, BPTT_F64 };
enum bptt_pass { BPTT_FORWARD, BPTT_BACKWARD };

struct bptt_call {
  int64_t T, B, I, H;
  int64_t reverse;  // the recurrence runs from the last step to the first
  int64_t threads;
  int64_t part;     // the most steps whose working numbers exist at once; 0 for what suits the caches
  int64_t h_keep_stride, c_keep_stride;  // from one sequence to the next: 0 or 1
  void *work;                            // so many bytes, wherever they begin; NULL: the little that the library has
  int64_t work_bytes;

  const void *x;                          // (T, B, I)
  const void *h_0, *c_0;                  // (B, H)
  const void *w_ih, *w_hh, *b_ih, *b_hh;  // (G·H, I), (G·H, H), (G·H,), (G·H,)
  const void *h_tap, *c_tap;              // (T, B, H)
  const int64_t *lengths;                 // (B,)
  const void *h_keep, *c_keep;            // [T] or [T, B]

  // Forward: written. Backward: read.
  void *y;      // (T, B, H)
  void *h_n;    // (B, H), forward only
  void *c_n;    // (B, H), forward only: c_0 on entry, moved along with every step
  void *cells;  // (T, B, H): c of every step, after its tap
  // (T, B, S·H), in an order of the kernels' own. NULL forward: nothing is saved. NULL backward: it is computed again,
  // or of an RNN without taps, it is y.
  void *saved;

  // Backward.
  const void *grad_y, *grad_cells;  // (T, B, H)
  // Written, and NULL where they are not wanted; but those of h_0, and for an LSTM c_0, are always there.
  void *grad_x;                     // (T, B, I)
  void *grad_h_0, *grad_c_0;        // (B, H): of h_n and c_n on entry
  void *grad_w_ih, *grad_w_hh, *grad_b_ih, *grad_b_hh;
  void *grad_h_tap, *grad_c_tap;    // (T, B, H)
};

// 0 if done; else nothing was computed: 1 no such op, pass or dtype; 2 too little working memory: work_bytes is now
// what the call needs with the instruction set in use.
BPTT_API int bptt_run(int op, int pass, int dtype, struct bptt_call *call);

// The instruction set in use, and those this CPU can run, fastest first and separated by spaces.
BPTT_API const char *bptt_isa(void);
BPTT_API const char *bptt_isas(void);

// Use an instruction set by name; 0 if done, 1 if this CPU or this build has no such one. What a forward pass has saved
// can be read with its own instruction set only.
BPTT_API int bptt_use_isa(const char *name);

// Whether the library was built to use more than one thread.
BPTT_API int bptt_threaded(void);

// sigmoid (which = 0) or tanh (1) of n numbers: what the recurrences compute.
BPTT_API void bptt_activation(int which, int dtype, int64_t n, const void *x, void *result);

// Multiply and add float32 numbers in registers, on each of some threads: how many operations were done in all.
BPTT_API int64_t bptt_busy(int64_t threads, int64_t rounds);

#ifdef __cplusplus
}
#endif
