// Strict checks of NumPy arguments: each array is used as it is or refused; nothing is ever copied or converted.
//
// Every function of the module takes its arrays as `Array` and turns them into views with `input`, `output` and their
// float32-or-float64 versions. Errors name the argument, what was found, what was expected, and what to do.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>

#include "apb/thread_pool.hpp"
#include "apb/views.hpp"

namespace apb::bind {

namespace py = pybind11;

// An argument that should be a numpy.ndarray. It accepts any object, so that the refusal can name the argument.
class Array : public py::object {
  static bool anything(PyObject*) { return true; }

 public:
  PYBIND11_OBJECT(Array, py::object, anything)
};

// Arguments that may be None.
using OptionalArray = std::optional<Array>;
using OptionalPool = std::optional<ThreadPool*>;

// One axis in an expected shape: its name in the documentation (the number itself where it is fixed) and its extent, or
// `any` where the array decides.
inline constexpr std::int64_t any = -1;
struct Axis {
  const char* name;
  std::int64_t extent = any;
};
template <int Rank>
using Shape = std::array<Axis, Rank>;

enum class Layout { contiguous, strided };

template <int Rank>
std::string describe(const Shape<Rank>& shape) {
  std::string text = "(";
  for (const Axis& axis : shape) {
    if (text.size() > 1) text += ", ";
    text += axis.name;
    const std::string extent = std::to_string(axis.extent);
    if (axis.extent != any && extent != axis.name) text += "=" + extent;
  }
  return text + (Rank == 1 ? ",)" : ")");
}

inline std::string describe_shape(const py::array& array) {
  return py::str(py::tuple(array.attr("shape")));
}

template <class T>
const char* dtype_name() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, float>) {
    return "float32";
  } else if constexpr (std::is_same_v<U, double>) {
    return "float64";
  } else if constexpr (std::is_same_v<U, std::int64_t>) {
    return "int64";
  } else {
    static_assert(std::is_same_v<U, std::uint64_t>);
    return "uint64";
  }
}

inline py::array require_array(const Array& value, const char* name, const char* expected) {
  if (!py::isinstance<py::array>(value)) {
    throw py::type_error(std::string(name) + " is " + std::string(py::str(py::type::of(value).attr("__name__"))) +
                         "; expected a numpy.ndarray of dtype " + expected + "; convert it with numpy.asarray");
  }
  const bool plain = Py_TYPE(value.ptr()) == py::detail::npy_api::get().PyArray_Type_;
  if (!plain && py::isinstance(value, py::module_::import("numpy").attr("ma").attr("MaskedArray"))) {
    throw py::type_error(std::string(name) +
                         " is a masked array, whose mask would be ignored; expected a plain numpy.ndarray; fill it "
                         "with numpy.ma.filled");
  }
  return py::reinterpret_borrow<py::array>(value);
}

[[noreturn]] inline void refuse_dtype(const py::array& array, const char* name, const char* expected) {
  throw py::type_error(std::string(name) + " has dtype " + std::string(py::str(array.dtype())) + "; expected " +
                       expected + " in native byte order; convert it with numpy.asarray(..., dtype=...)");
}

