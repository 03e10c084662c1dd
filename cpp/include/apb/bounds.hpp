// all_within: whether the numbers of a table lie in an interval; what a simulation asks in every step.
#pragma once

#include <cstdint>

#include "apb/views.hpp"

namespace apb {

// Whether every element lies in [low, high]. A NaN lies in none. True without elements.
template <class T>
bool all_within(const View<const T, 2>& values, double low, double high) {
  bool all = true;
  for (std::int64_t row = 0; row < values.shape[0]; ++row) {
    const T* at = values.data + row * values.stride[0];
    // No branch inside, so that rows that lie densely become vector code.
    for (std::int64_t column = 0; column < values.shape[1]; ++column) {
      const double value = at[column * values.stride[1]];
      all &= (value >= low) & (value <= high);
    }
    if (!all) return false;
  }
  return true;
}

}  // namespace apb
