// What apb/philox.hpp promises. Its words are compared with NumPy's in tests/test_native_philox.py.
#include <cmath>
#include <vector>

#include "apb/philox.hpp"
#include "check.hpp"

using apb::PhiloxCounter;
using apb::PhiloxKey;
using apb::PhiloxStream;

TEST(philox_gives_the_known_answers_of_its_authors) {
  constexpr std::uint64_t all = ~std::uint64_t{0};
  CHECK(apb::philox_block({0, 0}, {0, 0, 0, 0}) ==
        PhiloxCounter{0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b});
  CHECK(apb::philox_block({all, all}, {all, all, all, all}) ==
        PhiloxCounter{0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0});
  CHECK(apb::philox_block({0x452821e638d01377, 0xbe5466cf34e90c6c},
                          {0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89}) ==
        PhiloxCounter{0xa528f45403e61d95, 0x38c72dbd566e9788, 0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6});
}

TEST(philox_counts_blocks_from_counter_plus_one_with_carry) {
  constexpr std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t words[8];
  PhiloxStream({3, 4}, {all - 1, all, all, 7}).raw(0, words, 8);
  const PhiloxCounter first = apb::philox_block({3, 4}, {all, all, all, 7});
  const PhiloxCounter second = apb::philox_block({3, 4}, {0, 0, 0, 8});
  for (int i = 0; i < 4; ++i) CHECK(words[i] == first[i] && words[4 + i] == second[i]);
}

namespace {

// Any piece of the stream holds the same elements as the whole.
template <class T, class Fill>
void check_pieces(Fill fill) {
  const PhiloxStream stream({5, 6}, {7, 8, 9, 10});
  std::vector<T> whole(3000), piece(3000);
  fill(stream, 0, whole.data(), 3000);
  for (std::int64_t first = 0; first < 40; ++first) {
    for (const std::int64_t count : {0, 1, 2, 3, 17, 511, 512, 513, 1030, 2960}) {
      fill(stream, first, piece.data(), count);
      for (std::int64_t i = 0; i < count; ++i) CHECK(piece[i] == whole[first + i]);
    }
  }
}

}  // namespace

TEST(every_piece_of_a_stream_is_a_piece_of_the_whole) {
  check_pieces<std::uint64_t>([](auto& s, auto first, auto* out, auto count) { s.raw(first, out, count); });
  check_pieces<double>([](auto& s, auto first, auto* out, auto count) { s.uniform(first, out, count); });
  check_pieces<float>([](auto& s, auto first, auto* out, auto count) { s.uniform(first, out, count); });
  check_pieces<float>([](auto& s, auto first, auto* out, auto count) { s.normal(first, out, count); });
}

TEST(normal_numbers_follow_box_and_muller) {
  constexpr std::int64_t words = 20000;
  const PhiloxStream stream({11, 12}, {0, 0, 0, 0});
  std::vector<std::uint64_t> raw(words);
  std::vector<float> normal(2 * words);
  stream.raw(0, raw.data(), words);
  const std::int64_t before = apb::test::allocations();
  stream.normal(0, normal.data(), 2 * words);
  CHECK(apb::test::allocations() == before);
  for (std::int64_t w = 0; w < words; ++w) {
    const double u = static_cast<float>(raw[w] >> 33) * 0x1p-31f + 0x1p-32f;
    const double angle =
        3.14159265358979323846 * static_cast<std::int32_t>(static_cast<std::uint32_t>(raw[w])) * 0x1p-31;
    const double radius = std::sqrt(-2.0 * std::log(u));
    CHECK(std::abs(normal[2 * w] - radius * std::cos(angle)) <= 4e-7 * radius);
    CHECK(std::abs(normal[2 * w + 1] - radius * std::sin(angle)) <= 4e-7 * radius);
  }
}
