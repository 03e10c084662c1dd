// The backbone's layers, checked all before the first of them is packed.
#include "apb/backbone.hpp"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

namespace apb {

Backbone::Backbone(std::span<const LinearView> layers, bool input_activation) : input_activation_(input_activation) {
  if (layers.empty()) throw std::invalid_argument("the backbone has 0 layers; expected at least 1");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto [outputs, inputs] = layers[i].weight.shape;
    if (i > 0 && inputs != layers_.back().outputs()) {
      throw std::invalid_argument("weights[" + std::to_string(i) + "] has " + std::to_string(inputs) +
                                  " columns; expected " + std::to_string(layers_.back().outputs()) +
                                  ", the rows of the weight before it");
    }
    layers_.emplace_back(1, outputs, inputs);
  }
  load(layers);
}

void Backbone::load(std::span<const LinearView> layers) {
  require_size("number of layers", static_cast<std::int64_t>(layers.size()), static_cast<std::int64_t>(layers_.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) {  // all checks before the first change
    require_size("rows of a weight", layers[i].weight.shape[0], layers_[i].outputs());
    require_size("columns of a weight", layers[i].weight.shape[1], layers_[i].inputs());
    require_size("length of a bias", layers[i].bias.shape[0], layers_[i].outputs());
  }
  const std::unique_lock lock(mutex_);
  for (std::size_t i = 0; i < layers.size(); ++i) layers_[i].pack(0, layers[i].weight, layers[i].bias);
}

std::int64_t Backbone::widest() const {
  std::int64_t widest = 0;
  for (const PackedAffine& layer : layers_) widest = std::max({widest, layer.inputs(), layer.padded_outputs()});
  return widest;
}

}  // namespace apb
