// Evolution in blocks of parameters; the noise of a block is drawn again wherever it is needed.
#include "apb/evolution.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "apb/philox.hpp"
#include "require.hpp"

namespace apb {
namespace {

// Parameters per task. Fixed, so that no result depends on how many threads share the tasks; small, so that the buffers
// of a task live on its stack and in its first-level cache.
constexpr std::int64_t kBlock = 256;
using Buffer = std::array<float, kBlock>;

constexpr double kWeightSumTolerance = 1e-4;
constexpr float kBeta1 = 0.9f;
constexpr float kBeta2 = 0.999f;
constexpr float kEpsilon = 1e-8f;

// Calls body(lane, first parameter, number of parameters) for every block of every lane.
template <class Body>
void for_each_block(std::int64_t lanes, std::int64_t parameters, ThreadPool* pool, const Body& body) {
  const std::int64_t blocks = (parameters + kBlock - 1) / kBlock;
  parallel_for(pool, lanes * blocks, [&](std::int64_t task) {
    const std::int64_t first = task % blocks * kBlock;
    body(task / blocks, first, std::min(kBlock, parameters - first));
  });
}

// The part of z_pair that belongs to a block.
void draw_noise(const View<const std::uint64_t, 2>& keys, std::int64_t lane, std::uint64_t generation,
                std::int64_t pair, std::int64_t first, std::int64_t count, Buffer& z) {
  const PhiloxStream stream({keys(lane, 0), keys(lane, 1)}, {0, generation, static_cast<std::uint64_t>(pair), 0});
  stream.normal(first, z.data(), count);
}

void require_weights(const View<const float, 2>& weights, std::int64_t lane) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < weights.shape[1]; ++i) {
    const float w = weights(lane, i);
    if (!(w >= 0.0f)) refuse("weights", {lane, i}, w, "a number >= 0");
    sum += w;
  }
  if (!(std::abs(sum - 1.0) <= kWeightSumTolerance)) {
    refuse("sum of weights", {lane}, sum, "1 in each lane; divide the weights by their sum");
  }
}

}  // namespace

void evolution_ask(const View<const float, 2>& mean, const View<const float, 2>& sigma,
                   const View<const std::uint64_t, 2>& keys, std::uint64_t generation, const View<float, 3>& out,
                   ThreadPool* pool) {
  const std::int64_t lanes = out.shape[0];
  const std::int64_t members = out.shape[1];
  const std::int64_t parameters = out.shape[2];
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    for (std::int64_t j = 0; j < parameters; ++j) {
      const float s = sigma(lane, j);
      if (!(s >= 0.0f && std::isfinite(s))) refuse("sigma", {lane, j}, s, "a finite standard deviation >= 0");
    }
  }
  for_each_block(lanes, parameters, pool, [&](std::int64_t lane, std::int64_t first, std::int64_t count) {
    const float* m = &mean(lane, first);
    const float* s = &sigma(lane, first);
    Buffer z;
    for (std::int64_t i = 0; i < members; i += 2) {
      draw_noise(keys, lane, generation, i / 2, first, count, z);
      float* plus = &out(lane, i, first);
      for (std::int64_t j = 0; j < count; ++j) plus[j] = m[j] + s[j] * z[j];
      if (i + 1 == members) break;
      float* minus = &out(lane, i + 1, first);
      for (std::int64_t j = 0; j < count; ++j) minus[j] = m[j] - s[j] * z[j];
    }
  });
}

void evolution_recombine(const View<const float, 3>& members, const View<const float, 2>& weights,
                         const View<float, 2>& mean, const View<float, 2>& variance,
                         const View<const float, 1>& damping, const RecombinationRates& rates, ThreadPool* pool) {
  require(rates.mean >= 0.0 && rates.mean <= 1.0, "mean_rate", rates.mean, "a number in [0, 1]");
  require(rates.variance >= 0.0 && rates.variance <= 1.0, "variance_rate", rates.variance, "a number in [0, 1]");
  for (std::int64_t lane = 0; lane < members.shape[0]; ++lane) {
    require_weights(weights, lane);
    const float extra = damping(lane);
    if (!(extra >= 0.0f && std::isfinite(extra))) refuse("damping", {lane}, extra, "a finite number >= 0");
  }
  const float mean_rate = static_cast<float>(rates.mean);
  const float variance_rate = static_cast<float>(rates.variance);
  const auto update = [&](std::int64_t lane, std::int64_t first, std::int64_t count) {
    float* m = &mean(lane, first);
    float* v = &variance(lane, first);
    Buffer shift{};
    Buffer spread{};
    for (std::int64_t i = 0; i < members.shape[1]; ++i) {
      const float w = weights(lane, i);
      if (w == 0.0f) continue;
      const float* x = &members(lane, i, first);
      for (std::int64_t j = 0; j < count; ++j) {
        const float d = x[j] - m[j];
        const float weighted = w * d;
        shift[j] += weighted;
        spread[j] += weighted * d;
      }
    }
    const float extra = damping(lane);
    for (std::int64_t j = 0; j < count; ++j) {
      m[j] += mean_rate * shift[j];
      v[j] += variance_rate * (spread[j] + extra - v[j]);
    }
  };
  for_each_block(members.shape[0], members.shape[2], pool, update);
}

