// Rings of transitions: rows are checked and stored in order, and drawn by the words of a Philox stream.
#include "apb/replay.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "apb/philox.hpp"
#include "require.hpp"

namespace apb {
namespace {

constexpr std::int64_t kChunk = 256;  // rows per task; fixed, and small enough for a buffer on the stack
constexpr std::int64_t kCacheLine = 64;

// A row is fetched twice before it is read: far ahead into the second-level cache, which keeps more misses in flight
// than the first, then from there. Far is as far as a part of that cache reaches.
constexpr std::int64_t kFarBytes = std::int64_t{1} << 17;
constexpr std::int64_t kNear = 8;
constexpr int kSecondLevel = 2, kFirstLevel = 3;

// A number that another thread may write meanwhile: what was checked stays what is used only if it is loaded once.
std::int64_t read_once(const std::int64_t& number) {
  return static_cast<const volatile std::int64_t&>(number);
}

// What is written next in a lane, and how many of its rows hold data.
struct Ring {
  std::int64_t position, size;
};

Ring checked_ring(const View<std::int64_t, 1>& positions, const View<std::int64_t, 1>& sizes, std::int64_t lane,
                  std::int64_t capacity) {
  const Ring ring{read_once(positions(lane)), read_once(sizes(lane))};
  const auto [position, size] = ring;
  if (size < 0 || size > capacity) refuse("size", {lane}, size, "0 to the capacity, " + std::to_string(capacity));
  if (size < capacity && position != size) refuse("position", {lane}, position, "size = " + std::to_string(size));
  if (position < 0 || (size == capacity && position >= capacity)) {
    refuse("position", {lane}, position, "0 to " + std::to_string(capacity - 1));
  }
  return ring;
}

std::int64_t checked_size(const View<const std::int64_t, 1>& sizes, std::int64_t lane, std::int64_t capacity) {
  const std::int64_t size = read_once(sizes(lane));
  if (size < 1 || size > capacity) {
    refuse("size", {lane}, size, "1 to the capacity, " + std::to_string(capacity) + "; add transitions first");
  }
  return size;
}

void require_finite(const char* name, std::int64_t lane, std::int64_t slot, double value) {
  if (std::isfinite(static_cast<float>(value))) return;
  std::string message(name);
  message.append(" of lane ").append(std::to_string(lane)).append(", slot ").append(std::to_string(slot));
  message.append(" holds ").append(std::to_string(value));
  throw std::invalid_argument(message.append("; expected numbers that are finite as float32; nothing was stored"));
}

// Calls body(lane, slot) for every valid slot, in the order in which they are stored.
template <class Body>
void for_each_valid(const View<const std::uint8_t, 2>& valid, const Body& body) {
  for (std::int64_t lane = 0; lane < valid.shape[0]; ++lane) {
    for (std::int64_t slot = 0; slot < valid.shape[1]; ++slot) {
      if (valid(lane, slot) != 0) body(lane, slot);
    }
  }
}

void require_finite_rows(const char* name, const auto& rows, const View<const std::uint8_t, 2>& valid) {
  for_each_valid(valid, [&](std::int64_t lane, std::int64_t slot) {
    for (std::int64_t j = 0; j < rows.shape[2]; ++j) require_finite(name, lane, slot, rows(lane, slot, j));
  });
}

// Writes one slot at `to` and returns the place behind it.
float* store(const auto& rows, std::int64_t lane, std::int64_t slot, float* to) {
  for (std::int64_t j = 0; j < rows.shape[2]; ++j) *to++ = static_cast<float>(rows(lane, slot, j));
  return to;
}

// Reads `count` floats to `to` and returns the place behind them.
const float* load(const float* from, std::int64_t count, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
  return from + count;
}

template <int kLevel>
void prefetch(const float* row, std::int64_t columns) {
  const char* const bytes = reinterpret_cast<const char*>(row);
  const std::int64_t length = columns * static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t offset = 0; offset < length; offset += kCacheLine) __builtin_prefetch(bytes + offset, 0, kLevel);
  __builtin_prefetch(bytes + length - 1, 0, kLevel);
}

// floor(word * n / 2^64), in [0, n).
std::int64_t scaled(std::uint64_t word, std::int64_t n) {
  return static_cast<std::int64_t>((static_cast<unsigned __int128>(word) * static_cast<std::uint64_t>(n)) >> 64);
}

}  // namespace

