// Checks of arguments that `checks.hpp` does not see: integers, sizes that must not be zero, and memory shared between
// arrays.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <variant>

#include "apb/views.hpp"

namespace apb::bind {

namespace py = pybind11;

// An argument that should be an integer. It accepts any object, so that the refusal can name the argument.
class Integer : public py::object {
  static bool anything(PyObject*) { return true; }

 public:
  PYBIND11_OBJECT(Integer, py::object, anything)
};

// The value of a Python or NumPy integer in [0, 2^64).
inline std::uint64_t counter_word(const Integer& value, const char* name) {
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!number) {
    PyErr_Clear();
    throw py::type_error(std::string(name) + " = " + std::string(py::repr(value)) +
                         "; expected an integer in [0, 2^64)");
  }
  const unsigned long long word = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw py::value_error(std::string(name) + " = " + std::string(py::str(number)) +
                          "; expected an integer in [0, 2^64)");
  }
  return word;
}

template <class T, int Rank>
void require_not_empty(const View<T, Rank>& view, const char* name) {
  if (view.size() == 0) {
    std::string message(name);
    const char* separator = " has shape (";
    for (const std::int64_t extent : view.shape) {
      message.append(separator).append(std::to_string(extent));
      separator = ", ";
    }
    throw py::value_error(message.append(Rank == 1 ? ",)" : ")").append("; expected at least 1 along every axis"));
  }
}

// The bytes between the first and the last element of an array.
class Extent {
 public:
  template <class T, int Rank>
  Extent(const char* array, const View<T, Rank>& view) : name(array), written(!std::is_const_v<T>) {
    if (view.size() == 0) return;
    std::int64_t lowest = 0;
    std::int64_t highest = 0;
    for (int axis = 0; axis < Rank; ++axis) {
      const std::int64_t reach = view.stride[axis] * (view.shape[axis] - 1);
      (reach < 0 ? lowest : highest) += reach;
    }
    begin = reinterpret_cast<std::uintptr_t>(view.data + lowest);
    end = reinterpret_cast<std::uintptr_t>(view.data + highest + 1);
  }

  template <class... Views>
  Extent(const char* array, const std::variant<Views...>& view)
      : Extent(std::visit([array](const auto& typed) { return Extent(array, typed); }, view)) {}

  const char* name;
  bool written;
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

// Refuses arrays of one call of which one is written and lies between the ends of another.
inline void require_disjoint(std::initializer_list<Extent> extents) {
  for (const Extent* one = extents.begin(); one != extents.end(); ++one) {
    for (const Extent* other = extents.begin(); other != one; ++other) {
      if ((one->written || other->written) && one->begin < other->end && other->begin < one->end) {
        throw py::value_error(std::string(other->name) + " and " + one->name +
                              " share memory; expected separate arrays, since one of them is written");
      }
    }
  }
}

}  // namespace apb::bind

template <>
struct pybind11::detail::handle_type_name<apb::bind::Integer> {
  static constexpr auto name = const_name("typing.SupportsIndex");
};
