// Steps of gradient descent and of target networks over flat vectors of parameters.
//
// Every element is computed alone, in single precision and in a fixed order of operations: results depend neither on
// the threads nor on the place of an element in its vector. The vectors of a call are equally long and lie apart.
// Nothing here allocates.
#pragma once

#include <cstdint>

#include "apb/thread_pool.hpp"
#include "apb/views.hpp"

namespace apb {

// Adam (Kingma & Ba 2015, algorithm 1), a few units in the last place from `torch.optim.Adam`:
//   m += (1 - β1) (g - m),  v = β2 v + (1 - β2) g²,  θ -= α / (1 - β1^t) · m / (√v / √(1 - β2^t) + ε)
struct AdamSettings {
  double learning_rate;   // α >= 0; α / (1 - β1^t) is finite in single precision
  double beta1 = 0.9;     // in [0, 1)
  double beta2 = 0.999;   // in [0, 1)
  double epsilon = 1e-8;  // >= 0, finite in single precision
};

// Step number `step`, from 1 on. Throws std::invalid_argument for a number out of its range, before any change.
void adam_step(const View<float, 1>& parameters, const View<const float, 1>& gradient, const View<float, 1>& exp_avg,
               const View<float, 1>& exp_avg_sq, std::int64_t step, const AdamSettings& settings, ThreadPool* pool);

// target += τ (source - target); exactly `source` where τ is 1. Throws std::invalid_argument unless τ is in [0, 1].
void polyak_step(const View<float, 1>& target, const View<const float, 1>& source, double tau, ThreadPool* pool);

}  // namespace apb
