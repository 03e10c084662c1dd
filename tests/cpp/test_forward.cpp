// What apb/backbone.hpp and apb/population.hpp promise, against a plain loop in double precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "apb/population.hpp"
#include "check.hpp"
#include "draws.hpp"
#include "packet_math.hpp"

using apb::Backbone;
using apb::contiguous_view;
using apb::LinearView;
using apb::Population;
using apb::RealInput;
using apb::RealOutput;
using apb::ThreadPool;
using apb::Transform;
using apb::test::normal;

namespace {

// A backbone of random weights, with the weights.
struct Network {
  std::vector<std::int64_t> sizes;
  std::vector<std::vector<float>> weights, biases;
  bool input_activation;
  std::shared_ptr<Backbone> backbone;

  Network(std::vector<std::int64_t> layer_sizes, bool activation)
      : sizes(std::move(layer_sizes)), input_activation(activation) {
    for (std::size_t i = 1; i < sizes.size(); ++i) {
      weights.push_back(normal(2 * i, sizes[i] * sizes[i - 1], 1.0f / std::sqrt(static_cast<float>(sizes[i - 1]))));
      biases.push_back(normal(2 * i + 1, sizes[i], 0.1f));
    }
    backbone = std::make_shared<Backbone>(layers(), activation);
  }

  std::vector<LinearView> layers() const {
    std::vector<LinearView> views;
    for (std::size_t i = 0; i + 1 < sizes.size(); ++i) {
      views.push_back({contiguous_view<const float, 2>(weights[i].data(), {sizes[i + 1], sizes[i]}),
                       contiguous_view<const float, 1>(biases[i].data(), {sizes[i + 1]})});
    }
    return views;
  }
};

// W h + b, and the sum of absolute terms, which bounds the rounding errors.
std::vector<double> affine(const float* weight, const float* bias, std::int64_t outputs, const std::vector<double>& h) {
  std::vector<double> y(static_cast<std::size_t>(outputs));
  for (std::int64_t o = 0; o < outputs; ++o) {
    y[o] = bias[o];
    for (std::size_t k = 0; k < h.size(); ++k) y[o] += static_cast<double>(weight[o * h.size() + k]) * h[k];
  }
  return y;
}

void rectify(std::vector<double>& h) {
  for (double& value : h) value = std::max(value, 0.0);
}

std::vector<double> reference(const Network& network, const float* adapter, std::int64_t act, std::vector<double> h) {
  const std::int64_t d_in = network.sizes.front();
  const auto obs = static_cast<std::int64_t>(h.size());
  h = affine(adapter, adapter + d_in * obs, d_in, h);
  if (network.input_activation) rectify(h);
  for (std::size_t i = 0; i + 1 < network.sizes.size(); ++i) {
    h = affine(network.weights[i].data(), network.biases[i].data(), network.sizes[i + 1], h);
    rectify(h);
  }
  const float* post = adapter + d_in * obs + d_in;
  h = affine(post, post + act * network.sizes.back(), act, h);
  for (double& value : h) value = std::tanh(value);
  return h;
}

RealInput<3> in(const std::vector<float>& values, std::int64_t m, std::int64_t b, std::int64_t n) {
  return contiguous_view<const float, 3>(values.data(), {m, b, n});
}
RealOutput<3> out(std::vector<float>& values, std::int64_t m, std::int64_t b, std::int64_t n) {
  return contiguous_view<float, 3>(values.data(), {m, b, n});
}

}  // namespace

