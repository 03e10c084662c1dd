// Binding of apb/replay.hpp.
#include "apb/replay.hpp"

#include <pybind11/pybind11.h>

#include "arguments.hpp"
#include "checks.hpp"
#include "released.hpp"

namespace py = pybind11;
using apb::bind::Array;
using apb::bind::flags_input;
using apb::bind::input;
using apb::bind::Layout;
using apb::bind::output;
using apb::bind::real_input;
using apb::bind::require_disjoint;
using apb::bind::require_not_empty;

namespace {

constexpr const char* kRow = "row: 2 obs + act + 2";

}  // namespace

void bind_replay(py::module_& module) {
  module.def(
      "replay_add",
      [](const Array& table, const Array& position, const Array& size, const Array& obs, const Array& action,
         const Array& reward, const Array& next_obs, const Array& terminated, const Array& valid) {
        const auto a = input<float, 3>(action, "action", {{{"K"}, {"S"}, {"act"}}}, Layout::strided);
        const auto [lanes, slots, act] = a.shape;
        const auto o = real_input<3>(obs, "obs", {{{"K", lanes}, {"S", slots}, {"obs"}}}, Layout::strided);
        const std::int64_t width = std::visit([](const auto& view) { return view.shape[2]; }, o);
        const auto o2 =
            real_input<3>(next_obs, "next_obs", {{{"K", lanes}, {"S", slots}, {"obs", width}}}, Layout::strided);
        const auto r = real_input<2>(reward, "reward", {{{"K", lanes}, {"S", slots}}}, Layout::strided);
        const auto d = flags_input<2>(terminated, "terminated", {{{"K", lanes}, {"S", slots}}}, Layout::strided);
        const auto v = flags_input<2>(valid, "valid", {{{"K", lanes}, {"S", slots}}}, Layout::strided);
        const auto t =
            output<float, 3>(table, "table", {{{"K", lanes}, {"capacity"}, {kRow, apb::replay_row_size(width, act)}}});
        const auto p = output<std::int64_t, 1>(position, "position", {{{"K", lanes}}});
        const auto n = output<std::int64_t, 1>(size, "size", {{{"K", lanes}}});
        require_not_empty(t, "table");
        require_not_empty(a, "action");
        require_disjoint({{"table", t},
                          {"position", p},
                          {"size", n},
                          {"obs", o},
                          {"action", a},
                          {"reward", r},
                          {"next_obs", o2},
                          {"terminated", d},
                          {"valid", v}});
        const apb::bind::Released released;
        apb::replay_add(t, p, n, {o, a, r, o2, d, v});
      },
      py::arg("table"), py::arg("position"), py::arg("size"), py::arg("obs"), py::arg("action"), py::arg("reward"),
      py::arg("next_obs"), py::arg("terminated"), py::arg("valid"),
      R"(Store one transition for each valid slot of each lane, slot by slot; a full lane loses its oldest rows.

A row of the table is [obs | next_obs | action | reward | not_terminated], where not_terminated is 1 or 0. Values are rounded to
float32. Inputs may have any strides.

Args:
    table: float32 (K, capacity, 2 obs + act + 2), C-contiguous, updated.
    position: int64 (K,), updated: the row that is written next. Zeros at the start.
    size: int64 (K,), updated: how many rows hold data. Zeros at the start; while size < capacity, position = size.
    obs: float32 or float64 (K, S, obs).
    action: float32 (K, S, act).
    reward: float32 or float64 (K, S).
    next_obs: float32 or float64 (K, S, obs).
    terminated: bool (K, S): whether next_obs ends the episode for good; a truncated episode is not terminated.
    valid: bool (K, S): whether the slot holds a transition.

Raises:
    TypeError, ValueError: an argument is not as listed, position and size do not describe a ring, a valid transition holds a
        number that is not finite as float32, or an updated array shares memory with another one. Nothing is stored then.)");
  module.def(
      "replay_sample",
      [](const Array& table, const Array& size, const Array& keys, const apb::bind::Integer& draw, const Array& obs,
         const Array& action, const Array& reward, const Array& next_obs, const Array& not_terminated,
         const apb::bind::OptionalPool& pool, const apb::bind::OptionalArray& indices) {
        const auto o = output<float, 3>(obs, "obs", {{{"K"}, {"B"}, {"obs"}}});
        const auto [lanes, rows, width] = o.shape;
        const auto a = output<float, 3>(action, "action", {{{"K", lanes}, {"B", rows}, {"act"}}});
        const auto r = output<float, 2>(reward, "reward", {{{"K", lanes}, {"B", rows}}});
        const auto o2 = output<float, 3>(next_obs, "next_obs", {{{"K", lanes}, {"B", rows}, {"obs", width}}});
        const auto d = output<float, 2>(not_terminated, "not_terminated", {{{"K", lanes}, {"B", rows}}});
        const std::int64_t row = apb::replay_row_size(width, a.shape[2]);
        const auto t = input<float, 3>(table, "table", {{{"K", lanes}, {"capacity"}, {kRow, row}}});
        const auto n = input<std::int64_t, 1>(size, "size", {{{"K", lanes}}});
        const auto k = input<std::uint64_t, 2>(keys, "keys", {{{"K", lanes}, {"2", 2}}});
        apb::View<std::int64_t, 2> i;
        if (indices) i = output<std::int64_t, 2>(*indices, "indices", {{{"K", lanes}, {"B", rows}}});
        const std::uint64_t position = apb::bind::counter_word(draw, "draw");
        require_not_empty(t, "table");
        require_not_empty(o, "obs");
        require_not_empty(a, "action");
        require_disjoint({{"table", t},
                          {"size", n},
                          {"keys", k},
                          {"obs", o},
                          {"action", a},
                          {"reward", r},
                          {"next_obs", o2},
                          {"not_terminated", d},
                          {"indices", i}});
        const apb::bind::Released released;
        apb::replay_sample(t, n, k, position, {o, a, r, o2, d, i}, pool.value_or(nullptr));
      },
      py::arg("table"), py::arg("size"), py::arg("keys"), py::arg("draw"), py::arg("obs"), py::arg("action"),
      py::arg("reward"), py::arg("next_obs"), py::arg("not_terminated"), py::arg("pool") = py::none(),
      py::arg("indices") = py::none(),
      R"(Draw a minibatch for each lane, uniformly and with replacement, into the given arrays.

Row b of lane k is floor(w_b * size[k] / 2^64), where w_b is word b of `philox_raw(keys[k], [0, draw, 0, 0], ...)`. The same
draw gives the same rows, for any number of threads; count draws up to get new ones.

Args:
    table: float32 (K, capacity, 2 obs + act + 2), C-contiguous, as written by `replay_add`.
    size: int64 (K,), 1 to capacity in every lane.
    keys: uint64 (K, 2), the Philox key of each lane.
    draw: integer in [0, 2^64).
    obs: float32 (K, B, obs), C-contiguous, written.
    action: float32 (K, B, act), C-contiguous, written.
    reward: float32 (K, B), C-contiguous, written.
    next_obs: float32 (K, B, obs), C-contiguous, written.
    not_terminated: float32 (K, B), C-contiguous, written.
    pool: threads to use; the calling thread alone if None.
    indices: int64 (K, B), C-contiguous, written with the rows that were drawn; or None.

Raises:
    TypeError, ValueError: an argument is not as listed, or a written array shares memory with another one.)");
}
