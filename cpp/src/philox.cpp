// The cipher Philox4x64-10, block by block or several blocks at once, and the numbers made from its words.
#include "apb/philox.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "packet_math.hpp"

namespace apb {
namespace {

constexpr std::uint64_t kMultiplier0 = 0xD2E7470EE14C6C93;
constexpr std::uint64_t kMultiplier1 = 0xCA5A826395121157;
constexpr std::uint64_t kWeyl0 = 0x9E3779B97F4A7C15;
constexpr std::uint64_t kWeyl1 = 0xBB67AE8584CAA73B;
constexpr int kRounds = 10;

// counter + steps, a 256-bit sum.
PhiloxCounter advanced(PhiloxCounter counter, std::uint64_t steps) {
  for (std::uint64_t& word : counter) {
    word += steps;
    steps = word < steps ? 1 : 0;
    if (steps == 0) break;
  }
  return counter;
}

#if defined(__AVX2__)

// Words of as many blocks as the instruction set handles at once: lane i belongs to block i.
constexpr int kBlocks = kLanes / 2;
typedef std::uint64_t Words __attribute__((vector_size(kBlocks * sizeof(std::uint64_t))));
constexpr std::uint64_t kLow = 0xFFFFFFFF;

// The products of the lower halves.
Words multiply_halves(Words a, Words b) {
#if defined(__AVX512F__)
  // With all lanes of the mask set; the form without a mask makes GCC warn of an uninitialised value.
  return reinterpret_cast<Words>(
      _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#else
  return reinterpret_cast<Words>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#endif
}

struct Product {
  Words high, low;
};

// Both words of a · b. No instruction gives the upper one; it is put together from the products of halves.
Product multiply(Words a, std::uint64_t b) {
  const Words b_low = Words{} + (b & kLow), b_high = Words{} + (b >> 32), a_high = a >> 32;
  const Words low = multiply_halves(a, b_low);
  const Words middle = multiply_halves(a_high, b_low) + (low >> 32);
  const Words other = multiply_halves(a, b_high) + (middle & kLow);
  return {multiply_halves(a_high, b_high) + (middle >> 32) + (other >> 32), (other << 32) | (low & kLow)};
}

// The blocks of counter, counter + 1, ...: kSets packets of them, so that the products of one fill the time that those
// of another wait for each other. Word 0 of the counter must not overflow on the way.
constexpr int kSets = 2;
constexpr int kPacketBlocks = kSets * kBlocks;

void philox_packets(const PhiloxKey& key, const PhiloxCounter& counter, std::uint64_t* out) {
  Words c[kSets][4];
  for (int set = 0; set < kSets; ++set) {
    for (int word = 0; word < 4; ++word) c[set][word] = Words{} + counter[static_cast<std::size_t>(word)];
    for (int i = 0; i < kBlocks; ++i) c[set][0][i] += static_cast<std::uint64_t>(set * kBlocks + i);
  }
  auto [k0, k1] = key;
  for (int round = 0; round < kRounds; ++round) {
    for (auto& [c0, c1, c2, c3] : c) {
      const Product p0 = multiply(c0, kMultiplier0);
      const Product p1 = multiply(c2, kMultiplier1);
      c0 = p1.high ^ c1 ^ k0;
      c2 = p0.high ^ c3 ^ k1;
      c1 = p1.low;
      c3 = p0.low;
    }
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  for (const auto& words : c) {
    for (int i = 0; i < kBlocks; ++i) {
      for (const Words& word : words) *out++ = word[i];
    }
  }
}

#endif

// Streams are consumed in pieces of this many words, which stay in the first-level cache.
constexpr std::int64_t kPiece = 256;

}  // namespace

PhiloxCounter philox_block(const PhiloxKey& key, const PhiloxCounter& counter) {
  using Wide = unsigned __int128;
  auto [c0, c1, c2, c3] = counter;
  auto [k0, k1] = key;
  for (int round = 0; round < kRounds; ++round) {
    const Wide p0 = static_cast<Wide>(kMultiplier0) * c0;
    const Wide p1 = static_cast<Wide>(kMultiplier1) * c2;
    c0 = static_cast<std::uint64_t>(p1 >> 64) ^ c1 ^ k0;
    c2 = static_cast<std::uint64_t>(p0 >> 64) ^ c3 ^ k1;
    c1 = static_cast<std::uint64_t>(p1);
    c3 = static_cast<std::uint64_t>(p0);
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return {c0, c1, c2, c3};
}

void PhiloxStream::raw(std::int64_t first, std::uint64_t* out, std::int64_t count) const {
  PhiloxCounter counter = advanced(counter_, static_cast<std::uint64_t>(first / 4) + 1);
  std::size_t skip = static_cast<std::size_t>(first % 4);
  while (count > 0) {
#if defined(__AVX2__)
    if (skip == 0 && count >= 4 * kPacketBlocks && counter[0] <= UINT64_MAX - kPacketBlocks) {
      philox_packets(key_, counter, out);
      out += 4 * kPacketBlocks;
      count -= 4 * kPacketBlocks;
      counter = advanced(counter, kPacketBlocks);
      continue;
    }
#endif
    const PhiloxCounter block = philox_block(key_, counter);
    const std::int64_t taken = std::min<std::int64_t>(count, static_cast<std::int64_t>(4 - skip));
    std::copy_n(block.begin() + static_cast<std::ptrdiff_t>(skip), taken, out);
    out += taken;
    count -= taken;
    skip = 0;
    counter = advanced(counter, 1);
  }
}

void PhiloxStream::uniform(std::int64_t first, double* out, std::int64_t count) const {
  std::uint64_t words[kPiece];
  while (count > 0) {
    const std::int64_t taken = std::min(count, kPiece);
    raw(first, words, taken);
    for (std::int64_t i = 0; i < taken; ++i) out[i] = static_cast<double>(words[i] >> 11) * 0x1p-53;
    first += taken;
    out += taken;
    count -= taken;
  }
}

void PhiloxStream::uniform(std::int64_t first, float* out, std::int64_t count) const {
  std::uint64_t words[kPiece];
  while (count > 0) {
    const std::int64_t odd = first % 2;
    const std::int64_t taken = std::min(count, 2 * kPiece - odd);
    raw(first / 2, words, (odd + taken + 1) / 2);
    for (std::int64_t i = 0; i < taken; ++i) {
      const std::int64_t half = odd + i;
      const auto value = static_cast<std::uint32_t>(words[half / 2] >> (32 * (half % 2)));
      out[i] = static_cast<float>(value >> 8) * 0x1p-24f;
    }
    first += taken;
    out += taken;
    count -= taken;
  }
}

void PhiloxStream::normal(std::int64_t first, float* out, std::int64_t count) const {
  static_assert(kPiece % kLanes == 0);
  std::uint64_t words[kPiece];
  std::int32_t upper[kPiece], lower[kPiece];
  float pairs[2 * kPiece];
  while (count > 0) {
    const std::int64_t odd = first % 2;
    const std::int64_t taken = std::min(count, 2 * kPiece - odd);
    const std::int64_t used = (odd + taken + 1) / 2;
    raw(first / 2, words, used);
    for (std::int64_t i = 0; i < used; ++i) {
      upper[i] = static_cast<std::int32_t>(words[i] >> 33);
      lower[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(words[i]));
    }
    const std::int64_t padded = (used + kLanes - 1) / kLanes * kLanes;
    for (std::int64_t i = used; i < padded; ++i) upper[i] = lower[i] = 0;
    for (std::int64_t i = 0; i < padded; i += kLanes) {
      // u = (k + 1/2) / 2^31 for the 31 upper bits k, rounded to a float: in (0, 1].
      const Packet u = multiply_add(to_float(load(upper + i)), broadcast(0x1p-31f), broadcast(0x1p-32f));
      const Packet radius = square_root(-2.0f * log_packet(u));
      const SinCos angle = sincos_packet(load(lower + i));
      float x[kLanes], y[kLanes];
      store(x, radius * angle.cos);
      store(y, radius * angle.sin);
      for (int lane = 0; lane < kLanes; ++lane) {
        pairs[2 * (i + lane)] = x[lane];
        pairs[2 * (i + lane) + 1] = y[lane];
      }
    }
    std::copy_n(pairs + odd, taken, out);
    first += taken;
    out += taken;
    count -= taken;
  }
}

}  // namespace apb
