// Random inputs of the tests, the same in every run.
#pragma once

#include <cstdint>
#include <vector>

#include "apb/philox.hpp"

namespace apb::test {

// Normal draws of one of many streams.
inline std::vector<float> normal(std::uint64_t stream, std::int64_t count, float scale = 1.0f) {
  std::vector<float> values(static_cast<std::size_t>(count));
  PhiloxStream({1, stream}, {0, 0, 0, 0}).normal(0, values.data(), count);
  for (float& value : values) value *= scale;
  return values;
}

}  // namespace apb::test