TEST(forward_agrees_with_a_plain_loop_for_awkward_sizes) {
  for (const auto& sizes : {std::vector<std::int64_t>{17, 64, 33}, {1, 1}, {5, 100, 49, 8}, {256, 31}, {3, 129, 7}}) {
    for (const bool activation : {false, true}) {
      const Network network(sizes, activation);
      for (const std::int64_t obs : {1, 3, 17, 40}) {
        const std::int64_t act = 1 + obs % 7, members = 3, batch = 9;
        Population population(network.backbone, members, obs, act);
        const std::int64_t n = population.num_parameters();
        const std::vector<float> adapters = normal(100, members * n, 0.3f);
        population.load(contiguous_view<const float, 2>(adapters.data(), {members, n}));
        const std::vector<float> x = normal(101, members * batch * obs, 1.0f);
        std::vector<float> y(static_cast<std::size_t>(members * batch * act));
        population.forward(in(x, members, batch, obs), out(y, members, batch, act), {}, nullptr);
        for (std::int64_t row = 0; row < members * batch; ++row) {
          const std::vector<double> h(x.begin() + row * obs, x.begin() + (row + 1) * obs);
          const auto expected = reference(network, adapters.data() + row / batch * n, act, h);
          for (std::int64_t a = 0; a < act; ++a) CHECK(std::abs(y[row * act + a] - expected[a]) < 2e-5);
        }
      }
    }
  }
}

TEST(forward_gives_the_same_bits_for_every_batch_size_position_and_thread_count) {
  const Network network({17, 256, 256}, false);
  constexpr std::int64_t obs = 17, act = 6, rows = 150;
  Population population(network.backbone, 1, obs, act);
  const std::vector<float> adapter = normal(100, population.num_parameters(), 0.1f);
  population.load(contiguous_view<const float, 2>(adapter.data(), {1, population.num_parameters()}));
  const std::vector<float> x = normal(101, rows * obs, 1.0f);
  std::vector<float> alone(rows * act), together(rows * act);
  for (std::int64_t row = 0; row < rows; ++row) {
    population.forward(contiguous_view<const float, 3>(x.data() + row * obs, {1, 1, obs}),
                       contiguous_view<float, 3>(alone.data() + row * act, {1, 1, act}), {}, nullptr);
  }
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (std::int64_t count = 1; count <= rows; count += 7) {
      const std::int64_t first = rows - count;
      std::fill(together.begin(), together.end(), 0.0f);
      population.forward(contiguous_view<const float, 3>(x.data() + first * obs, {1, count, obs}),
                         contiguous_view<float, 3>(together.data(), {1, count, act}), {}, &pool);
      CHECK(std::memcmp(together.data(), alone.data() + first * act, sizeof(float) * count * act) == 0);
    }
  }
}

TEST(forward_transforms_observations_and_actions_in_strided_double_buffers) {
  const Network network({4, 24}, false);
  constexpr std::int64_t obs = 3, act = 2, batch = 5;
  Population population(network.backbone, 1, obs, act);
  const std::vector<float> adapter = normal(100, population.num_parameters(), 0.5f);
  population.load(contiguous_view<const float, 2>(adapter.data(), {1, population.num_parameters()}));
  const float mean[obs] = {0.5f, -1.0f, 2.0f}, inverse_std[obs] = {2.0f, 0.5f, 4.0f};
  const float scale[act] = {0.25f, 3.0f}, offset[act] = {1.0f, -2.0f};
  const std::vector<float> plain = normal(102, batch * obs, 2.0f);
  std::vector<double> wide(batch * 2 * obs, std::numeric_limits<double>::quiet_NaN()), actions(batch * 3 * act, 7.0);
  std::vector<float> normalised(batch * obs), expected(batch * act);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < obs; ++i) {
      wide[(b * obs + i) * 2] = plain[b * obs + i];
      normalised[b * obs + i] = std::clamp((plain[b * obs + i] - mean[i]) * inverse_std[i], -1.5f, 1.5f);
    }
  }
  population.forward(in(normalised, 1, batch, obs), out(expected, 1, batch, act), {}, nullptr);
  population.forward(apb::View<const double, 3>{wide.data(), {1, batch, obs}, {0, 2 * obs, 2}},
                     apb::View<double, 3>{actions.data(), {1, batch, act}, {0, 3 * act, 3}},
                     Transform{mean, inverse_std, 1.5f, scale, offset}, nullptr);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t a = 0; a < act; ++a) {
      const float product = expected[b * act + a] * scale[a];
      CHECK(actions[(b * act + a) * 3] == static_cast<double>(product + offset[a]));
      CHECK(actions[(b * act + a) * 3 + 1] == 7.0 && actions[(b * act + a) * 3 + 2] == 7.0);
    }
  }
}

