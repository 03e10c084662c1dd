// Evolution over flat parameter vectors: draw members around a mean, and move the mean by what the members achieved.
//
// K lanes hold one search distribution each over n parameters; P members are drawn per lane. Noise is never stored:
// z_i of a generation is PhiloxStream(key of the lane, {0, generation, i, 0}).normal, so any part of it can be drawn
// again at any time. Work is split into blocks of a fixed number of parameters, and sums over members run in the order
// of the members: results are the same bits for every number of threads. Nothing here allocates.
//
// Array arguments agree in K, P and n, each at least 1; their last axis is contiguous; outputs share no memory with
// other arguments.
#pragma once

#include <cstdint>

#include "apb/thread_pool.hpp"
#include "apb/views.hpp"

namespace apb {

// Antithetic draws around `mean` (K, n) into `out` (K, P, n):
//   out[k, 2i] = mean + sigma z_i,  out[k, 2i+1] = mean - sigma z_i;  the last of an odd number has no partner.
// `keys` is (K, 2). Throws std::invalid_argument for a sigma (K, n) that is negative or not finite.
void evolution_ask(const View<const float, 2>& mean, const View<const float, 2>& sigma,
                   const View<const std::uint64_t, 2>& keys, std::uint64_t generation, const View<float, 3>& out,
                   ThreadPool* pool);

// How far a recombination moves mean and variance, each in [0, 1]; 1 forgets the old value.
struct RecombinationRates {
  double mean = 1.0;
  double variance = 1.0;
};

// Cross-entropy update of `mean` and `variance` (K, n) by `members` (K, P, n), with d_i = x_i - mean before the update:
//   mean     += rates.mean * sum_i w_i d_i
//   variance += rates.variance * (sum_i w_i d_i^2 + damping - variance)
// The `weights` (K, P) of a lane are >= 0 and sum to one within 1e-4: then sum_i w_i d_i = sum_i w_i x_i - mean, and a
// variance stays >= 0. A member of weight zero is not read. `damping` is (K,), >= 0.
// Throws std::invalid_argument for weights, damping or rates out of range.
void evolution_recombine(const View<const float, 3>& members, const View<const float, 2>& weights,
                         const View<float, 2>& mean, const View<float, 2>& variance,
                         const View<const float, 1>& damping, const RecombinationRates& rates, ThreadPool* pool);

// Ranks of `fitness` (K, P) within each lane, scaled to [-0.5, 0.5], the best one 0.5. Equal values share the mean of
// their ranks; a single member gets 0. Takes O(P^2) time and no memory.
// Throws std::invalid_argument for NaN; infinities are ordered.
void centered_ranks(const RealInput<2>& fitness, const View<float, 2>& out);

// Options of `openai_es_step`. `step` counts the steps from 1, for Adam's correction of the bias.
struct OpenaiEsOptions {
  double learning_rate = 0.0;
  double weight_decay = 0.0;
  std::int64_t step = 1;
};

// One step of OpenAI-ES, uphill, on the noise that `evolution_ask` drew for `generation` with one sigma (K,) per lane:
//   g = 1 / (P sigma) * sum_i (w_2i - w_2i+1) z_i - weight_decay * mean
// and then Adam (beta1 0.9, beta2 0.999, epsilon 1e-8) on `mean`, `moment1`, `moment2`, each (K, n). `weights` (K, P)
// are usually centred ranks. Throws std::invalid_argument for a sigma or 1 / (P sigma) that is not positive and finite,
// a weight that is not finite, or options out of range.
void openai_es_step(const View<float, 2>& mean, const View<const float, 1>& sigma, const View<const float, 2>& weights,
                    const View<const std::uint64_t, 2>& keys, std::uint64_t generation, const OpenaiEsOptions& options,
                    const View<float, 2>& moment1, const View<float, 2>& moment2, ThreadPool* pool);

}  // namespace apb
