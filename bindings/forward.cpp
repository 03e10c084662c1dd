// Binding of apb/backbone.hpp and apb/population.hpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "apb/backbone.hpp"
#include "apb/population.hpp"
#include "arguments.hpp"
#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::Backbone;
using apb::Population;
using apb::bind::Array;
using apb::bind::Layout;
using apb::bind::OptionalArray;
using apb::bind::require_disjoint;

namespace {

std::vector<apb::LinearView> layers_of(const std::vector<Array>& weights, const std::vector<Array>& biases) {
  if (weights.size() != biases.size()) {
    throw py::value_error("biases has " + std::to_string(biases.size()) + " arrays; expected " +
                          std::to_string(weights.size()) + ", one for each of weights");
  }
  std::vector<apb::LinearView> layers;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::string index = std::string("[").append(std::to_string(i)).append("]");
    const auto weight = apb::bind::input<float, 2>(weights[i], ("weights" + index).c_str(), {{{"out"}, {"in"}}});
    const auto bias = apb::bind::input<float, 1>(biases[i], ("biases" + index).c_str(), {{{"out", weight.shape[0]}}});
    layers.push_back({weight, bias});
  }
  return layers;
}

// The constants around the networks; the views of those that are None are empty.
struct Constants {
  apb::View<const float, 1> mean, inverse_std, scale, offset;

  Constants(const Population& population, const OptionalArray& mean_array, const OptionalArray& inverse_std_array,
            const OptionalArray& scale_array, const OptionalArray& offset_array) {
    const auto take = [](const OptionalArray& value, const char* name, const char* axis, std::int64_t size) {
      return value ? apb::bind::input<float, 1>(*value, name, {{{axis, size}}}) : apb::View<const float, 1>{};
    };
    mean = take(mean_array, "mean", "obs", population.observation_size());
    inverse_std = take(inverse_std_array, "inverse_std", "obs", population.observation_size());
    scale = take(scale_array, "scale", "act", population.action_size());
    offset = take(offset_array, "offset", "act", population.action_size());
  }

  apb::Transform transform(double clip) const { return {mean.data, inverse_std.data, clip, scale.data, offset.data}; }
};

}  // namespace

