#include "apb/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace apb {
namespace {

// Calls body(first, end) for stretches of [0, size) that are worth a thread each.
template <class Body>
void for_stretches(ThreadPool* pool, std::int64_t size, const Body& body) {
  constexpr std::int64_t kStretch = std::int64_t{1} << 14;
  parallel_for(pool, (size + kStretch - 1) / kStretch,
               [&](std::int64_t task) { body(task * kStretch, std::min(size, (task + 1) * kStretch)); });
}

}  // namespace

void adam_step(const View<float, 1>& parameters, const View<const float, 1>& gradient, const View<float, 1>& exp_avg,
               const View<float, 1>& exp_avg_sq, std::int64_t step, const AdamSettings& settings, ThreadPool* pool) {
  if (step < 1) {
    throw std::invalid_argument("step = " + std::to_string(step) + " is out of range; expected 1 for the first step");
  }
  const auto t = static_cast<double>(step);
  const auto rate = static_cast<float>(settings.learning_rate / (1.0 - std::pow(settings.beta1, t)));
  const auto root = static_cast<float>(std::sqrt(1.0 - std::pow(settings.beta2, t)));
  const auto keep = static_cast<float>(settings.beta2);
  const auto first_rate = static_cast<float>(1.0 - settings.beta1);
  const auto second_rate = static_cast<float>(1.0 - settings.beta2);
  const auto epsilon = static_cast<float>(settings.epsilon);
  for_stretches(pool, parameters.shape[0], [&](std::int64_t first, std::int64_t end) {
    float* __restrict theta = parameters.data;
    float* __restrict m = exp_avg.data;
    float* __restrict v = exp_avg_sq.data;
    const float* __restrict g = gradient.data;
    for (std::int64_t i = first; i < end; ++i) {
      m[i] += first_rate * (g[i] - m[i]);
      v[i] = keep * v[i] + second_rate * (g[i] * g[i]);
      theta[i] -= rate * (m[i] / (std::sqrt(v[i]) / root + epsilon));
    }
  });
}

void polyak_step(const View<float, 1>& target, const View<const float, 1>& source, double tau, ThreadPool* pool) {
  const auto rate = static_cast<float>(tau);
  for_stretches(pool, target.shape[0], [&](std::int64_t first, std::int64_t end) {
    float* __restrict to = target.data;
    const float* __restrict from = source.data;
    for (std::int64_t i = first; i < end; ++i) to[i] += rate * (from[i] - to[i]);
  });
}

}  // namespace apb
