// Panels: matrices cut into strips of a few packets of columns, and the products and transposes of what is stored so.
//
// A panel of a matrix X (depth, columns) holds kPanel of its columns, row after row: element (k, c) lies at
// panel[k * kPanel + c]. Every element of a product is a sum over k = 0, 1, …, depth - 1 in this order, one
// multiply-add each, whatever stands beside it and whoever computes it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "packet.hpp"

namespace apb {

inline constexpr int kPanelPackets = 2;
inline constexpr std::int64_t kPanel = kPanelPackets * kLanes;
// Rows of a product that are computed at once: as many as leave registers for the packets of the panel.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kTile = 8;
#elif defined(__AVX2__)
inline constexpr int kTile = 6;
#else
inline constexpr int kTile = 4;
#endif

inline std::int64_t panels(std::int64_t columns) {
  return (columns + kPanel - 1) / kPanel;
}

// The left factor of a product: element (row, k) lies at data[row * row_stride + k * k_stride] while k is in the first
// segment, and each further segment of k begins `segment_stride` after the one before.
struct LeftFactor {
  const float* data;
  std::int64_t row_stride;
  std::int64_t k_stride;
  std::int64_t segment = INT64_MAX;
  std::int64_t segment_stride = 0;
};

// Calls finish(row, sums of the row's kPanelPackets packets) for kRows rows of left (rows, depth) · panel, from row
// `first` on; the sums begin with start(row).
template <int kRows, class Start, class Finish>
inline void product_tile(const LeftFactor& left, const float* panel, std::int64_t depth, std::int64_t first,
                         const Start& start, const Finish& finish) {
  Packet sum[kRows][kPanelPackets];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
    const Packet value = broadcast(start(first + row));
#pragma GCC unroll 2
    for (int column = 0; column < kPanelPackets; ++column) sum[row][column] = value;
  }
  const std::int64_t row_stride = left.row_stride;
  const float* segment = left.data + first * row_stride;
  for (std::int64_t done = 0; done < depth; segment += left.segment_stride) {
    const std::int64_t end = left.segment < depth - done ? done + left.segment : depth;
    const float* a = segment;
    for (; done < end; ++done, a += left.k_stride, panel += kPanel) {
      Packet b[kPanelPackets];
#pragma GCC unroll 2
      for (int column = 0; column < kPanelPackets; ++column) b[column] = load(panel + column * kLanes);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        const Packet value = broadcast(a[row * row_stride]);
#pragma GCC unroll 2
        for (int column = 0; column < kPanelPackets; ++column) {
          sum[row][column] = multiply_add(value, b[column], sum[row][column]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) finish(first + row, sum[row]);
}

// The rows [first, rows) of a product, fewer than a tile.
template <int kRows, class Start, class Finish>
void product_remainder(const LeftFactor& left, const float* panel, std::int64_t depth, std::int64_t first,
                       std::int64_t rows, const Start& start, const Finish& finish) {
  if constexpr (kRows > 0) {
    if (rows - first == kRows) return product_tile<kRows>(left, panel, depth, first, start, finish);
    product_remainder<kRows - 1>(left, panel, depth, first, rows, start, finish);
  }
}

// The rows [first, rows) of left · panel: calls finish(row, packets) for each.
template <class Start, class Finish>
void product(const LeftFactor& left, const float* panel, std::int64_t depth, std::int64_t first, std::int64_t rows,
             const Start& start, const Finish& finish) {
  for (; rows - first >= kTile; first += kTile) product_tile<kTile>(left, panel, depth, first, start, finish);
  product_remainder<kTile - 1>(left, panel, depth, first, rows, start, finish);
}

// One step of transposing a square of packets: exchanges its blocks of kStep rows and columns beside the diagonal.
template <int kStep, int... I>
inline void exchange_blocks(Packet (&square)[kLanes], std::integer_sequence<int, I...>) {
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row) {
    if ((row & kStep) != 0) continue;
    const Packet upper = square[row];
    const Packet lower = square[row + kStep];
    square[row] = shuffle<((I & kStep) != 0 ? kLanes + (I ^ kStep) : I)...>(upper, lower);
    square[row + kStep] = shuffle<((I & kStep) != 0 ? kLanes + I : (I ^ kStep))...>(upper, lower);
  }
}

template <int kStep = 1>
inline void transpose_square(Packet (&square)[kLanes]) {
  if constexpr (kStep < kLanes) {
    exchange_blocks<kStep>(square, std::make_integer_sequence<int, kLanes>{});
    transpose_square<2 * kStep>(square);
  }
}

// to[c * to_stride + r] = from[r * from_stride + c] for r < rows and c < columns.
inline void transpose(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns, float* to,
                      std::int64_t to_stride) {
  for (std::int64_t r = 0; r < rows; r += kLanes) {
    for (std::int64_t c = 0; c < columns; c += kLanes) {
      if (r + kLanes <= rows && c + kLanes <= columns) {
        Packet square[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) square[i] = load(from + (r + i) * from_stride + c);
        transpose_square(square);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store(to + (c + i) * to_stride + r, square[i]);
      } else {
        for (std::int64_t i = r; i < std::min(r + kLanes, rows); ++i) {
          for (std::int64_t j = c; j < std::min(c + kLanes, columns); ++j)
            to[j * to_stride + i] = from[i * from_stride + j];
        }
      }
    }
  }
}

}  // namespace apb
