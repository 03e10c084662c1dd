// Views: strided windows on memory that somebody else owns; the only way arrays enter and leave the core.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <variant>

namespace apb {

// A window of `Rank` axes. Strides are counted in elements, not bytes, and may be zero or negative.
template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::array<std::int64_t, Rank> shape{};
  std::array<std::int64_t, Rank> stride{};

  template <class... Index>
  T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == Rank);
    const std::array<std::int64_t, Rank> at{static_cast<std::int64_t>(index)...};
    std::int64_t offset = 0;
    for (int axis = 0; axis < Rank; ++axis) offset += at[axis] * stride[axis];
    return data[offset];
  }

  std::int64_t size() const {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    return count;
  }
};

// The view of a C-contiguous array that starts at `data`.
template <class T, int Rank>
View<T, Rank> contiguous_view(T* data, const std::array<std::int64_t, Rank>& shape) {
  View<T, Rank> view{data, shape, {}};
  std::int64_t step = 1;
  for (int axis = Rank - 1; axis >= 0; --axis) {
    view.stride[axis] = step;
    step *= shape[axis];
  }
  return view;
}

// An array of real numbers in the precision that the caller has: float32 (ours) or float64 (MuJoCo's and Gymnasium's).
template <int Rank>
using RealInput = std::variant<View<const float, Rank>, View<const double, Rank>>;
template <int Rank>
using RealOutput = std::variant<View<float, Rank>, View<double, Rank>>;

// Throws std::invalid_argument unless `found == expected`; for sizes that must agree.
inline void require_size(const char* what, std::int64_t found, std::int64_t expected) {
  if (found != expected) {
    throw std::invalid_argument(std::string(what) + " = " + std::to_string(found) + "; expected " +
                                std::to_string(expected));
  }
}

}  // namespace apb
