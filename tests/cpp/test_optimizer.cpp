// What apb/optimizer.hpp promises. Its equations are compared with torch's in tests/test_native_optimizer.py.
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "apb/optimizer.hpp"
#include "check.hpp"
#include "draws.hpp"

using apb::contiguous_view;
using apb::ThreadPool;
using apb::test::normal;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Parameters that are learned, and their target. The vectors have exactly the sizes that the functions may touch.
struct Learner {
  std::vector<float> theta, gradient, first, second, target;

  explicit Learner(std::int64_t n)
      : theta(normal(1, n)), gradient(normal(2, n)), first(theta.size()), second(theta.size()), target(normal(3, n)) {}
  Learner(const Learner& whole, std::int64_t from, std::int64_t to) : Learner(0) {
    for (const auto& [part, all] : {std::pair{&theta, &whole.theta},
                                    {&gradient, &whole.gradient},
                                    {&first, &whole.first},
                                    {&second, &whole.second},
                                    {&target, &whole.target}}) {
      part->assign(all->begin() + from, all->begin() + to);
    }
  }

  void adam(std::int64_t step, const apb::AdamSettings& settings, ThreadPool* pool = nullptr) {
    const auto n = static_cast<std::int64_t>(theta.size());
    apb::adam_step(contiguous_view<float, 1>(theta.data(), {n}), contiguous_view<const float, 1>(gradient.data(), {n}),
                   contiguous_view<float, 1>(first.data(), {n}), contiguous_view<float, 1>(second.data(), {n}), step,
                   settings, pool);
  }
  void polyak(double tau, ThreadPool* pool = nullptr) {
    const auto n = static_cast<std::int64_t>(theta.size());
    apb::polyak_step(contiguous_view<float, 1>(target.data(), {n}), contiguous_view<const float, 1>(theta.data(), {n}),
                     tau, pool);
  }
  void learn(ThreadPool* pool = nullptr) {
    for (std::int64_t step = 1; step <= 3; ++step) {
      adam(step, {0.01}, pool);
      polyak(0.25, pool);
    }
  }
  bool operator==(const Learner&) const = default;
};

}  // namespace

TEST(optimizers_give_the_same_bits_on_any_number_of_threads_and_allocate_nothing) {
  const Learner start(70001);
  Learner alone = start;
  alone.learn();
  CHECK(alone.theta != start.theta && alone.target != start.target);
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    Learner learner = start;
    const std::int64_t before = apb::test::allocations();
    learner.learn(&pool);
    CHECK(apb::test::allocations() == before);
    CHECK(learner == alone);
  }
}

TEST(an_element_is_optimised_alike_at_any_place_of_its_vector) {
  const Learner start(16500);  // more than one task, and no multiple of a packet
  Learner whole = start;
  whole.learn();
  for (const auto& [from, to] : {std::pair{0, 1}, {1, 2}, {3, 40}, {16383, 16385}, {16384, 16500}, {7, 16499}}) {
    Learner part(start, from, to);
    part.learn();
    CHECK(part == Learner(whole, from, to));
  }
}

TEST(optimizers_of_several_threads_may_share_a_pool) {
  ThreadPool pool(3);
  Learner alone(40000);
  alone.learn();
  std::vector<Learner> learners(4, Learner(40000));
  std::vector<std::thread> callers;
  for (Learner& learner : learners) callers.emplace_back([&] { learner.learn(&pool); });
  for (std::thread& caller : callers) caller.join();
  for (const Learner& learner : learners) CHECK(learner == alone);
}

TEST(a_share_of_one_is_the_source_and_a_share_of_zero_the_target) {
  Learner learner(100);
  learner.target.assign(100, 1e9f);
  const std::vector<float> target = learner.target;
  learner.polyak(0.0);
  CHECK(learner.target == target);
  learner.polyak(1.0);
  CHECK(learner.target == learner.theta);
}

TEST(empty_vectors_are_optimised_by_doing_nothing) {
  Learner nothing(0);
  nothing.learn();
  CHECK(nothing.theta.empty());
}

TEST(optimizers_refuse_numbers_out_of_range_before_anything_is_written) {
  Learner learner(5);
  const Learner before = learner;
  CHECK_THROWS(std::invalid_argument, learner.adam(0, {0.1}));
  CHECK_THROWS(std::invalid_argument, learner.adam(-1, {0.1}));
  for (const double bad : {-0.1, kNan, kInfinity}) {
    CHECK_THROWS(std::invalid_argument, learner.adam(1, {bad}));
    CHECK_THROWS(std::invalid_argument, learner.adam(1, {0.1, bad}));
    CHECK_THROWS(std::invalid_argument, learner.adam(1, {0.1, 0.9, bad}));
    CHECK_THROWS(std::invalid_argument, learner.adam(1, {0.1, 0.9, 0.999, bad}));
    CHECK_THROWS(std::invalid_argument, learner.polyak(bad));
  }
  CHECK_THROWS(std::invalid_argument, learner.adam(1, {0.1, 1.0}));
  CHECK_THROWS(std::invalid_argument, learner.adam(1, {0.1, 0.9, 1.0}));
  CHECK_THROWS(std::invalid_argument, learner.polyak(1.001));
  CHECK(learner == before);
}
