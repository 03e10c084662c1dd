// LayerStack: N networks of one shape side by side, `W x + b` or `ReLU(W x + b)` layer by layer, and their gradient.
//
// Every number is computed in an order that depends on the sizes alone: results are the same bits for any number of
// threads, and a network computes beside others what it computes alone.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "apb/packed_affine.hpp"
#include "apb/thread_pool.hpp"
#include "apb/views.hpp"

namespace apb {

// One layer of the N networks: weight (N or 1, out, in) and bias (N or 1, out); 1 for a layer that all share. Each
// network's part is C-contiguous; the networks may lie apart.
template <class T>
struct LayerOf {
  View<T, 3> weight;
  View<T, 2> bias;
};
using Layer = LayerOf<const float>;
using LayerGradient = LayerOf<float>;

// The methods rely on their arguments: of the sizes of the stack, and what is written lies apart from all else.
class LayerStack {
 public:
  // `sizes`: width of the input and of each layer's output; `relus`: whether a ReLU follows, for each layer; each
  // network is given `rows` rows. All memory is taken here. Throws std::invalid_argument for sizes out of [1, 2^24],
  // std::bad_alloc where they are too many.
  LayerStack(std::vector<std::int64_t> sizes, std::vector<bool> relus, std::int64_t networks, std::int64_t rows);

  std::int64_t networks() const { return networks_; }
  std::int64_t rows() const { return rows_; }
  const std::vector<std::int64_t>& sizes() const { return sizes_; }
  std::int64_t num_layers() const { return static_cast<std::int64_t>(relus_.size()); }

  // out (N, R, out) = outputs for the inputs x (N, R, in).
  void forward(const std::vector<Layer>& layers, const View<const float, 3>& x, const View<float, 3>& out,
               ThreadPool* pool);

  // Writes the gradients of a loss with respect to the parameters of the layers that have a place for them, from that
  // with respect to the outputs, `slope` (N, R, out), of the last `forward`, which had these `layers`. May be called
  // again. Throws std::logic_error before the first `forward`.
  void backward(const std::vector<Layer>& layers, const View<const float, 3>& slope,
                const std::vector<std::optional<LayerGradient>>& gradients, ThreadPool* pool);

  // Likewise the gradient with respect to the inputs, out (N, R, in).
  void input_gradient(const std::vector<Layer>& layers, const View<const float, 3>& slope, const View<float, 3>& out,
                      ThreadPool* pool);

 private:
  // The strip of kPanel rows of one network.
  struct Strip {
    std::int64_t network;
    std::int64_t index;  // among the strips of the network
    std::int64_t first;  // its first row
    std::int64_t count;  // its rows that exist
  };
  template <class Body>
  void for_strips(ThreadPool* pool, const Body& body) const;
  float* strip_of(const std::vector<AlignedFloats>& levels, std::int64_t level, const Strip& strip) const;
  void require_values() const;
  void forward_strip(const std::vector<Layer>& layers, const Strip& strip);
  void backward_strip(const std::vector<Layer>& layers, const Strip& strip, std::int64_t lowest);
  void keep_features(std::int64_t layer, const Strip& strip);
  void parameter_gradient(std::int64_t layer, std::int64_t network, std::int64_t first, std::int64_t end,
                          const LayerGradient& gradient) const;

  std::vector<std::int64_t> sizes_;
  std::vector<bool> relus_;
  std::int64_t networks_, rows_, strips_;
  // Level i is the input of layer i, and the last level the outputs. In strips of rows, (N, strips, size, kPanel):
  std::vector<AlignedFloats> values_;  // the values
  std::vector<AlignedFloats> slopes_;  // the gradient with respect to them
  // The values again, in panels of features (N, panels, rows, kPanel), as the gradients of the weights read them.
  std::vector<AlignedFloats> features_;
  bool has_values_ = false;  // of a call of `forward`
  std::mutex mutex_;         // one call at a time
};

}  // namespace apb
