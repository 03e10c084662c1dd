// The forward pass of all members: tiles of rows go through normalisation, adapter, backbone and rescaling.
#include "apb/population.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "require.hpp"

namespace apb {
namespace {

constexpr std::int64_t kTile = 48;  // rows that go through all layers together: their activations stay in the caches
constexpr std::int64_t kSmallestTask = 8;  // rows that are worth a thread
// In floats. One line between rows keeps them from falling into the same cache sets.
constexpr std::int64_t kCacheLine = 16;

// Activations of one tile. They grow to the largest size that a thread has needed, and last as long as the thread.
float* scratch(std::size_t count) {
  thread_local AlignedFloats memory;
  if (memory.size() < count) memory = AlignedFloats(count);
  return memory.data();
}

template <class T>
void read_row(const T* from, std::int64_t step, std::int64_t size, const Transform& transform, float* to) {
  for (std::int64_t i = 0; i < size; ++i) to[i] = static_cast<float>(from[i * step]);
  if (transform.mean != nullptr) {
    for (std::int64_t i = 0; i < size; ++i) to[i] -= transform.mean[i];
  }
  if (transform.inverse_std != nullptr) {
    for (std::int64_t i = 0; i < size; ++i) to[i] *= transform.inverse_std[i];
  }
  if (transform.clip > 0.0) {  // NaN passes through
    const auto limit = static_cast<float>(transform.clip);
    for (std::int64_t i = 0; i < size; ++i) to[i] = to[i] > limit ? limit : to[i] < -limit ? -limit : to[i];
  }
}

template <class T>
void write_row(const float* from, std::int64_t size, const Transform& transform, T* to, std::int64_t step) {
  for (std::int64_t i = 0; i < size; ++i) {
    float action = from[i];
    if (transform.scale != nullptr) action *= transform.scale[i];
    if (transform.offset != nullptr) action += transform.offset[i];
    to[i * step] = static_cast<T>(action);
  }
}

template <class T>
void require_finite(const View<T, 2>& rows) {
  for (std::int64_t row = 0; row < rows.shape[0]; ++row) {
    for (std::int64_t i = 0; i < rows.shape[1]; ++i) {
      const auto value = rows.data[row * rows.stride[0] + i * rows.stride[1]];
      if (!std::isfinite(static_cast<float>(value))) {
        throw std::invalid_argument("obs[" + std::to_string(row) + ", " + std::to_string(i) +
                                    "] = " + std::to_string(value) + "; expected a finite float32 number");
      }
    }
  }
}

}  // namespace

// The rows of one call, numbered m · batch + b.
struct Population::Rows {
  RealInput<3> observations;
  RealOutput<3> actions;
  std::int64_t batch, count;
  const Transform& transform;
};

Population::Population(std::shared_ptr<const Backbone> backbone, std::int64_t members, std::int64_t observation_size,
                       std::int64_t action_size)
    : backbone_(std::move(backbone)),
      members_(members),
      pre_(members, backbone_->input_size(), observation_size),
      post_(members, action_size, backbone_->output_size()),
      width_(std::max({backbone_->widest(), pre_.padded_outputs(), pre_.inputs(), post_.padded_outputs()}) +
             kCacheLine) {}

std::int64_t Population::num_parameters() const {
  return pre_.outputs() * (pre_.inputs() + 1) + post_.outputs() * (post_.inputs() + 1);
}

void Population::load(const View<const float, 2>& adapters) {
  require_size("members of the adapters", adapters.shape[0], members_);
  require_size("parameters of an adapter", adapters.shape[1], num_parameters());
  const std::unique_lock lock(mutex_);
  for (std::int64_t member = 0; member < members_; ++member) {
    const float* from = adapters.data + member * adapters.stride[0];
    const std::int64_t step = adapters.stride[1];
    const auto take = [&](PackedAffine& map) {
      const View<const float, 2> weight{from, {map.outputs(), map.inputs()}, {step * map.inputs(), step}};
      from += step * map.outputs() * map.inputs();
      map.pack(member, weight, View<const float, 1>{from, {map.outputs()}, {step}});
      from += step * map.outputs();
    };
    take(pre_);
    take(post_);
  }
}

void Population::check(const Transform& transform) const {
  require(transform.clip == 0.0 || static_cast<float>(transform.clip) > 0.0f, "clip", transform.clip,
          "a number > 0 as a float32, or 0 for no clipping");
}

void Population::forward(const RealInput<3>& observations, const RealOutput<3>& actions, const Transform& transform,
                         ThreadPool* pool) const {
  check(transform);
  const auto [members, batch, observation_size] = std::visit([](const auto& view) { return view.shape; }, observations);
  const auto written = std::visit([](const auto& view) { return view.shape; }, actions);
  require_size("members of the observations", members, members_);
  require_size("size of an observation", observation_size, pre_.inputs());
  require_size("members of the actions", written[0], members_);
  require_size("batch of the actions", written[1], batch);
  require_size("size of an action", written[2], post_.outputs());
  run({observations, actions, batch, members * batch, transform}, pool);
}

void Population::set_transform(const Transform& transform) {
  check(transform);
  const std::unique_lock lock(mutex_);
  std::vector<float> constants;
  constants.reserve(static_cast<std::size_t>(2 * (pre_.inputs() + post_.outputs())));  // so that pointers into it stay
  const auto keep = [&](const float* from, std::int64_t count) -> const float* {
    if (from == nullptr) return nullptr;
    const std::size_t start = constants.size();
    constants.insert(constants.end(), from, from + count);
    return constants.data() + start;
  };
  transform_ = {keep(transform.mean, pre_.inputs()), keep(transform.inverse_std, pre_.inputs()), transform.clip,
                keep(transform.scale, post_.outputs()), keep(transform.offset, post_.outputs())};
  constants_ = std::move(constants);
}

void Population::act(const RealInput<2>& observations, float* actions) const {
  require_size("members of a population that acts", members_, 1);
  const auto [batch, observation_size] = std::visit([](const auto& view) { return view.shape; }, observations);
  require_size("size of an observation", observation_size, pre_.inputs());
  std::visit([](const auto& view) { require_finite(view); }, observations);
  const RealInput<3> rows = std::visit(
      [](const auto& view) -> RealInput<3> {
        using Element = std::remove_pointer_t<decltype(view.data)>;
        return View<Element, 3>{view.data, {1, view.shape[0], view.shape[1]}, {0, view.stride[0], view.stride[1]}};
      },
      observations);
  run({rows, contiguous_view<float, 3>(actions, {1, batch, post_.outputs()}), batch, batch, transform_}, nullptr);
}

void Population::run(const Rows& rows, ThreadPool* pool) const {
  if (rows.count == 0) return;
  // Loading waits until the last of us is out; the workers of the pool compute under the locks of this thread.
  const std::shared_lock own(mutex_);
  const std::shared_lock shared(backbone_->mutex());
  const std::int64_t share = (rows.count + parallelism(pool) - 1) / parallelism(pool);
  const std::int64_t tile = std::clamp(share, kSmallestTask, kTile);
  parallel_for(pool, (rows.count + tile - 1) / tile, [&](std::int64_t task) {
    const std::int64_t first = task * tile;
    run_tile(rows, first, std::min(tile, rows.count - first));
  });
}

void Population::run_tile(const Rows& rows, std::int64_t first, std::int64_t count) const {
  float* input = scratch(static_cast<std::size_t>(2 * kTile * width_));
  float* output = input + kTile * width_;

  // Calls body(member, first row in the tile, number of rows) for each stretch of rows of one member.
  const auto by_member = [&](auto&& body) {
    for (std::int64_t row = 0; row < count;) {
      const std::int64_t member = (first + row) / rows.batch;
      const std::int64_t end = std::min(count, (member + 1) * rows.batch - first);
      body(member, row, end - row);
      row = end;
    }
  };

  std::visit(
      [&](const auto& view) {
        by_member([&](std::int64_t member, std::int64_t row, std::int64_t stretch) {
          const std::int64_t b = first + row - member * rows.batch;
          const auto* from = view.data + member * view.stride[0] + b * view.stride[1];
          for (std::int64_t i = 0; i < stretch; ++i, from += view.stride[1]) {
            read_row(from, view.stride[2], view.shape[2], rows.transform, input + (row + i) * width_);
          }
        });
      },
      rows.observations);

  const Activation entrance = backbone_->input_activation() ? Activation::relu : Activation::none;
  by_member([&](std::int64_t member, std::int64_t row, std::int64_t stretch) {
    pre_.apply(member, entrance, input + row * width_, width_, stretch, output + row * width_, width_);
  });
  for (const PackedAffine& layer : backbone_->layers()) {
    std::swap(input, output);
    layer.apply(0, Activation::relu, input, width_, count, output, width_);
  }
  std::swap(input, output);
  by_member([&](std::int64_t member, std::int64_t row, std::int64_t stretch) {
    post_.apply(member, Activation::tanh, input + row * width_, width_, stretch, output + row * width_, width_);
  });

  std::visit(
      [&](const auto& view) {
        by_member([&](std::int64_t member, std::int64_t row, std::int64_t stretch) {
          const std::int64_t b = first + row - member * rows.batch;
          auto* to = view.data + member * view.stride[0] + b * view.stride[1];
          for (std::int64_t i = 0; i < stretch; ++i, to += view.stride[1]) {
            write_row(output + (row + i) * width_, view.shape[2], rows.transform, to, view.stride[2]);
          }
        });
      },
      rows.actions);
}

}  // namespace apb
