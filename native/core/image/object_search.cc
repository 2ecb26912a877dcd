#include "core/image/object_search.h"

#include <algorithm>
#include <array>

#include "core/cancel.h"

namespace torchvid {

namespace {

/// The longer side at which an object is looked for, in pixels.
constexpr int64_t kSearchSide = 400;
/// The longer side at which its edge is found.
constexpr int64_t kEdgeSide = 2000;
/// More open pixels than this are no narrow band: the edge stays as it was found.
constexpr int64_t kMostOpen = 500000;
/// An object of a smaller share of the pixels in question is none.
constexpr double kLeastShare = 0.005;
/// Mean log odds of the object's pixels less those of the background: below this they look alike.
constexpr double kLeastContrast = 0.5;

ImageSize SizeOf(const PixelBox& window) { return {window.width, window.height}; }

bool Same(ImageSize a, ImageSize b) { return a.width == b.width && a.height == b.height; }

std::vector<uint8_t> Halved(const std::vector<float>& values) {
  std::vector<uint8_t> labels(values.size());
  for (size_t i = 0; i < values.size(); ++i) labels[i] = values[i] >= 0.5F;
  return labels;
}

}  // namespace

ObjectSearch::ObjectSearch(const RgbPicture& picture, const PixelBox& wanted)
    : window(wanted), picture_(picture) {
  problem.size = Within(SizeOf(window), kSearchSide);
  problem.colours = ColoursOf(picture, window, problem.size);
  problem.marks.resize(problem.colours.size());
}

FoundObject ObjectSearch::Find(const PixelBox& ellipse, uint64_t seed) const {
  std::vector<uint8_t> certain(problem.marks.size());
  int64_t objects = 0;
  int64_t backgrounds = 0;
  for (size_t i = 0; i < problem.marks.size(); ++i) {
    const auto mark = problem.marks[i];
    certain[i] = mark == Mark::kObject;
    objects += mark == Mark::kObject || mark == Mark::kProbablyObject;
    backgrounds += mark == Mark::kBackground || mark == Mark::kProbablyBackground;
  }
  if (objects == 0 || backgrounds == 0) return Ellipse(ellipse);
  CutSettings settings;
  settings.seed = seed;
  auto result = GrabCut(problem, settings);
  // Of what a scribble finds, only what hangs together with its marks.
  if (std::count(certain.begin(), certain.end(), uint8_t{1}) > 0) {
    result.object = Reachable(problem.size, result.object, certain);
  }
  if (!IsClear(result)) return Ellipse(ellipse);
  return {window, WithEdge(result), ObjectLook{result.foreground, result.background}};
}

/// Whether the cut found an object that differs from its background.
bool ObjectSearch::IsClear(const CutResult& result) const {
  const auto odds = LogOdds(problem.colours, result.foreground, result.background);
  std::array<double, 2> sums{};
  std::array<double, 2> counts{};
  double asked = 0;
  double of_asked = 0;
  for (size_t i = 0; i < odds.size(); ++i) {
    const auto label = result.object[i];
    sums[label] += odds[i];
    counts[label] += 1;
    if (problem.marks[i] == Mark::kBackground) continue;
    asked += 1;
    of_asked += label;
  }
  if (of_asked < kLeastShare * asked || counts[0] == 0 || counts[1] == 0) return false;
  return sums[1] / counts[1] - sums[0] / counts[0] >= kLeastContrast;
}

/// The labels at the picture's own size. Pixels that at the search's size lay between an object's and a
/// background's are decided anew, by the finer picture.
std::vector<uint8_t> ObjectSearch::WithEdge(const CutResult& result) const {
  const auto full = SizeOf(window);
  const auto size = Within(full, kEdgeSide);
  if (Same(size, problem.size)) return result.object;
  const auto scaled = Scaled(result.object, problem.size, size);
  auto labels = Halved(scaled);
  std::vector<uint8_t> open(labels.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = scaled[i] > 0 && scaled[i] < 1;
  if (std::count(open.begin(), open.end(), uint8_t{1}) <= kMostOpen) {
    ThrowIfCancelled();
    const auto colours = ColoursOf(picture_, window, size);
    std::vector<float> odds(labels.size());
    for (size_t i = 0; i < open.size(); ++i) {
      if (open[i] == 0) continue;
      odds[i] = result.foreground.LogDensity(colours[i]) - result.background.LogDensity(colours[i]);
    }
    CutOpen(size, colours, open, odds, CutSettings{}.smoothness, labels);
  }
  return Same(size, full) ? labels : Halved(Scaled(labels, size, full));
}

FoundObject ObjectSearch::Ellipse(const PixelBox& box) const {
  FoundObject found{window, std::vector<uint8_t>(static_cast<size_t>(window.width * window.height)), {}};
  ForPixels(window, SizeOf(window),
            [&](size_t i, double x, double y) { found.object[i] = EllipseRadius(box, x, y) <= 1; });
  return found;
}

}  // namespace torchvid
