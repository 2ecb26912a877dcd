#pragma once

#include <cstdint>
#include <vector>

#include "core/image/colour_mixture.h"
#include "core/image/resize.h"

namespace torchvid {

/// What is known of a pixel before the cut: the first two are certain; nothing is learned at first from what
/// is unknown.
enum class Mark : uint8_t { kBackground, kObject, kProbablyBackground, kProbablyObject, kUnknown };

/// A picture to be cut in two.
struct CutProblem {
  ImageSize size{};
  /// Red, green and blue, 0 to 255; row by row.
  std::vector<Colour> colours;
  std::vector<Mark> marks;
  /// Per pixel: log odds of the object before its colour is seen. Empty: 0.
  std::vector<float> prior;
};

struct CutSettings {
  /// Gaussians for the object and as many for the background.
  int components = 5;
  /// How much a boundary between like pixels costs.
  double smoothness = 50;
  int rounds = 8;
  uint64_t seed = 0;
};

/// 1 for object, 0 for background; and what the two look like.
struct CutResult {
  std::vector<uint8_t> object;
  ColourMixture foreground;
  ColourMixture background;
};

/// GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004): colours of object and background are learned from the
/// labels, and the labels that cost least are found by a minimum cut (equations 7 to 11), in turn, until
/// fewer than one label in a thousand changes or `rounds` are over. Wants a pixel of either kind among the
/// marks. Throws Cancelled.
CutResult GrabCut(const CutProblem& problem, const CutSettings& settings);

/// Log odds that each pixel is of the foreground and not of the background, by colour alone.
std::vector<float> LogOdds(const std::vector<Colour>& colours, const ColourMixture& foreground,
                           const ColourMixture& background);

/// One minimum cut: labels of the pixels where `open` is set are chosen anew; the others keep theirs.
/// `log_odds`: of the object, per pixel.
void CutOpen(ImageSize size, const std::vector<Colour>& colours, const std::vector<uint8_t>& open,
             const std::vector<float>& log_odds, double smoothness, std::vector<uint8_t>& labels);

}  // namespace torchvid