void centered_ranks(const RealInput<2>& fitness, const View<float, 2>& out) {
  const auto rank_lanes = [&](const auto& values) {
    const std::int64_t lanes = out.shape[0];
    const std::int64_t members = out.shape[1];
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      for (std::int64_t i = 0; i < members; ++i) {
        if (std::isnan(values(lane, i)))
          refuse("fitness", {lane, i}, values(lane, i), "a number, not NaN, for every member");
      }
    }
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      for (std::int64_t i = 0; i < members; ++i) {
        std::int64_t below = 0;
        std::int64_t equal = 0;  // the member itself included
        for (std::int64_t other = 0; other < members; ++other) {
          below += values(lane, other) < values(lane, i);
          equal += values(lane, other) == values(lane, i);
        }
        const double rank = static_cast<double>(below) + 0.5 * static_cast<double>(equal - 1);
        out(lane, i) = members == 1 ? 0.0f : static_cast<float>(rank / static_cast<double>(members - 1) - 0.5);
      }
    }
  };
  std::visit(rank_lanes, fitness);
}

void openai_es_step(const View<float, 2>& mean, const View<const float, 1>& sigma, const View<const float, 2>& weights,
                    const View<const std::uint64_t, 2>& keys, std::uint64_t generation, const OpenaiEsOptions& options,
                    const View<float, 2>& moment1, const View<float, 2>& moment2, ThreadPool* pool) {
  const std::int64_t lanes = weights.shape[0];
  const std::int64_t members = weights.shape[1];
  const double rate = options.learning_rate;
  const double decay = options.weight_decay;
  const double exponent = static_cast<double>(options.step);
  const float step_size = static_cast<float>(rate / (1.0 - std::pow(static_cast<double>(kBeta1), exponent)));
  const float root_correction =
      static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(static_cast<double>(kBeta2), exponent)));
  const float shrink = static_cast<float>(decay);
  const auto ascent_scale = [&](std::int64_t lane) { return 1.0f / (static_cast<float>(members) * sigma(lane)); };
  require(options.step >= 1, "step", options.step, "1 in the first call, then 2, 3, ...");
  require(rate >= 0.0 && std::isfinite(step_size), "learning_rate", rate, kFiniteRate);
  require(decay >= 0.0 && std::isfinite(shrink), "weight_decay", decay, kFiniteRate);
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    if (!(ascent_scale(lane) > 0.0f && std::isfinite(ascent_scale(lane)))) {
      refuse("sigma", {lane}, sigma(lane), "a standard deviation > 0, finite as a float32 as is 1 / (P sigma)");
    }
    for (std::int64_t i = 0; i < members; ++i) {
      const float w = weights(lane, i);
      if (!std::isfinite(w)) refuse("weights", {lane, i}, w, "a finite number");
    }
  }
  const auto update = [&](std::int64_t lane, std::int64_t first, std::int64_t count) {
    Buffer z;
    Buffer ascent{};
    for (std::int64_t i = 0; i < members; i += 2) {
      const float w = weights(lane, i) - (i + 1 < members ? weights(lane, i + 1) : 0.0f);
      draw_noise(keys, lane, generation, i / 2, first, count, z);
      for (std::int64_t j = 0; j < count; ++j) ascent[j] += w * z[j];
    }
    const float scale = ascent_scale(lane);
    float* m = &mean(lane, first);
    float* first_moment = &moment1(lane, first);
    float* second_moment = &moment2(lane, first);
    for (std::int64_t j = 0; j < count; ++j) {
      const float g = scale * ascent[j] - shrink * m[j];
      first_moment[j] = kBeta1 * first_moment[j] + (1.0f - kBeta1) * g;
      second_moment[j] = kBeta2 * second_moment[j] + (1.0f - kBeta2) * g * g;
      m[j] += step_size * first_moment[j] / (std::sqrt(second_moment[j]) * root_correction + kEpsilon);
    }
  };
  for_each_block(lanes, mean.shape[1], pool, update);
}

}  // namespace apb
