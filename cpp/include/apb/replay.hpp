// Replay of K lanes in one float32 table: store transitions in rings, draw uniform minibatches.
//
// The state is three plain arrays: `table` (K, capacity, row), `position` (K,), the row of each lane that is written
// next, and `size` (K,), how many rows hold data. While a ring is not full, position = size; then position goes round.
// A row is [obs | next_obs | action | reward | not_terminated], so one transition is one stretch of memory.
//
// Array arguments agree in their sizes, each at least 1; outputs share no memory with other arguments. Where others
// write position or size while a call runs, it takes either value or throws, when a part may be done, but stays within
// the arrays. Nothing here allocates.
#pragma once

#include <cstdint>

#include "apb/thread_pool.hpp"
#include "apb/views.hpp"

namespace apb {

// The number of columns of the table.
constexpr std::int64_t replay_row_size(std::int64_t observation_size, std::int64_t action_size) {
  return 2 * observation_size + action_size + 2;
}

// One transition for each of the S slots of each lane. Those with valid = false are not stored.
struct Transitions {
  RealInput<3> obs;             // (K, S, obs)
  View<const float, 3> action;  // (K, S, act)
  RealInput<2> reward;          // (K, S)
  RealInput<3> next_obs;        // (K, S, obs)
  // Not bool: arrays of NumPy may hold any byte, and every one but 0 counts as true.
  View<const std::uint8_t, 2> terminated;  // (K, S)
  View<const std::uint8_t, 2> valid;       // (K, S)
};

// Appends the valid transitions of each lane, slot by slot; where a ring is full, the oldest row is overwritten. Values
// are rounded to float32. Throws std::invalid_argument, with nothing stored, if a valid transition holds a number that
// is not finite as a float32, or if position and size do not describe a ring.
void replay_add(const View<float, 3>& table, const View<std::int64_t, 1>& position, const View<std::int64_t, 1>& size,
                const Transitions& transitions);

// Where a minibatch is written: B rows for each lane, last axes contiguous.
struct Minibatch {
  View<float, 3> obs;             // (K, B, obs)
  View<float, 3> action;          // (K, B, act)
  View<float, 2> reward;          // (K, B)
  View<float, 3> next_obs;        // (K, B, obs)
  View<float, 2> not_terminated;  // (K, B)
  View<std::int64_t, 2> indices;  // (K, B): which rows of the table; left out where data is null
};

// Draws B rows for each lane, uniformly and with replacement. Row b of lane k is floor(w_b * size_k / 2^64), where w_b
// is word b of the Philox stream (keys[k], counter {0, draw, 0, 0}): the same draw gives the same rows, for every
// thread count. Throws std::invalid_argument for a lane that is empty or larger than the table.
void replay_sample(const View<const float, 3>& table, const View<const std::int64_t, 1>& size,
                   const View<const std::uint64_t, 2>& keys, std::uint64_t draw, const Minibatch& batch,
                   ThreadPool* pool);

}  // namespace apb
