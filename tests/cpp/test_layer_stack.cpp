// What apb/layer_stack.hpp promises, bit for bit against plain loops. Its equations are compared with NumPy's in
// tests/test_native_layer_stack.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "apb/layer_stack.hpp"
#include "check.hpp"
#include "draws.hpp"

using apb::contiguous_view;
using apb::Layer;
using apb::LayerGradient;
using apb::LayerStack;
using apb::ThreadPool;
using apb::test::normal;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A stack with layers, inputs, slopes and places for all results. The vectors have exactly the sizes that it may touch.
struct Problem {
  std::vector<std::int64_t> sizes;
  std::vector<bool> relus;
  std::int64_t networks, rows;
  std::shared_ptr<LayerStack> stack = std::make_shared<LayerStack>(sizes, relus, networks, rows);
  std::vector<std::vector<float>> weights, biases, weight_gradients, bias_gradients;
  std::vector<float> x, slope, out, input_gradient;
  std::vector<Layer> layers;
  std::vector<std::optional<LayerGradient>> gradients;

  Problem(std::vector<std::int64_t> widths, std::vector<bool> activations, std::int64_t n, std::int64_t r,
          std::int64_t shared_layer = -1)
      : sizes(std::move(widths)), relus(std::move(activations)), networks(n), rows(r) {
    for (std::size_t i = 0; i + 1 < sizes.size(); ++i) {
      const std::int64_t in = sizes[i], out_size = sizes[i + 1];
      const std::int64_t count = static_cast<std::int64_t>(i) == shared_layer ? 1 : n;
      weights.push_back(normal(2 * i, count * out_size * in));
      biases.push_back(normal(2 * i + 1, count * out_size));
      weight_gradients.emplace_back(n * out_size * in, kNan);
      bias_gradients.emplace_back(n * out_size, kNan);
    }
    x = normal(100, n * r * sizes.front());
    slope = normal(101, n * r * sizes.back());
    out.assign(n * r * sizes.back(), kNan);
    input_gradient.assign(n * r * sizes.front(), kNan);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const std::int64_t in = sizes[i], out_size = sizes[i + 1];
      const auto count = static_cast<std::int64_t>(biases[i].size()) / out_size;
      layers.push_back({contiguous_view<const float, 3>(weights[i].data(), {count, out_size, in}),
                        contiguous_view<const float, 2>(biases[i].data(), {count, out_size})});
      if (count == 1) layers.back().weight.stride[0] = layers.back().bias.stride[0] = 0;
      gradients.push_back(LayerGradient{contiguous_view<float, 3>(weight_gradients[i].data(), {n, out_size, in}),
                                        contiguous_view<float, 2>(bias_gradients[i].data(), {n, out_size})});
    }
  }

  void forward(ThreadPool* pool = nullptr) {
    stack->forward(layers, contiguous_view<const float, 3>(x.data(), {networks, rows, sizes.front()}),
                   contiguous_view<float, 3>(out.data(), {networks, rows, sizes.back()}), pool);
  }
  void backward(ThreadPool* pool = nullptr) {
    stack->backward(layers, contiguous_view<const float, 3>(slope.data(), {networks, rows, sizes.back()}), gradients,
                    pool);
  }
  void input_slope(ThreadPool* pool = nullptr) {
    stack->input_gradient(layers, contiguous_view<const float, 3>(slope.data(), {networks, rows, sizes.back()}),
                          contiguous_view<float, 3>(input_gradient.data(), {networks, rows, sizes.front()}), pool);
  }
  void all(ThreadPool* pool = nullptr) {
    forward(pool);
    backward(pool);
    input_slope(pool);
  }
  bool same_results(const Problem& other) const {
    return out == other.out && input_gradient == other.input_gradient && weight_gradients == other.weight_gradients &&
           bias_gradients == other.bias_gradients;
  }
};