void replay_add(const View<float, 3>& table, const View<std::int64_t, 1>& position, const View<std::int64_t, 1>& size,
                const Transitions& transitions) {
  const std::int64_t capacity = table.shape[1];
  const View<const std::uint8_t, 2>& valid = transitions.valid;
  for (std::int64_t lane = 0; lane < table.shape[0]; ++lane) checked_ring(position, size, lane, capacity);
  std::visit([&](const auto& obs) { require_finite_rows("obs", obs, valid); }, transitions.obs);
  std::visit([&](const auto& next_obs) { require_finite_rows("next_obs", next_obs, valid); }, transitions.next_obs);
  require_finite_rows("action", transitions.action, valid);
  const auto reward_of = [&](std::int64_t lane, std::int64_t slot) {
    return std::visit([&](const auto& reward) { return static_cast<double>(reward(lane, slot)); }, transitions.reward);
  };
  for_each_valid(valid, [&](auto lane, auto slot) { require_finite("reward", lane, slot, reward_of(lane, slot)); });

  for (std::int64_t lane = 0; lane < table.shape[0]; ++lane) {
    Ring ring = checked_ring(position, size, lane, capacity);
    for (std::int64_t slot = 0; slot < valid.shape[1]; ++slot) {
      if (valid(lane, slot) == 0) continue;
      float* to = &table(lane, ring.position, 0);
      to = std::visit([&](const auto& obs) { return store(obs, lane, slot, to); }, transitions.obs);
      to = std::visit([&](const auto& next_obs) { return store(next_obs, lane, slot, to); }, transitions.next_obs);
      to = store(transitions.action, lane, slot, to);
      to[0] = static_cast<float>(reward_of(lane, slot));
      to[1] = transitions.terminated(lane, slot) != 0 ? 0.0f : 1.0f;
      ring = {(ring.position + 1) % capacity, std::min(ring.size + 1, capacity)};
    }
    position(lane) = ring.position;
    size(lane) = ring.size;
  }
}

void replay_sample(const View<const float, 3>& table, const View<const std::int64_t, 1>& size,
                   const View<const std::uint64_t, 2>& keys, std::uint64_t draw, const Minibatch& batch,
                   ThreadPool* pool) {
  const std::int64_t lanes = batch.reward.shape[0];
  const std::int64_t rows = batch.reward.shape[1];
  const std::int64_t columns = table.shape[2];
  const std::int64_t observation_size = batch.obs.shape[2];
  const std::int64_t action_size = batch.action.shape[2];
  const std::int64_t capacity = table.shape[1];
  for (std::int64_t lane = 0; lane < lanes; ++lane) checked_size(size, lane, capacity);
  const std::int64_t far = std::max(kNear, kFarBytes / (columns * static_cast<std::int64_t>(sizeof(float))));
  const std::int64_t chunks = (rows + kChunk - 1) / kChunk;
  parallel_for(pool, lanes * chunks, [&](std::int64_t task) {
    const std::int64_t lane = task / chunks;
    const std::int64_t first = task % chunks * kChunk;
    const std::int64_t count = std::min(kChunk, rows - first);
    std::array<std::uint64_t, kChunk> words;
    PhiloxStream({keys(lane, 0), keys(lane, 1)}, {0, draw, 0, 0}).raw(first, words.data(), count);
    std::array<std::int64_t, kChunk> index;
    const std::int64_t held = checked_size(size, lane, capacity);
    for (std::int64_t b = 0; b < count; ++b) index[b] = scaled(words[b], held);

    const auto row = [&](std::int64_t b) { return &table(lane, index[b], 0); };
    for (std::int64_t b = 0; b < std::min(far, count); ++b) prefetch<kSecondLevel>(row(b), columns);
    for (std::int64_t b = 0; b < count; ++b) {
      if (b + far < count) prefetch<kSecondLevel>(row(b + far), columns);
      if (b + kNear < count) prefetch<kFirstLevel>(row(b + kNear), columns);
      const std::int64_t to = first + b;
      const float* from = row(b);
      from = load(from, observation_size, &batch.obs(lane, to, 0));
      from = load(from, observation_size, &batch.next_obs(lane, to, 0));
      from = load(from, action_size, &batch.action(lane, to, 0));
      batch.reward(lane, to) = from[0];
      batch.not_terminated(lane, to) = from[1];
    }
    if (batch.indices.data != nullptr) std::copy_n(index.data(), count, &batch.indices(lane, first));
  });
}

}  // namespace apb
