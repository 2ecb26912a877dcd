#include "core/image/grab_cut.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/cancel.h"
#include "core/image/max_flow.h"

namespace torchvid {

namespace {

/// Half of the eight neighbours; the others are seen from their side.
struct Step {
  int64_t x;
  int64_t y;
  double length;
};
constexpr double kDiagonal = 1.4142135623730951;
constexpr std::array<Step, 4> kSteps{{{1, 0, 1}, {0, 1, 1}, {1, 1, kDiagonal}, {-1, 1, kDiagonal}}};

/// Fewer changed labels than one in so many pixels: the cut has settled.
constexpr int64_t kSettled = 1000;

constexpr uint8_t kBackground = 0;
constexpr uint8_t kObject = 1;
constexpr uint8_t kNeither = 2;

uint8_t FirstLabel(Mark mark) {
  if (mark == Mark::kUnknown) return kNeither;
  return mark == Mark::kObject || mark == Mark::kProbablyObject ? kObject : kBackground;
}

int64_t Differing(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

double SquaredDifference(const Colour& a, const Colour& b) {
  double sum = 0;
  for (size_t c = 0; c < 3; ++c) sum += static_cast<double>(a[c] - b[c]) * static_cast<double>(a[c] - b[c]);
  return sum;
}

/// Calls visit(i, j, length) for every pair of neighbours.
template <typename Visit>
void ForNeighbours(ImageSize size, Visit visit) {
  for (const auto& step : kSteps) {
    for (int64_t y = 0; y + step.y < size.height; ++y) {
      for (int64_t x = std::max<int64_t>(0, -step.x); x < size.width - std::max<int64_t>(0, step.x); ++x) {
        const auto i = y * size.width + x;
        visit(static_cast<size_t>(i), static_cast<size_t>(i + step.y * size.width + step.x), step.length);
      }
    }
  }
}

/// Beta of equation 11 (5 in Boykov and Jolly): the mean squared difference of neighbours, doubled and
/// inverted.
double ContrastScale(ImageSize size, const std::vector<Colour>& colours) {
  double sum = 0;
  int64_t pairs = 0;
  ForNeighbours(size, [&](size_t i, size_t j, double) {
    sum += SquaredDifference(colours[i], colours[j]);
    ++pairs;
  });
  return sum > 0 ? static_cast<double>(pairs) / (2 * sum) : 0;
}

std::vector<Colour> ColoursWhere(const std::vector<Colour>& colours, const std::vector<uint8_t>& labels,
                                 uint8_t wanted) {
  std::vector<Colour> chosen;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == wanted) chosen.push_back(colours[i]);
  }
  return chosen;
}

}  // namespace

std::vector<float> LogOdds(const std::vector<Colour>& colours, const ColourMixture& foreground,
                           const ColourMixture& background) {
  std::vector<float> odds(colours.size());
  for (size_t i = 0; i < colours.size(); ++i) {
    odds[i] = foreground.LogDensity(colours[i]) - background.LogDensity(colours[i]);
  }
  return odds;
}

void CutOpen(ImageSize size, const std::vector<Colour>& colours, const std::vector<uint8_t>& open,
             const std::vector<float>& log_odds, double smoothness, std::vector<uint8_t>& labels) {
  std::vector<int32_t> node(open.size(), -1);
  int32_t nodes = 0;
  for (size_t i = 0; i < open.size(); ++i) {
    if (open[i] != 0) node[i] = nodes++;
  }
  if (nodes == 0) return;
  MaxFlow flow(nodes, 4 * nodes);
  for (size_t i = 0; i < open.size(); ++i) {
    if (node[i] < 0) continue;
    const double odds = log_odds[i];
    flow.AddTerminal(node[i], std::max(odds, 0.0), std::max(-odds, 0.0));
  }
  const double beta = ContrastScale(size, colours);
  ForNeighbours(size, [&](size_t i, size_t j, double length) {
    if (node[i] < 0 && node[j] < 0) return;
    const double cost = smoothness / length * std::exp(-beta * SquaredDifference(colours[i], colours[j]));
    if (node[i] >= 0 && node[j] >= 0) {
      flow.AddEdge(node[i], node[j], cost, cost);
      return;
    }
    // A neighbour whose label is settled pulls to its side.
    const auto free = node[i] >= 0 ? node[i] : node[j];
    const bool object = labels[node[i] >= 0 ? j : i] == kObject;
    flow.AddTerminal(free, object ? cost : 0, object ? 0 : cost);
  });
  flow.Solve();
  for (size_t i = 0; i < open.size(); ++i) {
    if (node[i] >= 0) labels[i] = flow.WithSource(node[i]) ? kObject : kBackground;
  }
}

CutResult GrabCut(const CutProblem& problem, const CutSettings& settings) {
  const auto& [size, colours, marks, prior] = problem;
  CutResult result;
  auto& labels = result.object;
  labels.resize(marks.size());
  std::vector<uint8_t> open(marks.size());
  for (size_t i = 0; i < marks.size(); ++i) {
    labels[i] = FirstLabel(marks[i]);
    open[i] = marks[i] != Mark::kBackground && marks[i] != Mark::kObject;
  }
  const auto learn = [&](uint8_t label) {
    return ColourMixture::Learn(ColoursWhere(colours, labels, label), settings.components, settings.seed);
  };
  result.foreground = learn(kObject);
  result.background = learn(kBackground);
  for (int round = 0; round < settings.rounds; ++round) {
    ThrowIfCancelled();
    auto odds = LogOdds(colours, result.foreground, result.background);
    for (size_t i = 0; i < prior.size(); ++i) odds[i] += prior[i];
    const auto before = labels;
    CutOpen(size, colours, open, odds, settings.smoothness, labels);
    if (round > 0 && Differing(labels, before) * kSettled < static_cast<int64_t>(labels.size())) break;
    const auto object = ColoursWhere(colours, labels, kObject);
    const auto background = ColoursWhere(colours, labels, kBackground);
    if (object.empty() || background.empty()) break;
    result.foreground.Relearn(object);
    result.background.Relearn(background);
  }
  return result;
}

}  // namespace torchvid
