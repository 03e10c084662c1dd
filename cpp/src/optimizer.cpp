// The steps of Adam and of target networks, in stretches of parameters for the threads.
#include "apb/optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "require.hpp"

namespace apb {
namespace {

// Calls body(first, end) for stretches of [0, size) that are worth a thread each.
template <class Body>
void for_stretches(ThreadPool* pool, std::int64_t size, const Body& body) {
  constexpr std::int64_t kStretch = std::int64_t{1} << 14;
  parallel_for(pool, (size + kStretch - 1) / kStretch,
               [&](std::int64_t task) { body(task * kStretch, std::min(size, (task + 1) * kStretch)); });
}

struct AdamRates {
  float first, keep, second;  // 1 - β1, β2, 1 - β2
  float rate, root, epsilon;  // α / (1 - β1^t), 1 / √(1 - β2^t), ε
};

// A function of its own, because compilers believe `__restrict` of parameters only, and make packets of it then.
void adam_stretch(std::int64_t size, const AdamRates& rates, float* __restrict theta, const float* __restrict g,
                  float* __restrict m, float* __restrict v) {
  const AdamRates r = rates;
  for (std::int64_t i = 0; i < size; ++i) {
    const float first = m[i] + r.first * (g[i] - m[i]);
    const float second = r.keep * v[i] + r.second * (g[i] * g[i]);
    m[i] = first;
    v[i] = second;
    theta[i] -= r.rate * (first / (std::sqrt(second) * r.root + r.epsilon));
  }
}

void polyak_stretch(std::int64_t size, float tau, float* __restrict target, const float* __restrict source) {
  // From the nearer end, so that the rounding of the difference counts for half of it at most.
  if (tau < 0.5f) {
    for (std::int64_t i = 0; i < size; ++i) target[i] += tau * (source[i] - target[i]);
  } else {
    for (std::int64_t i = 0; i < size; ++i) target[i] = source[i] - (1.0f - tau) * (source[i] - target[i]);
  }
}

}  // namespace

void adam_step(const View<float, 1>& parameters, const View<const float, 1>& gradient, const View<float, 1>& exp_avg,
               const View<float, 1>& exp_avg_sq, std::int64_t step, const AdamSettings& settings, ThreadPool* pool) {
  const auto& [learning_rate, beta1, beta2, epsilon] = settings;
  require(step >= 1, "step", step, "1 in the first call, then 2, 3, ...");
  require(beta1 >= 0.0 && beta1 < 1.0, "beta1", beta1, "a number in [0, 1)");
  require(beta2 >= 0.0 && beta2 < 1.0, "beta2", beta2, "a number in [0, 1)");
  const auto t = static_cast<double>(step);
  const AdamRates rates{static_cast<float>(1.0 - beta1),
                        static_cast<float>(beta2),
                        static_cast<float>(1.0 - beta2),
                        static_cast<float>(learning_rate / (1.0 - std::pow(beta1, t))),
                        static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t))),
                        static_cast<float>(epsilon)};
  require(learning_rate >= 0.0 && std::isfinite(rates.rate), "learning_rate", learning_rate, kFiniteRate);
  require(epsilon >= 0.0 && std::isfinite(rates.epsilon), "epsilon", epsilon, kFiniteRate);
  for_stretches(pool, parameters.shape[0], [&](std::int64_t first, std::int64_t end) {
    adam_stretch(end - first, rates, parameters.data + first, gradient.data + first, exp_avg.data + first,
                 exp_avg_sq.data + first);
  });
}

void polyak_step(const View<float, 1>& target, const View<const float, 1>& source, double tau, ThreadPool* pool) {
  require(tau >= 0.0 && tau <= 1.0, "tau", tau, "a number in [0, 1]");
  const auto rate = static_cast<float>(tau);
  for_stretches(pool, target.shape[0], [&](std::int64_t first, std::int64_t end) {
    polyak_stretch(end - first, rate, target.data + first, source.data + first);
  });
}

}  // namespace apb
