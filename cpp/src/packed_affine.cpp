// Kernels of packed affine maps: tiles of rows by panels of outputs, accumulated in registers.
#include "apb/packed_affine.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <limits>

#include "packet_math.hpp"
#include "require.hpp"

namespace apb {
namespace {

// A panel holds a few packets of outputs: their biases, then for each input k their weights for k. A kernel keeps the
// accumulators of a few rows times one or more panels in registers while it runs through k.
#if defined(__AVX512F__)
constexpr int kOutputPackets = 2;
constexpr int kTileRows = 8;
#elif defined(__aarch64__)
constexpr int kOutputPackets = 4;
constexpr int kTileRows = 4;
#elif defined(__AVX2__)
constexpr int kOutputPackets = 3;
constexpr int kTileRows = 4;
#else
constexpr int kOutputPackets = 3;
constexpr int kTileRows = 3;
#endif
static_assert(kOutputPackets <= 4);
constexpr std::int64_t kPanelWidth = kOutputPackets * kLanes;
// Few rows leave registers free for several panels at once, which hides the latency of the multiply-adds.
constexpr int kRowPanels = 4;

template <Activation kActivation>
Packet activate(Packet x) {
  if constexpr (kActivation == Activation::relu) return relu(x);
  if constexpr (kActivation == Activation::tanh) return tanh_packet(x);
  return x;
}

struct Block {
  const float* panel;
  std::int64_t inputs;
  const float* x;
  std::int64_t x_stride;
  float* y;
  std::int64_t y_stride;
};

template <Activation kActivation, int kRows, int kPanels, int kPackets>
void kernel(const Block& block) {
  const std::int64_t panel_size = (block.inputs + 1) * kPackets * kLanes;
  const float* __restrict weights = block.panel;
  const float* __restrict x = block.x;
  Packet sum[kRows][kPanels * kPackets];
#pragma GCC unroll 16
  for (int column = 0; column < kPanels * kPackets; ++column) {
    const Packet bias = load(weights + (column / kPackets) * panel_size + (column % kPackets) * kLanes);
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) sum[row][column] = bias;
  }
  for (std::int64_t k = 0; k < block.inputs; ++k) {
    weights += kPackets * kLanes;
    Packet w[kPanels * kPackets];
#pragma GCC unroll 16
    for (int column = 0; column < kPanels * kPackets; ++column) {
      w[column] = load(weights + (column / kPackets) * panel_size + (column % kPackets) * kLanes);
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      const Packet value = broadcast(x[row * block.x_stride + k]);
#pragma GCC unroll 16
      for (int column = 0; column < kPanels * kPackets; ++column) {
        sum[row][column] = multiply_add(value, w[column], sum[row][column]);
      }
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
    for (int column = 0; column < kPanels * kPackets; ++column) {
      store(block.y + row * block.y_stride + column * kLanes, activate<kActivation>(sum[row][column]));
    }
  }
}

// The last few rows, fewer than a tile.
template <Activation kActivation, int kPackets, int kRows>
void run_remainder(const Block& block, std::int64_t rows) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return kernel<kActivation, kRows, 1, kPackets>(block);
    run_remainder<kActivation, kPackets, kRows - 1>(block, rows);
  }
}

// All rows through one panel.
template <Activation kActivation, int kPackets>
void run_panel(Block block, std::int64_t rows) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    kernel<kActivation, kTileRows, 1, kPackets>(block);
    block.x += kTileRows * block.x_stride;
    block.y += kTileRows * block.y_stride;
  }
  run_remainder<kActivation, kPackets, kTileRows - 1>(block, rows);
}

template <Activation kActivation>
void run_map(Block block, std::int64_t rows, std::int64_t padded_outputs) {
  const std::int64_t panel_size = (block.inputs + 1) * kPanelWidth;
  std::int64_t left = padded_outputs;
  const auto advance = [&](std::int64_t panels) {
    block.panel += panels * panel_size;
    block.y += panels * kPanelWidth;
    left -= panels * kPanelWidth;
  };
  if (rows == 1) {
    for (; left >= kRowPanels * kPanelWidth; advance(kRowPanels))
      kernel<kActivation, 1, kRowPanels, kOutputPackets>(block);
    for (; left >= 2 * kPanelWidth; advance(2)) kernel<kActivation, 1, 2, kOutputPackets>(block);
  }
  for (; left >= kPanelWidth; advance(1)) run_panel<kActivation, kOutputPackets>(block, rows);
  // The last panel is as narrow as its outputs allow.
  switch (left / kLanes) {
    case 3:
      return run_panel<kActivation, 3>(block, rows);
    case 2:
      return run_panel<kActivation, 2>(block, rows);
    case 1:
      return run_panel<kActivation, 1>(block, rows);
    default:
      return;
  }
}

}  // namespace

AlignedFloats::AlignedFloats(std::size_t count) : size_(count) {
  if (count > std::numeric_limits<std::size_t>::max() / (2 * sizeof(float))) throw std::bad_alloc();
  data_.reset(static_cast<float*>(::operator new[](count * sizeof(float), kAlignment)));
  std::fill_n(data_.get(), count, 0.0f);
}

PackedAffine::PackedAffine(std::int64_t count, std::int64_t outputs, std::int64_t inputs)
    : outputs_(outputs), inputs_(inputs) {
  require_count("number of maps", count);
  require_count("number of outputs", outputs);
  require_count("number of inputs", inputs);
  padded_outputs_ = (outputs + kLanes - 1) / kLanes * kLanes;
  map_size_ = (inputs + 1) * padded_outputs_;  // below 2^49
  if (map_size_ > (std::int64_t{1} << 60) / count) throw std::bad_alloc();
  storage_ = AlignedFloats(static_cast<std::size_t>(count * map_size_));
}

void PackedAffine::pack(std::int64_t index, const View<const float, 2>& weight, const View<const float, 1>& bias) {
  require_size("rows of the weight", weight.shape[0], outputs_);
  require_size("columns of the weight", weight.shape[1], inputs_);
  require_size("length of the bias", bias.shape[0], outputs_);
  using Panel = Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Strided = Eigen::Map<const Panel, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  float* to = storage_.data() + index * map_size_;
  for (std::int64_t first = 0; first < padded_outputs_; first += kPanelWidth) {
    const std::int64_t width = std::min(kPanelWidth, padded_outputs_ - first);
    const std::int64_t used = std::min(width, outputs_ - first);
    Eigen::Map<Panel> panel(to, inputs_ + 1, width);
    for (std::int64_t column = 0; column < used; ++column) panel(0, column) = bias(first + column);
    const Strided block(weight.data + first * weight.stride[0], used, inputs_, {weight.stride[0], weight.stride[1]});
    panel.block(1, 0, inputs_, used) = block.transpose();
    to += (inputs_ + 1) * width;
  }
}

void PackedAffine::apply(std::int64_t index, Activation activation, const float* x, std::int64_t x_stride,
                         std::int64_t rows, float* y, std::int64_t y_stride) const {
  const Block block{storage_.data() + index * map_size_, inputs_, x, x_stride, y, y_stride};
  switch (activation) {
    case Activation::none:
      return run_map<Activation::none>(block, rows, padded_outputs_);
    case Activation::relu:
      return run_map<Activation::relu>(block, rows, padded_outputs_);
    case Activation::tanh:
      return run_map<Activation::tanh>(block, rows, padded_outputs_);
  }
}

}  // namespace apb
