// Backbone: the shared nonlinear network ψ, packed for the kernels.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "apb/load_mutex.hpp"
#include "apb/packed_affine.hpp"
#include "apb/views.hpp"

namespace apb {

// One layer as torch.nn.Linear holds it: y = weight · x + bias, weight (out, in).
struct LinearView {
  View<const float, 2> weight;
  View<const float, 1> bias;
};

// ψ(x): an optional ReLU on x, then for each layer ReLU(W h + b).
class Backbone {
 public:
  // Throws std::invalid_argument where there is no layer, a size is 0, or sizes do not chain.
  Backbone(std::span<const LinearView> layers, bool input_activation);

  // Replaces the weights in place; the sizes must be those of the construction. Waits for forward passes under way.
  void load(std::span<const LinearView> layers);

  std::int64_t input_size() const { return layers_.front().inputs(); }
  std::int64_t output_size() const { return layers_.back().outputs(); }
  std::int64_t widest() const;  // the largest padded number of columns of any activation, the input's included
  bool input_activation() const { return input_activation_; }
  const std::vector<PackedAffine>& layers() const { return layers_; }
  LoadMutex& mutex() const { return mutex_; }  // shared while computing, exclusive while loading

 private:
  std::vector<PackedAffine> layers_;
  bool input_activation_;
  mutable LoadMutex mutex_;
};

}  // namespace apb