// The view of `array`, whose dtype is already known to be T. A const T is read, a plain T is written.
template <class T, int Rank>
View<T, Rank> view_of(const py::array& array, const char* name, const Shape<Rank>& expected, Layout layout) {
  if (array.ndim() != Rank) {
    throw py::value_error(std::string(name) + " has " + std::to_string(array.ndim()) + " dimensions, shape " +
                          describe_shape(array) + "; expected " + std::to_string(Rank) + ", shape " +
                          describe<Rank>(expected));
  }
  View<T, Rank> view;
  for (int axis = 0; axis < Rank; ++axis) {
    view.shape[axis] = array.shape(axis);
    if (expected[axis].extent != any && array.shape(axis) != expected[axis].extent) {
      throw py::value_error(std::string(name) + " has shape " + describe_shape(array) + "; expected " +
                            describe<Rank>(expected));
    }
  }
  if constexpr (!std::is_const_v<T>) {
    if (!array.writeable()) {
      throw py::value_error(std::string(name) +
                            " is read-only; expected a writable array, since the result is written into it");
    }
  }
  const bool empty = view.size() == 0;
  std::int64_t packed = 1;
  for (int axis = Rank - 1; axis >= 0; --axis) {
    const std::int64_t bytes = array.strides(axis);
    // An axis of fewer than two elements is never stepped along, and NumPy may give it any stride.
    const bool stepped = !empty && view.shape[axis] > 1;
    if (stepped && bytes % static_cast<std::int64_t>(sizeof(T)) != 0) {
      throw py::value_error(std::string(name) + " has a stride of " + std::to_string(bytes) +
                            " bytes; expected a multiple of the " + std::to_string(sizeof(T)) +
                            " bytes of an element; copy it with numpy.ascontiguousarray");
    }
    view.stride[axis] = stepped ? bytes / static_cast<std::int64_t>(sizeof(T)) : 0;
    if (stepped && layout == Layout::contiguous && view.stride[axis] != packed) {
      throw py::value_error(std::string(name) + " is not C-contiguous (strides " +
                            std::string(py::str(array.attr("strides"))) +
                            " bytes); expected a C-contiguous array; copy it with numpy.ascontiguousarray");
    }
    packed *= view.shape[axis];
  }
  const void* data = array.data();
  if (!empty && reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0) {
    throw py::value_error(std::string(name) + " is not aligned to the " + std::to_string(alignof(T)) +
                          " bytes of an element; copy it with numpy.array");
  }
  if constexpr (!std::is_const_v<T>) {
    // Each axis must step over all that the axes of smaller strides reach: otherwise two elements share their memory.
    for (int axis = 0; axis < Rank && !empty; ++axis) {
      const std::int64_t step = std::abs(view.stride[axis]);
      std::int64_t reach = 0;
      for (int other = 0; other < Rank; ++other) {
        const std::int64_t smaller = std::abs(view.stride[other]);
        if (smaller < step || (smaller == step && other > axis)) reach += smaller * (view.shape[other] - 1);
      }
      if (view.shape[axis] > 1 && step <= reach) {
        throw py::value_error(std::string(name) + " has strides " + std::string(py::str(array.attr("strides"))) +
                              " bytes, by which its elements overlap in memory; expected a view without overlap");
      }
    }
  }
  // The writability was checked above; py::array::data() is const only in type.
  view.data = static_cast<T*>(const_cast<void*>(data));
  return view;
}

// The view of `value`, an array of exactly the dtype T and the expected shape.
template <class T, int Rank>
View<T, Rank> checked(const Array& value, const char* name, const Shape<Rank>& shape,
                      Layout layout = Layout::contiguous) {
  const py::array array = require_array(value, name, dtype_name<T>());
  if (!py::isinstance<py::array_t<std::remove_const_t<T>, 0>>(array)) refuse_dtype(array, name, dtype_name<T>());
  return view_of<T, Rank>(array, name, shape, layout);
}

template <class T, int Rank>
View<const T, Rank> input(const Array& value, const char* name, const Shape<Rank>& shape,
                          Layout layout = Layout::contiguous) {
  return checked<const T, Rank>(value, name, shape, layout);
}

template <class T, int Rank>
View<T, Rank> output(const Array& value, const char* name, const Shape<Rank>& shape,
                     Layout layout = Layout::contiguous) {
  return checked<T, Rank>(value, name, shape, layout);
}

// A bool array, as bytes of which every one but 0 is true: NumPy allows any, C++ would allow 0 and 1.
template <int Rank>
View<const std::uint8_t, Rank> flags_input(const Array& value, const char* name, const Shape<Rank>& shape,
                                           Layout layout = Layout::contiguous) {
  const py::array array = require_array(value, name, "bool");
  if (!py::isinstance<py::array_t<bool, 0>>(array)) refuse_dtype(array, name, "bool");
  return view_of<const std::uint8_t, Rank>(array, name, shape, layout);
}

// A float32 or float64 array.
template <int Rank>
RealInput<Rank> real_input(const Array& value, const char* name, const Shape<Rank>& shape,
                           Layout layout = Layout::contiguous) {
  const py::array array = require_array(value, name, "float32 or float64");
  if (py::isinstance<py::array_t<float, 0>>(array)) return view_of<const float, Rank>(array, name, shape, layout);
  if (py::isinstance<py::array_t<double, 0>>(array)) return view_of<const double, Rank>(array, name, shape, layout);
  refuse_dtype(array, name, "float32 or float64");
}

template <int Rank>
RealOutput<Rank> real_output(const Array& value, const char* name, const Shape<Rank>& shape,
                             Layout layout = Layout::contiguous) {
  const py::array array = require_array(value, name, "float32 or float64");
  if (py::isinstance<py::array_t<float, 0>>(array)) return view_of<float, Rank>(array, name, shape, layout);
  if (py::isinstance<py::array_t<double, 0>>(array)) return view_of<double, Rank>(array, name, shape, layout);
  refuse_dtype(array, name, "float32 or float64");
}

}  // namespace apb::bind

template <>
struct pybind11::detail::handle_type_name<apb::bind::Array> {
  static constexpr auto name = const_name("numpy.typing.NDArray[typing.Any]");
};
