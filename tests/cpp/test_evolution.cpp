// What apb/evolution.hpp promises. Its equations are compared with NumPy's in tests/test_native_evolution.py.
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "apb/evolution.hpp"
#include "apb/philox.hpp"
#include "check.hpp"
#include "draws.hpp"

using apb::contiguous_view;
using apb::ThreadPool;
using apb::test::normal;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A search over K lanes, P members and n parameters. The vectors have exactly the sizes that the functions may touch.
struct Search {
  std::int64_t lanes, members, parameters;
  std::vector<float> mean = normal(1, lanes* parameters);
  std::vector<float> variance = std::vector<float>(static_cast<std::size_t>(lanes * parameters), 0.25f);
  std::vector<float> sigma = std::vector<float>(static_cast<std::size_t>(lanes * parameters), 0.5f);
  std::vector<float> lane_sigma = std::vector<float>(static_cast<std::size_t>(lanes), 0.5f);
  std::vector<float> damping = std::vector<float>(static_cast<std::size_t>(lanes), 0.01f);
  std::vector<float> weights =
      std::vector<float>(static_cast<std::size_t>(lanes * members), 1.0f / static_cast<float>(members));
  std::vector<float> fitness = normal(2, lanes* members);
  std::vector<float> ranks = std::vector<float>(static_cast<std::size_t>(lanes * members), kNan);
  std::vector<float> moment1 = std::vector<float>(static_cast<std::size_t>(lanes * parameters), 0.0f);
  std::vector<float> moment2 = std::vector<float>(static_cast<std::size_t>(lanes * parameters), 0.0f);
  std::vector<float> x = std::vector<float>(static_cast<std::size_t>(lanes * members * parameters), kNan);
  std::vector<std::uint64_t> keys = std::vector<std::uint64_t>(static_cast<std::size_t>(2 * lanes));

  Search(std::int64_t k, std::int64_t p, std::int64_t n) : lanes(k), members(p), parameters(n) {
    for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = i;
  }

  template <class T>
  apb::View<T, 2> rows(auto& values, std::int64_t columns) {
    return contiguous_view<T, 2>(values.data(), {lanes, columns});
  }

  void ask(std::uint64_t generation, ThreadPool* pool = nullptr) {
    apb::evolution_ask(rows<const float>(mean, parameters), rows<const float>(sigma, parameters),
                       rows<const std::uint64_t>(keys, 2), generation,
                       contiguous_view<float, 3>(x.data(), {lanes, members, parameters}), pool);
  }
  void recombine(apb::RecombinationRates rates, ThreadPool* pool = nullptr) {
    apb::evolution_recombine(contiguous_view<const float, 3>(x.data(), {lanes, members, parameters}),
                             rows<const float>(weights, members), rows<float>(mean, parameters),
                             rows<float>(variance, parameters),
                             contiguous_view<const float, 1>(damping.data(), {lanes}), rates, pool);
  }
  void rank() { apb::centered_ranks(rows<const float>(fitness, members), rows<float>(ranks, members)); }
  void step(apb::OpenaiEsOptions options, ThreadPool* pool = nullptr) {
    apb::openai_es_step(rows<float>(mean, parameters), contiguous_view<const float, 1>(lane_sigma.data(), {lanes}),
                        rows<const float>(ranks, members), rows<const std::uint64_t>(keys, 2), 0, options,
                        rows<float>(moment1, parameters), rows<float>(moment2, parameters), pool);
  }
  void generation(std::uint64_t number, ThreadPool* pool) {
    ask(number, pool);
    recombine({0.8, 0.3}, pool);
    rank();
    step({0.1, 0.01, static_cast<std::int64_t>(number) + 1}, pool);
  }
};

}  // namespace