float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Every number of a problem's results by loops over k = 0, 1, ..., one multiply-add each; of biases, only the bound.
void compare_with_plain_loops(const Problem& problem) {
  const auto depth = static_cast<std::int64_t>(problem.weights.size());
  const std::int64_t rows = problem.rows;
  for (std::int64_t n = 0; n < problem.networks; ++n) {
    std::vector<std::vector<float>> values{{problem.x.begin() + n * rows * problem.sizes.front(),
                                            problem.x.begin() + (n + 1) * rows * problem.sizes.front()}};
    for (std::int64_t i = 0; i < depth; ++i) {
      const std::int64_t in = problem.sizes[i], out = problem.sizes[i + 1];
      const Layer& layer = problem.layers[i];
      std::vector<float> y(rows * out);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t o = 0; o < out; ++o) {
          float sum = layer.bias(n, o);
          for (std::int64_t k = 0; k < in; ++k) sum = multiply_add(layer.weight(n, o, k), values[i][r * in + k], sum);
          y[r * out + o] = problem.relus[i] && sum < 0.0f ? 0.0f : sum;
        }
      }
      values.push_back(y);
    }
    CHECK(
        std::equal(values.back().begin(), values.back().end(), problem.out.begin() + n * rows * problem.sizes.back()));
    std::vector<float> slope(problem.slope.begin() + n * rows * problem.sizes.back(),
                             problem.slope.begin() + (n + 1) * rows * problem.sizes.back());
    for (std::int64_t i = depth - 1; i >= 0; --i) {
      const std::int64_t in = problem.sizes[i], out = problem.sizes[i + 1];
      for (std::int64_t at = 0; at < rows * out; ++at) {
        if (problem.relus[i] && values[i + 1][at] <= 0.0f) slope[at] = 0.0f;
      }
      for (std::int64_t o = 0; o < out; ++o) {
        for (std::int64_t k = 0; k < in; ++k) {
          float sum = 0.0f;
          for (std::int64_t r = 0; r < rows; ++r) sum = multiply_add(slope[r * out + o], values[i][r * in + k], sum);
          CHECK(problem.weight_gradients[i][(n * out + o) * in + k] == sum);
        }
        double sum = 0.0, absolute = 0.0;
        for (std::int64_t r = 0; r < rows; ++r) {
          sum += static_cast<double>(slope[r * out + o]);
          absolute += std::abs(static_cast<double>(slope[r * out + o]));
        }
        CHECK(std::abs(static_cast<double>(problem.bias_gradients[i][n * out + o]) - sum) <=
              static_cast<double>(rows) * 0x1p-23 * absolute);
      }
      std::vector<float> below(rows * in);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t k = 0; k < in; ++k) {
          float sum = 0.0f;
          for (std::int64_t o = 0; o < out; ++o) {
            sum = multiply_add(problem.layers[i].weight(n, o, k), slope[r * out + o], sum);
          }
          below[r * in + k] = sum;
        }
      }
      slope = below;
    }
    CHECK(std::equal(slope.begin(), slope.end(), problem.input_gradient.begin() + n * rows * problem.sizes.front()));
  }
}

}  // namespace

TEST(a_stack_adds_in_the_order_of_plain_loops_for_awkward_sizes) {
  for (const auto& sizes :
       {std::vector<std::int64_t>{1, 1}, {17, 33, 5}, {3, 40, 1, 8}, {31, 7, 65, 2}, {16, 64, 32}}) {
    for (const std::int64_t rows : {1, 5, 16, 33, 70}) {
      std::vector<bool> relus(sizes.size() - 1, true);
      relus.back() = rows % 2 == 0;
      for (const std::int64_t shared_layer : {-1, 0}) {
        Problem problem(sizes, relus, 3, rows, shared_layer);
        problem.all();
        compare_with_plain_loops(problem);
      }
    }
  }
}

TEST(stacks_give_the_same_bits_on_any_number_of_threads_and_allocate_nothing) {
  Problem alone({17, 100, 70, 3}, {true, true, false}, 5, 75, 1);
  alone.all();
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    Problem problem({17, 100, 70, 3}, {true, true, false}, 5, 75, 1);
    const std::int64_t before = apb::test::allocations();
    problem.all(&pool);
    problem.all(&pool);
    CHECK(apb::test::allocations() == before);
    CHECK(problem.same_results(alone));
  }
}

