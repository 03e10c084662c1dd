// Population: M adapters around one shared backbone, and the forward pass of all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "apb/backbone.hpp"
#include "apb/load_mutex.hpp"
#include "apb/packed_affine.hpp"
#include "apb/thread_pool.hpp"
#include "apb/views.hpp"

namespace apb {

// What happens around the networks: s = clip((observation - mean) · inverse_std, ±clip), action = offset + scale · a.
// A null pointer stands for the neutral constant; clip = 0 for no clipping.
struct Transform {
  const float* mean = nullptr;         // (observation_size)
  const float* inverse_std = nullptr;  // (observation_size)
  double clip = 0.0;                   // at least the smallest float32, or 0
  const float* scale = nullptr;        // (action_size)
  const float* offset = nullptr;       // (action_size)
};

// Policy of member m: a = tanh(T_m ψ(P_m s + p_m) + t_m).
//
// Its parameters lie flat as [P row-major (d_in, obs) | p (d_in) | T row-major (act, features) | t (act)].
// Every row is computed alone in a fixed order: results depend neither on batch size and position nor on the threads.
class Population {
 public:
  // Throws std::invalid_argument for sizes out of range. The parameters are zero until `load`.
  Population(std::shared_ptr<const Backbone> backbone, std::int64_t members, std::int64_t observation_size,
             std::int64_t action_size);

  std::int64_t members() const { return members_; }
  std::int64_t observation_size() const { return pre_.inputs(); }
  std::int64_t action_size() const { return post_.outputs(); }
  std::int64_t num_parameters() const;

  // Takes over the parameters of all members, (members, num_parameters). Waits for forward passes under way.
  void load(const View<const float, 2>& adapters);

  // actions[m, b] = policy of member m at observations[m, b]; shapes (M, B, obs) and (M, B, act), any strides.
  void forward(const RealInput<3>& observations, const RealOutput<3>& actions, const Transform& transform,
               ThreadPool* pool) const;

  // Sets the transform that `act` uses; copies what it points to.
  void set_transform(const Transform& transform);

  // actions[b] = policy of the only member at observations[b], through the transform set before.
  // Throws std::invalid_argument where there are several members, or for an observation that is not a finite float32:
  // where actions leave for an env, there is no later place to notice.
  void act(const RealInput<2>& observations, float* actions) const;

 private:
  struct Rows;
  void check(const Transform& transform) const;
  void run(const Rows& rows, ThreadPool* pool) const;
  void run_tile(const Rows& rows, std::int64_t first, std::int64_t count) const;

  std::shared_ptr<const Backbone> backbone_;
  std::int64_t members_;
  PackedAffine pre_, post_;
  std::int64_t width_;  // columns of a row of scratch memory
  std::vector<float> constants_;
  Transform transform_;
  mutable LoadMutex mutex_;
};

}  // namespace apb
