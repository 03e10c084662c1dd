// What apb/replay.hpp promises. Batches are compared with NumPy's Philox in tests/test_native_replay.py.
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "apb/philox.hpp"
#include "apb/replay.hpp"
#include "check.hpp"

using apb::contiguous_view;
using apb::ThreadPool;

namespace {

constexpr std::int64_t kObs = 3;
constexpr std::int64_t kAct = 2;
constexpr std::int64_t kRow = apb::replay_row_size(kObs, kAct);

// A replay and one step of its simulations. The vectors have exactly the sizes that the functions may touch.
struct Replay {
  std::int64_t lanes, capacity, slots;
  std::vector<float> table = std::vector<float>(static_cast<std::size_t>(lanes * capacity * kRow), -1.0f);
  std::vector<std::int64_t> position = std::vector<std::int64_t>(static_cast<std::size_t>(lanes));
  std::vector<std::int64_t> size = std::vector<std::int64_t>(static_cast<std::size_t>(lanes));
  std::vector<double> obs = std::vector<double>(static_cast<std::size_t>(lanes * slots * kObs));
  std::vector<float> next_obs = std::vector<float>(static_cast<std::size_t>(lanes * slots * kObs));
  std::vector<float> action = std::vector<float>(static_cast<std::size_t>(lanes * slots * kAct));
  std::vector<double> reward = std::vector<double>(static_cast<std::size_t>(lanes * slots));
  std::vector<std::uint8_t> terminated = std::vector<std::uint8_t>(static_cast<std::size_t>(lanes * slots));
  std::vector<std::uint8_t> valid = terminated;

  Replay(std::int64_t k, std::int64_t c, std::int64_t s) : lanes(k), capacity(c), slots(s) {}

  // Stores the next numbers in every slot; each element of a step is another number.
  void add(int step) {
    const double base = 1000.0 * step;
    for (std::size_t i = 0; i < obs.size(); ++i) obs[i] = base + static_cast<double>(i);
    for (std::size_t i = 0; i < obs.size(); ++i)
      next_obs[i] = static_cast<float>(base + 100.0 + static_cast<double>(i));
    for (std::size_t i = 0; i < action.size(); ++i)
      action[i] = static_cast<float>(base + 200.0 + static_cast<double>(i));
    for (std::size_t i = 0; i < reward.size(); ++i) reward[i] = base + 300.0 + static_cast<double>(i);
    store();
  }
  void store() {
    apb::replay_add(contiguous_view<float, 3>(table.data(), {lanes, capacity, kRow}),
                    contiguous_view<std::int64_t, 1>(position.data(), {lanes}),
                    contiguous_view<std::int64_t, 1>(size.data(), {lanes}),
                    {contiguous_view<const double, 3>(obs.data(), {lanes, slots, kObs}),
                     contiguous_view<const float, 3>(action.data(), {lanes, slots, kAct}),
                     contiguous_view<const double, 2>(reward.data(), {lanes, slots}),
                     contiguous_view<const float, 3>(next_obs.data(), {lanes, slots, kObs}),
                     contiguous_view<const std::uint8_t, 2>(terminated.data(), {lanes, slots}),
                     contiguous_view<const std::uint8_t, 2>(valid.data(), {lanes, slots})});
  }
};

struct Batch {
  std::int64_t lanes, rows;
  std::vector<float> obs = std::vector<float>(static_cast<std::size_t>(lanes * rows * kObs));
  std::vector<float> next_obs = obs;
  std::vector<float> action = std::vector<float>(static_cast<std::size_t>(lanes * rows * kAct));
  std::vector<float> reward = std::vector<float>(static_cast<std::size_t>(lanes * rows));
  std::vector<float> not_terminated = reward;
  std::vector<std::int64_t> indices = std::vector<std::int64_t>(static_cast<std::size_t>(lanes * rows), -1);

  Batch(std::int64_t k, std::int64_t b) : lanes(k), rows(b) {}

  void draw(const Replay& replay, std::uint64_t number, ThreadPool* pool) {
    const std::vector<std::uint64_t>& keys = key_words;
    apb::replay_sample(contiguous_view<const float, 3>(replay.table.data(), {lanes, replay.capacity, kRow}),
                       contiguous_view<const std::int64_t, 1>(replay.size.data(), {lanes}),
                       contiguous_view<const std::uint64_t, 2>(keys.data(), {lanes, 2}), number,
                       {contiguous_view<float, 3>(obs.data(), {lanes, rows, kObs}),
                        contiguous_view<float, 3>(action.data(), {lanes, rows, kAct}),
                        contiguous_view<float, 2>(reward.data(), {lanes, rows}),
                        contiguous_view<float, 3>(next_obs.data(), {lanes, rows, kObs}),
                        contiguous_view<float, 2>(not_terminated.data(), {lanes, rows}),
                        contiguous_view<std::int64_t, 2>(indices.data(), {lanes, rows})},
                       pool);
  }

