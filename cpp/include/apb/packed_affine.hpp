// PackedAffine: affine maps y = f(W x + b) stored in the order in which the kernels read them.
//
// The accumulation order of every output element is fixed: the bias first, then k = 0, 1, …, K - 1, each by one
// multiply-add. It is the same for one row and for a tile of rows, so a result never depends on the rows computed
// beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "apb/views.hpp"

namespace apb {

// Floats on a cache-line boundary, zero at the start.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(std::size_t count);
  float* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* data) const { ::operator delete[](data, kAlignment); }
  };
  std::unique_ptr<float[], Free> data_;
  std::size_t size_ = 0;
};

enum class Activation { none, relu, tanh };

// `count` maps of one size, each with its own weights: one for a layer that all rows share, M for the members of a
// population.
class PackedAffine {
 public:
  // Throws std::invalid_argument unless count, outputs and inputs are in [1, 2^24]; std::bad_alloc if too large.
  PackedAffine(std::int64_t count, std::int64_t outputs, std::int64_t inputs);

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::int64_t padded_outputs() const { return padded_outputs_; }  // `apply` writes this many columns

  // Packs map `index` from weight (outputs, inputs) and bias (outputs,), of any strides.
  void pack(std::int64_t index, const View<const float, 2>& weight, const View<const float, 1>& bias);

  // y[r, :] = f(W x[r, :] + b) with the weights of map `index`, for `rows` rows of row strides x_stride and y_stride
  // (in floats).
  void apply(std::int64_t index, Activation activation, const float* x, std::int64_t x_stride, std::int64_t rows,
             float* y, std::int64_t y_stride) const;

 private:
  std::int64_t outputs_, inputs_, padded_outputs_, map_size_;
  AlignedFloats storage_;
};

}  // namespace apb
