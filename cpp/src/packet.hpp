// Packet: as many floats as the instruction set handles at once, with the few operations that the kernels need.
//
// GCC's and Clang's vector extensions give arithmetic, comparison, and `mask ? a : b`; what they lack is here. Internal
// to the core: no header that others include mentions these types, since their layout depends on the compiler's flags.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__
#error "apb cannot be built with -ffast-math or -ffinite-math-only: NaN must stay NaN. Take it out of CXXFLAGS."
#endif

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace apb {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif

typedef float Packet __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::int32_t PacketInt __attribute__((vector_size(kLanes * sizeof(float))));

inline Packet load(const float* from) {
  Packet packet;
  std::memcpy(&packet, from, sizeof packet);
  return packet;
}
inline PacketInt load(const std::int32_t* from) {
  PacketInt packet;
  std::memcpy(&packet, from, sizeof packet);
  return packet;
}
inline void store(float* to, Packet packet) {
  std::memcpy(to, &packet, sizeof packet);
}
inline Packet broadcast(float value) {
  return Packet{} + value;
}

// a · b + c: rounded once where the instruction set has FMA, twice in the x86-64 baseline, which has none.
inline Packet multiply_add(Packet a, Packet b, Packet c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Packet>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__FMA__)
  return reinterpret_cast<Packet>(
      _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__aarch64__)
  return reinterpret_cast<Packet>(
      vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
#else
  return a * b + c;
#endif
}

inline Packet square_root(Packet x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Packet>(_mm512_maskz_sqrt_ps(0xFFFF, reinterpret_cast<__m512>(x)));
#elif defined(__AVX2__)
  return reinterpret_cast<Packet>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#elif defined(__aarch64__)
  return reinterpret_cast<Packet>(vsqrtq_f32(reinterpret_cast<float32x4_t>(x)));
#elif defined(__SSE2__)
  return reinterpret_cast<Packet>(_mm_sqrt_ps(reinterpret_cast<__m128>(x)));
#else
  for (int lane = 0; lane < kLanes; ++lane) x[lane] = std::sqrt(x[lane]);
  return x;
#endif
}

inline Packet to_float(PacketInt x) {
  return __builtin_convertvector(x, Packet);
}
inline PacketInt to_int(Packet x) {
  return __builtin_convertvector(x, PacketInt);
}  // toward zero
inline PacketInt bits(Packet x) {
  return reinterpret_cast<PacketInt>(x);
}
inline Packet from_bits(PacketInt x) {
  return reinterpret_cast<Packet>(x);
}

// Element i of the result is element I_i of a followed by b.
template <int... I>
inline Packet shuffle(Packet a, Packet b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, I...);
#else
  return __builtin_shuffle(a, b, PacketInt{I...});
#endif
}

// max(x, 0); NaN stays NaN.
inline Packet relu(Packet x) {
  return x < 0.0f ? Packet{} : x;
}

// x limited to [-limit, limit]; NaN stays NaN.
inline Packet clip(Packet x, Packet limit) {
  x = x > limit ? limit : x;
  return x < -limit ? -limit : x;
}

}  // namespace apb
