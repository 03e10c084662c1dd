// Philox4x64-10: random numbers that are a pure function of (key, counter, position).
//
// The generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), with the
// counting convention of numpy.random.Philox: block i of a stream is the cipher of counter + 1 + i. Any part of a
// stream can be computed at any time, by any thread, in pieces of any size.
#pragma once

#include <array>
#include <cstdint>

namespace apb {

using PhiloxKey = std::array<std::uint64_t, 2>;
using PhiloxCounter = std::array<std::uint64_t, 4>;  // little-endian: word 0 counts fastest

// One block: ten rounds of the cipher on `counter` as it is.
PhiloxCounter philox_block(const PhiloxKey& key, const PhiloxCounter& counter);

// A stream of random numbers. The words of the stream are those of `numpy.random.Philox(key=key, counter=counter)`.
// Each method writes the `count` elements that stand at positions first, first + 1, … of the stream (0 <= first).
class PhiloxStream {
 public:
  PhiloxStream(const PhiloxKey& key, const PhiloxCounter& counter) : key_(key), counter_(counter) {}

  // The words themselves, uniform on [0, 2^64).
  void raw(std::int64_t first, std::uint64_t* out, std::int64_t count) const;

  // Uniform on [0, 1). float64: the upper 53 bits of word i. float32: the upper 24 bits of half-word i, the lower half
  // of each word first. Both as `numpy.random.Generator.random` does it.
  void uniform(std::int64_t first, double* out, std::int64_t count) const;
  void uniform(std::int64_t first, float* out, std::int64_t count) const;

  // Standard normal by Box and Muller: word w gives elements 2w and 2w + 1,
  //   r cos θ and r sin θ,  r = sqrt(-2 ln u),  u in (0, 1] from the upper half of the word,  θ in [-π, π) from the
  //   lower half.
  // |z| <= 6.67. The same bits in every chunking and on every thread; instruction sets may differ in the last bits.
  void normal(std::int64_t first, float* out, std::int64_t count) const;

 private:
  PhiloxKey key_;
  PhiloxCounter counter_;
};

}  // namespace apb
