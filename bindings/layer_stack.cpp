// Binding of apb/layer_stack.hpp.
#include "apb/layer_stack.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::LayerStack;
using apb::bind::any;
using apb::bind::Array;
using apb::bind::Extent;
using apb::bind::Layout;

namespace {

using Pair = std::pair<Array, Array>;

// A layer, or the place of its gradient: (weight, bias), whose axes but the first are contiguous.
template <class T>
apb::LayerOf<T> layer_of(const LayerStack& stack, const Pair& arrays, const char* name, std::int64_t index,
                         bool may_be_shared) {
  const std::int64_t in = stack.sizes()[index];
  const std::int64_t out = stack.sizes()[index + 1];
  const std::int64_t networks = stack.networks();
  const std::string place = std::string(name).append("[").append(std::to_string(index)).append("]");
  const auto check = [&](auto& view, const std::string& what, std::int64_t packed) {
    if (view.shape[0] != networks && !(may_be_shared && view.shape[0] == 1)) {
      throw py::value_error(what + " is for " + std::to_string(view.shape[0]) + " networks; expected " +
                            std::to_string(networks) + (may_be_shared ? ", or 1 for all" : ""));
    }
    for (std::size_t axis = view.shape.size(); axis-- > 1; packed *= view.shape[axis]) {
      if (view.shape[axis] > 1 && view.stride[axis] != packed) {
        throw py::value_error(what +
                              " is not C-contiguous behind its first axis; copy it with numpy.ascontiguousarray");
      }
    }
  };
  apb::LayerOf<T> layer{
      apb::bind::checked<T, 3>(arrays.first, (place + ".weight").c_str(), {{{"N"}, {"out", out}, {"in", in}}},
                               Layout::strided),
      apb::bind::checked<T, 2>(arrays.second, (place + ".bias").c_str(), {{{"N"}, {"out", out}}}, Layout::strided)};
  check(layer.weight, place + ".weight", 1);
  check(layer.bias, place + ".bias", 1);
  return layer;
}

std::vector<apb::Layer> layers_of(const LayerStack& stack, const std::vector<Pair>& layers) {
  if (static_cast<std::int64_t>(layers.size()) != stack.num_layers()) {
    throw py::value_error("layers has " + std::to_string(layers.size()) + " pairs; expected " +
                          std::to_string(stack.num_layers()));
  }
  std::vector<apb::Layer> views;
  views.reserve(layers.size());
  for (std::int64_t i = 0; i < stack.num_layers(); ++i) {
    views.push_back(layer_of<const float>(stack, layers[i], "layers", i, true));
  }
  return views;
}

// A written array of a call must lie apart from everything that the call reads.
void require_apart(const Extent& written, const std::vector<Extent>& read) {
  for (const Extent& other : read) apb::bind::require_disjoint({other, written});
}

std::vector<Extent> extents_of(const std::vector<apb::Layer>& layers) {
  std::vector<Extent> extents;
  extents.reserve(4 * layers.size() + 1);  // room for those of the gradients and one more
  for (const apb::Layer& layer : layers) {
    extents.emplace_back("layers", layer.weight);
    extents.emplace_back("layers", layer.bias);
  }
  return extents;
}

}  // namespace