void bind_forward(py::module_& module) {
  py::class_<Backbone, std::shared_ptr<Backbone>>(module, "Backbone", py::module_local(),
                                                  R"(The shared nonlinear network ψ, packed for the native kernels.

ψ(x) = h_L with h_0 = ReLU(x) if `input_activation` else x, and h_i = ReLU(W_i h_{i-1} + b_i).

Args:
    weights: one float32 array (out, in) per layer, as in `torch.nn.Linear`; C-contiguous. They are copied.
    biases: one float32 array (out,) per layer.
    input_activation: whether a ReLU stands before the first layer.

Raises:
    TypeError: an array has another dtype.
    ValueError: no layer, or sizes that do not chain.)")
      .def(py::init([](const std::vector<Array>& weights, const std::vector<Array>& biases, bool input_activation) {
             const std::vector<apb::LinearView> layers = layers_of(weights, biases);
             const apb::bind::Released released;
             return std::make_shared<Backbone>(layers, input_activation);
           }),
           py::arg("weights"), py::arg("biases"), py::arg("input_activation"))
      .def(
          "load",
          [](Backbone& self, const std::vector<Array>& weights, const std::vector<Array>& biases) {
            const std::vector<apb::LinearView> layers = layers_of(weights, biases);
            const apb::bind::Released released;
            self.load(layers);
          },
          py::arg("weights"), py::arg("biases"),
          R"(Replace the weights in place by others of the same sizes; every `Population` on this backbone sees them.

Waits for forward passes under way in other threads.

Args:
    weights: one float32 array (out, in) per layer; C-contiguous. They are copied.
    biases: one float32 array (out,) per layer.)")
      .def_property_readonly("input_size", &Backbone::input_size, "Number of inputs, d_in.")
      .def_property_readonly("output_size", &Backbone::output_size, "Number of features.")
      .def_property_readonly("input_activation", &Backbone::input_activation,
                             "Whether a ReLU stands before the first layer.");

  py::class_<Population>(module, "Population", py::module_local(),
                         R"(M adapters around one shared backbone: M policies in one call.

Policy of member m: a = tanh(T_m ψ(P_m s + p_m) + t_m), with s = clip((observation - mean) · inverse_std, ±clip); the result is
offset + scale · a. Every row is computed alone in a fixed order, so its bits depend neither on the batch around it nor on the
number of threads.

Args:
    backbone: ψ.
    members: M >= 1.
    observation_size: obs >= 1.
    action_size: act >= 1.

The parameters are zero until `load`.)")
      .def(py::init([](const std::shared_ptr<Backbone>& backbone, std::int64_t members, std::int64_t observation_size,
                       std::int64_t action_size) {
             const apb::bind::Released released;
             return std::make_unique<Population>(backbone, members, observation_size, action_size);
           }),
           py::arg("backbone").none(false), py::arg("members"), py::arg("observation_size"), py::arg("action_size"))
      .def_property_readonly("members", &Population::members, "M.")
      .def_property_readonly("observation_size", &Population::observation_size, "obs.")
      .def_property_readonly("action_size", &Population::action_size, "act.")
      .def_property_readonly("num_parameters", &Population::num_parameters,
                             "Parameters of one adapter, n = d_in·obs + d_in + act·features + act.")
      .def(
          "load",
          [](Population& self, const Array& adapters) {
            const auto view = apb::bind::input<float, 2>(adapters, "adapters",
                                                         {{{"M", self.members()}, {"n", self.num_parameters()}}});
            const apb::bind::Released released;
            self.load(view);
          },
          py::arg("adapters"), R"(Take over the parameters of all members.

Args:
    adapters: float32 (M, n), C-contiguous; each row is [P row-major (d_in, obs) | p (d_in) | T row-major (act, features) | t (act)].
        It is copied.)")
      .def(
          "forward",
          [](const Population& self, const Array& obs, const Array& out, const OptionalArray& mean,
             const OptionalArray& inverse_std, double clip, const OptionalArray& scale, const OptionalArray& offset,
             const apb::bind::OptionalPool& pool) {
            const auto from = apb::bind::real_input<3>(
                obs, "obs", {{{"M", self.members()}, {"B"}, {"obs", self.observation_size()}}}, Layout::strided);
            const std::int64_t batch = std::visit([](const auto& view) { return view.shape[1]; }, from);
            const auto to = apb::bind::real_output<3>(
                out, "out", {{{"M", self.members()}, {"B", batch}, {"act", self.action_size()}}}, Layout::strided);
            const Constants constants(self, mean, inverse_std, scale, offset);
            require_disjoint({{"obs", from},
                              {"mean", constants.mean},
                              {"inverse_std", constants.inverse_std},
                              {"scale", constants.scale},
                              {"offset", constants.offset},
                              {"out", to}});
            const apb::bind::Released released;
            self.forward(from, to, constants.transform(clip), pool.value_or(nullptr));
          },
          py::arg("obs"), py::arg("out"), py::kw_only(), py::arg("mean") = py::none(),
          py::arg("inverse_std") = py::none(), py::arg("clip") = 0.0, py::arg("scale") = py::none(),
          py::arg("offset") = py::none(), py::arg("pool") = py::none(),
          R"(Compute the actions of all members: out[m, b] = policy of member m at obs[m, b].

Args:
    obs: float32 or float64 (M, B, obs), any strides; float64 is rounded to float32 first. B may be 0.
    out: float32 or float64 (M, B, act), any strides without overlap, written. No part of it lies between the ends of another
        array.
    mean: float32 (obs,), or None for 0.
    inverse_std: float32 (obs,), or None for 1.
    clip: limit of the normalised observation, > 0 as a float32, or 0 for none.
    scale: float32 (act,), or None for 1.
    offset: float32 (act,), or None for 0.
    pool: threads to use, or None for the calling thread alone.

NaN passes through to the actions of its row.)")
      .def(
          "set_transform",
          [](Population& self, const OptionalArray& mean, const OptionalArray& inverse_std, double clip,
             const OptionalArray& scale, const OptionalArray& offset) {
            const Constants constants(self, mean, inverse_std, scale, offset);
            const apb::bind::Released released;
            self.set_transform(constants.transform(clip));
          },
          py::kw_only(), py::arg("mean") = py::none(), py::arg("inverse_std") = py::none(), py::arg("clip") = 0.0,
          py::arg("scale") = py::none(), py::arg("offset") = py::none(),
          R"(Set the constants that `act` uses, replacing all of them; the arrays are copied. Arguments as for `forward`.)")
      .def(
          "act",
          [](const Population& self, const Array& obs) -> py::array_t<float> {
            if (self.members() != 1) {
              throw py::value_error("members = " + std::to_string(self.members()) +
                                    "; act() needs a population of 1; use forward() for several members");
            }
            const py::array array = apb::bind::require_array(obs, "obs", "float32 or float64");
            const std::int64_t size = self.observation_size();
            if (array.ndim() == 1) {
              const auto row = apb::bind::real_input<1>(obs, "obs", {{{"obs", size}}}, Layout::strided);
              const apb::RealInput<2> rows = std::visit(
                  [](const auto& view) -> apb::RealInput<2> {
                    using Element = std::remove_pointer_t<decltype(view.data)>;
                    return apb::View<Element, 2>{view.data, {1, view.shape[0]}, {0, view.stride[0]}};
                  },
                  row);
              py::array_t<float> actions(self.action_size());
              float* to = actions.mutable_data();
              const apb::bind::Released released;
              self.act(rows, to);
              return actions;
            }
            const auto rows = apb::bind::real_input<2>(obs, "obs", {{{"B"}, {"obs", size}}}, Layout::strided);
            py::array_t<float> actions({static_cast<std::int64_t>(array.shape(0)), self.action_size()});
            float* to = actions.mutable_data();
            const apb::bind::Released released;
            self.act(rows, to);
            return actions;
          },
          py::arg("obs"),
          R"(Return the action at one observation, or the actions at a batch, through the constants of `set_transform`.

Args:
    obs: float32 or float64 (obs,) or (B, obs), any strides.

Returns:
    A new float32 array (act,) or (B, act).

Raises:
    ValueError: the population has more than one member, or an observation is NaN or infinite as a float32.)");
}
