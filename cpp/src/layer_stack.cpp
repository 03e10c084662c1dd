// Forward and backward passes of many networks, cut into strips of rows for the threads.
#include "apb/layer_stack.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "panel_product.hpp"
#include "require.hpp"

namespace apb {
namespace {

constexpr std::int64_t kOutputsPerTask = 32;  // of a layer whose weights' gradient is computed

const float* weight_of(const Layer& layer, std::int64_t network) {
  return layer.weight.data + network * layer.weight.stride[0];
}

const float* bias_of(const Layer& layer, std::int64_t network) {
  return layer.bias.data + network * layer.bias.stride[0];
}

AlignedFloats floats(std::int64_t networks, std::int64_t size, std::int64_t count) {
  // Sizes are at most 2^24 and kPanel more, so that no product of two overflows; three could.
  const std::int64_t each = size * count;
  if (each > (std::int64_t{1} << 60) / networks) throw std::bad_alloc();
  return AlignedFloats(static_cast<std::size_t>(networks * each));
}

}  // namespace

LayerStack::LayerStack(std::vector<std::int64_t> sizes, std::vector<bool> relus, std::int64_t networks,
                       std::int64_t rows)
    : sizes_(std::move(sizes)), relus_(std::move(relus)), networks_(networks), rows_(rows) {
  require_count("number of layers", num_layers());
  require_size("number of sizes", static_cast<std::int64_t>(sizes_.size()), num_layers() + 1);
  for (const std::int64_t size : sizes_) require_count("size", size);
  require_count("number of networks", networks);
  require_count("number of rows", rows);
  strips_ = panels(rows);
  const std::int64_t padded_rows = strips_ * kPanel;
  for (std::size_t level = 0; level < sizes_.size(); ++level) {
    values_.push_back(floats(networks, sizes_[level], padded_rows));
    slopes_.push_back(floats(networks, sizes_[level], padded_rows));
    if (level + 1 < sizes_.size()) {
      features_.push_back(floats(networks, panels(sizes_[level]) * kPanel, padded_rows));
    }
  }
}

template <class Body>
void LayerStack::for_strips(ThreadPool* pool, const Body& body) const {
  parallel_for(pool, networks_ * strips_, [&](std::int64_t task) {
    const std::int64_t index = task % strips_;
    const std::int64_t first = index * kPanel;
    body(Strip{task / strips_, index, first, std::min(kPanel, rows_ - first)});
  });
}

float* LayerStack::strip_of(const std::vector<AlignedFloats>& levels, std::int64_t level, const Strip& strip) const {
  return levels[level].data() + (strip.network * strips_ + strip.index) * sizes_[level] * kPanel;
}

void LayerStack::forward(const std::vector<Layer>& layers, const View<const float, 3>& x, const View<float, 3>& out,
                         ThreadPool* pool) {
  const std::lock_guard lock(mutex_);
  const std::int64_t inputs = sizes_.front();
  const std::int64_t outputs = sizes_.back();
  for_strips(pool, [&](const Strip& strip) {
    const std::int64_t row = strip.network * rows_ + strip.first;
    transpose(x.data + row * inputs, inputs, strip.count, inputs, strip_of(values_, 0, strip), kPanel);
    forward_strip(layers, strip);
    transpose(strip_of(values_, num_layers(), strip), kPanel, outputs, strip.count, out.data + row * outputs, outputs);
  });
  has_values_ = true;
}

void LayerStack::require_values() const {
  if (!has_values_) throw std::logic_error("a gradient was asked for before any outputs; expected `forward` first");
}

void LayerStack::forward_strip(const std::vector<Layer>& layers, const Strip& strip) {
  for (std::int64_t i = 0; i < num_layers(); ++i) {
    const LeftFactor weight{weight_of(layers[i], strip.network), sizes_[i], 1};
    const float* bias = bias_of(layers[i], strip.network);
    float* to = strip_of(values_, i + 1, strip);
    const auto apply = [&](auto activation) {
      product(
          weight, strip_of(values_, i, strip), sizes_[i], 0, sizes_[i + 1], [&](std::int64_t o) { return bias[o]; },
          [&](std::int64_t o, const Packet* sum) {
            for (int c = 0; c < kPanelPackets; ++c) store(to + o * kPanel + c * kLanes, activation(sum[c]));
          });
    };
    if (relus_[i])
      apply([](Packet value) { return relu(value); });
    else
      apply([](Packet value) { return value; });
  }
}

void LayerStack::backward(const std::vector<Layer>& layers, const View<const float, 3>& slope,
                          const std::vector<std::optional<LayerGradient>>& gradients, ThreadPool* pool) {
  const std::lock_guard lock(mutex_);
  require_values();
  std::int64_t lowest = num_layers();
  std::int64_t tasks = 0;  // of one network
  for (std::int64_t i = num_layers() - 1; i >= 0; --i) {
    if (!gradients[i]) continue;
    lowest = i;
    tasks += (sizes_[i + 1] + kOutputsPerTask - 1) / kOutputsPerTask;
  }
  const std::int64_t outputs = sizes_.back();
  for_strips(pool, [&](const Strip& strip) {
    const std::int64_t row = strip.network * rows_ + strip.first;
    transpose(slope.data + row * outputs, outputs, strip.count, outputs, strip_of(slopes_, num_layers(), strip),
              kPanel);
    backward_strip(layers, strip, lowest + 1);
    for (std::int64_t i = lowest; i < num_layers(); ++i) {
      if (gradients[i]) keep_features(i, strip);
    }
  });
  parallel_for(pool, networks_ * tasks, [&](std::int64_t task) {
    const std::int64_t network = task / tasks;
    std::int64_t first = task % tasks * kOutputsPerTask;
    for (std::int64_t i = lowest;; ++i) {
      if (!gradients[i]) continue;
      const std::int64_t span = (sizes_[i + 1] + kOutputsPerTask - 1) / kOutputsPerTask * kOutputsPerTask;
      if (first < span) {
        const std::int64_t end = std::min(first + kOutputsPerTask, sizes_[i + 1]);
        return parameter_gradient(i, network, first, end, *gradients[i]);
      }
      first -= span;
    }
  });
}

void LayerStack::input_gradient(const std::vector<Layer>& layers, const View<const float, 3>& slope,
                                const View<float, 3>& out, ThreadPool* pool) {
  const std::lock_guard lock(mutex_);
  require_values();
  const std::int64_t inputs = sizes_.front();
  const std::int64_t outputs = sizes_.back();
  for_strips(pool, [&](const Strip& strip) {
    const std::int64_t row = strip.network * rows_ + strip.first;
    transpose(slope.data + row * outputs, outputs, strip.count, outputs, strip_of(slopes_, num_layers(), strip),
              kPanel);
    backward_strip(layers, strip, 0);
    transpose(strip_of(slopes_, 0, strip), kPanel, inputs, strip.count, out.data + row * inputs, inputs);
  });
}

// From the slopes of the outputs down to those of level `lowest`, each behind the ReLU of the layer that made it.
void LayerStack::backward_strip(const std::vector<Layer>& layers, const Strip& strip, std::int64_t lowest) {
  for (std::int64_t i = num_layers() - 1; i >= lowest - 1 && i >= 0; --i) {
    float* above = strip_of(slopes_, i + 1, strip);
    if (relus_[i]) {
      const float* value = strip_of(values_, i + 1, strip);
      for (std::int64_t at = 0; at < sizes_[i + 1] * kPanel; at += kLanes) {
        store(above + at, load(value + at) <= 0.0f ? Packet{} : load(above + at));
      }
    }
    if (i < lowest) break;
    float* to = strip_of(slopes_, i, strip);
    product(
        {weight_of(layers[i], strip.network), 1, sizes_[i]}, above, sizes_[i + 1], 0, sizes_[i],
        [](std::int64_t) { return 0.0f; },
        [&](std::int64_t input, const Packet* sum) {
          float* row = to + input * kPanel;
          for (int c = 0; c < kPanelPackets; ++c) store(row + c * kLanes, sum[c]);
          // Rows that do not exist stay at 0, also where a weight is not finite: gradients of biases add all rows.
          std::fill(row + strip.count, row + kPanel, 0.0f);
        });
  }
}

void LayerStack::keep_features(std::int64_t layer, const Strip& strip) {
  const float* from = strip_of(values_, layer, strip);
  const std::int64_t panel_size = strips_ * kPanel * kPanel;
  float* to = features_[layer].data() + strip.network * panels(sizes_[layer]) * panel_size + strip.first * kPanel;
  for (std::int64_t first = 0; first < sizes_[layer]; first += kPanel, to += panel_size) {
    transpose(from + first * kPanel, kPanel, std::min(kPanel, sizes_[layer] - first), kPanel, to, kPanel);
  }
}

// dL/dW[o, i] = Σ_r slope[r, o] x[r, i] and dL/db[o] = Σ_r slope[r, o] for the outputs o of [first, end).
void LayerStack::parameter_gradient(std::int64_t layer, std::int64_t network, std::int64_t first, std::int64_t end,
                                    const LayerGradient& gradient) const {
  const std::int64_t inputs = sizes_[layer];
  const std::int64_t outputs = sizes_[layer + 1];
  const float* slope = slopes_[layer + 1].data() + network * strips_ * outputs * kPanel;
  const LeftFactor left{slope, kPanel, 1, kPanel, outputs * kPanel};
  const float* panel = features_[layer].data() + network * panels(inputs) * strips_ * kPanel * kPanel;
  float* weight = gradient.weight.data + network * gradient.weight.stride[0];
  for (std::int64_t input = 0; input < inputs; input += kPanel, panel += strips_ * kPanel * kPanel) {
    const std::int64_t width = std::min(kPanel, inputs - input);
    product(
        left, panel, rows_, first, end, [](std::int64_t) { return 0.0f; },
        [&](std::int64_t o, const Packet* sum) {
          float row[kPanel];
          for (int c = 0; c < kPanelPackets; ++c) store(row + c * kLanes, sum[c]);
          std::copy_n(row, width, weight + o * inputs + input);
        });
  }
  float* bias = gradient.bias.data + network * gradient.bias.stride[0];
  for (std::int64_t o = first; o < end; ++o) {
    Packet sum[kPanelPackets] = {};
    for (std::int64_t strip = 0; strip < strips_; ++strip) {
      const float* from = slope + (strip * outputs + o) * kPanel;
      for (int c = 0; c < kPanelPackets; ++c) sum[c] += load(from + c * kLanes);
    }
    float total = 0.0f;
    for (const Packet& part : sum) {
      for (int lane = 0; lane < kLanes; ++lane) total += part[lane];
    }
    bias[o] = total;
  }
}

}  // namespace apb
