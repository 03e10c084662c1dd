// tanh, log, sin and cos of packets, in single precision.
//
// The polynomials are minimax fits on the stated intervals; each leaves less than 0.1 units in the last place, so that
// rounding dominates. Every lane is computed alone: a value does not depend on its neighbours.
#pragma once

#include "packet.hpp"

namespace apb {

template <int Terms>
inline Packet polynomial(Packet x, const float (&coefficients)[Terms]) {  // lowest power first
  Packet value = broadcast(coefficients[Terms - 1]);
  for (int i = Terms - 2; i >= 0; --i) value = multiply_add(value, x, broadcast(coefficients[i]));
  return value;
}

inline constexpr float kLn2High = 0.693115234f;  // few bits: products with small integers are exact
inline constexpr float kLn2Low = 3.19461833e-05f;

// exp(x) for |x| <= 60; NaN stays NaN.
inline Packet exp_packet(Packet x) {
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding and subtracting it rounds to an integer
  const Packet n = (x * 1.44269504f + kRound) - kRound;
  Packet r = multiply_add(n, broadcast(-kLn2High), x);
  r = multiply_add(n, broadcast(-kLn2Low), r);
  // exp(r) = 1 + r + r² q(r) on |r| <= ln(2)/2
  const Packet q = polynomial(r, {0.5f, 0.166665196f, 0.041666206f, 0.00836888235f, 0.00139504788f});
  const Packet e = multiply_add(r * r, q, r) + 1.0f;
  return x == x ? from_bits(bits(e) + (to_int(x == x ? n : Packet{}) << 23)) : x;
}

// tanh(x), odd, |result| <= 1; NaN stays NaN.
inline Packet tanh_packet(Packet x) {
  const PacketInt sign = bits(x) & INT32_MIN;
  const Packet magnitude = from_bits(bits(x) & INT32_MAX);
  // Near zero: x + x³ q(x²) on |x| < 0.625. Elsewhere 1 - 2 / (exp(2|x|) + 1), which rounds to 1 from 9.01 on.
  const Packet square = x * x;
  const Packet q =
      polynomial(square, {-0.333333313f, 0.133332103f, -0.0539472029f, 0.0217029694f, -0.00818267744f, 0.00214753998f});
  const Packet near = multiply_add(magnitude * square, q, magnitude);
  const Packet limited = magnitude > 10.0f ? broadcast(10.0f) : magnitude;
  const Packet far = 1.0f - 2.0f / (exp_packet(limited + limited) + 1.0f);
  const Packet result = magnitude < 0.625f ? near : far;
  return from_bits(bits(result) | sign);
}

// ln(x) for normal positive x.
inline Packet log_packet(Packet x) {
  // x = m · 2^e with m in [sqrt(1/2), sqrt(2)), so that f = m - 1 is exact and small.
  constexpr std::int32_t kSqrtHalf = 0x3f3504f3;
  const PacketInt e = (bits(x) - kSqrtHalf) >> 23;
  const Packet f = from_bits(bits(x) - (e << 23)) - 1.0f;
  const Packet q = polynomial(f, {0.333333313f, -0.250008196f, 0.200012267f, -0.166233569f, 0.142017573f, -0.131601825f,
                                  0.127615765f, -0.0763449669f});
  const Packet exponent = to_float(e);
  const Packet square = f * f;
  Packet tail = multiply_add(exponent, broadcast(kLn2Low), f * square * q);
  tail = multiply_add(square, broadcast(-0.5f), tail);
  return multiply_add(exponent, broadcast(kLn2High), f + tail);
}

// sin and cos of the angle π · turn / 2^31, for every integer `turn`.
struct SinCos {
  Packet sin, cos;
};
inline SinCos sincos_packet(PacketInt turn) {
  // The nearest quarter turn (integers wrap around as angles do) and the rest, |t| <= π/4.
  typedef std::uint32_t PacketUint __attribute__((vector_size(kLanes * sizeof(float))));
  const PacketUint unsigned_turn = reinterpret_cast<PacketUint>(turn);
  const PacketUint quarter = (unsigned_turn + 0x20000000u) >> 30;
  const PacketInt rest = reinterpret_cast<PacketInt>(unsigned_turn - (quarter << 30));
  const Packet t = to_float(rest) * 1.46291807926715968e-9f;  // π / 2^31
  const Packet z = t * t;
  const Packet sin_t = multiply_add(t * z, polynomial(z, {-0.166666552f, 0.008332178f, -0.000195172994f}), t);
  const Packet cos_t = multiply_add(z * z, polynomial(z, {0.0416666456f, -0.00138873677f, 2.44384519e-05f}),
                                    multiply_add(z, broadcast(-0.5f), broadcast(1.0f)));
  const PacketUint odd = quarter & 1u;
  const PacketUint sin_sign = (quarter & 2u) << 30;
  const PacketUint cos_sign = ((quarter + 1u) & 2u) << 30;
  const Packet s = odd == 1u ? cos_t : sin_t;
  const Packet c = odd == 1u ? sin_t : cos_t;
  return {from_bits(reinterpret_cast<PacketInt>(reinterpret_cast<PacketUint>(bits(s)) ^ sin_sign)),
          from_bits(reinterpret_cast<PacketInt>(reinterpret_cast<PacketUint>(bits(c)) ^ cos_sign))};
}

}  // namespace apb
