#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace torchvid {

/// Red, green and blue, 0 to 255.
using Colour = std::array<float, 3>;

/// A mixture of Gaussians with full covariances over colours (GrabCut, Rother et al. 2004, section 3).
class ColourMixture {
 public:
  /// Learned from scratch: k-means from k-means++ seeds, then one Gaussian per cluster. Wants at least one
  /// colour.
  static ColourMixture Learn(const std::vector<Colour>& colours, int components, uint64_t seed);

  /// Each colour goes to its most probable Gaussian, and each Gaussian is learned anew from what it got.
  void Relearn(const std::vector<Colour>& colours);
  /// Natural logarithm of the density.
  float LogDensity(const Colour& colour) const;

 private:
  struct Gaussian {
    Colour mean{};
    /// Of the covariance: xx, xy, xz, yy, yz, zz.
    std::array<float, 6> inverse{};
    /// log(weight) - log(sqrt((2 pi)^3 det))
    float log_scale = 0;
  };

  void Estimate(const std::vector<Colour>& colours, const std::vector<uint8_t>& component, int components);
  static float LogTerm(const Gaussian& gaussian, const Colour& colour);

  std::vector<Gaussian> gaussians_;
};

}  // namespace torchvid