void bind_layer_stack(py::module_& module) {
  py::class_<LayerStack>(
      module, "LayerStack", py::module_local(),
      R"(N networks of one shape side by side, `W x + b` or `ReLU(W x + b)` layer by layer, and their gradient.

Every number is computed in an order that depends on the sizes alone: the same bits for any number of threads, and for a network
beside others as alone. Layers are pairs (weight, bias) of float32 (N or 1, out, in) and (N or 1, out), contiguous behind the
first axis; 1 is a layer that all networks share. One call at a time: a second waits.

Args:
    sizes: width of the input and of each layer's output.
    relus: for each layer, whether a ReLU follows.
    networks: N >= 1.
    rows: R >= 1, rows that every network is given.

Raises:
    ValueError: a size is out of [1, 2^24], or their numbers do not match.
    MemoryError: the intermediate values do not fit into memory.)")
      .def(py::init<std::vector<std::int64_t>, std::vector<bool>, std::int64_t, std::int64_t>(), py::arg("sizes"),
           py::arg("relus"), py::arg("networks"), py::arg("rows"), py::call_guard<apb::bind::Released>())
      .def(
          "forward",
          [](LayerStack& self, const std::vector<Pair>& layers, const Array& x, const Array& out,
             const apb::bind::OptionalPool& pool) {
            const auto views = layers_of(self, layers);
            const auto from = apb::bind::input<float, 3>(
                x, "x", {{{"N", self.networks()}, {"R", self.rows()}, {"in", self.sizes().front()}}});
            const auto to = apb::bind::output<float, 3>(
                out, "out", {{{"N", self.networks()}, {"R", self.rows()}, {"out", self.sizes().back()}}});
            auto read = extents_of(views);
            read.emplace_back("x", from);
            require_apart({"out", to}, read);
            const apb::bind::Released released;
            self.forward(views, from, to, pool.value_or(nullptr));
          },
          py::arg("layers"), py::arg("x"), py::arg("out"), py::arg("pool") = py::none(),
          R"(Compute the outputs of all networks.

Args:
    layers: the pairs, from the first layer to the last.
    x: float32 (N, R, in), C-contiguous.
    out: float32 (N, R, out), C-contiguous, written; it shares no memory with the others.
    pool: threads to use; the calling thread alone if None.)")
      .def(
          "backward",
          [](LayerStack& self, const std::vector<Pair>& layers, const Array& slope,
             const std::vector<std::optional<Pair>>& gradients, const apb::bind::OptionalPool& pool) {
            const auto views = layers_of(self, layers);
            const auto from = apb::bind::input<float, 3>(
                slope, "slope", {{{"N", self.networks()}, {"R", self.rows()}, {"out", self.sizes().back()}}});
            if (static_cast<std::int64_t>(gradients.size()) != self.num_layers()) {
              throw py::value_error("gradients has " + std::to_string(gradients.size()) + " entries; expected " +
                                    std::to_string(self.num_layers()));
            }
            auto taken = extents_of(views);
            taken.emplace_back("slope", from);
            std::vector<std::optional<apb::LayerGradient>> to;
            to.reserve(gradients.size());
            for (std::int64_t i = 0; i < self.num_layers(); ++i) {
              auto& place = to.emplace_back();
              if (!gradients[i]) continue;
              place = layer_of<float>(self, *gradients[i], "gradients", i, false);
              for (const Extent& written : {Extent("gradients", place->weight), Extent("gradients", place->bias)}) {
                require_apart(written, taken);
                taken.push_back(written);
              }
            }
            const apb::bind::Released released;
            self.backward(views, from, to, pool.value_or(nullptr));
          },
          py::arg("layers"), py::arg("slope"), py::arg("gradients"), py::arg("pool") = py::none(),
          R"(Write the gradients of a loss with respect to the parameters, right after `forward` with the same layers.

Args:
    layers: the pairs, from the first layer to the last.
    slope: float32 (N, R, out), C-contiguous: the gradient with respect to the outputs.
    gradients: for each layer a pair of float32 (N, out, in) and (N, out), written, or None if it is not learned. Where all
        networks share a layer, each network's own part of its gradient.
    pool: threads to use; the calling thread alone if None.

Raises:
    RuntimeError: there was no `forward` yet.)")
      .def(
          "input_gradient",
          [](LayerStack& self, const std::vector<Pair>& layers, const Array& slope, const Array& out,
             const apb::bind::OptionalPool& pool) {
            const auto views = layers_of(self, layers);
            const auto from = apb::bind::input<float, 3>(
                slope, "slope", {{{"N", self.networks()}, {"R", self.rows()}, {"out", self.sizes().back()}}});
            const auto to = apb::bind::output<float, 3>(
                out, "out", {{{"N", self.networks()}, {"R", self.rows()}, {"in", self.sizes().front()}}});
            auto read = extents_of(views);
            read.emplace_back("slope", from);
            require_apart({"out", to}, read);
            const apb::bind::Released released;
            self.input_gradient(views, from, to, pool.value_or(nullptr));
          },
          py::arg("layers"), py::arg("slope"), py::arg("out"), py::arg("pool") = py::none(),
          R"(Write the gradient of a loss with respect to the inputs, right after `forward` with the same layers.

Args:
    layers: the pairs, from the first layer to the last.
    slope: float32 (N, R, out), C-contiguous: the gradient with respect to the outputs.
    out: float32 (N, R, in), C-contiguous, written.
    pool: threads to use; the calling thread alone if None.

Raises:
    RuntimeError: there was no `forward` yet.)");
}