TEST(threads_may_share_a_pool_and_a_stack_whose_calls_take_turns) {
  ThreadPool pool(3);
  Problem alone({9, 40, 20, 2}, {true, true, false}, 2, 37);
  alone.all();
  std::vector<std::unique_ptr<Problem>> problems;
  for (int i = 0; i < 4; ++i) {
    problems.push_back(std::make_unique<Problem>(alone.sizes, alone.relus, alone.networks, alone.rows));
    // All have the same inputs, so whose values a gradient finds does not matter.
    if (i % 2 == 1) problems[i]->stack = problems[0]->stack;
  }
  std::vector<std::thread> callers;
  for (const auto& problem : problems) {
    callers.emplace_back([&pool, &problem] {
      for (int round = 0; round < 20; ++round) problem->all(&pool);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& problem : problems) CHECK(problem->same_results(alone));
}

TEST(layers_without_a_place_for_their_gradient_change_nothing_for_the_others) {
  Problem all({6, 50, 40, 30, 2}, {true, true, true, false}, 2, 21);
  all.all();
  for (unsigned learned = 0; learned < 16; ++learned) {
    Problem some(all.sizes, all.relus, all.networks, all.rows);
    for (std::size_t i = 0; i < 4; ++i) {
      if ((learned >> i & 1U) == 0) some.gradients[i].reset();
    }
    some.forward();
    some.backward();
    for (std::size_t i = 0; i < 4; ++i) {
      const bool written = (learned >> i & 1U) != 0;
      CHECK(written ? some.weight_gradients[i] == all.weight_gradients[i] : std::isnan(some.weight_gradients[i][0]));
      CHECK(written ? some.bias_gradients[i] == all.bias_gradients[i] : std::isnan(some.bias_gradients[i].back()));
    }
  }
}

TEST(rows_that_do_not_exist_add_nothing_where_weights_are_not_finite) {
  // One row; its slope below the infinite weight is infinite, and that of the rows around it would be 0 times infinity.
  Problem problem({2, 3, 1}, {false, false}, 1, 1);
  problem.weights[1] = {kInfinity, 1.0f, kNan};
  problem.slope = {2.0f};
  problem.all();
  CHECK(problem.bias_gradients[0][0] == kInfinity && problem.bias_gradients[0][1] == 2.0f);
  CHECK(std::isnan(problem.bias_gradients[0][2]));
  CHECK(problem.bias_gradients[1][0] == 2.0f);
}

TEST(relu_hands_on_nan_and_its_slope_and_stops_slopes_at_zero) {
  Problem problem({1, 1}, {true}, 1, 6);
  problem.weights[0] = {1.0f};
  problem.biases[0] = {0.0f};
  problem.x = {kNan, kInfinity, -kInfinity, 0.0f, -1e-42f, 1e-42f};
  problem.slope = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  problem.all();
  CHECK(std::isnan(problem.out[0]) && problem.out[1] == kInfinity && problem.out[5] == 1e-42f);
  for (const int row : {2, 3, 4}) CHECK(problem.out[row] == 0.0f);
  CHECK((problem.input_gradient == std::vector<float>{1.0f, 2.0f, 0.0f, 0.0f, 0.0f, 6.0f}));
}

TEST(stacks_refuse_sizes_and_gradients_that_make_no_sense) {
  constexpr std::int64_t most = std::int64_t{1} << 24;
  CHECK_THROWS(std::invalid_argument, LayerStack({3}, {}, 1, 1));
  CHECK_THROWS(std::invalid_argument, LayerStack({3, 2}, {true, true}, 1, 1));
  CHECK_THROWS(std::invalid_argument, LayerStack({3, 0}, {true}, 1, 1));
  CHECK_THROWS(std::invalid_argument, LayerStack({most + 1, 2}, {true}, 1, 1));
  CHECK_THROWS(std::invalid_argument, LayerStack({3, 2}, {true}, 0, 1));
  CHECK_THROWS(std::invalid_argument, LayerStack({3, 2}, {true}, 1, -1));
  CHECK_THROWS(std::bad_alloc, LayerStack({most, most}, {true}, most, most));
  Problem problem({3, 2}, {true}, 1, 1);
  CHECK_THROWS(std::logic_error, problem.backward());
  CHECK_THROWS(std::logic_error, problem.input_slope());
  CHECK(std::isnan(problem.weight_gradients[0][0]) && std::isnan(problem.input_gradient[0]));
}