TEST(antithetic_members_mirror_each_other_and_an_odd_last_one_stands_alone) {
  Search search(2, 5, 700);
  search.ask(9);
  for (std::int64_t lane = 0; lane < 2; ++lane) {
    for (std::int64_t pair = 0; pair < 3; ++pair) {
      std::vector<float> z(700);
      apb::PhiloxStream({search.keys[2 * lane], search.keys[2 * lane + 1]}, {0, 9, static_cast<std::uint64_t>(pair), 0})
          .normal(0, z.data(), 700);
      for (std::int64_t j = 0; j < 700; ++j) {
        const float mean = search.mean[lane * 700 + j];
        CHECK(search.x[(lane * 5 + 2 * pair) * 700 + j] == mean + 0.5f * z[j]);
        if (pair < 2) CHECK(search.x[(lane * 5 + 2 * pair + 1) * 700 + j] == mean - 0.5f * z[j]);
      }
    }
  }
}

TEST(generations_are_the_same_bits_on_any_number_of_threads_and_allocate_nothing) {
  Search alone(3, 7, 1300);
  for (std::uint64_t g = 0; g < 3; ++g) alone.generation(g, nullptr);
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    Search search(3, 7, 1300);
    search.generation(0, &pool);
    const std::int64_t before = apb::test::allocations();
    search.generation(1, &pool);
    search.generation(2, &pool);
    CHECK(apb::test::allocations() == before);
    CHECK(search.x == alone.x && search.mean == alone.mean && search.variance == alone.variance);
    CHECK(search.moment1 == alone.moment1 && search.moment2 == alone.moment2);
  }
}

TEST(searches_of_several_threads_may_share_a_pool) {
  ThreadPool pool(3);
  Search alone(2, 4, 600);
  for (std::uint64_t g = 0; g < 5; ++g) alone.generation(g, nullptr);
  std::vector<Search> searches(4, Search(2, 4, 600));
  std::vector<std::thread> callers;
  for (Search& search : searches) {
    callers.emplace_back([&] {
      for (std::uint64_t g = 0; g < 5; ++g) search.generation(g, &pool);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const Search& search : searches) CHECK(search.mean == alone.mean && search.variance == alone.variance);
}

TEST(the_smallest_search_works) {
  Search search(1, 1, 1);
  search.generation(0, nullptr);
  CHECK(search.ranks[0] == 0.0f);
  CHECK(std::isfinite(search.mean[0]) && std::isfinite(search.variance[0]));
}

TEST(a_sigma_of_zero_repeats_the_mean) {
  Search search(1, 4, 300);
  search.sigma.assign(300, 0.0f);
  search.ask(0);
  for (std::int64_t i = 0; i < 4 * 300; ++i) CHECK(search.x[i] == search.mean[i % 300]);
}

TEST(values_out_of_range_are_refused_before_anything_is_written) {
  Search search(2, 2, 3);
  const std::vector<float> mean = search.mean;
  search.sigma[5] = -1.0f;
  CHECK_THROWS(std::invalid_argument, search.ask(0));
  for (const float x : search.x) CHECK(std::isnan(x));
  search.sigma[5] = 1.0f;
  search.ask(0);
  CHECK_THROWS(std::invalid_argument, search.recombine({1.1, 1.0}));
  CHECK_THROWS(std::invalid_argument, search.recombine({1.0, std::numeric_limits<double>::quiet_NaN()}));
  search.weights[3] = 0.6f;
  CHECK_THROWS(std::invalid_argument, search.recombine({}));
  search.weights[3] = kNan;
  CHECK_THROWS(std::invalid_argument, search.recombine({}));
  search.fitness[2] = kNan;
  CHECK_THROWS(std::invalid_argument, search.rank());
  search.ranks.assign(4, 0.0f);
  search.lane_sigma[1] = 0.0f;
  CHECK_THROWS(std::invalid_argument, search.step({0.1, 0.0, 1}));
  search.lane_sigma[1] = 1.0f;
  CHECK_THROWS(std::invalid_argument, search.step({0.1, 0.0, 0}));
  CHECK(search.mean == mean);
}