TEST(forward_does_not_allocate_once_it_is_warm) {
  const Network network({17, 256, 256}, true);
  Population population(network.backbone, 8, 17, 6);
  const std::vector<float> x = normal(101, 8 * 20 * 17, 1.0f);
  std::vector<float> y(8 * 20 * 6);
  ThreadPool pool(3);
  // Which worker runs is up to the system; each allocates its scratch memory once.
  std::int64_t quiet = 0;
  for (int round = 0; round < 2000 && quiet < 50; ++round) {
    const std::int64_t before = apb::test::allocations();
    population.forward(in(x, 8, 20, 17), out(y, 8, 20, 6), {}, &pool);
    quiet = apb::test::allocations() == before ? quiet + 1 : 0;
  }
  CHECK(quiet == 50);
  const std::int64_t before = apb::test::allocations();
  for (int round = 0; round < 10; ++round) population.forward(in(x, 8, 20, 17), out(y, 8, 20, 6), {}, nullptr);
  CHECK(apb::test::allocations() == before);
}

TEST(loading_weights_waits_for_forward_passes_in_other_threads) {
  Network network({8, 32}, false);
  Population population(network.backbone, 2, 8, 3);
  const std::int64_t n = population.num_parameters();
  const std::vector<float> adapters = normal(100, 2 * n, 0.3f);
  population.load(contiguous_view<const float, 2>(adapters.data(), {2, n}));
  const std::vector<float> x = normal(101, 2 * 4 * 8, 1.0f);
  std::vector<float> before(2 * 4 * 3), y(2 * 4 * 3);
  population.forward(in(x, 2, 4, 8), out(before, 2, 4, 3), {}, nullptr);
  std::thread writer([&] {
    for (int round = 0; round < 200; ++round) {
      population.load(contiguous_view<const float, 2>(adapters.data(), {2, n}));
      network.backbone->load(network.layers());
    }
  });
  for (int round = 0; round < 200; ++round) {
    population.forward(in(x, 2, 4, 8), out(y, 2, 4, 3), {}, nullptr);
    CHECK(y == before);
  }
  writer.join();
}

TEST(sizes_that_do_not_fit_are_refused) {
  const Network network({4, 6}, false);
  CHECK_THROWS(std::invalid_argument, Backbone({}, false));
  CHECK_THROWS(std::invalid_argument, Population(network.backbone, 0, 3, 2));
  CHECK_THROWS(std::invalid_argument, Population(network.backbone, 1, 0, 2));
  CHECK_THROWS(std::invalid_argument, Population(network.backbone, 1, 3, 0));
  CHECK_THROWS(std::invalid_argument, Population(network.backbone, (std::int64_t{1} << 24) + 1, 3, 2));
  Population population(network.backbone, 1, 3, 2);
  std::vector<float> x(3), y(2);
  CHECK_THROWS(std::invalid_argument, population.forward(in(x, 1, 1, 3), out(y, 1, 2, 1), {}, nullptr));
  CHECK_THROWS(std::invalid_argument, population.forward(in(x, 1, 1, 3), out(y, 1, 1, 2), {.clip = -1.0f}, nullptr));
  const Network other({4, 7}, false);
  CHECK_THROWS(std::invalid_argument, network.backbone->load(other.layers()));
  // 2^24 maps of 2^20 · 2^20 floats: their product is 2^64, which a 64-bit number holds as 0.
  CHECK_THROWS(std::bad_alloc, apb::PackedAffine(std::int64_t{1} << 24, 1 << 20, (1 << 20) - 1));
}

TEST(tanh_is_right_to_a_few_units_of_its_own_last_place) {
  using apb::kLanes;
  for (float x = 1e-6f; x < 12.0f;) {
    float values[kLanes], results[kLanes];
    for (float& value : values) value = x *= 1.001f;
    apb::store(results, apb::tanh_packet(apb::load(values)));
    for (int lane = 0; lane < kLanes; ++lane) {
      const double expected = std::tanh(static_cast<double>(values[lane]));
      CHECK(std::abs(results[lane] - expected) <= 2.5 * 0x1p-24 * expected);
    }
  }
}