  bool operator==(const Batch& other) const {
    return obs == other.obs && next_obs == other.next_obs && action == other.action && reward == other.reward &&
           not_terminated == other.not_terminated && indices == other.indices;
  }

 private:
  std::vector<std::uint64_t> key_words = std::vector<std::uint64_t>(static_cast<std::size_t>(2 * lanes), 77);
};

Replay full_replay() {
  Replay replay(3, 20, 2);
  for (int i = 0; i < 6; ++i) replay.valid[i] = 1;
  for (int step = 0; step < 12; ++step) replay.add(step);
  return replay;
}

}  // namespace

TEST(rings_wrap_around_and_skip_what_is_not_valid) {
  Replay replay(2, 3, 2);
  replay.valid[0] = replay.valid[2] = 1;  // lane 0 stores one slot of two, lane 1 both
  replay.valid[3] = 254;
  replay.terminated[3] = 2;
  for (int step = 0; step < 4; ++step) replay.add(step);
  CHECK(replay.size == std::vector<std::int64_t>{3, 3});
  CHECK(replay.position == std::vector<std::int64_t>{1, 2});
  const auto row = [&](std::int64_t lane, std::int64_t index) {
    const float* first = replay.table.data() + (lane * 3 + index) * kRow;
    return std::vector<float>(first, first + kRow);
  };
  CHECK(row(0, 0) == std::vector<float>{3000, 3001, 3002, 3100, 3101, 3102, 3200, 3201, 3300, 1});
  CHECK(row(0, 1) == std::vector<float>{1000, 1001, 1002, 1100, 1101, 1102, 1200, 1201, 1300, 1});
  CHECK(row(1, 1) == std::vector<float>{3009, 3010, 3011, 3109, 3110, 3111, 3206, 3207, 3303, 0});
  CHECK(row(1, 0) == std::vector<float>{3006, 3007, 3008, 3106, 3107, 3108, 3204, 3205, 3302, 1});
  CHECK(row(1, 2) == std::vector<float>{2009, 2010, 2011, 2109, 2110, 2111, 2206, 2207, 2303, 0});
}

TEST(numbers_that_are_not_finite_are_refused_before_anything_is_stored) {
  Replay replay = full_replay();
  const std::vector<float> table = replay.table;
  for (double* number : {&replay.obs[17], &replay.reward[5]}) {
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e39}) {
      const double good = *number;
      *number = bad;
      CHECK_THROWS(std::invalid_argument, replay.store());
      *number = good;
    }
  }
  CHECK(replay.table == table);
}

TEST(states_that_are_no_ring_are_refused) {
  Replay replay = full_replay();
  replay.position[1] = 20;
  CHECK_THROWS(std::invalid_argument, replay.store());
  replay.position[1] = 3;
  replay.size[1] = 4;
  CHECK_THROWS(std::invalid_argument, replay.store());
  Batch batch(3, 4);
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{21}}) {
    replay.size[1] = size;
    CHECK_THROWS(std::invalid_argument, batch.draw(replay, 0, nullptr));
  }
}

TEST(batches_are_the_same_bits_on_any_number_of_threads_and_allocate_nothing) {
  Replay replay = full_replay();
  Batch alone(3, 700);
  alone.draw(replay, 5, nullptr);
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    Batch batch(3, 700);
    batch.draw(replay, 4, &pool);
    CHECK(!(batch == alone));
    const std::int64_t before = apb::test::allocations();
    batch.draw(replay, 5, &pool);
    replay.store();
    CHECK(apb::test::allocations() == before);
    CHECK(batch == alone);
    replay = full_replay();
  }
}

TEST(a_row_of_a_batch_is_the_row_of_the_table_that_its_index_names) {
  const Replay replay = full_replay();
  Batch batch(3, 300);
  batch.draw(replay, 1, nullptr);
  for (std::int64_t i = 0; i < 3 * 300; ++i) {
    CHECK(batch.indices[i] >= 0 && batch.indices[i] < 20);
    const float* row = replay.table.data() + (i / 300 * 20 + batch.indices[i]) * kRow;
    for (std::int64_t j = 0; j < kObs; ++j)
      CHECK(batch.obs[i * kObs + j] == row[j] && batch.next_obs[i * kObs + j] == row[kObs + j]);
    for (std::int64_t j = 0; j < kAct; ++j) CHECK(batch.action[i * kAct + j] == row[2 * kObs + j]);
    CHECK(batch.reward[i] == row[kRow - 2] && batch.not_terminated[i] == row[kRow - 1]);
  }
}
