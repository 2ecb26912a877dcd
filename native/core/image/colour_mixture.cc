#include "core/image/colour_mixture.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace torchvid {

namespace {

/// k-means looks at about so many colours, evenly spread; more change its centres hardly.
constexpr size_t kSample = 10000;
constexpr int kRounds = 10;
/// Added to each variance, grey levels squared: a flat patch must not have a density without bound.
constexpr double kLeastVariance = 4;
/// log((2 pi)^(3/2))
constexpr double kLogNormaliser = 2.7568155996140185;

/// SplitMix64 (Steele et al. 2014): the same numbers for the same seed everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  /// In [0, 1).
  double Next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    auto x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1.0p-53;
  }

 private:
  uint64_t state_;
};

float SquaredDistance(const Colour& a, const Colour& b) {
  const float x = a[0] - b[0];
  const float y = a[1] - b[1];
  const float z = a[2] - b[2];
  return x * x + y * y + z * z;
}

size_t Nearest(const std::vector<Colour>& centres, const Colour& colour) {
  size_t best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < centres.size(); ++i) {
    const auto distance = SquaredDistance(centres[i], colour);
    if (distance >= least) continue;
    least = distance;
    best = i;
  }
  return best;
}

/// k-means++ (Arthur and Vassilvitskii 2007): each next centre is drawn by its squared distance to those
/// before. Fewer than `count` where there are not that many colours.
std::vector<Colour> FirstCentres(const std::vector<Colour>& colours, int count, Random& random) {
  std::vector<Colour> centres{
      colours[static_cast<size_t>(random.Next() * static_cast<double>(colours.size()))]};
  std::vector<float> distances(colours.size(), std::numeric_limits<float>::infinity());
  while (static_cast<int>(centres.size()) < count) {
    double total = 0;
    for (size_t i = 0; i < colours.size(); ++i) {
      distances[i] = std::min(distances[i], SquaredDistance(colours[i], centres.back()));
      total += distances[i];
    }
    if (total <= 0) break;
    auto left = random.Next() * total;
    size_t chosen = 0;
    for (size_t i = 0; i < colours.size(); ++i) {
      if (distances[i] <= 0) continue;
      chosen = i;
      left -= distances[i];
      if (left < 0) break;
    }
    centres.push_back(colours[chosen]);
  }
  return centres;
}

void MoveToMeans(std::vector<Colour>& centres, const std::vector<Colour>& colours) {
  std::vector<std::array<double, 4>> sums(centres.size());
  for (const auto& colour : colours) {
    auto& sum = sums[Nearest(centres, colour)];
    for (size_t c = 0; c < 3; ++c) sum[c] += colour[c];
    sum[3] += 1;
  }
  for (size_t i = 0; i < centres.size(); ++i) {
    if (sums[i][3] == 0) continue;
    for (size_t c = 0; c < 3; ++c) centres[i][c] = static_cast<float>(sums[i][c] / sums[i][3]);
  }
}

std::vector<Colour> Thinned(const std::vector<Colour>& colours) {
  const auto step = colours.size() / kSample + 1;
  std::vector<Colour> sample;
  for (size_t i = 0; i < colours.size(); i += step) sample.push_back(colours[i]);
  return sample;
}

/// Sums of a cluster's colours and of their products: xx, xy, xz, yy, yz, zz.
struct Moments {
  double count = 0;
  std::array<double, 3> first{};
  std::array<double, 6> second{};

  void Add(const Colour& colour) {
    const double x = colour[0];
    const double y = colour[1];
    const double z = colour[2];
    ++count;
    first[0] += x;
    first[1] += y;
    first[2] += z;
    const std::array<double, 6> products{x * x, x * y, x * z, y * y, y * z, z * z};
    for (size_t i = 0; i < 6; ++i) second[i] += products[i];
  }
};

}  // namespace

ColourMixture ColourMixture::Learn(const std::vector<Colour>& colours, int components, uint64_t seed) {
  Random random(seed);
  const auto sample = Thinned(colours);
  auto centres = FirstCentres(sample, components, random);
  for (int round = 0; round < kRounds; ++round) MoveToMeans(centres, sample);
  std::vector<uint8_t> component(colours.size());
  for (size_t i = 0; i < colours.size(); ++i) {
    component[i] = static_cast<uint8_t>(Nearest(centres, colours[i]));
  }
  ColourMixture mixture;
  mixture.Estimate(colours, component, static_cast<int>(centres.size()));
  return mixture;
}

void ColourMixture::Relearn(const std::vector<Colour>& colours) {
  std::vector<uint8_t> component(colours.size());
  for (size_t i = 0; i < colours.size(); ++i) {
    float most = -std::numeric_limits<float>::infinity();
    for (size_t k = 0; k < gaussians_.size(); ++k) {
      const auto term = LogTerm(gaussians_[k], colours[i]);
      if (term <= most) continue;
      most = term;
      component[i] = static_cast<uint8_t>(k);
    }
  }
  Estimate(colours, component, static_cast<int>(gaussians_.size()));
}

float ColourMixture::LogDensity(const Colour& colour) const {
  std::array<float, 16> terms{};
  float most = -std::numeric_limits<float>::infinity();
  const auto count = std::min(gaussians_.size(), terms.size());
  for (size_t i = 0; i < count; ++i) {
    terms[i] = LogTerm(gaussians_[i], colour);
    most = std::max(most, terms[i]);
  }
  float sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(terms[i] - most);
  return most + std::log(sum);
}

/// Clusters that got nothing are dropped.
void ColourMixture::Estimate(const std::vector<Colour>& colours, const std::vector<uint8_t>& component,
                             int components) {
  std::vector<Moments> moments(static_cast<size_t>(components));
  for (size_t i = 0; i < colours.size(); ++i) moments[component[i]].Add(colours[i]);
  gaussians_.clear();
  for (const auto& [count, first, second] : moments) {
    if (count == 0) continue;
    const double x = first[0] / count;
    const double y = first[1] / count;
    const double z = first[2] / count;
    const double xx = second[0] / count - x * x + kLeastVariance;
    const double xy = second[1] / count - x * y;
    const double xz = second[2] / count - x * z;
    const double yy = second[3] / count - y * y + kLeastVariance;
    const double yz = second[4] / count - y * z;
    const double zz = second[5] / count - z * z + kLeastVariance;
    const double determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz);
    const std::array<double, 6> adjugate{yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy,
                                         xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy};
    Gaussian gaussian;
    gaussian.mean = {static_cast<float>(x), static_cast<float>(y), static_cast<float>(z)};
    for (size_t i = 0; i < 6; ++i) gaussian.inverse[i] = static_cast<float>(adjugate[i] / determinant);
    const double weight = count / static_cast<double>(colours.size());
    gaussian.log_scale = static_cast<float>(std::log(weight) - kLogNormaliser - 0.5 * std::log(determinant));
    gaussians_.push_back(gaussian);
  }
}

float ColourMixture::LogTerm(const Gaussian& gaussian, const Colour& colour) {
  const float x = colour[0] - gaussian.mean[0];
  const float y = colour[1] - gaussian.mean[1];
  const float z = colour[2] - gaussian.mean[2];
  const auto& [xx, xy, xz, yy, yz, zz] = gaussian.inverse;
  const float distance = x * (xx * x + 2 * (xy * y + xz * z)) + y * (yy * y + 2 * yz * z) + zz * z * z;
  return gaussian.log_scale - 0.5F * distance;
}

}  // namespace torchvid
