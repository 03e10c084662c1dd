// Refusals of arguments: std::invalid_argument that names the argument, the value found and what was expected.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>

namespace apb {

// Throws "name[index, ...] = found; expected ..."; without an index, "name = found; expected ...".
template <class Number>
[[noreturn]] void refuse(const char* name, std::initializer_list<std::int64_t> index, Number found,
                         const std::string& expected) {
  std::string message(name);
  const char* separator = "[";
  for (const std::int64_t i : index) {
    message.append(separator).append(std::to_string(i));
    separator = ", ";
  }
  if (index.size() > 0) message.append("]");
  std::ostringstream value;  // std::to_string would show 1e-39 as 0
  value.precision(std::numeric_limits<Number>::digits10);
  value << found;
  throw std::invalid_argument(message.append(" = ").append(value.str()).append("; expected ").append(expected));
}

template <class Number>
void require(bool valid, const char* name, Number found, const char* expected) {
  if (!valid) refuse(name, {}, found, expected);
}

// What is expected of a number that becomes a factor in single precision.
inline constexpr const char* kFiniteRate = "a number >= 0 with which steps in float32 stay finite";

// A number of things to allocate: from 1 on, and so small that the product of two does not overflow.
inline void require_count(const char* what, std::int64_t value) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  if (value < 1 || value > kMost) {
    throw std::invalid_argument(std::string(what) + " = " + std::to_string(value) + " is out of range; expected 1 to " +
                                std::to_string(kMost));
  }
}

}  // namespace apb
