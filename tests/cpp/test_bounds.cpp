// What apb/bounds.hpp promises. It is compared with NumPy in tests/test_native_bounds.py.
#include <limits>
#include <vector>

#include "apb/bounds.hpp"
#include "check.hpp"

using apb::all_within;
using apb::View;

TEST(all_within_reads_the_elements_of_the_view_and_no_others) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> memory(5 * 7, nan);
  const View<const double, 2> view{memory.data() + 1, {5, 3}, {7, 2}};
  for (std::int64_t row = 0; row < 5; ++row) {
    for (std::int64_t column = 0; column < 3; ++column) memory[1 + 7 * row + 2 * column] = -1.0 + column;
  }
  CHECK(all_within(view, -1.0, 1.0));
  for (std::int64_t row = 0; row < 5; ++row) {
    for (std::int64_t column = 0; column < 3; ++column) {
      double& element = memory[1 + 7 * row + 2 * column];
      for (const double bad : {nan, 1.0 + 1e-15, -1.0 - 1e-15, std::numeric_limits<double>::infinity()}) {
        const double good = element;
        element = bad;
        CHECK(!all_within(view, -1.0, 1.0));
        element = good;
      }
    }
  }
}

TEST(all_within_is_true_of_nothing) {
  CHECK(all_within(View<const float, 2>{nullptr, {0, 3}, {3, 1}}, 0.0, 0.0));
  CHECK(all_within(View<const float, 2>{nullptr, {3, 0}, {0, 1}}, 1.0, 0.0));
}
