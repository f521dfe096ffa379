// One task on several threads at once.
#pragma once

namespace bptt {

struct Team {
  int id, size;
};

// Calls task(data, {id, size}) on each of at most `threads` threads and returns when all are done.
void parallel(long threads, void (*task)(void *, Team), void *data);

// Inside a task: waits for the other threads of the team.
void wait_for_team(Team team);

// Between two looks at what another thread will write, the n-th of them.
void pause(long n);

bool threaded();

}  // namespace bptt
